"""A training run of seconds: a thin ResNet-18 on a few synthetic people, and the command lines called in this process."""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from mmpose_lite.apis.cli import run_command
from mmpose_lite.engine.config import load_config
from mmpose_lite.engine.runner import Runner
from tests.conftest import REPO

NUM_TRAIN, NUM_VAL = 6, 5  # images


def write_config(folder: Path, text: str = '') -> Path:
    """Write a config that trains for 2 epochs of a few iterations each; `text` is added at its end. Its data lie beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / 'tiny.py'
    path.write_text(
        f"""
_base_ = {str(REPO / 'configs' / '_base_' / 'default_runtime.py')!r}
custom_imports = dict(imports=['tests.parts'])
meta = 'coco17'
data_root = {str(folder / 'people')!r}
recipe = dict(num_train={NUM_TRAIN}, num_val={NUM_VAL}, image_size=(96, 64), max_people=2)
codec = dict(type='HeatmapCodec', input_size=(64, 64), heatmap_size=(16, 16), sigma=1.0)
model = dict(
    type='TopdownPoseEstimator',
    backbone=dict(type='ResNet', depth=18, stem_channels=16, base_channels=16),
    head=dict(
        type='HeatmapHead',
        in_channels=128,
        deconv_out_channels=(16, 16, 16),
        loss=dict(type='KeypointMSELoss', use_target_weight=True),
        codec=codec))
crop = [dict(type='TopdownAffine', input_size=(64, 64)), dict(type='PackPoseInputs')]
box = [dict(type='LoadImage'), dict(type='GetBBoxCenterScale')]
train_dataloader = dict(
    batch_size=2,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='SyntheticPeopleDataset', split='train', indices=6, **recipe,
        pipeline=box + [dict(type='RandomFlip'), dict(type='RandomBBoxTransform')] + crop))
val_dataloader = dict(
    batch_size=2,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='SyntheticPeopleDataset', split='val', indices=5, test_mode=True, **recipe, pipeline=box + crop))
test_dataloader = val_dataloader
val_evaluator = [dict(type='PCKAccuracy', thr=0.3)]
test_evaluator = val_evaluator
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=2)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=1e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=4),
    dict(type='CosineAnnealingLR', by_epoch=True, T_max=4, convert_to_iter_based=True)]
default_hooks = dict(logger=dict(interval=1), draw=None, summary=None)  # pictures take longer than the training
randomness = dict(seed=3)
{text}
"""
    )
    return path


def options(values: Mapping[str, Any]) -> list[str]:
    """Return `--cfg-options` arguments."""
    return ['--cfg-options', *(f'{key}={value!r}' for key, value in values.items())] if values else []


def call(tool: str, *args: object) -> int:
    """Call `tools/{tool}.py` in this process, and return its exit code."""
    spec = importlib.util.spec_from_file_location(f'tool_{tool}', REPO / 'tools' / f'{tool}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    device = [] if '--device' in args or tool == 'print_config' else ['--device', 'cpu']
    return run_command(module.main, [*map(str, args), *device])


def train(config: Path, work_dir: Path, *args: object, **cfg_options: Any) -> int:
    """Call tools/train.py in this process; `cfg_options` with __ for the dots."""
    values = {key.replace('__', '.'): value for key, value in cfg_options.items()}
    return call('train', config, '--work-dir', work_dir, *args, *options(values))


def start(tool: str, *args: object) -> subprocess.CompletedProcess:
    """Call `tools/{tool}.py` in a process of its own."""
    command = [sys.executable, str(REPO / 'tools' / f'{tool}.py'), *map(str, args)]
    env = {**os.environ, 'OMP_NUM_THREADS': '1'}
    return subprocess.run(command, capture_output=True, text=True, timeout=400, cwd=REPO, env=env)


def make_runner(config: Path, work_dir: Path, **cfg_options: Any) -> Runner:
    """Return the runner of a config."""
    cfg = load_config(config, {key.replace('__', '.'): value for key, value in cfg_options.items()})
    cfg.work_dir = str(work_dir)
    return Runner.from_cfg(cfg)


def rows(work_dir: Path, split: str = 'train') -> list[dict[str, Any]]:
    """Return the rows of log.jsonl of a split."""
    lines = [json.loads(line) for line in (work_dir / 'log.jsonl').read_text().splitlines()]
    return [line for line in lines if line['split'] == split]


def losses(work_dir: Path) -> list[tuple[int, float, float]]:
    """Return (iteration, loss, learning rate) of every training row."""
    return [(row['iter'], row['loss'], row['lr']) for row in rows(work_dir)]


def weights(path: Path, key: str = 'state_dict') -> dict[str, torch.Tensor]:
    """Return the weights in a checkpoint, read by torch alone."""
    return torch.load(path, weights_only=True)[key]


def assert_same_weights(first: Path, second: Path, keys: Sequence[str] = ('state_dict',)) -> None:
    """Assert that two checkpoints are equal to the last bit."""
    for key in keys:
        ours, theirs = weights(first, key), weights(second, key)
        assert ours.keys() == theirs.keys()
        different = [name for name in ours if not torch.equal(torch.as_tensor(ours[name]), torch.as_tensor(theirs[name]))]
        assert not different, different
