"""The files and configs for one's own data that docs/own_data.md and docs/detection.md show fit together."""

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config

from mmpose_lite.apis.check import check_config
from mmpose_lite.engine.config import load_config
from mmpose_lite.registry import DATASETS, METRICS, MODELS
from mmpose_lite.structures import ClassMeta
from tests.conftest import REPO
from tests.voc_folder import write_voc


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf'^```{language}\n(.*?)^```$', (REPO / 'docs' / page).read_text(), re.MULTILINE | re.DOTALL)


def config(tmp_path: Path, text: str, data: str, meta: str) -> Config:
    """Read a config of a page, whose base is in the checkout, with its data and meta in the folder."""
    path = tmp_path / 'own.py'
    for old, new in (("_base_ = '", f"_base_ = '{REPO}/configs/"), (meta, f'{tmp_path}/meta.json'), (data, str(tmp_path))):
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)
    return load_config(path)


def write(folder: Path, meta: str, content: dict, *names: str) -> None:
    (folder / 'images').mkdir()
    for image in content['images']:
        cv2.imwrite(str(folder / 'images' / image['file_name']), np.zeros((image['height'], image['width'], 3), np.uint8))
    (folder / 'meta.json').write_text(meta)
    for name in names:
        (folder / name).write_text(json.dumps(content))


def test_keypoints(tmp_path: Path) -> None:
    meta, annotations = blocks('own_data.md', 'json')
    content = json.loads(annotations)
    write(tmp_path, meta, content, 'person_keypoints_train.json', 'person_keypoints_val.json')
    text = next(block.split('"""')[1] for block in blocks('own_data.md', 'python') if '_base_' in block)
    cfg = config(tmp_path, text, 'data/cats', 'data/cats/meta.json')
    sample = DATASETS.build(cfg.train_dataloader.dataset).get_data_info(0)
    assert sample['keypoints'].shape == (1, 6, 2)
    assert sample['keypoints_visible'].tolist() == [[1, 1, 1, 0, 1, 1]]
    assert MODELS.build(cfg.model).meta.keypoints[5] == 'tail'
    for metric in cfg.val_evaluator:
        METRICS.build(metric)
    assert all(report.ok for report in check_config(cfg, ['train', 'val'], 'full').values())
    assert cfg.train_cfg.max_epochs > cfg.param_scheduler[1].milestones[-1]


@pytest.mark.parametrize('with_masks', [False, True])
def test_objects(with_masks: bool, tmp_path: Path) -> None:
    (meta,) = blocks('detection.md', 'json')
    ids = json.loads(meta)['category_ids']
    assert ClassMeta.from_dict(json.loads(meta)).category_ids == tuple(ids)
    content = dict(
        images=[dict(id=3, file_name='a.jpg', width=64, height=48)],
        annotations=[
            dict(id=1, image_id=3, category_id=ids[2], bbox=[4, 6, 20, 30], area=600, iscrowd=0)
            | dict(segmentation=[[4, 6, 24, 6, 24, 36, 4, 36]])
        ],
        categories=[dict(id=i, name=name) for i, name in zip(ids, json.loads(meta)['classes'])],
    )
    write(tmp_path, meta, content, 'instances_train.json', 'instances_val.json')
    boxes = next(block.split('"""')[1] for block in blocks('detection.md', 'python') if '_base_' in block)
    masks = next(block for block in blocks('detection.md', 'text') if '_base_' in block)
    cfg = config(tmp_path, masks if with_masks else boxes, 'data/pets', 'data/pets/classes.json')
    for split in ('train', 'val', 'test'):
        dataset = DATASETS.build(cfg[f'{split}_dataloader'].dataset)
        assert dataset.metainfo['class_meta'].classes == ('cat', 'dog', 'bird')
        assert dataset.get_data_info(0)['labels'].tolist() == [2]
    assert dataset[0]['inputs'].shape[2] == 3
    assert METRICS.build(cfg.test_evaluator[0]).ann_file == tmp_path / 'instances_val.json'
    assert all(report.ok for report in check_config(cfg, ['train', 'val'], 'full').values())


def test_objects_in_the_layout_of_voc(tmp_path: Path) -> None:
    """What the page says in a sentence: a type and a list for each split, the metric, and what the best checkpoint follows."""
    page = (REPO / 'docs' / 'detection.md').read_text()
    dataset, metric = "dict(type='VOCDetectionDataset', ann_file='ImageSets/Main/train.txt')", "[dict(type='VOCMetric')]"
    assert f'`dataset={dataset}`' in page
    assert f'`val_evaluator = {metric}`' in page
    write_voc(tmp_path).rename(tmp_path / 'ImageSets' / 'Main' / 'train.txt')
    (tmp_path / 'meta.json').write_text('{"classes": ["dog", "cat"]}')
    text = next(block.split('"""')[1] for block in blocks('detection.md', 'python') if '_base_' in block)
    text += f'train_dataloader = dict(dataset={dataset})\nval_dataloader = train_dataloader\nval_evaluator = {metric}\n'
    cfg = config(tmp_path, text, 'data/pets', 'data/pets/classes.json')
    assert DATASETS.build(cfg.val_dataloader.dataset)[0]['inputs'].shape[2] == 3
    assert METRICS.build(cfg.val_evaluator[0]).ann_file == tmp_path / 'ImageSets' / 'Main' / 'train.txt'
