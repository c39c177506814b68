"""Finds what is wrong with a COCO-style keypoint file before a training run meets it.

`check_report.RULES` lists every code with its severity, its meaning and the way to repair it.
"""

# Letters: N annotations, K keypoints, G images.
import re
from collections.abc import Collection, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from mmpose_lite.datasets.check_parts import (
    FAST_SAMPLE,
    box_sizes_of,
    check_bboxes,
    check_images,
    count_instances,
    first_value,
    integers,
    is_relative,
    number_column,
    number_rows,
    repeated,
    sizes_of,
)
from mmpose_lite.datasets.check_report import BOX_MARGIN, KEYPOINT_TOLERANCE, CheckReport, Level
from mmpose_lite.datasets.regions import read_region
from mmpose_lite.datasets.swapped_sides import find_swapped_sides
from mmpose_lite.structures import KeypointMeta
from mmpose_lite.structures.coco_file import resting_gc

AREA_SHARES = (0.001, 4.0)  # of its box, that an area may have


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
    """Check what `read_coco` returned.

    Args:
        content: `images`, `annotations` and `categories` of a COCO-style file; not changed.
        ann_file: named in the report and in errors.
        meta: keypoint names and sides.
        img_dir: folder that the `file_name` of the images starts from.
        level: 'fast' reads the file names of the folder and the headers of `FAST_IMAGES` images, and looks into the boxes and
            keypoints of `FAST_SAMPLE` annotations, evenly spread (ids and references are checked in all); 'full' looks into all
            and decodes every image.
        detections: entries of a detector's result file (image_id, bbox, score), if such boxes are used.
        category_ids: only these categories are used and must fit the meta; None for all.
        max_ids: how many ids a finding keeps.

    Raises:
        ValueError: `level` is unknown, or an id is missing or no integer.
    """
    if level not in ('full', 'fast'):
        raise ValueError(f"check_annotations: `level` must be 'full' or 'fast', got {level!r}.")
    report = CheckReport(str(ann_file), level)
    with resting_gc():
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
    image_ids = integers(images, 'id', f'{report.ann_file}: images')
    sizes = check_images(report, images, image_ids, img_dir, max_ids)

    where = f'{report.ann_file}: annotations'
    ids = integers(annotations, 'id', where)
    of_image = integers(annotations, 'image_id', where)
    report.add('duplicate-annotation-id', repeated(ids), max_ids=max_ids)
    known = np.isin(of_image, image_ids)
    report.add('unknown-image-id', ids[~known], max_ids=max_ids)
    of_category = integers(annotations, 'category_id', where)
    _check_categories(report, content, ids, of_category, meta, category_ids, max_ids)
    if category_ids is not None:
        rows = np.flatnonzero(np.isin(of_category, list(category_ids)))
        annotations = [annotations[i] for i in rows]
        ids, of_image, known = ids[rows], of_image[rows], known[rows]

    crowd = np.array([bool(a.get('iscrowd', 0)) for a in annotations], dtype=bool)
    count_instances(report, image_ids, of_image[known & ~crowd], crowd)
    report.add('empty-image', image_ids[~np.isin(image_ids, of_image[~crowd])], max_ids=max_ids)
    if detections is not None:
        _check_detections(report, detections, image_ids, max_ids)

    if report.level == 'fast' and len(ids) > FAST_SAMPLE:
        rows = np.linspace(0, len(ids) - 1, FAST_SAMPLE).astype(np.int64)
        annotations = [annotations[i] for i in rows]
        ids, of_image, known, crowd = ids[rows], of_image[rows], known[rows], crowd[rows]
    report.num_sampled = len(ids)
    ann_sizes = sizes_of(of_image, known, image_ids, sizes)
    bboxes = check_bboxes(report, annotations, ids, ann_sizes, max_ids)
    if is_relative(bboxes):
        report.add('relative', ids, max_ids=max_ids, example=first_value(np.isfinite(bboxes).all(1), annotations, 'bbox'))
    labelled = _check_keypoints(report, annotations, ids, crowd, bboxes, ann_sizes, meta, max_ids)
    _check_segmentations(report, annotations, ids, crowd | ~labelled.any(1), ann_sizes, max_ids)
    report.num_labelled = dict(zip(meta.keypoints, labelled[~crowd].sum(0).tolist()))
    report.box_sizes = box_sizes_of(bboxes[~crowd])


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
    category_ids = integers(categories, 'id', f'{report.ann_file}: categories')
    unknown = ~np.isin(of_category, category_ids)
    report.add(
        'unknown-category-id', ids[unknown], max_ids=max_ids, example=first_value(unknown, content['annotations'], 'category_id')
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
            here, there = ([re.sub('[^a-z0-9]', '', str(name).lower()) for name in order] for order in (names, meta.keypoints))
            code = 'category-order' if here != there and sorted(here) == sorted(there) else 'category-names'
            report.add(code, [category_id], example=said)


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
    if any(isinstance(points, list) and points and isinstance(points[0], list) for points in lists):
        lists = [_flat(points) for points in lists]
    absent = np.array([points is None for points in lists], dtype=bool)
    fits = np.array([isinstance(points, list) and len(points) == 3 * K for points in lists], dtype=bool)
    wrong = ~fits & ~absent
    first = lists[int(wrong.argmax())] if wrong.any() else None
    said = f'3 K = {3 * K}, first has {len(first) if isinstance(first, list) else first!r}'
    report.add('keypoints-length', ids[wrong], max_ids=max_ids, example=said)

    x, y, v = np.ascontiguousarray(number_rows(lists, 3 * K, np.float32).reshape(-1, K, 3).transpose(2, 0, 1))
    wrong_v = fits & ~((v == 0) | (v == 1) | (v == 2)).all(1)
    said = f'first: {v[int(wrong_v.argmax())].max():g}' if wrong_v.any() else ''
    report.add('visibility', ids[wrong_v], max_ids=max_ids, example=said)
    labelled = v > 0
    finite = np.isfinite(x) & np.isfinite(y)
    report.add('keypoints-value', ids[(labelled & ~finite).any(1)], max_ids=max_ids)
    labelled &= finite
    if not labelled.any() and not wrong.any():
        report.add('nothing-labelled', ids[~crowd], max_ids=max_ids)

    if is_relative(x[labelled], y[labelled]):
        example = first_value(labelled.any(1), annotations, 'keypoints')
        report.add('relative', ids[labelled.any(1)], max_ids=max_ids, example=example)
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

    counts, given = number_column(annotations, 'num_keypoints')
    wrong = given & fits & ~wrong_v & (counts != labelled.sum(1))
    report.add('num-keypoints', ids[wrong], max_ids=max_ids, example=first_value(wrong, annotations, 'num_keypoints'))
    areas, given = number_column(annotations, 'area')
    wrong = given & labelled.any(1) & ~((areas > 0) & np.isfinite(areas))
    report.add('bad-area', ids[wrong], max_ids=max_ids, example=first_value(wrong, annotations, 'area'))
    share = areas / (bboxes[:, 2:] - bboxes[:, :2]).prod(1)
    odd = labelled.any(1) & ~wrong & ((share < AREA_SHARES[0]) | (share > AREA_SHARES[1]))
    report.add('area-off-bbox', ids[odd], max_ids=max_ids, example=first_value(odd, annotations, 'area'))

    suspect, testable = find_swapped_sides(np.stack([x, y], axis=-1), v, meta)
    report.add('left-right', ids[suspect], max_ids=max_ids, example=f'{suspect.sum()} of {testable.sum()} people that show it')
    return labelled


def _flat(points: Any) -> Any:
    """Return K lists [x, y, v] as one list; anything else as it is."""
    nested = isinstance(points, list) and all(isinstance(point, list) for point in points)
    return list(chain.from_iterable(points)) if nested else points


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
    of_image = integers(detections, 'image_id', 'detections')
    bboxes = number_rows([d.get('bbox') for d in detections], 4, np.float64)
    scores = number_rows([[d.get('score')] for d in detections], 1, np.float64)
    good = np.isfinite(bboxes).all(1) & (bboxes[:, 2:] > 0).all(1) & np.isfinite(scores[:, 0])
    report.add('detection-bbox', np.flatnonzero(~good), max_ids=max_ids, example=first_value(~good, detections, 'bbox'))
    report.add('detection-image-id', np.flatnonzero(~np.isin(of_image, image_ids)), max_ids=max_ids)
