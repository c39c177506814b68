"""PASCAL VOC's average precision of boxes."""

# Letters: C classes, D detections of a class in all images, R points of the curve.
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger

from mmpose_lite.errors import MetricError
from mmpose_lite.evaluation.detections import check_detections, predicted_objects, tell_missed
from mmpose_lite.evaluation.metas import meta_of
from mmpose_lite.evaluation.report import text_table
from mmpose_lite.ops.iou import pairwise_iou
from mmpose_lite.registry import METRICS
from mmpose_lite.structures import ClassMeta, bbox_xywh_to_xyxy
from mmpose_lite.structures.categories import labels_of_categories
from mmpose_lite.structures.voc_xml import read_voc

EVAL_MODES = ('area', '11points')


def voc_average_precision(is_true: np.ndarray, num_objects: int, *, eval_mode: str) -> float:
    """Return the area under the curve of precision, made falling, over recall; in [0, 1].

    Source: Everingham et al., The Pascal VOC Challenge, IJCV 2010, Sec. 4.2; 'area' as in the development kits from 2010 on.

    Args:
        is_true: (D,) bool, detections in the order of falling scores.
        num_objects: 1 or more.
        eval_mode: 'area': all of the curve; '11points': the mean at the recalls 0, 0.1 ... 1, as in VOC2007.
    """
    true = np.cumsum(is_true)
    recall, precision = true / num_objects, true / np.arange(1, len(is_true) + 1)
    if eval_mode == '11points':
        return float(np.mean([precision[recall >= r - 1e-9].max(initial=0.0) for r in np.linspace(0, 1, 11)]))
    falling = np.maximum.accumulate(precision[::-1])[::-1]
    return float((np.diff(recall, prepend=0.0) * falling).sum())


@METRICS.register_module()
class VOCMetric(BaseMetric):
    """Mean average precision at one IoU, by VOC's rules; mmdet's metric of this name.

    A detection, the best first, is right if the object of its class that it overlaps most is above the threshold and not found
    already; it does not count if that object is difficult.

    Keys: `voc/mAP`, and `voc/AP.{class}` with `classwise`. Classes without objects are not in the mean.
    Differs: IoUs are of edges, so that a box of VOC from pixel 1 to pixel 3 is 3 wide, as in VOC's own code.

    Args:
        ann_file: list of images, or its path under `data_root`, see `structures.voc_xml`.
        data_root: folder that a relative `ann_file` starts from.
        iou_thr: a detection is right above it.
        eval_mode: 'area', or '11points' as VOC2007 asks for.
        classwise: also give the AP of each class.
        collect_device: 'cpu' or 'gpu', where the results of several processes are put together.
        collect_dir: folder for that, when on the CPU; a temporary one by default.
        prefix: first part of the keys.

    Raises:
        ValueError: an option is unknown; or, when evaluating, predictions are not finite or do not belong to the list (image ids,
            labels).
        FileNotFoundError: there is no `ann_file`.
    """

    default_prefix = 'voc'
    measures = ClassMeta

    def __init__(
        self,
        ann_file: str,
        *,
        data_root: str = '',
        iou_thr: float = 0.5,
        eval_mode: str = 'area',
        classwise: bool = False,
        collect_device: str = 'cpu',
        collect_dir: str | None = None,
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix, collect_dir=collect_dir)
        if eval_mode not in EVAL_MODES or not 0 < iou_thr < 1:
            raise ValueError(
                f'VOCMetric: `eval_mode` must be one of {EVAL_MODES} and `iou_thr` in (0, 1), got {eval_mode!r}, {iou_thr}.'
            )
        self.ann_file = Path(os.path.join(data_root, ann_file))
        if not self.ann_file.is_file():
            raise FileNotFoundError(
                f'VOCMetric: `ann_file` {str(self.ann_file)!r} does not exist (data_root={data_root!r}, ann_file={ann_file!r}).'
            )
        self.iou_thr = iou_thr
        self.eval_mode = eval_mode
        self.classwise = classwise

    def result_names(self) -> tuple[str, ...]:
        """Return 'mAP', and with `classwise` 'AP.{class}'; a class without objects is left out of the results."""
        classes = meta_of(self, ClassMeta).classes if self.classwise else ()
        return ('mAP', *(f'AP.{name}' for name in classes))

    def process(self, data_batch: object, data_samples: Sequence[dict]) -> None:
        """Keep the predicted objects of each data sample: `img_id`, and `bboxes`, `scores`, `labels` of `pred_instances`."""
        for sample in data_samples:
            self.results.append(predicted_objects('VOCMetric', sample))

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Return the figures by their keys; logs a table of the classes."""
        meta = meta_of(self, ClassMeta)
        content = read_voc(self.ann_file)
        labels = labels_of_categories(content['categories'], meta, where=str(self.ann_file))
        check_detections('VOCMetric', results, {image['id'] for image in content['images']}, meta, self.ann_file)
        objects = _objects_of(content['annotations'], labels)
        rows, scores = [], {}
        for k, name in enumerate(meta.classes):
            of_class = {image_id: arrays for (image_id, label), arrays in objects.items() if label == k}
            num_objects = sum(int((~difficult).sum()) for _, difficult in of_class.values())
            is_true = self._ranked(results, of_class, k)
            if num_objects:
                scores[name] = voc_average_precision(is_true, num_objects, eval_mode=self.eval_mode)
            rows.append((name, num_objects, len(is_true), f'{scores[name]:.4f}' if num_objects else 'no such objects'))
        if not scores:
            raise MetricError(f'VOCMetric: {self.ann_file} has no object of the classes that is not difficult.')
        with_objects = [image_id for (image_id, _), (_, difficult) in objects.items() if not difficult.all()]
        tell_missed('VOCMetric', results, with_objects, self.ann_file)
        header = ('class', 'objects', 'predicted', f'AP{100 * self.iou_thr:.0f}')
        MMLogger.get_current_instance().info(text_table(header, rows, title=f'VOCMetric ({self.eval_mode})'))
        values = [float(np.mean(list(scores.values()))), *(scores.get(name) for name in meta.classes)]
        return {name: value for name, value in zip(self.result_names(), values) if value is not None}

    def _ranked(
        self, results: Sequence[Mapping[str, Any]], objects: Mapping[Any, tuple[np.ndarray, np.ndarray]], label: int
    ) -> np.ndarray:
        """Return (D,) whether each detection of a class is right, the best score of all images first; those that do not count are
        left out."""
        outcomes: list[tuple[float, bool]] = []
        for result in results:
            image_id, bboxes, scores, labels = (result[key] for key in ('img_id', 'bboxes', 'scores', 'labels'))
            rows = np.flatnonzero(labels == label)
            if not len(rows):
                continue
            rows = rows[np.argsort(-scores[rows], kind='stable')]
            truth, difficult = objects.get(image_id, (np.zeros((0, 4), np.float32), np.zeros(0, bool)))
            boxes = torch.as_tensor(np.asarray(bboxes[rows], np.float64)).reshape(-1, 4)
            ious = pairwise_iou(boxes, torch.as_tensor(np.asarray(truth, np.float64))).numpy()
            is_taken = np.zeros(len(truth), bool)
            for i, row in enumerate(rows):
                best = int(ious[i].argmax()) if len(truth) else -1
                meets = best >= 0 and ious[i, best] > self.iou_thr
                if meets and difficult[best]:
                    continue
                outcomes.append((float(scores[row]), bool(meets and not is_taken[best])))
                if meets:
                    is_taken[best] = True
        order = np.argsort([-score for score, _ in outcomes], kind='stable')
        return np.array([outcomes[i][1] for i in order], dtype=bool)


def _objects_of(
    annotations: Sequence[Mapping[str, Any]], labels: Mapping[int, int]
) -> dict[tuple[Any, int], tuple[np.ndarray, np.ndarray]]:
    """Return (image id, label) -> (M, 4) boxes xyxy and (M,) whether each is difficult."""
    grouped: dict[tuple[Any, int], list[Mapping[str, Any]]] = {}
    for ann in annotations:
        if ann['category_id'] in labels:
            grouped.setdefault((ann['image_id'], labels[ann['category_id']]), []).append(ann)
    return {
        key: (bbox_xywh_to_xyxy(np.array([a['bbox'] for a in group])), np.array([bool(a['ignore']) for a in group]))
        for key, group in grouped.items()
    }
