"""Any number of keypoints by changing one meta file: train, evaluate, draw, through the command line."""

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

CONFIG = 'configs/pose/topdown/resnet18_lspet_256x192.py'
THIN = (
    'model.backbone.base_channels=16',
    'model.backbone.stem_channels=16',
    'model.head.in_channels=128',
    'model.head.deconv_out_channels=[16,16,16]',
    'train_cfg.max_epochs=1',
    'train_cfg.val_interval=1',
    'train_dataloader.batch_size=4',
    'train_dataloader.num_workers=0',
    'val_dataloader.num_workers=0',
)


def write_people(folder: Path, num_keypoints: int, num_images: int = 4) -> None:
    """Write a COCO-style folder of one dotted 'person' per image, and a meta file with K keypoints and K - 1 limbs."""
    rng = np.random.default_rng(0)
    names = [f'point_{i}' for i in range(num_keypoints)]
    (folder / 'images').mkdir(parents=True)
    (folder / 'meta.json').write_text(json.dumps(dict(keypoints=names, limbs=[list(pair) for pair in pairwise(names)])))
    images, annotations = [], []
    for i in range(1, num_images + 1):
        image = rng.integers(0, 80, (96, 96, 3), dtype=np.uint8)
        points = rng.uniform(20, 76, (num_keypoints, 2))
        for x, y in points:
            cv2.circle(image, (round(x), round(y)), 2, (255, 255, 255), -1)
        cv2.imwrite(str(folder / 'images' / f'{i}.png'), image)
        images.append(dict(id=i, file_name=f'{i}.png', width=96, height=96))
        flat = np.concatenate((points, np.full((num_keypoints, 1), 2)), axis=1).ravel().tolist()
        annotations.append(dict(id=i, image_id=i, category_id=1, iscrowd=0, bbox=[10, 10, 76, 76], area=5776, keypoints=flat))
    category = dict(id=1, name='thing', keypoints=names, skeleton=[])
    for split in ('train', 'val'):
        content = dict(images=images, annotations=annotations, categories=[category])
        (folder / f'person_keypoints_{split}.json').write_text(json.dumps(content))


@pytest.mark.parametrize('num_keypoints', [1, 2, 5, 21, 133])
def test_train_evaluate_and_draw(num_keypoints, repo, tmp_path):
    data, work = tmp_path / 'data', tmp_path / 'work'
    write_people(data, num_keypoints)
    command = [sys.executable, 'tools/train.py', CONFIG, '--device', 'cpu', '--seed', '0', '--work-dir', str(work)]
    options = [f'data_root={data}', f'meta={data / "meta.json"}', *THIN]
    run = subprocess.run([*command, '--cfg-options', *options], cwd=repo, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    metrics = json.loads((work / 'metrics.json').read_text())['metrics']
    assert set(metrics) == {'pck/PCK@0.2', 'pck/PCK@0.1'}
    assert all(0 <= value <= 1 for value in metrics.values())
    picture = cv2.imread(str(work / 'predictions' / 'val_000_1.jpg'))
    assert picture is not None
    assert picture.shape[1] > 2 * 90  # ground truth beside prediction
    weights = torch.load(work / 'epoch_1.pth', weights_only=True)['state_dict']
    assert weights['head.final_layer.weight'].shape[0] == num_keypoints
