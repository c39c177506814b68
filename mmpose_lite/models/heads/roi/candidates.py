"""The boxes of several images, and what a box head makes of them."""

# Letters: B images, P boxes of an image, C classes, R boxes of all images.
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mmpose_lite.structures import SampleBatch


class Candidates(NamedTuple):
    """The boxes of one image before suppression."""

    boxes: Tensor  # (P, 4), or (P, C, 4) with a box for each class; xyxy
    scores: Tensor  # (P, C)


def join_rois(boxes: Sequence[Tensor]) -> Tensor:
    """Return (R, 5), the index of the image before the box, of the boxes (P, 4) of each image."""
    return torch.cat([torch.cat([b.new_full((len(b), 1), i), b], dim=1) for i, b in enumerate(boxes)])


def shapes_of_rois(data_samples: SampleBatch, rois: Tensor) -> Tensor:
    """Return (R, 2), for each of the rois (R, 5) the (h, w) of its image in the input."""
    shapes = torch.tensor([tuple(m['img_shape']) for m in data_samples.metainfo], dtype=rois.dtype)
    return shapes.to(rois.device, non_blocking=True)[rois[:, 0].long()]
