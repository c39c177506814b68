"""Box formats: xyxy (corners), xywh (corner and size), cs (centre and scale). Pixels; a box from x = 2 to x = 5 is 3 wide."""

# Letters: N boxes.
import numpy as np


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


def bbox_cs_to_xyxy(center: np.ndarray, scale: np.ndarray, padding: float = 1.0) -> np.ndarray:
    """Return (N, 4) corners; the inverse of `bbox_xyxy_to_cs` at the same padding."""
    half = np.asarray(scale, dtype=np.float32) / (2 * padding)
    return np.concatenate([center - half, center + half], axis=-1)
