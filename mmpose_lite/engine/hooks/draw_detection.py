"""Pictures of detected objects beside the annotated ones, of mistakes, and curves of precision over recall."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmengine.dist import is_main_process, master_only
from mmengine.hooks import Hook
from pycocotools import mask as mask_api

from mmpose_lite.datasets.regions import decode_region
from mmpose_lite.datasets.transforms.loading import read_image
from mmpose_lite.evaluation.outcomes import match_objects
from mmpose_lite.registry import HOOKS
from mmpose_lite.structures import ClassMeta
from mmpose_lite.visualization.detection import draw_objects, draw_outcomes, draw_precision_recall
from mmpose_lite.visualization.draw import draw_side_by_side


@HOOKS.register_module()
class DrawDetectionHook(Hook):
    """After every evaluation, draw the first images of the split into `predictions/`: truth, prediction, and mistakes.

    The third picture has what was found in bluish green, wrong detections in vermilion, missed objects in sky blue, and ignored
    ones in grey. If a metric has curves of precision (CocoDetectionMetric), they are drawn into
    `precision_recall_{split}_bbox.png` and `..._segm.png`.

    Args:
        num_images: how many, at the most.
        score_thr: detections below it are not drawn, and are no mistakes.
        iou_thr: a detection finds an object at this IoU.
    """

    priority = 'LOW'

    def __init__(self, *, num_images: int = 16, score_thr: float = 0.3, iou_thr: float = 0.5) -> None:
        self.num_images = num_images
        self.score_thr = score_thr
        self.iou_thr = iou_thr
        self._drawn = 0
        self._places: dict[Any, int] = {}

    def before_val_epoch(self, runner: Any) -> None:
        """Begin anew."""
        self._drawn = 0
        self._places = {}

    before_test_epoch = before_val_epoch

    def _after_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None, mode: str = 'train') -> None:
        if mode == 'train' or not is_main_process():
            return
        dataset = (runner.val_loop if mode == 'val' else runner.test_loop).dataloader.dataset
        for sample in outputs or ():
            if 'pred_instances' in sample and self._drawn < self.num_images:
                self._draw(Path(runner.work_dir) / 'predictions', mode, sample, dataset)
                self._drawn += 1

    def _draw(self, folder: Path, split: str, sample: Any, dataset: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        meta: ClassMeta = dataset.metainfo['class_meta']
        image = read_image(sample.img_path)
        found = sample.pred_instances
        masks = np.stack([mask_api.decode(rle) for rle in found.masks]) if 'masks' in found and len(found.bboxes) else None
        predicted = draw_objects(
            image, found.bboxes, found.labels, found.scores, meta=meta, masks=masks, score_thr=self.score_thr
        )
        pictures, titles = [predicted], ['prediction']
        truth = self._truth(dataset, sample.img_id)
        if truth is not None:
            regions = truth.get('regions')
            masks = np.stack([decode_region(region, image.shape[:2]) for region in regions]) if regions else None
            annotated = draw_objects(
                image, truth['bboxes'], truth['labels'], meta=meta, masks=masks, is_ignored=truth['is_ignored']
            )
            pictures = [annotated, predicted, self._mistakes(image, found, truth, meta)]
            titles = ['ground truth', 'prediction', 'green found, red wrong, blue missed']
        # The number keeps images of one name in several folders apart.
        name = f'{split}_{self._drawn:03d}_{Path(sample.img_path).stem}.jpg'
        cv2.imwrite(str(folder / name), draw_side_by_side(pictures, titles))

    def _truth(self, dataset: Any, img_id: Any) -> dict[str, Any] | None:
        """Return the annotations of an image before the transforms; None where the dataset has none."""
        if not self._places:
            self._places = {dataset.get_data_info(i)['img_id']: i for i in range(len(dataset))}
        info = dataset.get_data_info(self._places[img_id]) if img_id in self._places else {}
        return info if 'bboxes' in info else None

    def _mistakes(self, image: np.ndarray, found: Any, truth: dict[str, Any], meta: ClassMeta) -> np.ndarray:
        outcomes = match_objects(
            found.bboxes,
            found.scores,
            found.labels,
            *(truth[key] for key in ('bboxes', 'labels', 'is_ignored')),
            iou_thr=self.iou_thr,
            score_thr=self.score_thr,
        )
        is_wrong = ~(outcomes.is_found | outcomes.is_ignored)
        boxes, texts = {}, {}
        for name, rows in (('found', outcomes.is_found), ('wrong', is_wrong)):
            boxes[name] = found.bboxes[rows]
            texts[name] = [f'{meta.classes[k]} {s:.2f}' for k, s in zip(found.labels[rows], found.scores[rows])]
        for name, rows in (('missed', outcomes.is_missed), ('ignored', truth['is_ignored'])):
            boxes[name] = truth['bboxes'][rows]
            texts[name] = [meta.classes[k] for k in truth['labels'][rows]]
        return draw_outcomes(image, boxes, texts)

    @master_only
    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        """Draw the curves of the validation split."""
        self._draw_curves(runner, runner.val_loop, 'val')

    @master_only
    def after_test_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        """Draw the curves of the test split."""
        self._draw_curves(runner, runner.test_loop, 'test')

    def _draw_curves(self, runner: Any, loop: Any, split: str) -> None:
        for metric in loop.evaluator.metrics:
            for kind, scores in (getattr(metric, 'scores', None) or {}).items():
                classes = loop.dataloader.dataset.metainfo['class_meta'].classes
                path = Path(runner.work_dir) / f'precision_recall_{split}_{kind}.png'
                draw_precision_recall(scores.precision, classes, path, title=f'{kind}, {split}')
