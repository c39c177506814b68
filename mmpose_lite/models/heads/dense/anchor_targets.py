"""Which anchors of a batch count in the loss, and what they are to find."""

# Letters: B images, N anchors, S rows of the sample of an image.
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mmpose_lite.models.assign.anchors import AnchorGenerator, inside_image
from mmpose_lite.models.assign.objects import Objects


class AnchorTargets(NamedTuple):
    """S anchors of each image."""

    indices: Tensor  # (B, S) int64, of the anchors
    gt_boxes: Tensor  # (B, S, 4) xyxy of the object; of any object where the anchor is not positive
    labels: Tensor  # (B, S) int64 class of the object; of any object where the anchor is not positive
    is_positive: Tensor  # (B, S) bool
    is_valid: Tensor  # (B, S) bool; the rest stands for nothing

    @property
    def num_samples(self) -> Tensor:
        """How many anchors count: of each image at least one positive and one negative, as mmdet counts."""
        positive = self.is_positive.sum(dim=1)
        return (positive.clamp(min=1) + (self.is_valid.sum(dim=1) - positive).clamp(min=1)).sum()


def anchors_on_images(
    generator: AnchorGenerator,
    featmap_shapes: Sequence[tuple[int, int]],
    image_shapes: Sequence[tuple[int, int]],
    *,
    allowed_border: float = -1,
) -> tuple[Tensor, list[Tensor | None]]:
    """Return the anchors (N, 4) of all levels, and for each image (N,) bool, which of them can count; None where all can.

    Args:
        generator: of the anchors.
        featmap_shapes: (H, W) of the feature maps, finest first.
        image_shapes: (h, w) px of each image, without what was padded to make a batch.
        allowed_border: px that an anchor may reach beyond the image; below 0 it is enough that its cell is on the image.
    """
    anchors = torch.cat(generator(featmap_shapes))
    flags: dict[tuple[int, int], Tensor | None] = {}
    for h, w in set(image_shapes):
        covers = all(-(-h // s) >= H and -(-w // s) >= W for (H, W), s in zip(featmap_shapes, generator.strides, strict=True))
        flags[h, w] = None if covers else torch.cat(generator.valid_flags(featmap_shapes, (h, w)))
        if allowed_border >= 0:
            inside = inside_image(anchors, (h, w), border=allowed_border)
            flags[h, w] = inside if covers else inside & flags[h, w]
    return anchors, [flags[h, w] for h, w in image_shapes]


@torch.no_grad()
def sample_anchors(
    anchors: Sequence[Tensor], on_image: Sequence[Tensor | None], objects: Objects, assigner: Any, sampler: Any
) -> AnchorTargets:
    """Assign the anchors of each image and sample them; nothing waits for the device.

    Args:
        anchors: of each image (N, 4) xyxy, or whatever the assigner takes, N first.
        on_image: of each image (N,) bool, anchors that can count; None: all.
        objects: of the images.
        assigner: one of the ASSIGNERS.
        sampler: one of the BOX_SAMPLERS.
    """
    rows = []
    for i, (priors, usable) in enumerate(zip(anchors, on_image)):
        of_image = objects.of_image(i)
        assignment = of_image.assigned(priors, assigner, is_usable=usable)
        sampled = sampler.sample(assignment)
        gt_rows = (assignment.gt_inds[sampled.indices] - 1).clamp(min=0)
        rows.append((sampled.indices, of_image.boxes[gt_rows], of_image.labels[gt_rows], *sampled[1:]))
    return AnchorTargets(*(torch.stack(column) for column in zip(*rows)))


@torch.no_grad()
def assign_anchors(
    anchors: Sequence[Tensor], on_image: Sequence[Tensor | None], objects: Objects, assigner: Any
) -> tuple[Tensor, Tensor, Tensor]:
    """Assign all anchors of each image, for heads that learn from all of them; arguments as in `sample_anchors`.

    Returns:
        (B, N) int64, above 0 for positive anchors, 0 for background, below for what does not count; (B, N, 4) boxes and (B, N)
        classes of the objects, of any object where the anchor is not positive.
    """
    rows = []
    for i, (priors, usable) in enumerate(zip(anchors, on_image)):
        of_image = objects.of_image(i)
        gt_inds = of_image.assigned(priors, assigner, is_usable=usable).gt_inds
        gt_rows = (gt_inds - 1).clamp(min=0)
        rows.append((gt_inds, of_image.boxes[gt_rows], of_image.labels[gt_rows]))
    gt_inds, boxes, labels = (torch.stack(column) for column in zip(*rows))
    return gt_inds, boxes, labels
