"""Masks of instances as bits: an eighth of the bytes on their way from the workers to the device."""

# Letters: N masks of H x W px.
import numpy as np
import torch
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
