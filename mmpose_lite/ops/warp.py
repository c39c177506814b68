"""Affine matrices between an image and the crop of one box. NumPy: they are made one at a time in the workers."""

# Letters: points (x, y) in px; sizes (w, h).
import math
from collections.abc import Sequence

import cv2
import numpy as np


def fix_aspect_ratio(scale: np.ndarray, aspect_ratio: float) -> np.ndarray:
    """Grow the shorter side of a (w, h) `scale`, shape (..., 2), until w / h is `aspect_ratio`."""
    w, h = scale[..., 0], scale[..., 1]
    width, height = np.maximum(w, h * aspect_ratio), np.maximum(h, w / aspect_ratio)
    grown = np.empty((*width.shape, 2), width.dtype)  # np.stack of two numbers takes longer than all the rest
    grown[..., 0], grown[..., 1] = width, height
    return grown


def affine_matrix(
    center: np.ndarray, scale: np.ndarray, rotation: float, output_size: tuple[int, int], *, udp: bool = False
) -> np.ndarray:
    """Return the (2, 3) float64 matrix from image px to crop px.

    Args:
        center: (2,) of the box in px.
        scale: (w, h) of the box in px; its aspect ratio should be that of `output_size`.
        rotation: degrees, as mmpose counts them: the plain and the UDP matrix turn in opposite directions.
        output_size: (w, h) of the crop.
        udp: sizes count the gaps between pixel centres, w - 1, in the crop (Huang et al., CVPR 2020, arXiv:1911.07524, Eq. 7);
            otherwise the box's centre goes to (w / 2, h / 2) and only its width sets the zoom, as in mmpose.

    Raises:
        ValueError: the scale is not positive.
    """
    if not (scale[0] > 0 and scale[1] > 0):  # a NaN is not either
        raise ValueError(f'affine_matrix: `scale` must be positive, got {tuple(map(float, scale))}; is the box empty?')
    cx, cy = float(center[0]), float(center[1])
    w, h = float(scale[0]), float(scale[1])
    W, H = output_size
    angle = math.radians(rotation)
    cos, sin = math.cos(angle), math.sin(angle)
    if udp:
        sx, sy = (W - 1) / w, (H - 1) / h
        return np.array(
            (
                (cos * sx, -sin * sx, sx * (-cx * cos + cy * sin + 0.5 * w)),
                (sin * sy, cos * sy, sy * (-cx * sin - cy * cos + 0.5 * h)),
            )
        )
    zoom = W / w
    a, b = zoom * cos, zoom * sin
    return np.array(((a, b, 0.5 * W - a * cx - b * cy), (-b, a, 0.5 * H + b * cx - a * cy)))


def apply_affine(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Map points (..., 2) by a (2, 3) matrix; float32 out."""
    x, y = points[..., 0:1], points[..., 1:2]  # written out: a matrix product of so few numbers spends its time in the call
    return (x * matrix[:, 0] + y * matrix[:, 1] + matrix[:, 2]).astype(np.float32)


def warp_affine(image: np.ndarray, matrix: np.ndarray, output_size: tuple[int, int]) -> np.ndarray:
    """Return the (H, W, 3) uint8 crop of an (h, w, 3) uint8 image, bilinear, black outside the image.

    The same as `cv2.warpAffine` to rounding, at half its time: only the part of the image under the crop is read, and with four
    channels, for which OpenCV has the faster kernel.

    Args:
        image: (h, w, 3) uint8.
        matrix: (2, 3) from image px to crop px.
        output_size: (w, h) of the crop.
    """
    W, H = output_size
    inverse = cv2.invertAffineTransform(matrix)
    left, right = _covered(inverse[0].tolist(), output_size, image.shape[1])
    top, bottom = _covered(inverse[1].tolist(), output_size, image.shape[0])
    if right <= left or bottom <= top:
        return np.zeros((H, W, 3), dtype=np.uint8)
    inverse[:, 2] -= (left, top)
    part = cv2.cvtColor(image[top:bottom, left:right], cv2.COLOR_BGR2BGRA)
    crop = cv2.warpAffine(part, inverse, output_size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    return cv2.cvtColor(crop, cv2.COLOR_BGRA2BGR)


def _covered(row: Sequence[float], output_size: tuple[int, int], length: int) -> tuple[int, int]:
    """Return the first pixel and the last + 1 that a crop needs along an image axis of `length` px.

    Args:
        row: (a, b, c) of the matrix from crop to image: the coordinate is a x + b y + c.
        output_size: (w, h) of the crop.
        length: of the axis.
    """
    a, b, c = row
    W, H = output_size
    # One px beyond the crop, and two more: bilinear weights reach one px further, rounding another.
    low = c + min(-a, a * W) + min(-b, b * H) - 2
    high = c + max(-a, a * W) + max(-b, b * H) + 3
    return max(math.floor(low), 0), min(math.ceil(high), length)
