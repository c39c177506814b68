"""Pictures of predicted masks beside the true ones, and of the confusion matrix."""

from pathlib import Path
from typing import Any

import cv2
from mmengine.dist import is_main_process, master_only
from mmengine.hooks import Hook

from mmpose_lite.datasets.transforms.loading import read_image
from mmpose_lite.registry import HOOKS
from mmpose_lite.visualization.draw import draw_side_by_side
from mmpose_lite.visualization.segmentation import draw_confusion_matrix, draw_segmentation


@HOOKS.register_module()
class DrawSegmentationHook(Hook):
    """After every evaluation, draw the first images of the split into `predictions/`: truth left, prediction right.

    If a metric has counted a confusion matrix (IoUMetric), it is drawn into `confusion_{split}.png`.

    Args:
        num_images: how many, at the most.
    """

    priority = 'LOW'

    def __init__(self, *, num_images: int = 16) -> None:
        self.num_images = num_images
        self._drawn = 0

    def before_val_epoch(self, runner: Any) -> None:
        """Begin anew."""
        self._drawn = 0

    before_test_epoch = before_val_epoch

    def _after_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None, mode: str = 'train') -> None:
        if mode == 'train' or not is_main_process():
            return
        loop = runner.val_loop if mode == 'val' else runner.test_loop
        for sample in outputs or ():
            if 'pred_seg_map' in sample and self._drawn < self.num_images:
                self._draw(Path(runner.work_dir) / 'predictions', mode, sample, loop.dataloader.dataset.metainfo['class_meta'])
                self._drawn += 1

    def _draw(self, folder: Path, split: str, sample: Any, meta: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        image = read_image(sample.img_path)
        pictures, titles = [draw_segmentation(image, sample.pred_seg_map, meta=meta)], ['prediction']
        if 'gt_seg_map' in sample:
            pictures.insert(0, draw_segmentation(image, sample.gt_seg_map, meta=meta))
            titles.insert(0, 'ground truth')
        # The number keeps images of one name in several folders apart.
        name = f'{split}_{self._drawn:03d}_{Path(sample.img_path).stem}.jpg'
        cv2.imwrite(str(folder / name), draw_side_by_side(pictures, titles))

    @master_only
    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        """Draw the confusion matrix of the validation split."""
        self._draw_confusion(runner, runner.val_loop, 'val')

    @master_only
    def after_test_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        """Draw the confusion matrix of the test split."""
        self._draw_confusion(runner, runner.test_loop, 'test')

    def _draw_confusion(self, runner: Any, loop: Any, split: str) -> None:
        for metric in loop.evaluator.metrics:
            if getattr(metric, 'confusion', None) is not None:
                classes = loop.dataloader.dataset.metainfo['class_meta'].classes
                draw_confusion_matrix(metric.confusion, classes, Path(runner.work_dir) / f'confusion_{split}.png', title=split)
