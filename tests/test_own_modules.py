"""The example of parts outside the package works, with any number of keypoints; docs/own_module.md runs its command lines."""

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from mmpose_lite.apis import inference, init_model
from mmpose_lite.apis.train import train
from mmpose_lite.engine.config import load_config
from mmpose_lite.registry import BACKBONES, DATASETS, METRICS
from tests.conftest import REPO

CONFIG = REPO / 'examples' / 'own_modules' / 'config.py'


def write_dots(folder: Path, num_keypoints: int) -> None:
    """Write a meta file and two images per split, with a dot for each keypoint."""
    rng = np.random.default_rng(0)
    (folder / 'images').mkdir(parents=True)
    (folder / 'meta.json').write_text(json.dumps(dict(keypoints=num_keypoints)))
    for split in ('train', 'val'):
        with (folder / f'{split}.csv').open('w', newline='') as file:
            for number in range(2):
                points = rng.uniform(10, 90, (num_keypoints, 2)).round(1)
                image = np.full((100, 100, 3), 60, np.uint8)
                for x, y in points:
                    cv2.circle(image, (int(x), int(y)), 3, (200, 220, 90), -1)
                name = f'{split}{number}.png'
                cv2.imwrite(str(folder / 'images' / name), image)
                visible = np.full((num_keypoints, 1), 2)
                csv.writer(file).writerow([name, 0, 0, 100, 100, *np.hstack((points, visible)).ravel()])


@pytest.mark.parametrize('num_keypoints', [1, 21])
def test_the_meta_file_alone_says_how_many_keypoints(tmp_path: Path, num_keypoints: int) -> None:
    """Trained, evaluated, drawn and used for inference; the config is the same for all."""
    write_dots(tmp_path / 'dots', num_keypoints)
    cfg = load_config(CONFIG, {'data_root': str(tmp_path / 'dots'), 'meta': str(tmp_path / 'dots' / 'meta.json')})
    cfg.train_cfg.max_epochs = cfg.train_cfg.val_interval = 1
    cfg.work_dir = str(tmp_path / 'work')
    model = train(cfg).model
    assert type(model.backbone).__name__ == 'PlainNet'
    metrics = json.loads((tmp_path / 'work' / 'metrics.json').read_text())['metrics']
    assert metrics['own/median_error_px'] > 0
    assert sorted(path.name for path in (tmp_path / 'work' / 'predictions').iterdir()) == [
        'val_000_val0.jpg',
        'val_001_val1.jpg',
    ]

    model = init_model(cfg, tmp_path / 'work' / 'epoch_1.pth')
    (sample,) = inference(model, tmp_path / 'dots' / 'images' / 'val0.png')
    assert sample.pred_instances.keypoints.shape == (1, num_keypoints, 2)


def test_the_dataset_reads_its_lines(tmp_path: Path) -> None:
    load_config(CONFIG)  # brings the parts in
    (tmp_path / 'a.csv').write_text('x.png,1,2,11,22,5,6,2,7,8,0\n')
    dataset = DATASETS.build(dict(type='CsvKeypointDataset', csv_file='a.csv', meta=dict(keypoints=2), data_root=str(tmp_path)))
    sample = dataset[0]
    assert sample['img_path'] == str(tmp_path / 'images' / 'x.png')
    assert sample['bboxes'].tolist() == [[1, 2, 11, 22]]
    assert sample['areas'].tolist() == [200]
    assert sample['keypoints'].tolist() == [[[5, 6], [7, 8]]]
    assert sample['keypoints_visible'].tolist() == [[1, 0]]


def test_the_backbone_keeps_the_contract() -> None:
    load_config(CONFIG)
    backbone = BACKBONES.build(dict(type='PlainNet', width=16))
    maps = backbone(torch.zeros(1, 3, 64, 32))
    assert [tuple(m.shape) for m in maps] == [(1, C, 64 // s, 32 // s) for C, s in zip(backbone.out_channels, backbone.strides)]


def test_the_metric_is_the_median_of_labelled_keypoints() -> None:
    load_config(CONFIG)
    metric = METRICS.build(dict(type='MedianErrorPx'))
    gt = dict(keypoints=np.zeros((1, 4, 2)), keypoints_visible=np.array([[1, 1, 1, 0]]))
    pred = dict(keypoints=np.array([[[0, 1], [3, 4], [2, 0], [99, 99]]]))
    metric.process(None, [dict(gt_instances=gt, pred_instances=pred)])
    assert metric.evaluate(1) == {'own/median_error_px': 2.0}  # of 1, 5 and 2
