"""Finds what is wrong with a COCO-style file of objects before a training run meets it; codes are those of `check_report`."""

# Letters: N annotations.
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as mask_api

from mmpose_lite.datasets.check_parts import (
    FAST_SAMPLE,
    box_sizes_of,
    check_bboxes,
    check_images,
    count_instances,
    first_value,
    integers,
    is_relative,
    number_rows,
    repeated,
    sizes_of,
)
from mmpose_lite.datasets.check_report import IMAGE_TOLERANCE, CheckReport, Level
from mmpose_lite.datasets.regions import Region, read_region
from mmpose_lite.structures import ClassMeta
from mmpose_lite.structures.categories import labels_of_categories
from mmpose_lite.structures.coco_file import resting_gc

BBOX_SHARE = 0.1  # of a side of the box, by which mask and box may differ beside IMAGE_TOLERANCE


def check_objects(
    content: dict[str, Any],
    *,
    ann_file: str | Path,
    meta: ClassMeta,
    img_dir: str | Path,
    level: Level = 'full',
    with_masks: bool = False,
    min_box_size: float = 1.0,
    max_ids: int = 10,
) -> CheckReport:
    """Check what `read_coco` returned, as objects of classes.

    Args:
        content: `images`, `annotations` and `categories` of a COCO-style file; not changed.
        ann_file: named in the report and in errors.
        meta: the classes; annotations of other categories are looked at for their ids only.
        img_dir: folder that the `file_name` of the images starts from.
        level: 'fast' reads the headers of `FAST_IMAGES` images and looks into boxes and masks of `FAST_SAMPLE` annotations,
            evenly spread; 'full' looks into all and decodes every image.
        with_masks: check the segmentations too.
        min_box_size: px that both sides of a box need, as of the dataset.
        max_ids: how many ids a finding keeps.

    Raises:
        ValueError: `level` is unknown, or an id is missing or no integer.
    """
    if level not in ('full', 'fast'):
        raise ValueError(f"check_objects: `level` must be 'full' or 'fast', got {level!r}.")
    report = CheckReport(str(ann_file), level)
    with resting_gc():
        _check(report, content, meta, Path(img_dir), with_masks, min_box_size, max_ids)
    return report


def _check(
    report: CheckReport,
    content: dict[str, Any],
    meta: ClassMeta,
    img_dir: Path,
    with_masks: bool,
    min_box_size: float,
    max_ids: int,
) -> None:
    images, annotations = content['images'], content['annotations']
    image_ids = integers(images, 'id', f'{report.ann_file}: images')
    sizes = check_images(report, images, image_ids, img_dir, max_ids)
    where = f'{report.ann_file}: annotations'
    ids, of_image, of_category = (integers(annotations, key, where) for key in ('id', 'image_id', 'category_id'))
    report.add('duplicate-annotation-id', repeated(ids), max_ids=max_ids)
    known = np.isin(of_image, image_ids)
    report.add('unknown-image-id', ids[~known], max_ids=max_ids)
    labels = _check_categories(report, content, ids, of_category, meta, max_ids)

    used = np.flatnonzero(labels >= 0)
    annotations = [annotations[i] for i in used]
    ids, of_image, known, labels = ids[used], of_image[used], known[used], labels[used]
    crowd = np.array([bool(a.get('iscrowd') or a.get('ignore')) for a in annotations], dtype=bool)
    count_instances(report, image_ids, of_image[known & ~crowd], crowd)
    report.add('empty-image', image_ids[~np.isin(image_ids, of_image[~crowd])], max_ids=max_ids)
    if crowd.all():
        report.add('nothing-annotated', ids if len(ids) else [0], max_ids=max_ids)
    counts = np.bincount(labels[~crowd], minlength=meta.num_classes)
    report.num_labelled = dict(zip(meta.classes, counts.tolist()))

    if report.level == 'fast' and len(ids) > FAST_SAMPLE:
        rows = np.linspace(0, len(ids) - 1, FAST_SAMPLE).astype(np.int64)
        annotations = [annotations[i] for i in rows]
        ids, of_image, known, crowd = ids[rows], of_image[rows], known[rows], crowd[rows]
    report.num_sampled = len(ids)
    ann_sizes = sizes_of(of_image, known, image_ids, sizes)
    bboxes_xywh = number_rows([a.get('bbox') for a in annotations], 4, np.float64)
    if is_relative(bboxes_xywh):
        report.add('relative', ids, max_ids=max_ids, example=first_value(np.isfinite(bboxes_xywh).all(1), annotations, 'bbox'))
    with np.errstate(invalid='ignore'):
        degenerate = ~(np.isfinite(bboxes_xywh).all(1) & (bboxes_xywh[:, 2:] >= min_box_size).all(1))
    report.add('degenerate-bbox', ids[degenerate], max_ids=max_ids, example=first_value(degenerate, annotations, 'bbox'))
    fine = np.flatnonzero(~degenerate)
    good = [annotations[i] for i in fine]
    bboxes = check_bboxes(report, good, ids[fine], ann_sizes[fine], max_ids)
    report.box_sizes = box_sizes_of(bboxes[~crowd[fine]])
    if with_masks:
        _check_masks(report, good, ids[fine], bboxes, ann_sizes[fine], max_ids)


def _check_categories(
    report: CheckReport, content: dict[str, Any], ids: np.ndarray, of_category: np.ndarray, meta: ClassMeta, max_ids: int
) -> np.ndarray:
    """Return (N,) labels, -1 where the category is no class."""
    categories = content.get('categories') or []
    category_ids = integers(categories, 'id', f'{report.ann_file}: categories')
    unknown = ~np.isin(of_category, category_ids)
    example = first_value(unknown, content['annotations'], 'category_id')
    report.add('unknown-category-id', ids[unknown], max_ids=max_ids, example=example)
    try:
        labels = labels_of_categories(categories, meta, where='categories')
    except ValueError as error:
        report.add('classes', category_ids if len(category_ids) else [0], max_ids=max_ids, example=str(error).rstrip('.'))
        return np.full(len(ids), -1)
    return np.array([labels.get(category, -1) for category in of_category.tolist()], np.int64)


def _check_masks(
    report: CheckReport,
    annotations: Sequence[dict[str, Any]],
    ids: np.ndarray,
    bboxes: np.ndarray,
    sizes: np.ndarray,
    max_ids: int,
) -> None:
    """Read the segmentations as the dataset does; compare their extents with (N, 4) boxes xyxy."""
    found: dict[str, list[int]] = {'mask': [], 'mask-empty': [], 'mask-off-bbox': []}
    examples: dict[str, str] = {}
    for i, ann in enumerate(annotations):
        image = {} if np.isnan(sizes[i]).any() else dict(width=int(sizes[i, 0]), height=int(sizes[i, 1]))
        try:
            if 'segmentation' not in ann:
                raise ValueError('there is no `segmentation`')
            region = read_region(ann, image) if ann['segmentation'] else []
        except ValueError as error:
            found['mask'].append(ids[i])
            examples.setdefault('mask', f'first: {error}'.rstrip('.'))
            continue
        extent = _extent(region)
        if extent is None:
            found['mask-empty'].append(ids[i])
            continue
        allowed = IMAGE_TOLERANCE + BBOX_SHARE * np.tile(bboxes[i, 2:] - bboxes[i, :2], 2)
        if not ann.get('iscrowd') and (np.abs(extent - bboxes[i]) > allowed).any():
            found['mask-off-bbox'].append(ids[i])
            said = f'first: the mask reaches from {extent[:2].round(1).tolist()} to {extent[2:].round(1).tolist()}'
            examples.setdefault('mask-off-bbox', said)
    for code, of_ids in found.items():
        report.add(code, of_ids, max_ids=max_ids, example=examples.get(code, ''))


def _extent(region: Region | None) -> np.ndarray | None:
    """Return (4,) xyxy around a region; None where it is empty."""
    if isinstance(region, dict):
        x, y, w, h = mask_api.toBbox(region).tolist()
        return np.array((x, y, x + w, y + h)) if w > 0 and h > 0 else None
    if not region:
        return None
    points = np.concatenate([polygon.reshape(-1, 2) for polygon in region])
    return np.concatenate((points.min(axis=0), points.max(axis=0)))
