"""Box formats: xyxy (corners), xywh (corner and size), cxcywh (centre and size), cs (centre and scale).

Pixels; a box from x = 2 to x = 5 is 3 wide. xywh and cs are what annotation files and crops use and are NumPy arrays; cxcywh and
the area are for networks and are tensors.
"""

# Letters: N boxes.
import numpy as np
import torch
from torch import Tensor


def bbox_xywh_to_xyxy(bboxes_xywh: np.ndarray) -> np.ndarray:
    """Return (N, 4) corners of (N, 4) boxes given by corner and size."""
    bboxes_xyxy = np.array(bboxes_xywh, dtype=np.float32)
    bboxes_xyxy[..., 2:] += bboxes_xyxy[..., :2]
    return bboxes_xyxy


def bbox_xyxy_to_xywh(bboxes_xyxy: np.ndarray) -> np.ndarray:
    """Return (N, 4) boxes by corner and size, given by corners."""
    bboxes_xywh = np.array(bboxes_xyxy, dtype=np.float32)
    bboxes_xywh[..., 2:] -= bboxes_xywh[..., :2]
    return bboxes_xywh


def bbox_xyxy_to_cs(bboxes_xyxy: np.ndarray, padding: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Return centre (N, 2) and scale (N, 2) of boxes: scale is (width, height) times `padding`, in px."""
    bboxes_xyxy = np.asarray(bboxes_xyxy, dtype=np.float32)
    center = (bboxes_xyxy[..., :2] + bboxes_xyxy[..., 2:]) * 0.5
    scale = (bboxes_xyxy[..., 2:] - bboxes_xyxy[..., :2]) * np.float32(padding)
    return center, scale


def bbox_xyxy_to_cxcywh(bboxes_xyxy: Tensor) -> Tensor:
    """Return (..., 4) boxes by centre and size, given by corners."""
    lower, upper = bboxes_xyxy[..., :2], bboxes_xyxy[..., 2:]
    return torch.cat([(lower + upper) / 2, upper - lower], dim=-1)


def bbox_cxcywh_to_xyxy(bboxes_cxcywh: Tensor) -> Tensor:
    """Return (..., 4) corners of boxes given by centre and size."""
    center, half = bboxes_cxcywh[..., :2], bboxes_cxcywh[..., 2:] / 2
    return torch.cat([center - half, center + half], dim=-1)


def bbox_area(bboxes_xyxy: Tensor) -> Tensor:
    """Return (...) areas of (..., 4) boxes; 0 where the right or bottom edge is not beyond the left or top one."""
    sides = (bboxes_xyxy[..., 2:] - bboxes_xyxy[..., :2]).clamp(min=0)
    return sides[..., 0] * sides[..., 1]
