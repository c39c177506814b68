"""Overlap of boxes: IoU and its generalised forms, aligned (box i with box i) and pairwise (each with each).

A degenerate box, one whose right or bottom edge is not beyond its left or top one, has the area 0: its IoU with every box, itself
included, is 0, and no form returns NaN for finite boxes. The ranges below hold unless an edge is beyond its opposite.
"""

# Letters: N, M boxes.
import math
from typing import Literal

import torch
from torch import Tensor

IoUKind = Literal['iou', 'iof', 'giou', 'diou', 'ciou']
_PAIRS_AT_ONCE = 2**17  # on the CPU: ten matrices of pairs are made on the way, which are to stay in the cache
KINDS: tuple[IoUKind, ...] = ('iou', 'iof', 'giou', 'diou', 'ciou')


def aligned_iou(boxes_xyxy: Tensor, others_xyxy: Tensor, *, kind: IoUKind = 'iou', eps: float = 1e-6) -> Tensor:
    """Return (...) overlaps of boxes that stand at the same place; leading axes broadcast. Differentiable in both.

    Half precision is computed in float32, in which areas do not overflow.

    Args:
        boxes_xyxy: (..., 4).
        others_xyxy: (..., 4).
        kind: 'iou', intersection over union, in [0, 1];
            'iof', intersection over the area of `boxes_xyxy`, in [0, 1];
            'giou', less the share of the enclosing box that neither fills, in [-1, 1] (Rezatofighi et al., CVPR 2019,
            Algorithm 1, arXiv:1902.09630);
            'diou', less the squared distance of the centres over the squared diagonal of the enclosing box, in [-1, 1] (Zheng et
            al., AAAI 2020, Eq. 6, arXiv:1911.08287);
            'ciou', diou less a term for the aspect ratio (ibid., Eq. 8 to 11; as in the authors' code, the term counts from an
            IoU of 0.5 on, and its factor is constant for the gradient).
        eps: least denominator, in the square of the boxes' unit.

    Raises:
        ValueError: the last axis is not 4, or `kind` is unknown.
    """
    if boxes_xyxy.shape[-1:] != (4,) or others_xyxy.shape[-1:] != (4,):
        raise ValueError(f'aligned_iou: boxes must be (..., 4), got {tuple(boxes_xyxy.shape)} and {tuple(others_xyxy.shape)}.')
    if kind not in KINDS:
        raise ValueError(f'aligned_iou: `kind` must be one of {KINDS}, got {kind!r}.')
    dtype = torch.promote_types(torch.promote_types(boxes_xyxy.dtype, others_xyxy.dtype), torch.float32)
    # One tensor per edge, so that the loops of the kernels run over boxes and not over the four numbers of one.
    ax1, ay1, ax2, ay2 = a = boxes_xyxy.to(dtype).unbind(-1)
    bx1, by1, bx2, by2 = b = others_xyxy.to(dtype).unbind(-1)
    width = (torch.minimum(ax2, bx2) - torch.maximum(ax1, bx1)).clamp(min=0)
    both = width * (torch.minimum(ay2, by2) - torch.maximum(ay1, by1)).clamp(min=0)
    area_a, area_b = ((x2 - x1).clamp(min=0) * (y2 - y1).clamp(min=0) for x1, y1, x2, y2 in (a, b))
    if kind == 'iof':
        return both / area_a.clamp(min=eps)
    union = area_a + area_b - both
    iou = both / union.clamp(min=eps)
    if kind == 'iou':
        return iou
    hull_width = torch.maximum(ax2, bx2) - torch.minimum(ax1, bx1)
    hull_height = torch.maximum(ay2, by2) - torch.minimum(ay1, by1)
    if kind == 'giou':
        hull = hull_width.clamp(min=0) * hull_height.clamp(min=0)
        return iou - (hull - union) / hull.clamp(min=eps)
    distance = ((ax1 + ax2 - bx1 - bx2).square() + (ay1 + ay2 - by1 - by2).square()) / 4
    diou = iou - distance / (hull_width.square() + hull_height.square() + eps)
    if kind == 'diou':
        return diou
    angle_a, angle_b = (torch.atan((x2 - x1).clamp(min=0) / ((y2 - y1).clamp(min=0) + eps)) for x1, y1, x2, y2 in (a, b))
    return diou - _aspect_penalty(angle_a - angle_b, iou, eps)


def pairwise_iou(boxes_xyxy: Tensor, others_xyxy: Tensor, *, kind: IoUKind = 'iou', eps: float = 1e-6) -> Tensor:
    """Return (..., N, M) overlaps of each of N boxes with each of M others; arguments as in `aligned_iou`.

    Args:
        boxes_xyxy: (..., N, 4).
        others_xyxy: (..., M, 4).
        kind: see there; 'iof' is relative to the N boxes.
        eps: see there.

    Raises:
        ValueError: the shapes do not fit, or `kind` is unknown.
    """
    if boxes_xyxy.ndim < 2 or others_xyxy.ndim < 2:
        raise ValueError(
            'pairwise_iou: boxes must be (..., N, 4) and (..., M, 4), '
            f'got {tuple(boxes_xyxy.shape)} and {tuple(others_xyxy.shape)}.'
        )
    # Each edge of all boxes in one piece: memory read in steps of four numbers makes this three times slower.
    boxes_xyxy, others_xyxy = (boxes.mT.contiguous().mT for boxes in (boxes_xyxy, others_xyxy))
    rows, columns = boxes_xyxy[..., :, None, :], others_xyxy[..., None, :, :]
    num_pairs = boxes_xyxy.shape[:-1].numel() * others_xyxy.shape[-2]
    if boxes_xyxy.device.type != 'cpu' or num_pairs <= _PAIRS_AT_ONCE:
        return aligned_iou(rows, columns, kind=kind, eps=eps)
    parts = rows.split(max(1, boxes_xyxy.shape[-2] * _PAIRS_AT_ONCE // num_pairs), dim=-3)
    return torch.cat([aligned_iou(part, columns, kind=kind, eps=eps) for part in parts], dim=-2)


def _aspect_penalty(angle: Tensor, iou: Tensor, eps: float) -> Tensor:
    """Return alpha * v of the CIoU, for the difference of the angles whose tangents are the aspect ratios."""
    v = 4 / math.pi**2 * angle.square()
    with torch.no_grad():
        alpha = (v / (1 - iou + v).clamp(min=eps)).where(iou > 0.5, 0)
    return alpha * v
