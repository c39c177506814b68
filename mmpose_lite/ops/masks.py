"""Masks of instances: as bits, an eighth of the bytes on their way from the workers to the device, and as COCO's run lengths."""

# Letters: N masks of H x W px, h x w cells of what a network says of a box.
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from pycocotools import mask as mask_tools
from torch import Tensor


def pack_masks(masks: np.ndarray) -> np.ndarray:
    """Return (N, H, ceil(W / 8)) uint8: the bits of masks (N, H, W), the leftmost pixel in the highest bit, 0 beyond the end."""
    return np.packbits(masks, axis=-1)


def unpack_masks(packed: Tensor, width: int) -> Tensor:
    """Return (N, H, W) bool masks; the inverse of `pack_masks`, on the device of `packed`.

    Args:
        packed: (N, H, ceil(W / 8)) uint8.
        width: W.

    Raises:
        ValueError: the bytes are not those of so many pixels.
    """
    if packed.dtype != torch.uint8 or packed.shape[-1] != -(-width // 8):
        raise ValueError(
            f'unpack_masks: `packed` must be uint8 of {-(-width // 8)} bytes a row for a `width` of {width}, got '
            f'{packed.dtype} of {packed.shape[-1]}.'
        )
    shifts = torch.arange(7, -1, -1, dtype=torch.uint8, device=packed.device)
    bits = packed.unsqueeze(-1).bitwise_right_shift(shifts).bitwise_and(1)
    return bits.flatten(-2)[..., :width].bool()


def paste_masks(probs: Tensor, boxes_xyxy: Tensor, image_shape: Sequence[int], *, threshold: float = 0.5) -> list[dict[str, Any]]:
    """Return N masks of a whole image as COCO's RLEs, from the probabilities inside of boxes.

    A pixel belongs to the object where the probability at its centre, between the cells of the box by linear interpolation and
    falling off to 0 beyond the outer ones, reaches the threshold, as in mmdet. One mask is made at a time, in host memory.

    Args:
        probs: (N, h, w) in [0, 1].
        boxes_xyxy: (N, 4) px of the image; x = 0 is its left edge.
        image_shape: (H, W).
        threshold: in (0, 1].
    """
    H, W = image_shape
    rles = []
    for prob, (x1, y1, x2, y2) in zip(probs.float().cpu(), boxes_xyxy.double().cpu().tolist()):
        top, bottom = _pixels(y1, y2, H)
        left, right = _pixels(x1, x2, W)
        rows = _weights(top, bottom, y1, y2, prob.shape[0])
        columns = _weights(left, right, x1, x2, prob.shape[1])
        mask = np.zeros((H, W), np.uint8, order='F')
        with torch.autocast('cpu', enabled=False):  # products of bfloat16 would move the outline
            mask[top:bottom, left:right] = (rows @ prob @ columns.T >= threshold).numpy()
        rles.append(mask_tools.encode(mask))
    return rles


def _pixels(low: float, high: float, length: int) -> tuple[int, int]:
    """Return the first and one past the last pixel that a box can reach, with a margin of a pixel."""
    first = min(max(int(np.floor(low)) - 1, 0), length)
    return first, max(min(int(np.ceil(high)) + 1, length), first)


def _weights(first: int, end: int, low: float, high: float, cells: int) -> Tensor:
    """Return (end - first, cells) weights of the cells between `low` and `high` at the centres of pixels."""
    centers = torch.arange(first, end, dtype=torch.float32) + 0.5
    places = (centers - low) / max(high - low, 1e-6) * cells - 0.5
    return (1 - (places[:, None] - torch.arange(cells)).abs()).clamp(min=0)
