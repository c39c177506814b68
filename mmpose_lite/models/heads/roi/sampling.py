"""Which boxes a RoI head learns from, and what each of them is to be. Sizes are known to the host, so nothing waits."""

# Letters: B images, N objects of an image, P proposals of an image, R rows of the sample of all images.
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mmpose_lite.models.assign.assigner import Assignment
from mmpose_lite.models.assign.objects import Objects


class RoISample(NamedTuple):
    """The rows of all images, one image after the other; in each image first the positives."""

    rois: Tensor  # (R, 5), the index of the image and the box xyxy in px of the input
    gt_boxes: Tensor  # (R, 4) of the object; of any object where the row is not positive
    gt_labels: Tensor  # (R,) int64 class of the object, likewise
    gt_rows: Tensor  # (R,) int64 which of the objects of its image, likewise
    is_positive: Tensor  # (R,) bool
    is_valid: Tensor  # (R,) bool; the rest stands for nothing
    is_gt: Tensor  # (R,) bool: the box is that of an object itself
    gt_densities: Tensor | None  # (R,) greatest IoU of the object with another one of its class, likewise; None if not wanted
    num_rows: list[int]  # of each image
    most_positive: int  # of an image; they stand in its first rows

    def labels(self, num_classes: int) -> Tensor:
        """Return (R,) the class that a box head is to give: `num_classes` is the background."""
        return self.gt_labels.where(self.is_positive, num_classes)

    def take(self, rows: Tensor, num_rows: list[int]) -> 'RoISample':
        """Return some of the rows; `num_rows` are those of each image."""
        fields = (None if field is None else field[rows] for field in self[:-2])
        return RoISample(*fields, num_rows, self.most_positive)


PriorLosses = Callable[[int, Tensor, Tensor], Tensor]  # (image, boxes (N, 4), labels (N,), -1 for the background) -> (N,)


@torch.no_grad()
def sample_rois(
    boxes: Sequence[Tensor],
    objects: Objects,
    assigner: Any,
    sampler: Any,
    *,
    is_usable: Sequence[Tensor] | None = None,
    prior_losses: PriorLosses | None = None,
    with_densities: bool = False,
) -> RoISample:
    """Assign the proposals of each image, with the objects' own boxes among them if the sampler wants it, and sample them.

    Args:
        boxes: (P, 4) xyxy of each image.
        objects: of the images.
        assigner: one of the ASSIGNERS.
        sampler: one of the BOX_SAMPLERS.
        is_usable: (P,) bool of each image; boxes for which it is False are not taken. None: all can be.
        prior_losses: called for samplers that need losses.
        with_densities: say of each row how much its object is overlapped, as heads with a branch for it learn.
    """
    parts = []
    for i, priors in enumerate(boxes):
        of_image = objects.of_image(i)
        assignment = of_image.assigned(priors, assigner, is_usable=None if is_usable is None else is_usable[i])
        is_gt = priors.new_zeros(len(priors), dtype=torch.bool)
        if sampler.add_gt_as_proposals:
            priors = torch.cat([of_image.boxes, priors])
            assignment = assignment.with_gts(of_image.is_object)
            is_gt = torch.cat([of_image.is_object, is_gt])
        losses = prior_losses(i, priors, _labels(assignment, of_image)) if prior_losses and sampler.needs_losses else None
        sampled = sampler.sample(assignment, losses=losses)
        rows = sampled.indices
        gt_rows = (assignment.gt_inds[rows] - 1).clamp(min=0)
        chosen = priors[rows]
        rois = torch.cat([chosen.new_full((len(chosen), 1), i), chosen], dim=1)
        of_gts = of_image.boxes[gt_rows], of_image.labels[gt_rows], gt_rows
        densities = of_image.densities[gt_rows] if with_densities else None
        parts.append((rois, *of_gts, sampled.is_positive, sampled.is_valid, is_gt[rows], densities))
    columns = [None if column[0] is None else torch.cat(column) for column in zip(*parts)]
    return RoISample(*columns, [len(part[0]) for part in parts], int(sampler.num * sampler.pos_fraction))


def _labels(assignment: Assignment, objects: Objects) -> Tensor:
    return objects.labels[(assignment.gt_inds - 1).clamp(min=0)].where(assignment.gt_inds > 0, -1)


def positives(sample: RoISample) -> RoISample:
    """Return rows among which are all positives.

    On the CPU these are the positives alone; on an accelerator the first rows of each image, of which `is_positive` says which
    count, since the host would have to wait to know how many there are.
    """
    starts = [sum(sample.num_rows[:i]) for i in range(len(sample.num_rows))]
    spans = [(start, min(sample.most_positive, count)) for start, count in zip(starts, sample.num_rows)]
    if sample.rois.device.type != 'cpu':
        rows = torch.tensor([start + k for start, count in spans for k in range(count)], dtype=torch.int64)
        return sample.take(rows.to(sample.rois.device, non_blocking=True), [count for _, count in spans])
    of_images = [start + sample.is_positive[start : start + count].nonzero().squeeze(1) for start, count in spans]
    return sample.take(torch.cat(of_images), [len(rows) for rows in of_images])
