"""Finds what is wrong with a COCO-style keypoint file before a training run meets it.

`check_report.RULES` lists every code with its severity, its meaning and the way to repair it.
"""

# Letters: N annotations, K keypoints, G images.
import gc
import json
import os
import textwrap
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mmpose_lite.datasets.check_report import BOX_MARGIN, IMAGE_TOLERANCE, KEYPOINT_TOLERANCE, CheckReport, Level
from mmpose_lite.datasets.regions import read_region
from mmpose_lite.datasets.swapped_sides import find_swapped_sides
from mmpose_lite.datasets.transforms.loading import read_image
from mmpose_lite.structures import KeypointMeta

FAST_SAMPLE = 100_000


def read_annotations(ann_file: str | Path) -> dict[str, Any]:
    """Parse a COCO-style file and check its frame: `images` and `annotations` are lists of dicts.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the text is no JSON, or a section is missing or of the wrong type; names file and position.
    """
    content = _read_json(ann_file)
    if not isinstance(content, dict):
        raise ValueError(
            f'{ann_file}: a COCO-style file must hold a dict with `images` and `annotations`, got a {type(content).__name__}. '
            'Other formats are converted by tools/convert_dataset.py.'
        )
    for section in ('images', 'annotations', 'categories'):
        if section not in content and section != 'categories':
            raise ValueError(f'{ann_file}: the section `{section}` is missing, got {sorted(content)}.')
        _check_entries(content.get(section, []), section, ann_file)
    return content


def read_detections(det_file: str | Path) -> list[dict[str, Any]]:
    """Parse a detector's result file: a list of dicts with image_id, bbox (xywh) and score. Raises as `read_annotations`."""
    return _check_entries(_read_json(det_file), 'detections', det_file)


def check_coco_keypoints(
    ann_file: str | Path,
    *,
    meta: KeypointMeta,
    img_dir: str | Path,
    level: Level = 'full',
    det_file: str | Path | None = None,
    category_ids: Collection[int] | None = None,
    max_ids: int = 10,
) -> CheckReport:
    """Check one annotation file and its images; see `check_annotations`.

    Raises:
        FileNotFoundError: the annotation or detector file does not exist.
        ValueError: a file is no JSON or lacks a section; names file and position.
    """
    content = read_annotations(ann_file)
    detections = None if det_file is None else read_detections(det_file)
    return check_annotations(
        content,
        ann_file=ann_file,
        meta=meta,
        img_dir=img_dir,
        level=level,
        detections=detections,
        category_ids=category_ids,
        max_ids=max_ids,
    )


def check_annotations(
    content: dict[str, Any],
    *,
    ann_file: str | Path,
    meta: KeypointMeta,
    img_dir: str | Path,
    level: Level = 'full',
    detections: Sequence[dict[str, Any]] | None = None,
    category_ids: Collection[int] | None = None,
    max_ids: int = 10,
) -> CheckReport:
    """Check what `read_annotations` returned.

    Args:
        content: `images`, `annotations` and `categories` of a COCO-style file; not changed.
        ann_file: named in the report and in errors.
        meta: keypoint names and sides.
        img_dir: folder that the `file_name` of the images starts from.
        level: 'fast' reads the file names of the folder, but no image, and looks into the boxes and keypoints of
            `FAST_SAMPLE` annotations, evenly spread (ids and references are checked in all); 'full' looks into all and
            decodes every image.
        detections: entries of a detector's result file (image_id, bbox, score), if such boxes are used.
        category_ids: only these categories are used and must fit the meta; None for all.
        max_ids: how many ids a finding keeps.

    Raises:
        ValueError: `level` is unknown, or an id or file name is missing or of the wrong type.
    """
    if level not in ('full', 'fast'):
        raise ValueError(f"check_annotations: `level` must be 'full' or 'fast', got {level!r}.")
    report = CheckReport(str(ann_file), level)
    with _resting_gc():
        _check(report, content, meta, Path(img_dir), detections, category_ids, max_ids)
    return report


def _check(
    report: CheckReport,
    content: dict[str, Any],
    meta: KeypointMeta,
    img_dir: Path,
    detections: Sequence[dict[str, Any]] | None,
    category_ids: Collection[int] | None,
    max_ids: int,
) -> None:
    images, annotations = content['images'], content['annotations']
    image_ids = _integers(images, 'id', f'{report.ann_file}: images')
    sizes = _check_images(report, images, image_ids, img_dir, max_ids)

    where = f'{report.ann_file}: annotations'
    ids = _integers(annotations, 'id', where)
    of_image = _integers(annotations, 'image_id', where)
    report.add('duplicate-annotation-id', _repeated(ids), max_ids=max_ids)
    known = np.isin(of_image, image_ids)
    report.add('unknown-image-id', ids[~known], max_ids=max_ids)
    of_category = _integers(annotations, 'category_id', where)
    _check_categories(report, content, ids, of_category, meta, category_ids, max_ids)
    if category_ids is not None:
        rows = np.flatnonzero(np.isin(of_category, list(category_ids)))
        annotations = [annotations[i] for i in rows]
        ids, of_image, known = ids[rows], of_image[rows], known[rows]

    crowd = np.array([bool(a.get('iscrowd', 0)) for a in annotations], dtype=bool)
    _count(report, image_ids, of_image[known & ~crowd], crowd)
    report.add('empty-image', image_ids[~np.isin(image_ids, of_image[~crowd])], max_ids=max_ids)
    if detections is not None:
        _check_detections(report, detections, image_ids, max_ids)

    if report.level == 'fast' and len(ids) > FAST_SAMPLE:
        rows = np.linspace(0, len(ids) - 1, FAST_SAMPLE).astype(np.int64)
        annotations = [annotations[i] for i in rows]
        ids, of_image, known, crowd = ids[rows], of_image[rows], known[rows], crowd[rows]
    report.num_sampled = len(ids)
    ann_sizes = np.full((len(ids), 2), np.nan)
    if len(image_ids):
        order = np.argsort(image_ids, kind='stable')
        ann_sizes[known] = sizes[order[np.searchsorted(image_ids, of_image[known], sorter=order)]]
    bboxes = _check_bboxes(report, annotations, ids, ann_sizes, max_ids)
    labelled = _check_keypoints(report, annotations, ids, crowd, bboxes, ann_sizes, meta, max_ids)
    _check_segmentations(report, annotations, ids, crowd | ~labelled.any(1), ann_sizes, max_ids)
    report.num_labelled = dict(zip(meta.keypoints, labelled[~crowd].sum(0).tolist()))
    extent = np.sqrt((bboxes[~crowd, 2:] - bboxes[~crowd, :2]).prod(1))
    extent = extent[np.isfinite(extent)]
    if len(extent):
        marks = (0, 5, 25, 50, 75, 95, 100)
        report.box_sizes = {f'p{m}': float(size) for m, size in zip(marks, np.percentile(extent, marks))}


@contextmanager
def _resting_gc() -> Iterator[None]:
    """Millions of new small objects make the garbage collector search in vain; without it a large file takes half the time."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def _read_json(path: str | Path) -> Any:
    if not Path(path).is_file():
        raise FileNotFoundError(
            f'the annotation file {str(path)!r} (`ann_file` or `bbox_file` under `data_root`) does not exist.'
        )
    try:
        with _resting_gc():
            return json.loads(Path(path).read_bytes())
    except json.JSONDecodeError as error:
        raise ValueError(f'{path}: no valid JSON at line {error.lineno}, column {error.colno}: {error.msg}.') from error
    except UnicodeDecodeError as error:
        raise ValueError(f'{path}: no valid JSON: byte {error.start} is not UTF-8 text.') from error


def _check_entries(entries: Any, section: str, path: str | Path) -> Any:
    if not isinstance(entries, list):
        raise ValueError(f'{path}: `{section}` must be a list, got a {type(entries).__name__}.')
    for i, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise ValueError(f'{path}: `{section}[{i}]` must be a dict, got {entry!r}.')
    return entries


def _integers(entries: Sequence[dict[str, Any]], key: str, where: str) -> np.ndarray:
    """Return one key of all entries as (N,) int64, or name the entry that has no such integer."""
    values = [entry.get(key) for entry in entries]
    if set(map(type, values)) - {int}:
        i = next(i for i, value in enumerate(values) if type(value) is not int)
        raise ValueError(f'{where}[{i}]: `{key}` must be an integer, got {values[i]!r}.')
    return np.array(values, dtype=np.int64)


def _repeated(values: np.ndarray) -> np.ndarray:
    unique, counts = np.unique(values, return_counts=True)
    return unique[counts > 1]


def _rows(values: list[Any], width: int, dtype: type) -> np.ndarray:
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


def _numbers(entries: Sequence[dict[str, Any]], key: str) -> tuple[np.ndarray, np.ndarray]:
    """Return one key of all entries as (N,) float64, NaN where it is no number, and (N,) whether the entry has it."""
    values = [entry.get(key) for entry in entries]
    given = np.array([value is not None for value in values], dtype=bool)
    try:
        return np.array(values, np.float64), given
    except (TypeError, ValueError):
        return np.array([v if isinstance(v, int | float) else np.nan for v in values], np.float64), given


def _first(mask: np.ndarray, annotations: Sequence[dict[str, Any]], key: str) -> str:
    """Return the value of `key` in the first annotation of the mask, shortened."""
    if not mask.any():
        return ''
    return f'first: {key} = {textwrap.shorten(repr(annotations[int(mask.argmax())].get(key)), 60, placeholder=" ...")}'


def _check_images(
    report: CheckReport, images: Sequence[dict[str, Any]], image_ids: np.ndarray, img_dir: Path, max_ids: int
) -> np.ndarray:
    """Return (G, 2) widths and heights, NaN where not given or wrong."""
    names = [image.get('file_name') for image in images]
    if set(map(type, names)) - {str}:
        i = next(i for i, name in enumerate(names) if not isinstance(name, str))
        raise ValueError(f'{report.ann_file}: images[{i}]: `file_name` must be a text, got {names[i]!r}.')
    report.add('duplicate-image-id', _repeated(image_ids), max_ids=max_ids)
    if len(set(names)) < len(names):
        _, inverse, counts = np.unique(names, return_inverse=True, return_counts=True)
        report.add('duplicate-file-name', image_ids[counts[inverse] > 1], max_ids=max_ids)

    (width, has_width), (height, has_height) = _numbers(images, 'width'), _numbers(images, 'height')
    given = np.stack([width, height], axis=1)
    wrong = (has_width | has_height) & ~(given > 0).all(1)
    examples = {'image-size': _first(wrong, images, 'width')}
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
    if report.level == 'full':
        rows = np.flatnonzero(present)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            defects = pool.map(_size_defect, [img_dir / names[i] for i in rows], sizes[rows])
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


def _check_categories(
    report: CheckReport,
    content: dict[str, Any],
    ids: np.ndarray,
    of_category: np.ndarray,
    meta: KeypointMeta,
    used: Collection[int] | None,
    max_ids: int,
) -> None:
    if not content.get('categories'):
        report.add('no-categories', [0])
        return
    categories = content['categories']
    category_ids = _integers(categories, 'id', f'{report.ann_file}: categories')
    unknown = ~np.isin(of_category, category_ids)
    report.add(
        'unknown-category-id', ids[unknown], max_ids=max_ids, example=_first(unknown, content['annotations'], 'category_id')
    )
    for category_id, category in zip(category_ids, categories):
        names = category.get('keypoints')
        if not isinstance(names, list) or (used is not None and category_id not in used):  # of boxes only, or not used
            continue
        if len(names) != meta.num_keypoints:
            said = f'category {category_id} has {len(names)}, meta {meta.name!r} has {meta.num_keypoints}'
            report.add('category-count', [category_id], example=said)
        elif tuple(names) != meta.keypoints:
            i = next(i for i, name in enumerate(names) if name != meta.keypoints[i])
            said = f'first at position {i}: {names[i]!r} in the file, {meta.keypoints[i]!r} in meta {meta.name!r}'
            report.add('category-names', [category_id], example=said)


def _check_bboxes(
    report: CheckReport, annotations: Sequence[dict[str, Any]], ids: np.ndarray, sizes: np.ndarray, max_ids: int
) -> np.ndarray:
    """Return (N, 4) boxes xyxy, NaN where absent or bad."""
    values = [a.get('bbox') for a in annotations]
    bboxes = _rows(values, 4, np.float64)
    given = np.array([value is not None for value in values], dtype=bool)
    good = np.isfinite(bboxes).all(1) & (bboxes[:, 2:] > 0).all(1)
    report.add('bad-bbox', ids[given & ~good], max_ids=max_ids, example=_first(given & ~good, annotations, 'bbox'))
    bboxes[~good] = np.nan
    bboxes[:, 2:] += bboxes[:, :2]
    outside = (bboxes[:, :2] >= sizes).any(1) | (bboxes[:, 2:] <= 0).any(1)
    beyond = (bboxes[:, :2] < -IMAGE_TOLERANCE).any(1) | (bboxes[:, 2:] > sizes + IMAGE_TOLERANCE).any(1)
    for code, mask in (('bbox-outside', outside), ('bbox-beyond', beyond & ~outside)):
        report.add(code, ids[mask], max_ids=max_ids, example=_first(mask, annotations, 'bbox'))
    return bboxes


def _check_keypoints(
    report: CheckReport,
    annotations: Sequence[dict[str, Any]],
    ids: np.ndarray,
    crowd: np.ndarray,
    bboxes: np.ndarray,
    sizes: np.ndarray,
    meta: KeypointMeta,
    max_ids: int,
) -> np.ndarray:
    """Return (N, K) whether a keypoint is labelled."""
    K = meta.num_keypoints
    lists = [a.get('keypoints') for a in annotations]
    if any(isinstance(points, list) and points and isinstance(points[0], list) for points in lists):  # K lists [x, y, v]
        lists = [list(chain.from_iterable(points)) if points and isinstance(points[0], list) else points for points in lists]
    absent = np.array([points is None for points in lists], dtype=bool)
    fits = np.array([isinstance(points, list) and len(points) == 3 * K for points in lists], dtype=bool)
    wrong = ~fits & ~absent
    first = lists[int(wrong.argmax())] if wrong.any() else None
    said = f'3 K = {3 * K}, first has {len(first) if isinstance(first, list) else first!r}'
    report.add('keypoints-length', ids[wrong], max_ids=max_ids, example=said)

    x, y, v = np.ascontiguousarray(_rows(lists, 3 * K, np.float32).reshape(-1, K, 3).transpose(2, 0, 1))
    wrong_v = fits & ~((v == 0) | (v == 1) | (v == 2)).all(1)
    said = f'first: {v[int(wrong_v.argmax())].max():g}' if wrong_v.any() else ''
    report.add('visibility', ids[wrong_v], max_ids=max_ids, example=said)
    labelled = v > 0
    finite = np.isfinite(x) & np.isfinite(y)
    report.add('keypoints-value', ids[(labelled & ~finite).any(1)], max_ids=max_ids)
    labelled &= finite
    if not labelled.any() and not wrong.any():
        report.add('nothing-labelled', ids[~crowd], max_ids=max_ids)

    last = (sizes + KEYPOINT_TOLERANCE - 1).astype(np.float32)
    outside = (np.minimum(x, y) < -KEYPOINT_TOLERANCE) | (x > last[:, :1]) | (y > last[:, 1:])
    margin = BOX_MARGIN * (bboxes[:, 2:] - bboxes[:, :2]).max(1, keepdims=True)
    left, top, right, bottom = (bboxes + margin * (-1, -1, 1, 1)).astype(np.float32).T[..., None]
    far = (x < left) | (x > right) | (y < top) | (y > bottom)
    for code, mask in (
        ('keypoint-outside-image', labelled & outside),
        ('keypoint-far-from-bbox', labelled & far & ~crowd[:, None]),
    ):
        if mask.any():
            i, k = (int(index[0]) for index in mask.nonzero())
            said = f'first: {meta.keypoints[k]} at {x[i, k]:g}, {y[i, k]:g}'
            report.add(code, ids[mask.any(1)], max_ids=max_ids, example=said)

    counts, given = _numbers(annotations, 'num_keypoints')
    wrong = given & fits & ~wrong_v & (counts != labelled.sum(1))
    report.add('num-keypoints', ids[wrong], max_ids=max_ids, example=_first(wrong, annotations, 'num_keypoints'))
    areas, given = _numbers(annotations, 'area')
    wrong = given & labelled.any(1) & ~((areas > 0) & np.isfinite(areas))
    report.add('bad-area', ids[wrong], max_ids=max_ids, example=_first(wrong, annotations, 'area'))

    suspect, testable = find_swapped_sides(np.stack([x, y], axis=-1), v, meta)
    report.add('left-right', ids[suspect], max_ids=max_ids, example=f'{suspect.sum()} of {testable.sum()} people that show it')
    return labelled


def _check_segmentations(
    report: CheckReport,
    annotations: Sequence[dict[str, Any]],
    ids: np.ndarray,
    ignored: np.ndarray,
    sizes: np.ndarray,
    max_ids: int,
) -> None:
    """Read the segmentations that bottom-up training leaves out of the loss, (N,) `ignored`, as it does."""
    found, example = [], ''
    for i in np.flatnonzero(ignored):
        if not annotations[i].get('segmentation'):
            continue
        image = {} if np.isnan(sizes[i]).any() else dict(width=int(sizes[i, 0]), height=int(sizes[i, 1]))
        try:
            read_region(annotations[i], image)
        except ValueError as error:
            found.append(ids[i])
            example = example or f'first: {error}'.rstrip('.')
    report.add('segmentation', found, max_ids=max_ids, example=example)


def _check_detections(report: CheckReport, detections: Sequence[dict[str, Any]], image_ids: np.ndarray, max_ids: int) -> None:
    of_image = _integers(detections, 'image_id', 'detections')
    bboxes = _rows([d.get('bbox') for d in detections], 4, np.float64)
    scores = _rows([[d.get('score')] for d in detections], 1, np.float64)
    good = np.isfinite(bboxes).all(1) & (bboxes[:, 2:] > 0).all(1) & np.isfinite(scores[:, 0])
    report.add('detection-bbox', np.flatnonzero(~good), max_ids=max_ids, example=_first(~good, detections, 'bbox'))
    report.add('detection-image-id', np.flatnonzero(~np.isin(of_image, image_ids)), max_ids=max_ids)


def _count(report: CheckReport, image_ids: np.ndarray, of_image: np.ndarray, crowd: np.ndarray) -> None:
    report.num_images = len(image_ids)
    report.num_crowds = int(crowd.sum())
    report.num_instances = len(crowd) - report.num_crowds
    if len(image_ids):
        unique = np.unique(image_ids)
        per_image = np.bincount(np.searchsorted(unique, of_image), minlength=len(unique))
        report.instances_per_image = dict(min=int(per_image.min()), mean=float(per_image.mean()), max=int(per_image.max()))
