"""Every config of detection is built in full and runs, on small images with made-up objects; of one network in several sizes one.

The tensors of the others are those of published weights: tests/zoo/test_index.py.
"""

import json
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config

from mmpose_lite.engine.config import SPLITS, load_config
from mmpose_lite.engine.runner import Runner
from mmpose_lite.structures import ClassMeta
from tests.conftest import REPO

FOLDER = REPO / 'configs' / 'detection'


def is_larger_or_smaller(path: Path) -> bool:
    """Return whether a config inherits another one and changes nothing but the size of its network, and what that begins with."""
    base = re.search(r"^_base_ = '\./(\w+\.py)'", path.read_text(), flags=re.MULTILINE)
    if base is None:
        return False
    sizeless = []
    for cfg in (load_config(path), load_config(FOLDER / base[1])):
        for key in ('depth', 'groups', 'width_per_group', 'extra', 'init_cfg'):
            cfg.model.backbone.pop(key, None)
        for neck in cfg.model.neck if isinstance(cfg.model.neck, list) else [cfg.model.neck]:
            neck.pop('in_channels')
        sizeless.append(cfg.to_dict())
    return sizeless[0] == sizeless[1]


CONFIGS = [path for path in sorted(FOLDER.rglob('*.py')) if not is_larger_or_smaller(path)]
NAMES = [path.stem for path in CONFIGS]
SIZE = (160, 120)  # (w, h) of the made-up images
BOXES = ((20, 10, 60, 80), (90, 30, 40, 60))  # xywh


def write_objects(dataset: Any, meta: ClassMeta) -> None:
    """Write two images with two objects each, where and as a dataset config reads them."""
    rng = np.random.default_rng(0)
    root, prefix = Path(dataset.data_root), dataset.get('data_prefix') or dict(img='images')
    images, annotations = [], []
    for number in (1, 2):
        name = f'{number:06d}.jpg'
        file = root / prefix['img'] / name
        file.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(file), rng.integers(0, 256, (*SIZE[::-1], 3), dtype=np.uint8))
        if 'seg' in prefix:
            (root / prefix['seg']).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(root / prefix['seg'] / f'{number:06d}.png'), rng.integers(0, 90, SIZE[::-1], dtype=np.uint8))
        images.append(dict(id=number, file_name=name, width=SIZE[0], height=SIZE[1]))
        for k, (x, y, w, h) in enumerate(BOXES):
            polygon = [x, y, x + w, y, x + w, y + h, x, y + h]
            annotations.append(
                dict(id=10 * number + k, image_id=number, category_id=1 + k % meta.num_classes, bbox=[x, y, w, h])
                | dict(area=w * h, iscrowd=0, segmentation=[polygon])
            )
    categories = [dict(id=i + 1, name=name) for i, name in enumerate(meta.classes)]
    path = root / dataset.ann_file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(dict(images=images, annotations=annotations, categories=categories)))


def load(path: Path, folder: Path) -> Config:
    """Read a config, move its data to `folder` as a user would, and put a little data there."""
    cfg = load_config(path, {'data_root': str(folder / 'data')})
    meta = ClassMeta.load(cfg.meta)
    for split in SPLITS:
        loader = cfg[f'{split}_dataloader']
        loader.batch_size, loader.num_workers = 2 if split == 'train' else 1, 0
        for step in loader.dataset.pipeline:
            if step.type == 'DetResize':
                step.scale = SIZE
        assert loader.dataset.data_root == str(folder / 'data'), 'one option moves the data'
        if 'num_train' in loader.dataset:
            loader.dataset.num_train = loader.dataset.num_val = 2
        else:
            write_objects(loader.dataset, meta)
    cfg.work_dir = str(folder / 'work_dir')
    if 'rpn_head' in cfg.model:  # heads of 1024 channels are slow on a thousand boxes
        cfg.model.rpn_head.max_per_img_train = cfg.model.rpn_head.max_per_img = 50
        cfg.model.roi_head.max_per_img = 10
    return cfg


@pytest.mark.parametrize('path', CONFIGS, ids=NAMES)
def test_config(path: Path, tmp_path: Path) -> None:
    cfg = load(path, tmp_path)
    meta = ClassMeta.load(cfg.meta)
    runner = Runner.from_cfg(cfg)
    model = runner.model
    assert model.class_meta == meta
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    runner.build_param_scheduler(cfg.param_scheduler)
    batch = next(iter(runner.train_dataloader))
    assert batch['data_samples'].bboxes_input.shape[1] == 4
    assert ('masks' in batch['data_samples']) == any('mask_head' in name for name, _ in model.named_modules())
    evaluator, val_batch = runner.val_loop.evaluator, next(iter(runner.val_dataloader))
    data = model.data_preprocessor(batch, training=True)
    with torch.no_grad():
        losses = model.train()(**data, mode='loss')
        assert all(torch.isfinite(value).all() for value in losses.values()), losses
        model.eval()
        samples = model.val_step(val_batch)
    assert len(samples) == 1
    evaluator.process(data_samples=samples, data_batch=val_batch)


# What mmdet sets for the second stage of these networks: whether an object gets its best box in any case, and the loss on boxes.
SECOND_STAGES = {
    'faster_rcnn_resnet50_fpn_coco': (False, 'L1Loss'),
    'faster_rcnn_resnet50_mdconv_fpn_coco': (False, 'L1Loss'),
    'faster_rcnn_resnet50_dpool_fpn_coco': (False, 'L1Loss'),
    'faster_rcnn_hrnetv2p_w32_coco': (False, 'L1Loss'),
    'ga_faster_rcnn_resnet50_fpn_coco': (False, 'L1Loss'),
    'libra_faster_rcnn_resnet50_fpn_coco': (False, 'BalancedL1Loss'),
    'libra_faster_rcnn_x101_64x4d_fpn_coco': (False, 'BalancedL1Loss'),
    'cascade_rcnn_resnet50_fpn_coco': (False, 'SmoothL1Loss'),
    'cascade_mask_rcnn_x101_64x4d_dcn_fpn_coco': (False, 'SmoothL1Loss'),
    'mask_rcnn_resnet50_fpn_coco': (True, 'L1Loss'),
    'htc_resnet50_fpn_coco': (True, 'SmoothL1Loss'),
}


@pytest.mark.parametrize('name', SECOND_STAGES)
def test_second_stages_train_as_those_of_the_reference(name: str) -> None:
    roi_head = load_config(REPO / f'configs/detection/{name}.py').model.roi_head
    assigners, heads = (part if isinstance(part, list) else [part] for part in (roi_head.assigner, roi_head.bbox_head))
    found = {(a.get('match_low_quality', True), h.loss_bbox.type) for a, h in zip(assigners, heads, strict=True)}
    assert found == {SECOND_STAGES[name]}
