"""COCO's evaluation of boxes and masks, as functions without state."""

# Letters: P predicted objects, T IoU thresholds (0.50, 0.55, ... 0.95), R = 101 recalls, C classes.
import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pycocotools import mask as mask_api

# mmdet's names, in the order in which COCOeval gives its figures.
STAT_NAMES = ('mAP', 'mAP_50', 'mAP_75', 'mAP_s', 'mAP_m', 'mAP_l', 'AR@1', 'AR@10', 'AR@100', 'AR_s@100', 'AR_m@100', 'AR_l@100')
NUM_THRS, NUM_RECALLS = 10, 101


@dataclass
class DetectionScores:
    """What COCOeval found.

    Attributes:
        stats: (12,) in the order of `STAT_NAMES`; NaN where no object falls into an area range.
        precision: (T, R, C) at 100 detections an image and all areas; NaN for a class without objects.
        recall: (T, C) likewise.
    """

    stats: np.ndarray
    precision: np.ndarray
    recall: np.ndarray


def coco_objects(content: Mapping[str, Any], labels: Mapping[int, int], *, with_masks: bool) -> dict[str, list[dict[str, Any]]]:
    """Return images, categories and annotations of a COCO file in a form that COCOeval takes; `content` stays as it is.

    - Categories are the classes: the id of class k is k. Annotations of other categories are left out.
    - `area` absent: that of the mask where there is one and masks are compared, else of the box. `iscrowd` absent: 0.
    - What has `ignore` counts as crowd: COCOeval itself does not look at it. With masks, so does an object whose segmentation is
      empty, by its box. Polygons of fewer than three corners, which COCO's code does not take, hold nothing.
    - `id` counts from 1: COCOeval takes an annotation of id 0 for no annotation.

    Args:
        content: of the file.
        labels: category id -> label.
        with_masks: masks are to be compared.

    Raises:
        ValueError: with masks: an annotation has no `segmentation`, or its image no size.
    """
    sizes = {image['id']: (image.get('height'), image.get('width')) for image in content['images']}
    annotations: list[dict[str, Any]] = []
    for ann in content['annotations']:
        if ann.get('category_id') not in labels or ann.get('image_id') not in sizes or len(ann.get('bbox') or ()) != 4:
            continue
        x, y, w, h = map(float, ann['bbox'])
        ignored = bool(ann.get('iscrowd') or ann.get('ignore'))
        entry = dict(id=len(annotations) + 1, image_id=ann['image_id'], category_id=labels[ann['category_id']], bbox=[x, y, w, h])
        if with_masks:
            segmentation = ann.get('segmentation')
            if isinstance(segmentation, list):
                segmentation = [polygon for polygon in segmentation if len(polygon) > 4]
            entry['segmentation'] = segmentation or [[x, y, x + w, y, x + w, y + h, x, y + h]]
            ignored |= not segmentation
            if 'segmentation' not in ann or None in sizes[ann['image_id']]:
                raise ValueError(
                    f'annotation {ann.get("id")} (image {ann["image_id"]}) needs a `segmentation`, and its image `height` and '
                    "`width`, to compare masks; evaluate with metric='bbox' alone."
                )
        area = ann.get('area')
        if area is None:
            area = _mask_area(entry['segmentation'], sizes[ann['image_id']]) if with_masks else w * h
        annotations.append(dict(entry, area=float(area), iscrowd=int(ignored)))
    return dict(
        images=[dict(id=i, height=h, width=w) for i, (h, w) in sizes.items()],
        categories=[dict(id=label, name=str(label)) for label in sorted(set(labels.values()))],
        annotations=annotations,
    )


def _mask_area(segmentation: Any, shape: tuple[int, int]) -> float:
    if isinstance(segmentation, list):
        segmentation = mask_api.merge(mask_api.frPyObjects(segmentation, *shape))
    elif isinstance(segmentation['counts'], list):
        segmentation = mask_api.frPyObjects(segmentation, *shape)
    return float(mask_api.area(segmentation))


def coco_detection_scores(
    ground_truth: Mapping[str, list[dict]],
    detections: Sequence[Mapping[str, Any]],
    *,
    iou_type: str,
    num_classes: int,
    backend: str,
) -> DetectionScores:
    """Return COCOeval's figures.

    Args:
        ground_truth: as `coco_objects` makes it.
        detections: image_id, category_id (a label), score, and bbox [x, y, w, h], or segmentation, an RLE. May be empty.
        iou_type: 'bbox' or 'segm'.
        num_classes: C.
        backend: 'pycocotools' or 'faster' (faster-coco-eval).
    """
    results = []
    for index, found in enumerate(detections, start=1):
        if iou_type == 'bbox':
            area = found['bbox'][2] * found['bbox'][3]
            results.append(dict(found, id=index, iscrowd=0, area=area))
        else:
            rle = found['segmentation']
            results.append(dict(found, id=index, iscrowd=0, area=float(mask_api.area(rle)), bbox=mask_api.toBbox(rle).tolist()))
    annotations = [dict(annotation) for annotation in ground_truth['annotations']]  # COCOeval writes into them
    with contextlib.redirect_stdout(io.StringIO()):
        if backend == 'faster':
            from faster_coco_eval import COCO
            from faster_coco_eval import COCOeval_faster as COCOeval
        else:
            from pycocotools.coco import COCO
            from pycocotools.cocoeval import COCOeval

        def indexed(entries: list[dict]) -> Any:
            coco = COCO()
            coco.dataset = dict(ground_truth, annotations=entries)
            coco.createIndex()
            return coco

        evaluation = COCOeval(indexed(annotations), indexed(results), iouType=iou_type)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    labels = [category['id'] for category in ground_truth['categories']]
    precision = np.full((NUM_THRS, NUM_RECALLS, num_classes), np.nan)
    recall = np.full((NUM_THRS, num_classes), np.nan)
    precision[:, :, labels] = evaluation.eval['precision'][:, :, :, 0, -1]
    recall[:, labels] = evaluation.eval['recall'][:, :, 0, -1]
    stats = np.asarray(evaluation.stats[: len(STAT_NAMES)], dtype=np.float64)
    return DetectionScores(*(np.where(values == -1, np.nan, values) for values in (stats, precision, recall)))
