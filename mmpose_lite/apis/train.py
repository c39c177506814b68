"""Training and testing a config."""

import logging
from collections import Counter
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.logging import print_log

from mmpose_lite.apis.check import check_config
from mmpose_lite.engine.config import ConfigError, check_host_parts, takes
from mmpose_lite.engine.launch import raise_together
from mmpose_lite.engine.runner import Runner
from mmpose_lite.engine.work_dir import latest_checkpoint, make_work_dir, resume_seed
from mmpose_lite.errors import RunError
from mmpose_lite.registry import LOOPS
from mmpose_lite.zoo.names import find_checkpoint


class DataError(RunError):
    """The data of a config has defects that training would stumble over."""


def train(cfg: Config) -> Runner:
    """Train what the config describes, and return the runner: its `model`, its `work_dir` with metrics.json.

    The annotations are checked first, in seconds; `tools/check_dataset.py` does it thoroughly.

    Args:
        cfg: of `load_config`, with `work_dir` set; `resume=True` goes on from `load_from` or the newest checkpoint there,
            `resume='auto'` from the newest, and where there is none the training begins, from the weights of `load_from`, which
            may be the name of published ones.

    Raises:
        ConfigError: the config does not train.
        DataError: the annotations have defects.
        NonFiniteLossError: a loss became NaN or infinite.
    """
    missing = [key for key in ('model', 'train_dataloader', 'train_cfg', 'optim_wrapper', 'work_dir') if cfg.get(key) is None]
    if missing:
        raise ConfigError(f'{cfg.filename}: training needs {", ".join(f"`{key}`" for key in missing)}.')
    for split in ('val', 'test'):
        keys = [f'{split}_{part}' for part in ('dataloader', 'cfg', 'evaluator')]
        missing = [key for key in keys if cfg.get(key) is None]
        if 0 < len(missing) < len(keys):
            raise ConfigError(f'{cfg.filename}: of {keys} all must be given, or none; `{"`, `".join(missing)}` is missing.')
    check_host_parts(cfg)
    make_work_dir(cfg.work_dir)
    is_to_resume = bool(cfg.get('resume'))
    if is_to_resume:
        _find_resumed(cfg)
    if cfg.get('load_from'):
        cfg.load_from = str(find_checkpoint(cfg.load_from))
    if is_to_resume and cfg.resume and (cfg.get('randomness') or {}).get('seed') is None:
        seed = resume_seed(cfg.load_from, trust=cfg.get('trust_checkpoints', False))
        if seed is not None:
            cfg.randomness = {**(cfg.get('randomness') or {}), 'seed': seed}
    check_before_training(cfg)
    runner = Runner.from_cfg(cfg)
    if is_to_resume and not cfg.resume:
        runner.logger.warning(f'--resume: no checkpoint in {cfg.work_dir} yet; training starts from the beginning.')
    runner.train()
    return runner


def _find_resumed(cfg: Config) -> None:
    """Put the checkpoint to go on from into `load_from`; where there is none yet, the training begins."""
    newest = latest_checkpoint(Path(cfg.work_dir))
    source = newest if cfg.resume == 'auto' else cfg.get('load_from') or newest
    cfg.resume = source is not None
    if cfg.resume:
        cfg.load_from = str(source)


def use_amp(cfg: Config) -> None:
    """Train and evaluate in bfloat16 autocast, as `--amp` asks; loops of one's own that have no `amp` stay as they are."""
    if cfg.get('optim_wrapper') is not None:
        cfg.optim_wrapper.type = 'AutocastOptimWrapper'
    for key, default in (('val_cfg', 'ValLoop'), ('test_cfg', 'TestLoop')):
        loop = cfg.get(key)
        if loop is not None and takes(LOOPS, {'type': default, **loop}, 'amp'):
            loop['amp'] = True


def check_before_training(cfg: Config) -> None:
    """Run the fast checks on the training and validation data; in every process, since a dataset may make its files in step.

    Raises:
        DataError: there are errors, in this process or another; the tables are in the text.
    """
    raise_together(_data_error(cfg))


def _data_error(cfg: Config) -> DataError | ConfigError | None:
    splits = ['train'] if cfg.get('val_dataloader') is None else ['train', 'val']
    try:
        reports = check_config(cfg, splits, 'fast')
    except ConfigError as error:
        return error
    except ValueError as error:  # a file so broken that there is nothing to report on
        return DataError(str(error))
    for split, report in reports.items():
        if not report.ok:
            return DataError(f'the {split} data of {cfg.filename} has defects:\n{report.table()}')
        counts: Counter[str] = Counter()
        for finding in report.warnings:
            counts[finding.code] += getattr(finding, 'count', 1)  # of labels each finding is of one file
        del counts['empty-image']  # costs time only
        if counts:
            some = ', '.join(f'{code} ({count})' for code, count in counts.items())
            print_log(
                f'The {split} data may have defects: {some}. tools/check_dataset.py says which and what to do.',
                'current',
                logging.WARNING,
            )
    return None


def test(cfg: Config, checkpoint: str | Path) -> dict[str, Any]:
    """Evaluate a checkpoint on the config's test split, and return the metrics.

    Raises:
        ConfigError: the config has no test split, or the checkpoint does not fit every tensor of the model.
    """
    missing = [key for key in ('model', 'test_dataloader', 'test_evaluator', 'work_dir') if cfg.get(key) is None]
    if missing:
        raise ConfigError(f'{cfg.filename}: testing needs {", ".join(f"`{key}`" for key in missing)}.')
    check_host_parts(cfg)
    make_work_dir(cfg.work_dir)
    for key in (
        'train_dataloader',
        'train_cfg',
        'optim_wrapper',
        'param_scheduler',
        'val_dataloader',
        'val_cfg',
        'val_evaluator',
    ):
        cfg.pop(key, None)
    cfg.load_from, cfg.load_min_match, cfg.resume = str(checkpoint), 1.0, False
    return Runner.from_cfg(cfg).test()
