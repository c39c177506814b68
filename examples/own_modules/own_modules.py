"""A backbone, a dataset and a metric of one's own, outside the package; config.py brings them in."""

import csv
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmpose_lite.datasets import CocoKeypointDataset
from mmpose_lite.registry import BACKBONES, DATASETS, METRICS


@BACKBONES.register_module()
class PlainNet(BaseModule):
    """Four strided convolutions: one map of stride 16."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.out_channels, self.strides = (width,), (16,)
        channels = (3, width // 4, width // 2, width, width)
        self.layers = nn.Sequential()
        for c_in, c_out in pairwise(channels):
            self.layers.extend([nn.Conv2d(c_in, c_out, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(c_out), nn.ReLU()])

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return (self.layers(x),)


@DATASETS.register_module()
class CsvKeypointDataset(CocoKeypointDataset):
    """One person per line: file, box x1 y1 x2 y2, then x y v of every keypoint; px, v = 0 where not labelled."""

    def __init__(self, csv_file: str, meta: Any = 'coco17', *, data_root: str = '', pipeline: Any = (), test_mode: bool = False):
        super().__init__(csv_file, meta, data_root=data_root, pipeline=pipeline, test_mode=test_mode)

    def load_data_list(self) -> list[dict[str, Any]]:
        samples = []
        for number, (name, *numbers) in enumerate(csv.reader(Path(self.ann_file).read_text().splitlines())):
            box, points = np.array(numbers[:4], np.float32), np.array(numbers[4:], np.float32).reshape(1, -1, 3)
            samples.append(
                dict(
                    img_path=str(Path(self.data_prefix['img'], name)),
                    img_id=number,
                    ann_id=number,
                    category_id=1,
                    bboxes=box[None],
                    bbox_scores=np.ones(1, np.float32),
                    keypoints=points[..., :2],
                    keypoints_visible=(points[..., 2] > 0).astype(np.float32),
                    areas=np.array([(box[2] - box[0]) * (box[3] - box[1])]),
                )
            )
        return samples


@METRICS.register_module()
class MedianErrorPx(BaseMetric):
    """Median distance of predicted and labelled keypoints, in px of the image."""

    default_prefix = 'own'

    def process(self, data_batch: Any, data_samples: list[dict]) -> None:
        for sample in data_samples:
            gt = sample['gt_instances']
            distances = np.linalg.norm(np.asarray(gt['keypoints']) - sample['pred_instances']['keypoints'], axis=-1)
            self.results.append(distances[np.asarray(gt['keypoints_visible']) > 0])

    def compute_metrics(self, results: list[np.ndarray]) -> dict[str, float]:
        return {'median_error_px': float(np.median(np.concatenate(results)))}
