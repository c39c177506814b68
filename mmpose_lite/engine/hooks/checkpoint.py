"""Hooks that keep checkpoints and follow metrics, knowing whether our metrics should rise or fall."""

import os
from collections.abc import Sequence
from math import inf
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import EarlyStoppingHook as MMEngineEarlyStoppingHook
from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop

from mmpose_lite.engine.evaluator import check_followed
from mmpose_lite.engine.launch import in_every_process
from mmpose_lite.errors import ConfigError
from mmpose_lite.registry import HOOKS

# Parts of metric names in lower case; '/ap' is that of coco/AP, and not of a heatmap's loss, '/map' and '_map' those of voc/mAP
# and coco/bbox_mAP, 'bf' that of boundaries.
RISING = ('/ap', '/ar', '/map', '_map', '_ar', 'pck', 'auc', 'iou', 'dice', 'fscore', 'bf', 'acc', 'precision', 'recall')
FALLING = ('loss', 'epe', 'nme')
RULES = ('greater', 'less')


def known_rule(metric: str) -> str | None:
    """Return 'greater' or 'less', the better way of a metric; None where its name does not tell."""
    for rule, parts in zip(RULES, (RISING, FALLING)):
        if any(part in metric.lower() for part in parts):
            return rule
    return None


def rule_of(metric: str) -> str:
    """Return 'greater' or 'less', the better way of a metric.

    Raises:
        ValueError: its name does not tell.
    """
    rule = known_rule(metric)
    if rule is None:
        raise ValueError(f'`rule` must be given for the metric {metric!r}, whose name does not tell it: one of {RULES}.')
    return rule


@HOOKS.register_module()
class CheckpointHook(Hook):
    """Writes epoch_N.pth or iter_N.pth, and best_METRIC_epoch_N.pth where a metric is better than ever before.

    Differs: from mmengine's hook of this name in the order. A file is removed once its successor is whole, so that a kill or a
    full disk at any moment leaves one; there is room for one more than `max_keep_ckpts` needed. Nothing is written twice: a run
    that resumes does the evaluation again that followed its checkpoint (`EpochBasedTrainLoop`).

    Args:
        interval: epochs or iterations between checkpoints; -1 for none but the last.
        by_epoch: count epochs, otherwise iterations.
        save_begin: the first epoch or iteration after which to write.
        save_last: write one at the end of the training, whatever the interval.
        max_keep_ckpts: how many to keep, the newest; -1 for all.
        save_best: metric, or metrics, whose best checkpoint is kept beside, without the optimizer's state; 'auto' is the first
            one of the evaluation.
        rule: 'greater' or 'less', for each metric or for all; None where the name tells it, as it does for the metrics of this
            project.

    Raises:
        ValueError: an argument is out of range, or a rule is missing.
    """

    priority = 'VERY_LOW'

    def __init__(
        self,
        *,
        interval: int = -1,
        by_epoch: bool = True,
        save_begin: int = 0,
        save_last: bool = True,
        max_keep_ckpts: int = -1,
        save_best: str | Sequence[str] | None = None,
        rule: str | Sequence[str] | None = None,
    ) -> None:
        for name, value in (('interval', interval), ('max_keep_ckpts', max_keep_ckpts)):
            if value < 1 and value != -1:
                raise ValueError(f'CheckpointHook: `{name}` must be positive or -1, got {value}.')
        metrics = [save_best] if isinstance(save_best, str) else list(save_best or ())
        rules = [rule] * len(metrics) if rule is None or isinstance(rule, str) else list(rule)
        if len(rules) != len(metrics) or not {*rules} <= {None, *RULES}:
            raise ValueError(f'CheckpointHook: `rule` must be one of {RULES}, or one for each of {metrics}, got {rule!r}.')
        self.interval = interval
        self.by_epoch = by_epoch
        self.save_begin = save_begin
        self.save_last = save_last
        self.max_keep_ckpts = max_keep_ckpts
        self.rules = {metric: given if given or metric == 'auto' else rule_of(metric) for metric, given in zip(metrics, rules)}
        self._newest = 0  # checkpoint, in epochs or iterations

    def before_train(self, runner: Any) -> None:
        """Look whether checkpoints and the metrics of `save_best` will come, and say where checkpoints go.

        Raises:
            ConfigError: `by_epoch` in a run that counts iterations, or the metrics are known and have no such value.
        """
        if self.by_epoch and isinstance(runner.train_loop, IterBasedTrainLoop):
            raise in_every_process(
                ConfigError(
                    'CheckpointHook: `by_epoch` must be False in a run that counts iterations, or nothing is written before its '
                    'end, got True; set it in `default_hooks.checkpoint`, and `interval` in iterations.'
                )
            )
        check_followed(runner, self.rules, 'CheckpointHook: `save_best`')
        self._newest = self._position(runner)  # that of the checkpoint that a resumed run goes on from
        runner.logger.info(f'Checkpoints will be saved to {runner.work_dir}.')

    def after_train_epoch(self, runner: Any) -> None:
        """Write a checkpoint if it is time."""
        last = self.save_last and self.is_last_train_epoch(runner)
        if self.by_epoch and (self.every_n_epochs(runner, self.interval, self.save_begin) or last):
            self._save(runner, runner.epoch + 1)

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Write a checkpoint if it is time."""
        last = self.save_last and self.is_last_train_iter(runner)
        if not self.by_epoch and (self.every_n_train_iters(runner, self.interval, self.save_begin) or last):
            self._save(runner, runner.iter + 1)

    def after_train(self, runner: Any) -> None:
        """Write the last checkpoint of a run that a hook has stopped between two of them."""
        step = self._position(runner)
        if self.save_last and step != self._newest and runner.train_loop.stop_training:
            self._save(runner, step, meta=dict(epoch=runner.epoch, iter=runner.iter))

    def _position(self, runner: Any) -> int:
        """Return the epochs or iterations that are done."""
        return runner.epoch if self.by_epoch else runner.iter

    def _save(self, runner: Any, step: int, meta: dict[str, int] | None = None) -> None:
        """Write the checkpoint after `step` epochs or iterations, note it as the last, then remove the oldest."""
        self._newest = step
        folder, unit = Path(runner.work_dir), 'epoch' if self.by_epoch else 'iter'
        path = folder / f'{unit}_{step}.pth'
        steps = [s for s in runner.message_hub.runtime_info.get('keep_ckpt_ids', ()) if s != step]
        kept = [*steps, step][-self.max_keep_ckpts :] if self.max_keep_ckpts > 0 else []
        runner.message_hub.update_info('keep_ckpt_ids', kept)
        runner.logger.info(f'Saving checkpoint at {step} {"epochs" if self.by_epoch else "iterations"}')
        runner.save_checkpoint(runner.work_dir, path.name, by_epoch=self.by_epoch, meta=meta)
        if is_main_process():
            _write_note(folder / 'last_checkpoint', str(path))
            for old in set(steps) - set(kept) if kept else ():
                (folder / f'{unit}_{old}.pth').unlink(missing_ok=True)

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        """Write the checkpoint of a metric that is better than ever before.

        Raises:
            ConfigError: the evaluation gave no such metric, or the name of its first one does not tell its rule.
        """
        step, unit = self._position(runner), 'epoch' if self.by_epoch else 'iter'
        hub, metrics = runner.message_hub, metrics or {}
        if 'auto' in self.rules and metrics:
            first = next(iter(metrics))
            try:
                self.rules = {first: self.rules['auto'] or rule_of(first)}
            except ValueError as error:
                raise ConfigError(f'CheckpointHook: {error}') from error
        for metric, rule in self.rules.items():
            if metric not in metrics:
                known = ', '.join(metrics)
                raise ConfigError(f'CheckpointHook: `save_best` must be a metric of the evaluation ({known}), got {metric!r}.')
            score = metrics[metric]
            suffix = '' if len(self.rules) == 1 else f'_{metric}'
            best = hub.runtime_info.get(f'best_score{suffix}', -inf if rule == 'greater' else inf)
            if score is None or not (score > best if rule == 'greater' else score < best):
                continue
            previous = hub.runtime_info.get(f'best_ckpt{suffix}')
            path = Path(runner.work_dir) / f'best_{metric.replace("/", "_")}_{unit}_{step}.pth'
            hub.update_info(f'best_score{suffix}', score)
            hub.update_info(f'best_ckpt{suffix}', str(path))
            meta = dict(epoch=runner.epoch, iter=runner.iter)
            runner.save_checkpoint(runner.work_dir, path.name, save_optimizer=False, save_param_scheduler=False, meta=meta)
            runner.logger.info(f'The best {metric} so far, {score:.4f}, is saved to {path.name}.')
            if previous and Path(previous).name != path.name and is_main_process():  # in this folder, wherever it was begun
                path.with_name(Path(previous).name).unlink(missing_ok=True)


def _write_note(path: Path, text: str) -> None:
    temporary = path.with_name(f'{path.name}.tmp')
    temporary.write_text(text)
    os.replace(temporary, path)


@HOOKS.register_module()
class EarlyStoppingHook(MMEngineEarlyStoppingHook):
    """mmengine's hook of this name, whose patience goes on in a resumed run.

    `monitor` needs no `rule` for the metrics of this project.
    """

    def _init_rule(self, monitor: str) -> str:
        return rule_of(monitor)

    def before_run(self, runner: Any) -> None:
        """Look whether the loop can be stopped; a run that only tests has none."""
        if runner.training:
            super().before_run(runner)

    def before_train(self, runner: Any) -> None:
        """Look whether the metric will come, and take over what a resumed run has seen."""
        check_followed(runner, [self.monitor], 'EarlyStoppingHook: `monitor`')
        state = runner.message_hub.runtime_info.get('early_stopping')
        if state is not None:
            self.best_score, self.wait_count = state['best_score'], state['wait_count']

    def after_val_epoch(self, runner: Any, metrics: dict[str, float]) -> None:
        """Decide whether to stop, and leave the state where the next checkpoint takes it from."""
        super().after_val_epoch(runner, metrics)
        runner.message_hub.update_info('early_stopping', dict(best_score=self.best_score, wait_count=self.wait_count))
