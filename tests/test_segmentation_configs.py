"""Every config of segmentation is built in full, on made-up images and masks; small networks run as well."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from mmpose_lite.engine.config import SPLITS, load_config
from mmpose_lite.engine.runner import Runner
from mmpose_lite.registry import MODELS
from mmpose_lite.structures import ClassMeta
from tests.conftest import REPO

CONFIGS = sorted((REPO / 'configs' / 'segmentation').rglob('*.py'))
NAMES = [path.stem for path in CONFIGS]
SIZES = dict(cityscapes=(512, 256), voc2012=(120, 90), person=(120, 90), custom=(120, 90))  # (w, h) of the made-up images
# These change the network of another config, and nothing of its data and schedule, which are large and tested there.
VARIANTS = [path for path in CONFIGS if path.stem.endswith('cityscapes') and "_base_ = './" in path.read_text()]
WHOLE = [path for path in CONFIGS if path not in VARIANTS]
LARGE = 15e6  # parameters; larger networks are built, smaller ones run as well, to keep the suite short


def write_images(dataset: Any, meta: ClassMeta) -> None:
    """Write two images with all classes in their masks, where and as a dataset config reads them."""
    rng = np.random.default_rng(0)
    root, prefix = Path(dataset.data_root), dataset.get('data_prefix') or dict(img='images', seg_map='masks')
    w, h = SIZES[meta.name]
    names = ['one', 'two']
    for name in names:
        labels = np.kron(rng.permutation(np.arange(24) % meta.num_classes).reshape(4, 6), np.ones((h // 4 + 1, w // 6 + 1)))
        image = rng.integers(0, 256, (h, w, 3), dtype=np.uint8)
        for folder, suffix, pixels in (
            (prefix['img'], dataset.get('img_suffix') or '.jpg', image),
            (prefix['seg_map'], dataset.get('seg_map_suffix', '.png'), labels[:h, :w].astype(np.uint8)),
        ):
            path = root / folder / f'{name}{suffix}'
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    if dataset.get('ann_file'):
        path = root / dataset.ann_file
        path.parent.mkdir(parents=True, exist_ok=True)
        listed = json.dumps(dict(images=[dict(id=i, file_name=f'{n}.jpg') for i, n in enumerate(names)], annotations=[]))
        path.write_text(listed if path.suffix == '.json' else '\n'.join(names))


def load(path: Path, folder: Path) -> Config:
    """Read a config, move its data to `folder` as a user would, and put a little data there."""
    cfg = load_config(path, {'data_root': str(folder / 'data')})
    for split in SPLITS:
        loader = cfg[f'{split}_dataloader']
        loader.batch_size, loader.num_workers = 2 if split == 'train' else 1, 0
        dataset = loader.dataset
        assert dataset.data_root == str(folder / 'data'), 'one option moves the data'
        if 'num_train' in dataset:
            dataset.num_train = dataset.num_val = 2
        else:
            write_images(dataset, ClassMeta.load(cfg.meta))
    cfg.work_dir = str(folder / 'work_dir')
    return cfg


def test_the_published_networks_have_configs() -> None:
    networks = ('fcn', 'pspnet', 'deeplabv3', 'deeplabv3plus')
    wanted = {f'{n}_resnet50_d8_cityscapes' for n in networks} | {'unet_s5_d16_cityscapes', 'hrnet_w18_fcn_cityscapes'}
    assert wanted <= set(NAMES)


@pytest.mark.parametrize('path', VARIANTS, ids=lambda path: path.stem)
def test_variant(path: Path) -> None:
    """The network is built, its heads fit its maps, and all but the network is that of the config it stands on."""
    base = path.parent / re.search(r"_base_ = '\./(\w+\.py)'", path.read_text())[1]
    ours, theirs = (load_config(file).to_dict() for file in (path, base))
    with torch.device('meta'):
        networks = [MODELS.build(cfg.pop('model')) for cfg in (ours, theirs)]
    sizes = [sum(parameter.numel() for parameter in network.parameters()) for network in networks]
    assert sizes[0] != sizes[1], 'another depth or width'
    network = networks[0].to_empty(device='cpu').eval()
    with torch.no_grad():
        assert network(torch.zeros(1, 3, 64, 64)).shape[1] == network.class_meta.num_classes
    changed = {key for key in ours if ours[key] != theirs.get(key)}
    assert changed <= {'channels'}, changed


SIZES_OF_DATA = dict(pennfudan=119)  # images to train on, where the config says which


@pytest.mark.parametrize('path', WHOLE, ids=lambda path: path.stem)
def test_no_batch_of_one_image_reaches_the_mean_of_a_map(path: Path) -> None:
    """Batch norm cannot learn from one value, so an epoch must not end with one image."""
    cfg = load_config(path)
    if cfg.model.decode_head.type not in ('ASPPHead', 'DepthwiseSeparableASPPHead', 'PSPHead'):
        return
    loader = cfg.train_dataloader
    number = SIZES_OF_DATA.get(Path(cfg.data_root).name)
    known = number is not None and number % loader.batch_size != 1
    assert loader.sampler.type == 'InfiniteSampler' or loader.get('drop_last') or known


@pytest.mark.parametrize('path', WHOLE, ids=lambda path: path.stem)
def test_config(path: Path, tmp_path: Path) -> None:
    cfg = load(path, tmp_path)
    meta = ClassMeta.load(cfg.meta)
    runner = Runner.from_cfg(cfg)
    model = runner.model
    assert model.class_meta == meta
    assert runner.train_loop.dataloader is runner.train_dataloader
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    runner.build_param_scheduler(cfg.param_scheduler)
    batch = next(iter(runner.train_dataloader))
    labels = batch['data_samples'].gt_seg_map
    assert labels.dtype == np.uint8
    assert batch['inputs'].shape[2:] == labels.shape[1:]
    match = re.search(r'_(\d+)x(\d+)$', path.stem)
    assert match is None or labels.shape[1:] == (int(match[1]), int(match[2])), 'a name says height x width'

    evaluator = runner.val_loop.evaluator
    val_batch = next(iter(runner.val_dataloader))
    if sum(parameter.numel() for parameter in model.parameters()) > LARGE or meta.name == 'cityscapes':
        return
    with torch.no_grad():
        data = model.data_preprocessor(batch, training=True)
        losses = model.train()(**data, mode='loss')
        assert all(torch.isfinite(value).all() for value in losses.values()), losses
        model.eval()
        samples = model.val_step(val_batch)
    assert [sample.pred_seg_map.shape for sample in samples] == [sample.gt_seg_map.shape for sample in samples]
    evaluator.process(data_samples=samples, data_batch=val_batch)
    assert 0 <= evaluator.evaluate(1)['seg/mIoU'] <= 1
