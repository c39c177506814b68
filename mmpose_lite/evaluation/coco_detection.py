"""COCO's average precision of boxes and masks, for any classes."""

# Letters: N objects of one image, C classes.
import importlib.util
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger

from mmpose_lite.errors import MetricError
from mmpose_lite.evaluation.coco_boxes import STAT_NAMES, DetectionScores, coco_detection_scores, coco_objects
from mmpose_lite.evaluation.detections import check_detections, predicted_objects, tell_missed
from mmpose_lite.evaluation.metas import meta_of
from mmpose_lite.evaluation.report import examples, mismatch, text_table
from mmpose_lite.registry import METRICS
from mmpose_lite.structures import ClassMeta
from mmpose_lite.structures.categories import labels_of_categories
from mmpose_lite.structures.coco_file import read_json
from mmpose_lite.structures.voc_xml import read_voc

_BACKENDS = ('auto', 'pycocotools', 'faster')
_METRICS = ('bbox', 'segm')


@METRICS.register_module()
class CocoDetectionMetric(BaseMetric):
    """Average precision and recall of boxes, and of masks, computed by pycocotools or faster-coco-eval.

    What mmdet calls CocoMetric. Source: https://cocodataset.org/#detection-eval.
    Keys: `coco/bbox_mAP`, `coco/bbox_mAP_50` ... for each name of `STAT_NAMES`, and likewise `coco/segm_...`; each in [0, 1]. A
    figure of an area range without objects is left out (COCOeval says -1). A class without objects is not in the mean.
    Differs: categories are found by the names of the dataset's classes; objects that have `ignore` count as crowds (mmdet leaves
    them out, so that finding one is an error); ids that do not match are an error.

    The log also gets one row for each class that the file has.

    Args:
        ann_file: COCO-style file, or a list of VOC's images (.txt), or its path under `data_root`. Read when it is needed.
        data_root: folder that a relative `ann_file` starts from.
        metric: 'bbox', 'segm', or both.
        classwise: also give `bbox_mAP.{class}`.
        backend: 'pycocotools', 'faster' (faster-coco-eval, same numbers) or 'auto' (the latter when it is installed).
        outfile_prefix: write COCO results to `{outfile_prefix}.bbox.json` and `.segm.json`.
        format_only: write these files and evaluate nothing.
        collect_device: 'cpu' or 'gpu', where the results of several processes are put together.
        collect_dir: folder for that, when on the CPU; a temporary one by default.
        prefix: first part of the keys.

    Raises:
        ValueError: an option is unknown; or, when evaluating, predictions and `ann_file` do not belong together (image ids,
            labels, masks, nothing annotated), or predictions are not finite. The message holds a table.
        FileNotFoundError: there is no `ann_file`.
        ImportError: `backend='faster'` and faster-coco-eval is not installed.
    """

    default_prefix = 'coco'
    measures = ClassMeta

    def __init__(
        self,
        ann_file: str,
        *,
        data_root: str = '',
        metric: str | Sequence[str] = 'bbox',
        classwise: bool = False,
        backend: str = 'auto',
        outfile_prefix: str | None = None,
        format_only: bool = False,
        collect_device: str = 'cpu',
        collect_dir: str | None = None,
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix, collect_dir=collect_dir)
        self.metrics = (metric,) if isinstance(metric, str) else tuple(metric)
        if not self.metrics or not set(self.metrics) <= set(_METRICS):
            raise ValueError(f'CocoDetectionMetric: `metric` must be some of {_METRICS}, got {metric!r}.')
        if backend not in _BACKENDS:
            raise ValueError(f'CocoDetectionMetric: `backend` must be one of {_BACKENDS}, got {backend!r}.')
        if format_only and outfile_prefix is None:
            raise ValueError(
                'CocoDetectionMetric: `format_only` needs `outfile_prefix`, the path of the results without its end.'
            )
        self.ann_file = Path(os.path.join(data_root, ann_file))
        if not self.ann_file.is_file():
            raise FileNotFoundError(
                f'CocoDetectionMetric: `ann_file` {str(self.ann_file)!r} does not exist (data_root={data_root!r}, '
                f'ann_file={ann_file!r}).'
            )
        has_faster = importlib.util.find_spec('faster_coco_eval') is not None
        if backend == 'faster' and not has_faster:
            raise ImportError("CocoDetectionMetric: `backend='faster'` needs `pip install faster-coco-eval`; 'auto' does not.")
        self.backend = 'faster' if has_faster and backend != 'pycocotools' else 'pycocotools'
        self.classwise = classwise
        self.outfile_prefix = outfile_prefix
        self.format_only = format_only
        self.scores: dict[str, DetectionScores] = {}
        self._content: dict[str, Any] | None = None

    def result_names(self) -> tuple[str, ...]:
        """Return the names of the figures; one without objects is left out of the results."""
        return () if self.format_only else tuple(name for metric in self.metrics for name in self._names(metric))

    def _names(self, metric: str) -> tuple[str, ...]:
        classes = meta_of(self, ClassMeta).classes if self.classwise else ()
        return (*(f'{metric}_{name}' for name in STAT_NAMES), *(f'{metric}_mAP.{name}' for name in classes))

    def process(self, data_batch: object, data_samples: Sequence[dict]) -> None:
        """Keep the predicted objects of each data sample as plain arrays.

        Args:
            data_batch: not used.
            data_samples: each with `img_id` and `pred_instances`: `bboxes` (N, 4) xyxy in px of the image, `scores` (N,),
                `labels` (N,), and to compare masks `masks`, N COCO RLEs.
        """
        for sample in data_samples:
            result = predicted_objects('CocoDetectionMetric', sample)
            if 'segm' in self.metrics:
                if 'masks' not in sample['pred_instances']:
                    raise MetricError(
                        "CocoDetectionMetric: metric 'segm' needs `masks`, and the network predicts none; use 'bbox'."
                    )
                result['masks'] = list(sample['pred_instances']['masks'])
            self.results.append(result)

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Return the figures by their keys; an empty dict when `format_only`."""
        if not results:
            raise MetricError(
                'CocoDetectionMetric: there is nothing to evaluate. The dataset is empty, or `process` never called.'
            )
        meta = meta_of(self, ClassMeta)
        if self._content is None:
            is_voc = self.ann_file.suffix == '.txt'
            self._content = read_voc(self.ann_file) if is_voc else read_json(self.ann_file, given_as='`ann_file`')
        labels = labels_of_categories(self._content.get('categories', ()), meta, where=str(self.ann_file))
        image_ids = {image['id'] for image in self._content['images']}
        check_detections('CocoDetectionMetric', results, image_ids, meta, self.ann_file)
        detections = {metric: _coco_results(results, metric) for metric in self.metrics}
        if self.outfile_prefix is not None:
            self._write(detections, {label: category for category, label in labels.items()})
        if self.format_only:
            return {}
        figures: dict[str, float] = {}
        for metric, found in detections.items():
            try:
                truth = coco_objects(self._content, labels, with_masks=metric == 'segm')
            except ValueError as error:
                raise MetricError(f'CocoDetectionMetric: {self.ann_file}: {error}') from error
            self._check_truth(results, truth)
            if metric == 'segm':
                self._check_sizes(results, truth)
            scores = coco_detection_scores(truth, found, iou_type=metric, num_classes=meta.num_classes, backend=self.backend)
            self.scores[metric] = scores
            self._log(metric, scores, truth, found, meta)
            values = (*scores.stats, *scores.precision.mean(axis=(0, 1)))  # the figures, then the AP of each class
            figures |= {name: float(value) for name, value in zip(self._names(metric), values) if np.isfinite(value)}
        return figures

    def _check_truth(self, results: Sequence[Mapping[str, Any]], truth: Mapping[str, list[dict]]) -> None:
        with_objects = [a['image_id'] for a in truth['annotations'] if not a['iscrowd']]
        if not with_objects:
            raise MetricError(
                f'CocoDetectionMetric: {self.ann_file} has no object of the classes that is not a crowd, so there is nothing to '
                'compare with. Use `format_only=True` to write results only.'
            )
        tell_missed('CocoDetectionMetric', results, with_objects, self.ann_file)

    def _check_sizes(self, results: Sequence[Mapping[str, Any]], truth: Mapping[str, list[dict]]) -> None:
        """Raise MetricError where masks have another size (h, w) than their image in the file: COCOeval would match none."""
        sizes = {image['id']: [image['height'], image['width']] for image in truth['images']}
        wrong = [r for r in results if r['masks'] and list(r['masks'][0]['size']) != sizes[r['img_id']]]
        if wrong:
            ids = examples(r['img_id'] for r in wrong)
            raise mismatch(
                'CocoDetectionMetric: masks must have the sizes of the images in the file.',
                [('size (h, w)', list(wrong[0]['masks'][0]['size']), sizes[wrong[0]['img_id']], f'image ids {ids}')],
                reference=f'ann_file {self.ann_file}',
                advice='correct `width` and `height` of the file, which tools/check_dataset.py compares with the images.',
            )

    def _write(self, detections: Mapping[str, Sequence[Mapping[str, Any]]], category_of: Mapping[int, int]) -> None:
        for metric, found in detections.items():
            path = Path(f'{self.outfile_prefix}.{metric}.json')
            path.parent.mkdir(parents=True, exist_ok=True)
            content = [
                dict(_written(entry), category_id=category_of[entry['category_id']])
                for entry in found
                if entry['category_id'] in category_of  # COCO's file has no place for others
            ]
            path.write_text(json.dumps(content))
            MMLogger.get_current_instance().info(f'CocoDetectionMetric: {len(content)} objects written to {path}.')

    def _log(
        self,
        metric: str,
        scores: DetectionScores,
        truth: Mapping[str, list[dict]],
        found: Sequence[Mapping[str, Any]],
        meta: ClassMeta,
    ) -> None:
        logger = MMLogger.get_current_instance()
        rows = [(name, _figure(value)) for name, value in zip(STAT_NAMES, scores.stats)]
        logger.info(text_table((metric, 'value'), rows, title=f'CocoDetectionMetric ({self.backend})'))
        objects = Counter(a['category_id'] for a in truth['annotations'] if not a['iscrowd'])
        predicted = Counter(entry['category_id'] for entry in found)
        precision = scores.precision.mean(axis=1)
        header = ('class', 'objects', 'predicted', 'AP', 'AP50', 'AP75', 'AR')
        rows = [
            (
                meta.classes[k],
                objects[k],
                predicted[k],
                *(
                    _figure(value)
                    for value in (precision[:, k].mean(), precision[0, k], precision[5, k], scores.recall[:, k].mean())
                ),
            )
            for k in (category['id'] for category in truth['categories'])
        ]
        logger.info(text_table(header, rows, title=f'{metric}, by class'))


def _figure(value: float) -> str:
    return f'{value:.4f}' if np.isfinite(value) else 'no such objects'


def _coco_results(results: Sequence[Mapping[str, Any]], metric: str) -> list[dict[str, Any]]:
    """Return COCO's result dicts, with labels for category ids."""
    entries = []
    for result in results:
        bboxes = np.array(result['bboxes'], np.float64).reshape(-1, 4)
        bboxes[:, 2:] -= bboxes[:, :2]
        scores, labels = result['scores'].tolist(), result['labels'].tolist()
        shapes = bboxes.tolist() if metric == 'bbox' else result['masks']
        key = 'bbox' if metric == 'bbox' else 'segmentation'
        entries += [
            {'image_id': result['img_id'], 'category_id': label, 'score': score, key: shape}
            for label, score, shape in zip(labels, scores, shapes, strict=True)
        ]
    return entries


def _written(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return a result as JSON can hold it: the counts of an RLE as text."""
    if 'segmentation' not in entry:
        return dict(entry)
    size, counts = entry['segmentation']['size'], entry['segmentation']['counts']
    counts = counts.decode('ascii') if isinstance(counts, bytes) else counts
    return dict(entry, segmentation=dict(size=[int(side) for side in size], counts=counts))
