"""mmengine's Runner on today's torch: our registries, safe and atomic checkpoints, exact resume, CPU processes, channels-last."""

import copy
import itertools
import logging
import os
import time
import traceback
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import barrier, is_main_process
from mmengine.hooks import Hook
from mmengine.model import MMDistributedDataParallel, is_model_wrapper, revert_sync_batchnorm
from mmengine.runner import BaseLoop
from mmengine.runner import LogProcessor as MMEngineLogProcessor
from mmengine.runner import Runner as MMEngineRunner
from torch import nn
from torch.utils.data import DataLoader

from mmpose_lite.checkpoints.layouts import convert_to_fit
from mmpose_lite.checkpoints.plain import from_plain
from mmpose_lite.checkpoints.reading import load_checkpoint_file
from mmpose_lite.checkpoints.weights import extract_state_dict, load_state
from mmpose_lite.checkpoints.writing import save_checkpoint_atomic
from mmpose_lite.datasets.collate import build_collate, init_worker
from mmpose_lite.engine.config import hook_configs, metric_configs
from mmpose_lite.engine.evaluator import Evaluator
from mmpose_lite.engine.hooks.monitor import MonitorHook
from mmpose_lite.engine.hooks.progress import ProgressHook
from mmpose_lite.engine.memory import crashes_channels_last, keep_freed_memory
from mmpose_lite.engine.random_state import capture_rng_state, restore_rng_state
from mmpose_lite.engine.resuming import changes, restore_optimizer
from mmpose_lite.engine.schedulers import resume_scheduler, scheduler_state
from mmpose_lite.errors import ConfigError
from mmpose_lite.registry import DATA_SAMPLERS, DATASETS, HOOKS, METRICS, MODELS, SCOPE, PathError, Registry, check_arguments
from mmpose_lite.structures import ClassMeta
from mmpose_lite.version import __version__

# Sections of mmengine's start-up report that go to the log file only.
_FILE_ONLY = (
    'Hooks will be executed',
    'Distributed training is not used',
    '\n---',
    'Config:',
    '"FileClient"',
    '"HardDiskBackend"',
)

_MMENGINE_HOOKS = ('runtime_info', 'timer', 'sampler_seed', 'logger', 'param_scheduler', 'checkpoint')

_LOG_LEVELS = ('DEBUG', 'INFO', 'WARNING', 'ERROR', 'CRITICAL')
_RESUMED_INFO = ('best_', 'keep_ckpt_ids', 'early_stopping')

_run_numbers = itertools.count(1)


class LogProcessor(MMEngineLogProcessor):
    """mmengine's formatter of log lines; takes in the scalars still on the device before it reads them."""

    def get_log_after_iter(self, runner: Any, batch_idx: int, mode: str) -> tuple[dict, str]:
        """Return the scalars and the line of an iteration."""
        if mode == 'train':
            runner.drain_scalars()
        return super().get_log_after_iter(runner, batch_idx, mode)


class Runner(MMEngineRunner):
    """Trains, validates and tests what a config describes.

    Beside mmengine's keys a config may set `channels_last` (memory format, default True), `load_min_match` (least share of the
    model's tensors that `load_from` must fill, default 0.5), `load_revise_keys` (what to change in the names of a checkpoint, see
    `extract_state_dict`) and `trust_checkpoints` (read pickles with code, default False).
    """

    @classmethod
    def from_cfg(cls, cfg: Config) -> 'Runner':
        """Make the runner of a config that `load_config` read."""
        cfg = copy.deepcopy(cfg)
        log_level = cfg.get('log_level', 'INFO')
        if log_level not in _LOG_LEVELS:
            raise ConfigError(f'config key `log_level`: must be one of {_LOG_LEVELS}, got {log_level!r}.')
        keys = (
            'train_dataloader',
            'val_dataloader',
            'test_dataloader',
            'train_cfg',
            'val_cfg',
            'test_cfg',
            'auto_scale_lr',
            'optim_wrapper',
            'param_scheduler',
            'val_evaluator',
            'test_evaluator',
            'default_hooks',
            'custom_hooks',
            'load_from',
            'visualizer',
        )
        seed = (cfg.get('randomness') or {}).get('seed')
        if seed is not None and not (isinstance(seed, int) and 0 <= seed < 2**32):
            raise ConfigError(f'config key `randomness.seed`: must be an integer from 0 to 2**32 - 1, got {seed!r}.')
        keep_freed_memory()
        log_processor = {'by_epoch': 'max_iters' not in (cfg.get('train_cfg') or {}), **(cfg.get('log_processor') or {})}
        with _naming('log_processor', log_processor, AssertionError):
            check_arguments(LogProcessor, log_processor, log_processor)
            log_processor = LogProcessor(**log_processor)
        return cls(
            model=cfg.model,
            work_dir=cfg.work_dir,
            resume=cfg.get('resume', False),
            launcher=cfg.get('launcher', 'none'),
            env_cfg=cfg.get('env_cfg') or {},
            log_processor=log_processor,
            log_level=log_level,
            default_scope=SCOPE,
            randomness={'seed': seed, **(cfg.get('randomness') or {})},
            # mmengine keeps logs and scalars by this name and a time in seconds: two runs of one process must not share them.
            experiment_name=f'{Path(cfg.filename or "run").stem}_{next(_run_numbers)}',
            cfg=cfg,
            **{key: cfg.get(key) for key in keys},
        )

    @property
    def training(self) -> bool:
        """Whether this runner trains; one that only tests has no epoch."""
        return self._train_loop is not None and not isinstance(self._train_loop, dict)

    # ---- building, with our registries and the key that is wrong in every error ----

    def _build(self, registry: Registry, cfg: Any, path: str, **defaults: Any) -> Any:
        with _naming(path, cfg, ValueError, FileNotFoundError):
            return registry.build(cfg, **defaults)

    def build_model(self, model: nn.Module | Mapping[str, Any]) -> nn.Module:
        """Build the network, in channels-last memory unless `channels_last=False`."""
        built = model if isinstance(model, nn.Module) else self._build(MODELS, model, 'model')
        culprit = crashes_channels_last(built) if get_device() == 'cpu' else ''
        if culprit:
            self.logger.info(f'channels-last memory is not used: the CPU kernel of torch crashes on `{culprit}`.')
        if self.cfg.get('channels_last', True) and not culprit:
            return built.to(memory_format=torch.channels_last)
        built.data_preprocessor.memory_format = torch.contiguous_format
        return built

    def wrap_model(self, model_wrapper_cfg: Any, model: nn.Module) -> nn.Module:
        """Move the network to the device and make it data-parallel; on the CPU too, where mmengine's wrapper fails."""
        with warnings.catch_warnings():
            warnings.filterwarnings(
                'ignore', message='`broadcast_buffers` is deprecated'
            )  # its successor is newer than torch 2.4
            if not self.distributed or get_device() != 'cpu' or model_wrapper_cfg is not None:
                return super().wrap_model(model_wrapper_cfg, model)
            model = revert_sync_batchnorm(model)  # torch has no SyncBN for the CPU
            unused = self.cfg.get('find_unused_parameters', False)
            return MMDistributedDataParallel(module=model, broadcast_buffers=False, find_unused_parameters=unused)

    def build_dataloader(
        self, dataloader: DataLoader | Mapping[str, Any], seed: int | None = None, diff_rank_seed: bool = False
    ) -> DataLoader:  # type: ignore[override]
        """Build dataset, sampler and loader.

        Workers stay alive over epochs and memory is pinned where there is a GPU, unless the config says otherwise.
        """
        if isinstance(dataloader, DataLoader):
            return dataloader
        cfg = dict(copy.deepcopy(dataloader))
        name = next((f'{s}_dataloader' for s in ('train', 'val', 'test') if getattr(self, f'_{s}_dataloader') is dataloader), '')
        dataset = self._build(DATASETS, cfg.pop('dataset'), f'{name}.dataset')
        _check_classes(self.model, dataset, name)
        sampler = self._build(DATA_SAMPLERS, cfg.pop('sampler'), f'{name}.sampler', dataset=dataset, seed=seed)
        if cfg.get('batch_sampler') is not None:
            given = dict(sampler=sampler, batch_size=cfg.pop('batch_size', 1), drop_last=cfg.pop('drop_last', False))
            cfg['batch_sampler'] = self._build(DATA_SAMPLERS, cfg['batch_sampler'], f'{name}.batch_sampler', **given)
            sampler = None
        generator = torch.Generator()  # the loader's own: it must not move the global one, which a resumed run restores
        generator.manual_seed(seed or 0)
        cfg.setdefault('pin_memory', torch.cuda.is_available())
        with _naming(name, cfg, ValueError, TypeError):
            collate = build_collate(cfg.pop('collate_fn', None))
            cfg.setdefault('persistent_workers', cfg.setdefault('num_workers', 0) > 0)
            given = dict(sampler=sampler, worker_init_fn=init_worker, generator=generator, **cfg)
            check_arguments(DataLoader, dict(dataset=dataset, **given), cfg)
            loader = DataLoader(dataset, collate_fn=collate, **given)
        if len(loader) == 0:
            raise ConfigError(
                f'config key `{name}`: its {len(dataset)} samples fill no batch, and `drop_last` leaves out what is not full; '
                'lower `batch_size`.'
            )
        return loader

    def build_optim_wrapper(self, optim_wrapper: Any) -> Any:
        """Build the optimizer and its wrapper; a line names the `custom_keys` that are part of no parameter's name."""
        if isinstance(optim_wrapper, Mapping):
            names = [name for name, _ in self.model.named_parameters()]
            for key in (optim_wrapper.get('paramwise_cfg') or {}).get('custom_keys') or ():
                if not any(key in name for name in names):
                    where = 'config key `optim_wrapper.paramwise_cfg.custom_keys`'
                    self.logger.warning(f'{where}: `{key}` is part of no name of a parameter, and changes nothing.')
        with _naming('optim_wrapper', optim_wrapper, ValueError, TypeError, AssertionError):
            return super().build_optim_wrapper(optim_wrapper)

    def build_param_scheduler(self, scheduler: Any) -> Any:
        """Build the schedulers of learning rate and the like."""
        with _naming('param_scheduler', scheduler, ValueError, TypeError, AssertionError):
            return super().build_param_scheduler(scheduler)

    def build_train_loop(self, loop: BaseLoop | Mapping[str, Any]) -> BaseLoop:
        """Build the training loop: that of `type`, or by epochs or iterations as `by_epoch` says."""
        if isinstance(loop, Mapping) and 'type' not in loop:
            loop = dict(loop)
            loop['type'] = 'EpochBasedTrainLoop' if loop.pop('by_epoch') else 'IterBasedTrainLoop'
        return super().build_train_loop(loop)

    def build_val_loop(self, loop: BaseLoop | Mapping[str, Any]) -> BaseLoop:
        """Build the loop over the validation split; ours unless `type` says otherwise."""
        return super().build_val_loop(loop if isinstance(loop, BaseLoop) else dict(dict(type='ValLoop'), **loop))

    def build_test_loop(self, loop: BaseLoop | Mapping[str, Any]) -> BaseLoop:
        """Build the loop over the test split; ours unless `type` says otherwise."""
        return super().build_test_loop(loop if isinstance(loop, BaseLoop) else dict(dict(type='TestLoop'), **loop))

    def build_evaluator(self, evaluator: Any) -> Evaluator:
        """Build the metrics of a split."""
        if isinstance(evaluator, Evaluator):
            return evaluator
        name = 'val_evaluator' if evaluator is self._val_evaluator else 'test_evaluator'
        metrics = [self._build(METRICS, cfg, f'{name}[{i}]') for i, cfg in enumerate(metric_configs(evaluator))]
        return Evaluator(metrics)

    def register_default_hooks(self, hooks: Mapping[str, Any] | None = None) -> None:
        """Register the hooks of `default_hooks`; None leaves one out, of mmengine's (which it adds by itself) and of ours."""
        hooks = dict(hooks or {})
        super().register_default_hooks({k: v for k, v in hooks.items() if v is not None or k in _MMENGINE_HOOKS})

    def register_hook(self, hook: Hook | Mapping[str, Any], priority: Any = None) -> None:
        """Build a hook and put it in its place; `priority` may stand in its config."""
        if isinstance(hook, Mapping):
            where = next((path for path, cfg in hook_configs(self.cfg).items() if cfg == hook), 'hook')
            priority = hook.get('priority', priority)
            hook = self._build(HOOKS, {key: value for key, value in hook.items() if key != 'priority'}, where)
        super().register_hook(hook, priority)

    def build_logger(self, log_level: int | str = 'INFO', log_file: str | None = None, **kwargs: Any) -> Any:
        """Build the logger; the start-up report (environment, config, hooks) goes to the log file only."""
        logger = super().build_logger(log_level, log_file, **kwargs)
        for handler in logger.handlers:
            if type(handler) is logging.StreamHandler:
                handler.addFilter(lambda record: record.funcName != '_log_env' and not record.getMessage().startswith(_FILE_ONLY))
        return logger

    # ---- running ----

    def train(self) -> nn.Module:
        """Train, validating on the way; the terminal is left clean however it ends."""
        return self._tidily(super().train)

    def val(self) -> dict:
        """Evaluate on the validation split."""
        return self._tidily(super().val)

    def test(self) -> dict:
        """Evaluate on the test split."""
        return self._tidily(super().test)

    def _tidily(self, run: Any) -> Any:
        try:
            return run()
        finally:
            for hook in self._hooks:
                if isinstance(hook, ProgressHook):
                    hook.stop()
            for loop in (self._train_loop, self._val_loop, self._test_loop):
                if isinstance(loop, BaseLoop):
                    # Ends workers that stay alive over epochs; left to the garbage collector, each takes 5 seconds.
                    loop.dataloader._iterator = None

    def drain_scalars(self) -> None:
        """Take in the scalars that are still on their way from the device."""
        for hook in self._hooks:
            if isinstance(hook, MonitorHook):
                hook.drain(self, wait=True)

    # ---- checkpoints ----

    def load_or_resume(self) -> None:
        """Resume from `load_from`, or load its weights, once."""
        if self._has_loaded or self._load_from is None:
            return
        if self._resume:
            self.resume(self._load_from)
        else:
            self.load_checkpoint(self._load_from, revise_keys=self.cfg.get('load_revise_keys') or ())
        self._has_loaded = True

    def load_checkpoint(self, filename: str, map_location: Any = 'cpu', strict: bool = False, revise_keys: Any = ()) -> dict:
        """Load weights, and log one line that says what fitted.

        Raises:
            ConfigError: there is no such checkpoint, or less than `load_min_match` of the model is in it (all, with `strict`).
        """
        model = self.model.module if is_model_wrapper(self.model) else self.model
        try:
            checkpoint = load_checkpoint_file(filename, map_location='cpu', trust=self.cfg.get('trust_checkpoints', False))
            given = extract_state_dict(checkpoint, revise_keys=revise_keys)
            conversion = convert_to_fit(given, model.state_dict().keys())
            checkpoint = {**checkpoint, 'state_dict': conversion.state_dict}  # where EMAHook looks, and swaps
            self.call_hook('after_load_checkpoint', checkpoint=checkpoint)
            min_match = self.cfg.get('load_min_match', 0.5)
            report = load_state(model, conversion.state_dict, min_match=min_match, strict=strict)
        except (ValueError, FileNotFoundError) as error:
            raise ConfigError(f'{filename} cannot be loaded: {error}') from error
        self.logger.info(f'loaded {filename}: {report.line()}{conversion.note}')
        self._has_loaded = True
        return checkpoint

    def save_checkpoint(  # type: ignore[override]
        self,
        out_dir: str,
        filename: str,
        file_client_args: dict | None = None,
        save_optimizer: bool = True,
        save_param_scheduler: bool = True,
        meta: dict[str, Any] | None = None,
        by_epoch: bool = True,
        backend_args: dict | None = None,
    ) -> None:
        """Write everything that `resume` needs, of tensors and plain types, in one atomic step; to local disks only.

        Every process has to call it: none gets past it if a loss of another one is not finite.
        """
        self.drain_scalars()
        barrier()
        if not is_main_process():
            return
        model = self.model.module if is_model_wrapper(self.model) else self.model
        # Hooks save before the loop counts the epoch or iteration that has just ended.
        position = dict(epoch=self.epoch + 1, iter=self.iter) if by_epoch else dict(epoch=self.epoch, iter=self.iter + 1)
        keypoint_meta = getattr(model, 'meta', None)
        hub = self.message_hub
        checkpoint: dict[str, Any] = dict(
            meta=dict(
                **(position | (meta or {})),
                batches_done=getattr(self.train_loop, 'batches_done', 0),
                batch_size=self.train_dataloader.batch_size,
                cfg=self.cfg.pretty_text,
                seed=self.seed,
                world_size=self.world_size,
                experiment_name=self.experiment_name,
                time=time.strftime('%Y%m%d_%H%M%S'),
                mmpose_lite_version=__version__,
                keypoint_meta=None if keypoint_meta is None else keypoint_meta.to_dict(),
            ),
            state_dict=model.state_dict(),
            # What CheckpointHook and EarlyStoppingHook read when a run is resumed.
            runtime={key: hub.get_info(key) for key in hub.runtime_info if key.startswith(_RESUMED_INFO)},
            scalars={name: buffer for name, buffer in hub.log_scalars.items() if name.startswith('train/')},
            rng=capture_rng_state(),
        )
        if save_optimizer:
            checkpoint['optimizer'] = self.optim_wrapper.state_dict()
        if save_param_scheduler and self.param_schedulers is not None:
            checkpoint['param_schedulers'] = [scheduler_state(scheduler) for scheduler in self.param_schedulers]
        self.call_hook('before_save_checkpoint', checkpoint=checkpoint)
        save_checkpoint_atomic(checkpoint, os.path.join(out_dir, filename))

    def resume(
        self, filename: str, resume_optimizer: bool = True, resume_param_scheduler: bool = True, map_location: Any = 'cpu'
    ) -> None:
        """Go on where a checkpoint was written, as if the run had never stopped.

        Raises:
            ConfigError: the file does not fit the model exactly, or holds weights alone.
        """
        checkpoint = self.load_checkpoint(filename, strict=True)
        missing = [key for key in ('meta', 'optimizer') if key not in checkpoint]
        if missing:
            raise ConfigError(
                f'--resume {filename}: the file has no {" and no ".join(missing)}, so training cannot go on from it. '
                'Start from its weights with --cfg-options load_from=FILE.'
            )
        meta = checkpoint['meta']
        self.train_loop._epoch, self.train_loop._iter = meta['epoch'], meta['iter']
        self.train_loop.batches_done = meta.get('batches_done', 0)
        now = dict(world_size=self.world_size, batch_size=self.train_dataloader.batch_size, seed=self.seed)
        notes = changes(meta, now)
        for key, value in checkpoint.get('runtime', {}).items():
            self.message_hub.update_info(key, value)
        self.message_hub.log_scalars.update(from_plain(checkpoint.get('scalars', {})))  # log lines are means over the last ones
        if resume_optimizer:
            self.optim_wrapper = self.build_optim_wrapper(self.optim_wrapper)
            notes += restore_optimizer(self.optim_wrapper, checkpoint['optimizer'])
        if resume_param_scheduler and self.param_schedulers is not None:
            self.param_schedulers = self.build_param_scheduler(self.param_schedulers)
            states = checkpoint.get('param_schedulers', ())
            if len(states) != len(self.param_schedulers):
                notes.append(
                    f'the run had {len(states)} parameter schedulers and has {len(self.param_schedulers)} now; those without a '
                    'state begin anew.'
                )
            for scheduler, state in zip(self.param_schedulers, states):
                resume_scheduler(scheduler, state)
        if self.rank == 0 and 'rng' in checkpoint:
            restore_rng_state(checkpoint['rng'])
        elif self.seed is not None:  # the file holds the state of rank 0 alone; the others start anew from a seed of their own
            torch.manual_seed(self.seed + 1000 * self.rank + meta['iter'])
        for note in notes:
            self.logger.warning(f'--resume: {note}')
        self.logger.info(f'resumed {filename} after epoch {meta["epoch"]}, iteration {meta["iter"]}')


def _check_classes(model: nn.Module, dataset: Any, name: str) -> None:
    """Raise ConfigError where the labels of a dataset mean other classes to the model: another number of them, or another order.

    Other names in their place are fine: another file may call them so.
    """
    model = model.module if is_model_wrapper(model) else model
    theirs = (getattr(dataset, 'metainfo', None) or {}).get('class_meta')
    if theirs is None or not hasattr(model, 'class_meta'):
        return
    ours, theirs = model.class_meta, ClassMeta.load(theirs)
    if ours.num_classes == theirs.num_classes and (ours.classes == theirs.classes or set(ours.classes) != set(theirs.classes)):
        return
    said = [
        f'{m.num_classes} ({m.name}: {", ".join(m.classes[:3])}{" ..." if m.num_classes > 3 else ""})' for m in (ours, theirs)
    ]
    raise ConfigError(
        f'config key `{name}.dataset.meta`: the classes must be those of the model, {said[0]}, got {said[1]}; write `meta` once, '
        'at the top of the config.'
    )


@contextmanager
def _naming(path: str, cfg: Any, *expected: type[Exception]) -> Iterator[None]:
    """Name the config key in the errors of what is built from it; those of the `expected` types become ConfigErrors."""
    try:
        yield
    except PathError as error:
        error.prepend(path, cfg)
        raise
    except ConfigError:
        raise
    except expected as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        raise ConfigError(f'config key `{path}`: {error} [{frame.filename}:{frame.lineno}]') from error
