import json
import os
from pathlib import Path

import numpy as np
import pytest

from mmpose_lite.datasets import synthetic
from mmpose_lite.registry import DATASETS
from mmpose_lite.structures import KeypointMeta

RECIPE = dict(num_train=3, num_val=2, image_size=(96, 80), seed=1, max_people=2)


def build(folder: Path, split: str = 'train', **options: object) -> object:
    cfg = dict(type='SyntheticPeopleDataset', split=split, data_root=str(folder / 'people'), **RECIPE)
    return DATASETS.build({**cfg, **options})


def test_draws_once_and_reads_both_splits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = [
        *(dict(type='LoadImage'), dict(type='GetBBoxCenterScale'), dict(type='TopdownAffine', input_size=(24, 32))),
        dict(type='PackPoseInputs'),
    ]
    train = build(tmp_path, pipeline=pipeline)
    monkeypatch.setattr(synthetic, '_write_split', lambda *args: pytest.fail('drawn again'))
    val = build(tmp_path, 'val', test_mode=True)
    assert train.metainfo['keypoint_meta'] == KeypointMeta.load('coco17')
    assert train.metainfo['ann_file'].endswith('person_keypoints_train.json')
    assert {os.path.dirname(item['img_path']) for item in val} == {str(tmp_path / 'people' / 'images' / 'val')}
    assert 1 <= len({item['img_id'] for item in val}) <= 2
    for sample in train:
        assert sample['inputs'].any()
        assert sample['metainfo']['ori_shape'] == (80, 96)
        assert sample['instances']['keypoints'].shape == (1, 17, 2)
    assert len(build(tmp_path, indices=1)) == 1
    with pytest.raises(ValueError, match='`seed` is 1 there and 2 here'):
        build(tmp_path, seed=2)


def test_only_the_main_process_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthetic, 'is_main_process', lambda: False)
    monkeypatch.setattr(synthetic, 'render_people', lambda *args, **options: pytest.fail('drawn'))
    with pytest.raises(FileNotFoundError, match=r'person_keypoints_train\.json'):
        build(tmp_path)


def test_others_do_not_wait_for_a_main_process_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    met = []
    monkeypatch.setattr(synthetic, 'barrier', lambda: met.append(True))
    with pytest.raises(ValueError, match='`num_train` must be at least 1, got 0'):
        build(tmp_path, num_train=0)
    assert met == [True]


def test_wrong_arguments(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="`split` must be 'train' or 'val', got 'test'"):
        build(tmp_path, 'test')
    with pytest.raises(ValueError, match='`num_train` must be at least 1, got 0'):
        build(tmp_path, num_train=0)
    assert not (tmp_path / 'people').exists()


def test_people_as_objects_with_masks(tmp_path: Path) -> None:
    cfg = dict(type='SyntheticPeopleDetection', data_root=str(tmp_path / 'people'), num_train=3, num_val=2, image_size=(96, 80))
    train = DATASETS.build(dict(cfg, split='train', with_masks=True, pipeline=[dict(type='LoadImage'), dict(type='LoadMasks')]))
    content = json.loads((tmp_path / 'people' / 'annotations' / 'person_keypoints_train.json').read_text())
    assert train.metainfo['class_meta'].classes == ('person',)
    assert len(train) == 3
    for item in train:
        people = [a for a in content['annotations'] if a['image_id'] == item['img_id']]
        assert len(people) == len(item['bboxes']) == len(item['masks']) > 0
        assert [int(mask.sum()) for mask in item['masks']] == [a['area'] for a in people]
        for mask, (x, y, X, Y) in zip(item['masks'], item['bboxes']):
            columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
            assert [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1] == [x, y, X, Y]
    assert len(DATASETS.build(dict(cfg, split='val', test_mode=True))) == 2
    with pytest.raises(ValueError, match="SyntheticPeopleDetection: `split` must be 'train' or 'val', got 'test'"):
        DATASETS.build(dict(cfg, split='test'))
