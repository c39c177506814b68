"""Every file under configs/ is built in full, on made-up people: a misspelt key is caught here. Small networks run as well."""

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from torch.utils._pytree import tree_flatten

from mmpose_lite.engine.config import SPLITS, load_config, takes
from mmpose_lite.engine.runner import Runner
from mmpose_lite.registry import DATASETS
from mmpose_lite.structures import KeypointMeta
from tests.conftest import REPO

OTHERS = {'_base_', 'detection', 'segmentation'}  # bases, and what has a test of its own
CONFIGS = sorted(path for path in (REPO / 'configs').rglob('*.py') if not OTHERS & set(path.parts))
NUM_IMAGES = 2
LARGE = 2e12  # parameters times pixels of the input; of larger networks only the shapes are computed, to keep the suite short
_networks_that_ran: set[str] = set()


def datasets(cfg: Any) -> Iterator[Any]:
    """Yield the datasets inside wrappers."""
    inner = [*cfg.get('datasets', ()), *([cfg['dataset']] if 'dataset' in cfg else ())]
    for part in inner:
        yield from datasets(part)
    if not inner:
        yield cfg


def write_people(dataset: Any) -> None:
    """Write what a dataset config reads: noise images, one fully labelled person on each, and a detector's boxes."""
    rng = np.random.default_rng(0)
    root = Path(dataset.data_root)
    K = KeypointMeta.load(dataset.meta).num_keypoints
    images, annotations, boxes = [], [], []
    for number in range(1, NUM_IMAGES + 1):
        name = f'{number:06d}.jpg'
        file = root / dataset.get('data_prefix', {}).get('img', 'images') / name
        file.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(file), rng.integers(0, 256, (120, 160, 3), dtype=np.uint8))
        points = np.column_stack((rng.uniform(40, 120, K), rng.uniform(20, 100, K), np.full(K, 2))).round(1)
        bbox = [35, 15, 90, 90]
        images.append(dict(id=number, file_name=name, width=160, height=120))
        annotations.append(
            dict(id=number, image_id=number, category_id=1, iscrowd=0, bbox=bbox, area=8100, num_keypoints=K, head_size=20)
            | dict(keypoints=points.ravel().tolist())
        )
        boxes.append(dict(image_id=number, category_id=1, bbox=bbox, score=0.9))
    categories = [dict(id=1, name='person', keypoints=[f'k{i}' for i in range(K)], skeleton=[])]
    content = dict(images=images, annotations=annotations, categories=categories)
    for name, value in ((dataset.ann_file, content), (dataset.get('bbox_file'), boxes)):
        if name:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(json.dumps(value))


def load(path: Path, folder: Path) -> Config:
    """Read a config, move its data to `folder` as a user would, and put a little data there."""
    cfg = load_config(path, {'data_root': str(folder / 'data')})
    for split in SPLITS:
        loader = cfg.get(f'{split}_dataloader')
        if loader is None:
            continue
        loader.batch_size, loader.num_workers = NUM_IMAGES, 0
        loader.pop('persistent_workers', None)
        loader.pop('prefetch_factor', None)
        for dataset in datasets(loader.dataset):
            assert dataset.data_root == str(folder / 'data'), (
                'a dataset takes `data_root` from the top level, so one option moves it'
            )
            if takes(DATASETS, dataset, 'num_train'):
                dataset.num_train = dataset.num_val = NUM_IMAGES
            else:
                write_people(dataset)
    cfg.work_dir = str(folder / 'work_dir')
    return cfg


def network_of(model: Any) -> str:
    """Return a model config as text, without what says how large its input is and which weights it starts from."""
    if isinstance(model, dict):
        left_out = ('init_cfg', 'input_size', 'heatmap_size', 'in_featuremap_size', 'sigma', 'meta')
        return str({key: network_of(value) for key, value in sorted(model.items()) if key not in left_out})
    return str([network_of(part) for part in model]) if isinstance(model, list | tuple) else repr(model)


def check_shapes(model: torch.nn.Module, codec: Any) -> None:
    """Run a network without numbers: its parts fit each other, and its maps fit the codec."""
    model.to('meta').eval()
    with torch.no_grad():
        maps = tree_flatten(model(torch.empty(1, 3, *codec.input_size[::-1], device='meta')))[0]
    if 'heatmap_size' in codec:
        assert tuple(codec.heatmap_size[::-1]) in {tuple(one.shape[-2:]) for one in maps}


def test_there_are_configs() -> None:
    assert REPO / 'configs' / 'quickstart.py' in CONFIGS


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.relative_to(REPO / 'configs').as_posix())
def test_config(path: Path, tmp_path: Path) -> None:
    cfg = load(path, tmp_path)
    if cfg.model.get('backbone', {}).get('type') == 'TimmBackbone':
        pytest.importorskip('timm')
    meta = KeypointMeta.load(cfg.meta)

    runner = Runner.from_cfg(cfg)
    model = runner.model
    assert runner.train_loop.dataloader is runner.train_dataloader
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    runner.build_param_scheduler(cfg.get('param_scheduler'))
    assert len(runner.test_dataloader.dataset) > 0

    evaluator = runner.val_loop.evaluator
    batch = next(iter(runner.train_dataloader))
    network = network_of(cfg.model.to_dict())
    if network in _networks_that_ran:
        return
    _networks_that_ran.add(network)
    if sum(parameter.numel() for parameter in model.parameters()) * math.prod(cfg.codec.input_size) > LARGE:
        check_shapes(model, cfg.codec)
        return
    with torch.no_grad():
        data = model.data_preprocessor(batch, training=True)
        model.train()
        losses = model(**data, mode='loss')
        assert any('loss' in name for name in losses)
        assert all(torch.isfinite(value).all() for value in losses.values()), losses
        model.eval()
        model(**data, mode='tensor')

    num_samples = 0
    for batch in runner.val_dataloader:
        with torch.no_grad():
            samples = model.val_step(batch)
        people = [sample for sample in samples if 'pred_instances' in sample]
        assert people
        for sample in people:
            keypoints = sample.pred_instances.keypoints
            assert keypoints.shape[1:] == (meta.num_keypoints, 2)
            assert np.isfinite(keypoints).all()
        evaluator.process(data_samples=people, data_batch=batch)
        num_samples += len(people)
    assert evaluator.evaluate(num_samples)


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.relative_to(REPO / 'configs').as_posix())
def test_name_tells_the_size(path: Path) -> None:
    """Names say height x width, as in mmpose; the code says (w, h)."""
    match = re.search(r'_(\d+)x(\d+)$', path.stem)
    cfg = load_config(path)
    if match and 'codec' in cfg:
        assert tuple(cfg.codec.input_size) == (int(match[2]), int(match[1]))


def test_a_misspelt_key_is_named(tmp_path: Path) -> None:
    cfg = load(REPO / 'configs' / 'quickstart.py', tmp_path)
    cfg.model.backbone.dept = 18
    with pytest.raises(TypeError, match=r'config key `model\.backbone`: \w+ has no argument `dept`; did you mean `depth`'):
        Runner.from_cfg(cfg)
