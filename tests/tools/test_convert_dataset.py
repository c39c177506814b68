"""tools/convert_dataset.py, one sub-command after the other, on the least data that each takes."""

import importlib.util
import json
import pickle
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmpose_lite.apis.cli import run_command
from mmpose_lite.datasets import CocoKeypointDataset

Convert = Callable[..., int]
SQUARE = [[10, 10], [60, 10], [60, 70], [10, 70]]


@pytest.fixture
def convert(repo: Path) -> Convert:
    """The command, in this process."""
    spec = importlib.util.spec_from_file_location('convert_dataset', repo / 'tools/convert_dataset.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return lambda *args: run_command(module.main, [*map(str, args)])


def write_image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.zeros((100, 100, 3), np.uint8))


def test_mpii(convert: Convert, tmp_path: Path) -> None:
    write_image(tmp_path / 'images/a.jpg')
    person = dict(image='a.jpg', joints=SQUARE * 4, joints_vis=[1] * 16, center=[35, 40], scale=0.3)
    (tmp_path / 'mpii_train.json').write_text(json.dumps([person]))
    args = ('mpii', '--annotations', tmp_path / 'mpii_train.json', '--images', tmp_path / 'images', '--out', tmp_path)
    assert convert(*args) == 0
    assert len(CocoKeypointDataset('person_keypoints_train.json', 'mpii16', data_root=str(tmp_path))) == 1
    assert convert(*args) == 2  # there is such a file now
    assert convert(*args, '--overwrite') == 0
    assert convert(*args, '--overwrite', '--head-boxes', 'gt.mat') == 2  # without --val


def test_rhd(convert: Convert, tmp_path: Path) -> None:
    write_image(tmp_path / 'training/color/00003.png')
    uv_vis = np.ones((42, 3))
    uv_vis[:21, :2] = np.array(SQUARE)[np.arange(21) % 4]
    (tmp_path / 'training/anno_training.pickle').write_bytes(pickle.dumps({3: dict(uv_vis=uv_vis)}))
    assert convert('rhd', '--root', tmp_path, '--out', tmp_path / 'annotations') == 0
    dataset = CocoKeypointDataset('annotations/rhd_train.json', 'rhd21', data_root=str(tmp_path), data_prefix=dict(img=''))
    assert [Path(item['img_path']).exists() for item in dataset] == [True]
    assert convert('rhd', '--root', tmp_path / 'annotations', '--out', tmp_path) == 2


@pytest.mark.parametrize(
    ('command', 'meta', 'keypoints'),
    [
        ('wholebody', 'wholebody133', dict(keypoints=[9, 9, 2] * 17, face_kpts=[10, 20, 2] * 68)),
        ('halpe', 'halpe26', dict(keypoints=[9, 9, 2] * 136)),
    ],
)
def test_parts_of_coco_files(convert: Convert, tmp_path: Path, command: str, meta: str, keypoints: dict) -> None:
    person = dict(id=1, image_id=1, category_id=1, bbox=[5, 5, 40, 50], **keypoints)
    for name in ('train.json', 'val.json'):
        content = dict(images=[dict(id=1, file_name='1.jpg', width=100, height=100)], annotations=[person], categories=[])
        (tmp_path / name).write_text(json.dumps(content))
    assert convert(command, '--annotations', tmp_path / 'train.json', tmp_path / 'val.json', '--out', tmp_path / 'out') == 0
    for name in ('train.json', 'val.json'):
        assert len(CocoKeypointDataset(name, meta, data_root=str(tmp_path / 'out'))) == 1
    assert convert(command, '--annotations', tmp_path / 'absent.json', '--out', tmp_path / 'out') == 2
