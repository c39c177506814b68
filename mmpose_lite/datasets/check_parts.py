"""What the checks of keypoints and of objects share: ids, images, boxes."""

# Letters: N annotations, G images.
import os
import textwrap
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from mmpose_lite.datasets.check_report import IMAGE_TOLERANCE, CheckReport
from mmpose_lite.datasets.transforms.loading import read_image

FAST_SAMPLE = 100_000  # annotations that level 'fast' looks into
FAST_IMAGES = 200  # of which it reads the headers


def integers(entries: Sequence[dict[str, Any]], key: str, where: str) -> np.ndarray:
    """Return one key of all entries as (N,) int64, or name the entry that has no such integer."""
    values = [entry.get(key) for entry in entries]
    if set(map(type, values)) - {int}:
        i = next(i for i, value in enumerate(values) if type(value) is not int)
        raise ValueError(f'{where}[{i}]: `{key}` must be an integer, got {values[i]!r}.')
    return np.array(values, dtype=np.int64)


def repeated(values: np.ndarray) -> np.ndarray:
    unique, counts = np.unique(values, return_counts=True)
    return unique[counts > 1]


def number_rows(values: list[Any], width: int, dtype: type) -> np.ndarray:
    """Return (N, width) numbers; a row that is not a list of `width` numbers is NaN throughout."""
    good = [i for i, value in enumerate(values) if isinstance(value, list) and len(value) == width]
    try:
        found = np.array(values if len(good) == len(values) else [values[i] for i in good], dtype).reshape(len(good), width)
    except (TypeError, ValueError):  # some row holds a text or a list: find out which
        good = [i for i in good if all(isinstance(x, int | float) for x in values[i])]
        found = np.array([values[i] for i in good], dtype).reshape(len(good), width)
    if len(good) == len(values):
        return found
    rows = np.full((len(values), width), np.nan, dtype)
    rows[good] = found
    return rows


def number_column(entries: Sequence[dict[str, Any]], key: str) -> tuple[np.ndarray, np.ndarray]:
    """Return one key of all entries as (N,) float64, NaN where it is no number, and (N,) whether the entry has it."""
    values = [entry.get(key) for entry in entries]
    given = np.array([value is not None for value in values], dtype=bool)
    try:
        return np.array(values, np.float64), given
    except (TypeError, ValueError):
        return np.array([v if isinstance(v, int | float) else np.nan for v in values], np.float64), given


def first_value(mask: np.ndarray, annotations: Sequence[dict[str, Any]], key: str) -> str:
    """Return the value of `key` in the first annotation of the mask, shortened."""
    if not mask.any():
        return ''
    return f'first: {key} = {textwrap.shorten(repr(annotations[int(mask.argmax())].get(key)), 60, placeholder=" ...")}'


def check_images(
    report: CheckReport, images: Sequence[dict[str, Any]], image_ids: np.ndarray, img_dir: Path, max_ids: int
) -> np.ndarray:
    """Return (G, 2) widths and heights, NaN where not given or wrong."""
    names = [image['file_name'] for image in images]
    report.add('duplicate-image-id', repeated(image_ids), max_ids=max_ids)
    if len(set(names)) < len(names):
        _, inverse, counts = np.unique(names, return_inverse=True, return_counts=True)
        report.add('duplicate-file-name', image_ids[counts[inverse] > 1], max_ids=max_ids)

    (width, has_width), (height, has_height) = number_column(images, 'width'), number_column(images, 'height')
    given = np.stack([width, height], axis=1)
    wrong = (has_width | has_height) & ~(given > 0).all(1)
    examples = {'image-size': first_value(wrong, images, 'width')}
    present = _present(names, img_dir)
    if not present.all():
        examples['missing-image'] = f'first: {img_dir / names[int(present.argmin())]}'
    found: dict[str, list[int]] = {
        'missing-image': list(image_ids[~present]),
        'broken-image': [],
        'image-size': list(image_ids[wrong]),
        'image-rotated': [],
    }
    sizes = np.where(wrong[:, None], np.nan, given)
    rows = np.flatnonzero(present)
    if report.level == 'fast' and len(rows) > FAST_IMAGES:
        rows = rows[np.linspace(0, len(rows) - 1, FAST_IMAGES).astype(np.int64)]
    look = _size_defect if report.level == 'full' else _header_defect
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        defects = pool.map(look, [img_dir / names[i] for i in rows], sizes[rows])
        for i, (code, read) in zip(rows, defects):
            if code:
                found[code].append(image_ids[i])
                example = f'first: {names[i]}: JSON {given[i, 0]:g} x {given[i, 1]:g}{read}'
                examples[code] = examples.get(code) or example
    for code, ids in found.items():
        report.add(code, ids, max_ids=max_ids, example=examples.get(code, ''))
    return sizes


def _present(names: Sequence[str], img_dir: Path) -> np.ndarray:
    """Return (G,) whether the files exist, by one listing of each folder in place of one question per file."""
    parts = [os.path.split(name) for name in names]
    listings: dict[str, set[str]] = {}
    for folder in {folder for folder, _ in parts}:
        try:
            listings[folder] = set(os.listdir(img_dir / folder))
        except (FileNotFoundError, NotADirectoryError):
            listings[folder] = set()
    return np.array([name in listings[folder] for folder, name in parts], dtype=bool)


def _size_defect(path: Path, given: np.ndarray) -> tuple[str, str]:
    """Return the code of what is wrong with the pixels, or '', and the size that was read."""
    try:
        image = read_image(str(path))
    except (OSError, ValueError):
        return 'broken-image', ''
    h, w = image.shape[:2]
    if np.isnan(given).any() or tuple(given) == (w, h):
        return '', ''
    stored = cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    code = 'image-size' if stored is None or tuple(given) != (stored.shape[1], stored.shape[0]) else 'image-rotated'
    return code, f', file {w} x {h}'


def _header_defect(path: Path, given: np.ndarray) -> tuple[str, str]:
    """As `_size_defect`, by the header alone; whether the rest is whole is not seen."""
    try:
        w, h, is_turned = read_header(path)
    except (OSError, ValueError, Image.DecompressionBombError):  # the full check decodes it
        return '', ''
    upright = (h, w) if is_turned else (w, h)
    if np.isnan(given).any() or tuple(given) == upright:
        return '', ''
    code = 'image-rotated' if tuple(given) == (w, h) else 'image-size'
    return code, f', file {upright[0]} x {upright[1]}'


def read_header(path: str | Path) -> tuple[int, int, bool]:
    """Return width and height of the pixels in an image file, and whether its EXIF tag makes a quarter turn of them.

    Of a WebP, OpenCV makes it from version 5 on.
    """
    with Image.open(path) as image:
        # Without the tag before its pixels a PNG would be decoded in search of one behind them.
        exif = image.getexif() if image.format != 'PNG' or 'exif' in image.info else {}
        w, h = image.size if image.format != 'TIFF' else (image.tag_v2[0x0100], image.tag_v2[0x0101])  # turned already
        return w, h, exif.get(0x0112, 1) >= 5  # orientations 5 to 8


def is_relative(*coordinates: np.ndarray) -> bool:
    """Return whether all numbers, those that are finite, lie between 0 and 1, not all of them at the ends."""
    values = np.concatenate([np.ravel(numbers) for numbers in coordinates])
    values = values[np.isfinite(values)]
    return bool(values.size and values.min() >= 0 and values.max() <= 1 and (values % 1 > 0).any())


def check_bboxes(
    report: CheckReport, annotations: Sequence[dict[str, Any]], ids: np.ndarray, sizes: np.ndarray, max_ids: int
) -> np.ndarray:
    """Return (N, 4) boxes xyxy, NaN where absent or bad."""
    values = [a.get('bbox') for a in annotations]
    bboxes = number_rows(values, 4, np.float64)
    given = np.array([value is not None for value in values], dtype=bool)
    good = np.isfinite(bboxes).all(1) & (bboxes[:, 2:] > 0).all(1)
    report.add('bad-bbox', ids[given & ~good], max_ids=max_ids, example=first_value(given & ~good, annotations, 'bbox'))
    bboxes[~good] = np.nan
    bboxes[:, 2:] += bboxes[:, :2]
    outside = (bboxes[:, :2] >= sizes).any(1) | (bboxes[:, 2:] <= 0).any(1)
    beyond = (bboxes[:, :2] < -IMAGE_TOLERANCE).any(1) | (bboxes[:, 2:] > sizes + IMAGE_TOLERANCE).any(1)
    for code, mask in (('bbox-outside', outside), ('bbox-beyond', beyond & ~outside)):
        report.add(code, ids[mask], max_ids=max_ids, example=first_value(mask, annotations, 'bbox'))
    return bboxes


def count_instances(report: CheckReport, image_ids: np.ndarray, of_image: np.ndarray, crowd: np.ndarray) -> None:
    report.num_images = len(image_ids)
    report.num_crowds = int(crowd.sum())
    report.num_instances = len(crowd) - report.num_crowds
    if len(image_ids):
        unique = np.unique(image_ids)
        per_image = np.bincount(np.searchsorted(unique, of_image), minlength=len(unique))
        report.instances_per_image = dict(min=int(per_image.min()), mean=float(per_image.mean()), max=int(per_image.max()))


def sizes_of(of_image: np.ndarray, known: np.ndarray, image_ids: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return (N, 2) widths and heights of the images that annotations belong to; NaN where these are not known."""
    ann_sizes = np.full((len(of_image), 2), np.nan)
    if len(image_ids):
        order = np.argsort(image_ids, kind='stable')
        ann_sizes[known] = sizes[order[np.searchsorted(image_ids, of_image[known], sorter=order)]]
    return ann_sizes


def box_sizes_of(bboxes: np.ndarray) -> dict[str, float]:
    """Return percentile -> sqrt(w h) of the good ones of (N, 4) boxes xyxy."""
    extent = np.sqrt((bboxes[:, 2:] - bboxes[:, :2]).prod(1))
    extent = extent[np.isfinite(extent)]
    marks = (0, 5, 25, 50, 75, 95, 100)
    return {f'p{m}': float(size) for m, size in zip(marks, np.percentile(extent, marks))} if len(extent) else {}
