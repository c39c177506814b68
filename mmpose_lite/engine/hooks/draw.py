"""Pictures of predictions beside the ground truth."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmengine.dist import is_main_process
from mmengine.hooks import Hook

from mmpose_lite.registry import HOOKS
from mmpose_lite.visualization.draw import draw_poses, draw_side_by_side


@HOOKS.register_module()
class DrawPredictionsHook(Hook):
    """After every evaluation, draw the first images of the split into `predictions/`: truth left, prediction right.

    Args:
        num_images: how many, at the most.
        score_thr: predicted keypoints below this score are not drawn.
    """

    priority = 'LOW'

    def __init__(self, *, num_images: int = 16, score_thr: float = 0.2) -> None:
        self.num_images = num_images
        self.score_thr = score_thr
        self._people: dict[str, list[Any]] = {}

    def _after_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None, mode: str = 'train') -> None:
        if mode == 'train' or not is_main_process():
            return
        for sample in outputs or ():
            path = sample.get('img_path')
            if path is not None and (path in self._people or len(self._people) < self.num_images):
                self._people.setdefault(path, []).append(sample)

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        """Draw the validation split."""
        self._draw(runner, 'val')

    def after_test_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        """Draw the test split."""
        self._draw(runner, 'test')

    def _draw(self, runner: Any, split: str) -> None:
        loader = runner.val_dataloader if split == 'val' else runner.test_dataloader
        meta = loader.dataset.metainfo['keypoint_meta']
        folder = Path(runner.work_dir) / 'predictions'
        for number, (path, people) in enumerate(self._people.items()):
            image = cv2.imread(path)
            if image is None:
                continue
            folder.mkdir(parents=True, exist_ok=True)
            predictions = [person.pred_instances for person in people]
            keypoints = np.concatenate([p.keypoints for p in predictions])
            scores = np.concatenate([p.keypoint_scores for p in predictions])
            bboxes = np.concatenate([p.bboxes for p in predictions])
            pictures = [draw_poses(image, keypoints, scores, meta=meta, score_thr=self.score_thr, bboxes=bboxes)]
            titles = ['prediction']
            truths = [person.gt_instances for person in people if 'keypoints' in person.gt_instances]
            if truths:
                keypoints = np.concatenate([np.asarray(t.keypoints) for t in truths])
                visible = np.concatenate([np.asarray(t.keypoints_visible) for t in truths])
                pictures.insert(0, draw_poses(image, keypoints, visible, meta=meta))
                titles.insert(0, 'ground truth')
            # The number keeps images of one name in several folders apart.
            name = f'{split}_{number:03d}_{Path(path).stem}.jpg'
            cv2.imwrite(str(folder / name), draw_side_by_side(pictures, titles))
        self._people.clear()
