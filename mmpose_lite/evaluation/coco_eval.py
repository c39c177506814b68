"""COCO's annotation files and COCO's evaluation of keypoints, as functions without state."""

# Letters: P predicted instances, K keypoints.
import contextlib
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

STAT_NAMES = ('AP', 'AP .5', 'AP .75', 'AP (M)', 'AP (L)', 'AR', 'AR .5', 'AR .75', 'AR (M)', 'AR (L)')


def instance_scores(bbox_scores: np.ndarray, keypoint_scores: np.ndarray, *, mode: str, keypoint_score_thr: float) -> np.ndarray:
    """Return (P,) scores as mmpose gives them: 'bbox', the box score; 'keypoint', the mean of all keypoint scores;
    'bbox_keypoint', the box score times the mean of the keypoint scores above the threshold (0 if there are none).

    Args:
        bbox_scores: (P,).
        keypoint_scores: (P, K).
        mode: one of the three.
        keypoint_score_thr: in the units of `keypoint_scores`.
    """
    if mode == 'bbox':
        return bbox_scores
    if mode == 'keypoint':
        return keypoint_scores.mean(1)
    above = keypoint_scores > keypoint_score_thr
    return bbox_scores * (keypoint_scores * above).sum(1) / np.maximum(above.sum(1), 1)


def coco_ground_truth(content: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Return the images, categories and annotations of a COCO file in a form that COCOeval takes; `content` stays as it is.

    - `bbox` absent: the extent of the labelled keypoints; `area` absent: that of the box; `num_keypoints` absent: the
      number of labelled keypoints; `iscrowd` absent: 0. `images` or `categories` absent or empty: those of the annotations.
    - An annotation without keypoints, or with an area of 0 (by which OKS would divide), gets `num_keypoints` 0: COCOeval
      neither asks for it nor punishes what matches it.
    - `id` counts from 1: COCOeval takes an annotation of id 0 for no annotation.
    """
    annotations = []
    num_coordinates = max((len(a.get('keypoints') or ()) for a in content['annotations']), default=0)
    for index, annotation in enumerate(content['annotations'], start=1):
        keypoints = list(annotation.get('keypoints') or [0] * num_coordinates)
        triplets = np.asarray(keypoints, dtype=np.float64).reshape(-1, 3)
        if not np.isfinite(triplets).all():  # null, where nothing is labelled: COCOeval computes with it all the same
            triplets[~np.isfinite(triplets).all(axis=1)] = 0
            keypoints = triplets.ravel().tolist()
        labelled = triplets[triplets[:, 2] > 0, :2]
        bbox = annotation.get('bbox')
        if not bbox:
            corner = labelled.min(0) if len(labelled) else np.zeros(2)
            bbox = [*corner, *(labelled.max(0) - corner if len(labelled) else corner)]
        area = annotation.get('area')
        area = bbox[2] * bbox[3] if area is None else area
        num_keypoints = annotation.get('num_keypoints')
        num_keypoints = len(labelled) if num_keypoints is None or not annotation.get('keypoints') else num_keypoints
        annotations.append(
            dict(
                id=index,
                image_id=annotation['image_id'],
                category_id=annotation.get('category_id', 1),
                keypoints=keypoints,
                bbox=[float(b) for b in bbox],
                area=float(area),
                num_keypoints=int(num_keypoints) if area > 0 else 0,
                iscrowd=int(annotation.get('iscrowd', 0)),
            )
        )
    image_ids = [image['id'] for image in content.get('images') or ()] or [a['image_id'] for a in annotations]
    category_ids = [c['id'] for c in content.get('categories') or ()] or [a['category_id'] for a in annotations]
    return dict(
        images=[dict(id=i) for i in dict.fromkeys(image_ids)],
        categories=[dict(id=c, name=str(c)) for c in dict.fromkeys(category_ids)],
        annotations=annotations,
    )


def coco_keypoint_stats(
    ground_truth: Mapping[str, list[dict]], detections: Sequence[Mapping], *, sigmas: Sequence[float], backend: str
) -> np.ndarray:
    """Return COCOeval's ten figures in the order of `STAT_NAMES`, -1 where no instance falls into the area range.

    Args:
        ground_truth: as `coco_ground_truth` makes it.
        detections: COCO results: image_id, category_id, keypoints [x, y, score, ...], score, and optionally area (px^2; the
            extent of the keypoints by default), which puts those that match nobody into an area range. May be empty.
        sigmas: (K,).
        backend: 'pycocotools' or 'faster' (faster-coco-eval).
    """
    results = []
    for index, detection in enumerate(detections, start=1):
        points = np.reshape(detection['keypoints'], (-1, 3))[:, :2]
        corner, size = points.min(0), np.ptp(points, axis=0)
        area = float(size.prod())
        results.append(dict(area=area) | detection | dict(id=index, iscrowd=0, bbox=[*corner.tolist(), *size.tolist()]))
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

        evaluation = COCOeval(indexed(annotations), indexed(results), iouType='keypoints')
        evaluation.params.kpt_oks_sigmas = np.asarray(sigmas, dtype=np.float64)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return np.asarray(evaluation.stats, dtype=np.float64)
