"""Boxes from one frame to another, and which of them are any."""

# Letters: N boxes.
from collections.abc import Sequence

import torch
from torch import Tensor


def boxes_to_image(boxes_input: Tensor, warp_matrix: Sequence[Sequence[float]]) -> Tensor:
    """Return boxes (..., 4) xyxy in px of the image, of boxes in px of the input.

    x = 0 is the left edge of the image, not the centre of its first pixel; the matrix is of that rule, too.

    Args:
        boxes_input: (..., 4) xyxy.
        warp_matrix: (2, 3), from px of the image to px of the input; scaling, shifting and flipping, no rotation.

    Raises:
        ValueError: the matrix rotates or has no inverse.
    """
    (scale_x, shift_x), (scale_y, shift_y) = _axes('boxes_to_image', warp_matrix)
    return _scaled(boxes_input, (1 / scale_x, -shift_x / scale_x), (1 / scale_y, -shift_y / scale_y))


def boxes_to_input(boxes_image: Tensor, warp_matrix: Sequence[Sequence[float]]) -> Tensor:
    """Return boxes (..., 4) xyxy in px of the input, of boxes in px of the image; the inverse of `boxes_to_image`.

    Args:
        boxes_image: (..., 4) xyxy.
        warp_matrix: see there.

    Raises:
        ValueError: see there.
    """
    return _scaled(boxes_image, *_axes('boxes_to_input', warp_matrix))


def has_area(boxes_xyxy: Tensor) -> Tensor:
    """Return (...) bool: which boxes (..., 4) are wider and higher than 0; those with a NaN are not."""
    return (boxes_xyxy[..., 2:] > boxes_xyxy[..., :2]).all(dim=-1)


def _axes(owner: str, matrix: Sequence[Sequence[float]]) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return (scale, shift) of x and of y."""
    (scale_x, shear_x, shift_x), (shear_y, scale_y, shift_y) = (tuple(float(v) for v in row) for row in matrix)
    if shear_x or shear_y or not scale_x or not scale_y:
        raise ValueError(f'{owner}: `warp_matrix` must scale, shift and flip only, got {matrix}.')
    return (scale_x, shift_x), (scale_y, shift_y)


def _scaled(boxes: Tensor, of_x: tuple[float, float], of_y: tuple[float, float]) -> Tensor:
    x, y = (
        (axis.flip(-1) if scale < 0 else axis) * scale + shift
        for axis, (scale, shift) in ((boxes[..., 0::2], of_x), (boxes[..., 1::2], of_y))
    )
    return torch.stack([x, y], dim=-1).flatten(-2)
