"""Masks of classes: reading their files, and painting them from COCO's regions."""

# Letters: H x W px, C classes.
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from mmpose_lite.datasets.regions import Region, decode_region
from mmpose_lite.structures.class_meta import IGNORE_INDEX, UNKNOWN_LABEL, ClassMeta

_INDEX_MODES = ('P', 'L', '1')  # of PIL: a palette's indices, grey values, black and white


def label_table(meta: ClassMeta, label_map: Mapping[int, int] | None = None) -> np.ndarray:
    """Return (256,) uint8: value in a file -> label; UNKNOWN_LABEL for values that are neither a class nor IGNORE_INDEX.

    Args:
        meta: the classes.
        label_map: value -> label, IGNORE_INDEX for no class; values that are not in it are their own labels.

    Raises:
        ValueError: `label_map` leads outside the classes.
    """
    table = np.arange(256)
    for value, label in (label_map or {}).items():
        if not (0 <= value < 256 and (0 <= label < meta.num_classes or label == IGNORE_INDEX)):
            raise ValueError(
                f'`label_map` must lead from 0 ... 255 to the {meta.num_classes} classes of {meta.name} or {IGNORE_INDEX}, got '
                f'{value} -> {label}.'
            )
        table[value] = label
    known = (table < meta.num_classes) | (table == IGNORE_INDEX)
    return np.where(known, table, UNKNOWN_LABEL).astype(np.uint8)


def read_values(path: str) -> np.ndarray:
    """Return what a mask file holds: (H, W) uint8 or wider values, or (H, W, 3) uint8 RGB colours.

    A palette PNG gives its indices, not its colours.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no image.
    """
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f'mask file {path!r} does not exist; check `data_root`, `data_prefix` and the suffixes.'
        ) from error
    try:
        with Image.open(io.BytesIO(content)) as image:
            if image.mode == 'LA':
                return np.asarray(image)[..., 0]
            if image.mode in _INDEX_MODES:
                return np.asarray(image).astype(np.uint8, copy=False)
            if image.mode.startswith('I'):
                return np.asarray(image)
            return np.asarray(image.convert('RGB'))
    except (OSError, UnidentifiedImageError) as error:
        raise ValueError(f'mask file {path!r} is no image that can be read; it holds {len(content)} bytes.') from error


def to_labels(values: np.ndarray, meta: ClassMeta, table: np.ndarray) -> np.ndarray:
    """Return (H, W) uint8 labels of what `read_values` returned; UNKNOWN_LABEL where a value or colour is no class's.

    Args:
        values: (H, W), or (H, W, 3) RGB.
        meta: whose palette colours are looked up in; the place there is the value.
        table: of `label_table`.

    Raises:
        ValueError: two classes have one colour.
    """
    if values.ndim == 3:
        values = _places_in_palette(values, meta)
    if values.dtype != np.uint8:
        return np.where((values >= 0) & (values < 256), table[np.clip(values, 0, 255)], UNKNOWN_LABEL).astype(np.uint8)
    return cv2.LUT(values, table)


def _places_in_palette(colors: np.ndarray, meta: ClassMeta) -> np.ndarray:
    packed = pack_colors(colors)
    palette = pack_colors(np.array(meta.palette, np.uint8))
    order = np.argsort(palette)
    double = order[1:][np.diff(palette[order]) == 0]
    if len(double):
        raise ValueError(
            f'masks in colours need a `palette` of different ones, in that of {meta.name} {meta.classes[double[0]]!r} has the '
            'colour of another class.'
        )
    places = np.minimum(np.searchsorted(palette, packed, sorter=order), len(order) - 1)
    return np.where(palette[order[places]] == packed, order[places], -1)


def pack_colors(colors: np.ndarray) -> np.ndarray:
    """Return (...) int32, one number for each RGB colour (..., 3) uint8."""
    wide = colors.astype(np.int32)
    return wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]


def unknown_values(values: np.ndarray, labels: np.ndarray) -> dict[str, int]:
    """Return value (or colour, '#rrggbb') -> number of pixels, of what `to_labels` does not know, the most frequent first."""
    wrong = values[labels == UNKNOWN_LABEL]
    found, counts = np.unique(pack_colors(wrong) if values.ndim == 3 else wrong, return_counts=True)
    order = np.argsort(-counts, kind='stable')
    return {f'#{v:06x}' if values.ndim == 3 else str(v): int(n) for v, n in zip(found[order].tolist(), counts[order])}


def grey_hint(values: np.ndarray) -> str:
    """Return what to do about colours that no class has where grey values were meant, else an empty text."""
    is_grey = values.ndim == 3 and (values == values[..., :1]).all()
    return '; its three channels are equal: save one of them, whose values are classes' if is_grey else ''


def paint_regions(regions: Sequence[tuple[int, Region]], shape: tuple[int, int]) -> np.ndarray:
    """Return (H, W) uint8: 0, with the label of each region painted over it, in order.

    Args:
        regions: (label, region) pairs in px of the image.
        shape: (h, w) of the image.

    Raises:
        ValueError: an RLE has another size than the image.
    """
    labels = np.zeros(shape, np.uint8)
    for label, region in regions:
        labels[decode_region(region, shape).astype(bool)] = label
    return labels
