"""The annotated objects of a batch, as assigners take them: tensors whose size the host knows."""

# Letters: B images, N objects of an image, at least 1.
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mmpose_lite.models.assign.assigner import Assignment
from mmpose_lite.ops.iou import pairwise_iou
from mmpose_lite.structures import SampleBatch


class Objects(NamedTuple):
    """The objects of B images, padded to the most of one image; or those of one image, without the axis B."""

    boxes: Tensor  # (B, N, 4) xyxy, px of the input; zeros in rows that stand for nothing
    labels: Tensor  # (B, N) int64
    is_object: Tensor  # (B, N) bool: to be found
    is_ignored: Tensor  # (B, N) bool: neither to be found nor background

    @classmethod
    def of(cls, data_samples: SampleBatch) -> 'Objects':
        """Return the objects of a batch with the fields `bboxes_input` (M, 4), `labels` (M,) and, if there are any to be ignored,
        `is_ignored` (M,) bool."""
        boxes = data_samples.padded('bboxes_input').float()
        N = boxes.shape[1]
        is_row = torch.tensor([[n < count for n in range(N)] for count in data_samples.counts])
        is_row = is_row.to(boxes.device, non_blocking=True)
        if 'is_ignored' in data_samples:
            is_ignored = data_samples.padded('is_ignored').bool()
        else:
            is_ignored = torch.zeros_like(is_row)
        return cls(boxes, data_samples.padded('labels').long(), is_row & ~is_ignored, is_ignored)

    def of_image(self, index: int) -> 'Objects':
        """Return those of one image: boxes (N, 4) and so on."""
        return Objects(*(field[index] for field in self))

    def assigned(self, priors: Tensor, assigner: Any, *, is_usable: Tensor | None = None) -> Assignment:
        """Return what an assigner says of the priors of one image; see `of_image`.

        Args:
            priors: (N, 4) xyxy, or whatever the assigner takes, N first.
            assigner: one of the ASSIGNERS.
            is_usable: (N,) bool; priors for which it is False are neither positive nor background. None: all can be.
        """
        if is_usable is not None:
            # An empty box overlaps nothing, so it can not be the best of an object.
            priors = priors.where(is_usable.view(-1, *[1] * (priors.ndim - 1)), 0)
        found = assigner.assign(priors, self.boxes, is_object=self.is_object, ignored_xyxy=self.ignored_boxes)
        return found if is_usable is None else found._replace(gt_inds=found.gt_inds.where(is_usable, -1))

    @property
    def ignored_boxes(self) -> Tensor:
        """(..., N, 4) boxes of what is ignored, zeros for the rest."""
        return self.boxes.where(self.is_ignored[..., None], 0)

    @property
    def densities(self) -> Tensor:
        """(..., N) greatest IoU of each object with another one of its class; 0 for rows that are no object."""
        others = self.is_object[..., None] & self.is_object[..., None, :] & (self.labels[..., None] == self.labels[..., None, :])
        ious = pairwise_iou(self.boxes, self.boxes).where(others, 0)
        return (ious - ious.diagonal(dim1=-2, dim2=-1).diag_embed()).amax(dim=-1)
