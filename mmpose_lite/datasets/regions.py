"""Parts of an image that no loss may look at, as COCO's segmentations describe them: polygons and run-length masks.

COCO's polygons count pixel edges: pixel 0 reaches from 0 to 1, so its centre, which is x = 0 for keypoints, is 0.5 here.
"""

# Letters: P corners; sizes (w, h).
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as mask_api

Region = list[np.ndarray] | dict[str, Any]
"""Polygons, (2 P,) float32 x, y, x, y, ... each, whose union is meant; or a compressed RLE: `size` [h, w] and `counts`."""


def read_region(ann: Mapping[str, Any], image: Mapping[str, Any]) -> Region | None:
    """Return the region of a COCO annotation: its `segmentation`, or its `bbox` where there is none; None without either.

    Args:
        ann: an annotation; `segmentation` is a list of polygons [x, y, x, y, ...] or an RLE (`size` and `counts`, compressed or
            not).
        image: its image; `width` and `height`, where given, must be those of an RLE.

    Raises:
        ValueError: the segmentation is none of these, or an RLE has another size than the image or than its counts say.
    """
    segmentation = ann.get('segmentation')
    if isinstance(segmentation, Mapping):
        return _read_rle(segmentation, image)
    if not segmentation:
        if not ann.get('bbox'):
            return None
        x, y, w, h = ann['bbox']
        segmentation = [[x, y, x + w, y, x + w, y + h, x, y + h]]
    try:
        polygons = [np.array(polygon, np.float32).reshape(-1, 2).ravel() for polygon in segmentation]
    except (TypeError, ValueError):
        polygons = None
    if polygons is None or not all(np.isfinite(polygon).all() for polygon in polygons):
        raise ValueError(f'`segmentation` must be polygons [[x, y, x, y, ...], ...] or an RLE, got {str(segmentation)[:80]}.')
    return [polygon for polygon in polygons if len(polygon) > 4]  # of three corners or more


def _read_rle(segmentation: Mapping[str, Any], image: Mapping[str, Any]) -> dict[str, Any]:
    size, counts = segmentation.get('size'), segmentation.get('counts')
    if not (isinstance(size, list) and len(size) == 2 and isinstance(counts, str | list)):
        raise ValueError(f'an RLE `segmentation` needs `size` [h, w] and `counts`, got the keys {sorted(segmentation)}.')
    h, w = size
    if (image.get('height', h), image.get('width', w)) != (h, w):
        raise ValueError(
            f'the RLE `segmentation` is {w} x {h} (w x h), its image {image.get("width")} x {image.get("height")}. '
            'Write it at the size of the image.'
        )
    if isinstance(counts, list):
        if sum(counts) != h * w:
            raise ValueError(f'the counts of the RLE `segmentation` sum to {sum(counts)}, its size {w} x {h} has {h * w} pixels.')
        return mask_api.frPyObjects(dict(size=size, counts=counts), h, w)
    return dict(size=size, counts=counts.encode('ascii'))


def region_area(region: Region) -> float:
    """Return the px^2 in a region; parts of it that overlap count for each polygon."""
    if isinstance(region, dict):
        return float(mask_api.area(region))
    corners = [polygon.reshape(-1, 2).astype(np.float64) for polygon in region]
    return sum(abs(float(np.sum(xy[:, 0] * np.roll(xy[:, 1], -1) - np.roll(xy[:, 0], -1) * xy[:, 1]))) / 2 for xy in corners)


def decode_region(region: Region, shape: tuple[int, int]) -> np.ndarray:
    """Return (h, w) uint8: 1 for the pixels that lie in a region, as COCO's own tools count them.

    Args:
        region: in px of the image.
        shape: (h, w) of the image.

    Raises:
        ValueError: an RLE has another size than the image.
    """
    if isinstance(region, list):
        if not region:
            return np.zeros(shape, np.uint8)
        return mask_api.decode(mask_api.merge(mask_api.frPyObjects(region, *shape)))
    if tuple(region['size']) != tuple(shape):
        raise ValueError(
            f'a segmentation is an RLE of {region["size"][1]} x {region["size"][0]} px (w x h), its image {shape[1]} x '
            f'{shape[0]}. Was the image resized or turned (EXIF) after it was annotated?'
        )
    return mask_api.decode(region)


def covered_cells(
    regions: Sequence[Region],
    matrix: np.ndarray,
    *,
    image_shape: tuple[int, int],
    input_size: tuple[int, int],
    mask_size: tuple[int, int],
) -> np.ndarray:
    """Return (h, w) bool: the cells of a grid over the network's input of which at least half lies in a region.

    Args:
        regions: in px of the image.
        matrix: (2, 3) from image px to input px, both counted from the centre of the first pixel.
        image_shape: (h, w) of the image.
        input_size: (w, h) of the input.
        mask_size: (w, h) of the grid.

    Raises:
        ValueError: an RLE has another size than the image.
    """
    h, w = image_shape
    masks: list[dict[str, Any]] = []
    for region in regions:
        if isinstance(region, list):
            masks += mask_api.frPyObjects(region, h, w) if region else []
        elif tuple(region['size']) == (h, w):
            masks.append(region)
        else:
            raise ValueError(
                f'an ignored region is an RLE of {region["size"][1]} x {region["size"][0]} px (w x h), the image {w} x {h}. '
                'Was the image resized or turned (EXIF) after it was annotated?'
            )
    if not masks:
        return np.zeros(mask_size[::-1], dtype=bool)
    pixels = np.ascontiguousarray(mask_api.decode(mask_api.merge(masks))) * np.uint8(255)
    warped = cv2.warpAffine(pixels, matrix, input_size, flags=cv2.INTER_LINEAR)
    return cv2.resize(warped, mask_size, interpolation=cv2.INTER_AREA) > 127
