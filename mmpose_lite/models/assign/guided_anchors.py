"""Where guided anchoring is to place anchors."""

# Letters: B images, N objects of an image, L levels, H x W cells of a level.
from collections.abc import Sequence

import torch
from torch import Tensor

from mmpose_lite.models.assign.objects import Objects

NEGATIVE_WEIGHT = 0.1  # of the cells that are to be empty, which are by far the most


@torch.no_grad()
def location_targets(
    objects: Objects,
    featmap_shapes: Sequence[tuple[int, int]],
    strides: Sequence[int],
    *,
    base_scale: float,
    center_ratio: float = 0.2,
    ignore_ratio: float = 0.5,
) -> list[tuple[Tensor, Tensor]]:
    """Return for each level what each cell is to say, (B, H, W) float 1 or 0, and how much it counts, (B, H, W).

    An object belongs to the level whose square anchor is nearest to its size. There the cells in its middle are 1, those around
    them do not count; nor do these on the two levels beside it. All other cells are 0 and count 0.1.

    Source: Wang et al., Region Proposal by Guided Anchoring, CVPR 2019, Sec. 3.2 and Fig. 2, arXiv:1901.03278; the weight and
    the rounding are those of mmdet.
    Differs: the middle of an object counts whatever other objects lie around it, while in mmdet the later one in the file wins;
    cells in regions to be ignored do not count.

    Args:
        objects: of the images.
        featmap_shapes: (H, W) of the L maps, finest first.
        strides: of the maps, px.
        base_scale: side of a square anchor in strides.
        center_ratio: side of the middle over that of the object.
        ignore_ratio: side of the middle with what is around it.
    """
    sides = (objects.boxes[..., 2:] - objects.boxes[..., :2]).clamp(min=0).prod(dim=-1).sqrt()
    levels = torch.floor(torch.log2(sides / (base_scale * strides[0])) + 0.5).clamp(0, len(strides) - 1)
    targets = []
    for level, (shape, stride) in enumerate(zip(featmap_shapes, strides, strict=True)):
        boxes = objects.boxes / stride
        own = objects.is_object & (levels == level)
        near = objects.is_object & ((levels - level).abs() <= 1)
        middle = _covered(boxes, own, center_ratio, shape)
        unclear = _covered(boxes, near, ignore_ratio, shape) | _covered(boxes, objects.is_ignored, 1.0, shape)
        weight = torch.where(middle, 1.0, torch.where(unclear, 0.0, NEGATIVE_WEIGHT))
        targets.append((middle.float(), weight))
    return targets


def _covered(boxes: Tensor, counts: Tensor, ratio: float, shape: tuple[int, int]) -> Tensor:
    """Return (B, H, W) bool: the cells in the middle, `ratio` of the sides, of one of the boxes (B, N, 4) that count."""
    margin = (boxes[..., 2:] - boxes[..., :2]) * (1 - ratio) / 2
    first, last = (boxes[..., :2] + margin).round(), (boxes[..., 2:] - margin).round()
    inside = []
    for axis, length in ((1, shape[0]), (0, shape[1])):
        cells = torch.arange(length, device=boxes.device)
        inside.append((cells >= first[..., axis, None]) & (cells <= last[..., axis, None]))
    rows, columns = inside[0] & counts[..., None], inside[1]
    return (rows[..., None] & columns[..., None, :]).any(dim=1)
