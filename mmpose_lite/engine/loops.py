"""Loops that resume exactly, and that evaluate in the precision that is asked for."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, ClassVar

import torch
from mmengine.evaluator import Evaluator
from mmengine.runner import BaseLoop
from mmengine.runner import EpochBasedTrainLoop as MMEngineEpochBasedTrainLoop
from mmengine.runner import IterBasedTrainLoop as MMEngineIterBasedTrainLoop
from mmengine.runner.utils import calc_dynamic_intervals
from mmengine.structures import BaseDataElement
from torch import Tensor
from torch.utils.data import DataLoader

from mmpose_lite.datasets.sampling import DefaultSampler, InfiniteSampler
from mmpose_lite.engine.evaluator import check_followed
from mmpose_lite.engine.hooks.checkpoint import known_rule
from mmpose_lite.engine.launch import in_every_process, sum_over_processes
from mmpose_lite.engine.optim import autocast_bfloat16
from mmpose_lite.errors import ConfigError
from mmpose_lite.registry import LOOPS


class _EvaluatesOnTheWay:
    """When a training loop evaluates: every `val_interval` steps from `val_begin` on, and after the last.

    Attributes:
        batches_done: of an epoch that has begun, in a loop that counts epochs; checkpoints hold it.
    """

    batches_done = 0

    def evaluation_is_due(self) -> bool:
        """Return whether the epoch, or the iteration, that has just ended is one to evaluate; before the first, False."""
        self._decide_current_val_interval()
        if self.val_interval < 1:
            raise ConfigError(f'config key `train_cfg.val_interval`: must be 1 or more, got {self.val_interval}.')
        step, last = self._position()
        due = step % self.val_interval == 0 or step == last
        return self.runner.val_loop is not None and step >= max(self.val_begin, 1) and due

    def _begin(self) -> None:
        """Call the hooks, look at the schedulers, and do the evaluation that a resumed run owes."""
        self.runner.call_hook('before_train')
        for scheduler in self.runner.param_schedulers or ():
            _check_scheduler(scheduler, self.runner)
        if not self.batches_done:
            self._evaluate_if_due()

    def _evaluate_if_due(self) -> None:
        if self.evaluation_is_due():
            self.runner.val_loop.run()


def _check_scheduler(scheduler: Any, runner: Any) -> None:
    """Raise ConfigError where a scheduler would not step, or in the wrong way, and nobody would be told."""
    name, problem = type(scheduler).__name__, ''
    if getattr(scheduler, 'need_val_args', False):  # it follows a value of the evaluation
        check_followed(runner, [scheduler.monitor], f'{name}: `monitor`')
        rule = known_rule(scheduler.monitor) or scheduler.rule
        if rule != scheduler.rule:
            problem = f'`rule` must be {rule!r} for {scheduler.monitor!r}, got {scheduler.rule!r}'
    elif scheduler.by_epoch and isinstance(runner.train_loop, MMEngineIterBasedTrainLoop):
        problem = '`by_epoch` must be False in a run that counts iterations, or it never steps, got True'
    if problem:
        raise in_every_process(ConfigError(f'{name}: {problem}.'))


@LOOPS.register_module()
class EpochBasedTrainLoop(_EvaluatesOnTheWay, MMEngineEpochBasedTrainLoop):
    """mmengine's loop of this name; a resumed run first does the evaluation that its checkpoint was written before.

    One whose checkpoint was written inside an epoch goes on in the middle of it. Without the evaluation the best score, the
    patience of early stopping and a learning rate that waits for a plateau would not be those of a run that never stopped.
    """

    def run(self) -> torch.nn.Module:
        """Train until `max_epochs`, or until a hook stops it."""
        self._begin()
        while self._epoch < self._max_epochs and not self.stop_training:
            self.run_epoch()
            self._evaluate_if_due()
        self.runner.call_hook('after_train')
        return self.runner.model

    def run_epoch(self) -> None:
        """Train an epoch, or what is left of the one that a resumed run was stopped in."""
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        unread = done = min(self.batches_done, len(self.dataloader))
        if isinstance(self.dataloader.sampler, DefaultSampler):
            self.dataloader.sampler.skip(done * (self.dataloader.batch_size or 0))
            unread = 0
        for number, batch in enumerate(islice(self.dataloader, unread, None), done):
            self.batches_done = number + 1
            self.run_iter(number, batch)
        self.batches_done = 0
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1

    def _position(self) -> tuple[int, int]:
        return self._epoch, self._max_epochs


@LOOPS.register_module()
class IterBasedTrainLoop(_EvaluatesOnTheWay, MMEngineIterBasedTrainLoop):
    """mmengine's loop of this name; a resumed run tells the sampler where to start instead of reading every past batch.

    It also does the evaluation first that its checkpoint was written before, as `EpochBasedTrainLoop` does.

    Args:
        runner: the runner that trains.
        dataloader: config of the training data, or the loader; its sampler must be an InfiniteSampler.
        max_iters: iterations to train.
        val_begin: the first iteration after which to evaluate.
        val_interval: iterations between evaluations.
        dynamic_intervals: (iteration, interval) pairs: from that iteration on, evaluate at that interval.

    Raises:
        ConfigError: the sampler ends.
    """

    def __init__(
        self,
        runner: Any,
        dataloader: DataLoader | Mapping[str, Any],
        *,
        max_iters: int,
        val_begin: int = 1,
        val_interval: int = 1000,
        dynamic_intervals: list[tuple[int, int]] | None = None,
    ) -> None:
        BaseLoop.__init__(self, runner, dataloader)  # mmengine's constructor starts to read before it knows where
        if not isinstance(self.dataloader.sampler, InfiniteSampler):
            raise ConfigError(
                'IterBasedTrainLoop: `train_dataloader.sampler` must be of type InfiniteSampler, which never ends and can start '
                f'in the middle, got {type(self.dataloader.sampler).__name__}.'
            )
        self._max_iters = max_iters
        self._max_epochs = 1
        self._epoch = 0
        self._iter = 0
        self.val_begin = val_begin
        self.val_interval = val_interval
        self.stop_training = False  # EarlyStoppingHook sets it
        self.dynamic_milestones, self.dynamic_intervals = calc_dynamic_intervals(val_interval, dynamic_intervals)

    def run(self) -> torch.nn.Module:
        """Train until `max_iters`, or until a hook stops it."""
        self.dataloader.sampler.skip(self._iter * self.dataloader.batch_size)
        self._begin()
        self.runner.call_hook('before_train_epoch')
        batches: Iterator[Any] = iter(self.dataloader)
        while self._iter < self._max_iters and not self.stop_training:
            self.runner.model.train()
            self.run_iter(next(batches))
            self._evaluate_if_due()
        self.runner.call_hook('after_train_epoch')
        self.runner.call_hook('after_train')
        return self.runner.model

    def _position(self) -> tuple[int, int]:
        return self._iter, self._max_iters


class EvaluationLoop(BaseLoop):
    """What `ValLoop` and `TestLoop` share: predict the whole split, then let the metrics compare.

    Args:
        runner: the runner that evaluates.
        dataloader: config of the split's data, or the loader.
        evaluator: configs of the metrics, or the evaluator.
        amp: predict in bfloat16 autocast, as `AutocastOptimWrapper` trains; the metrics compute in full precision.
    """

    split: ClassVar[str]

    def __init__(
        self,
        runner: Any,
        dataloader: DataLoader | Mapping[str, Any],
        evaluator: Evaluator | Mapping[str, Any] | Sequence[Any],
        *,
        amp: bool = False,
    ) -> None:
        super().__init__(runner, dataloader)
        self.evaluator = runner.build_evaluator(evaluator)
        self.evaluator.dataset_meta = runner.visualizer.dataset_meta = getattr(self.dataloader.dataset, 'metainfo', None)
        self.amp = amp
        self._losses: dict[str, list[float]] = {}  # name -> its sum over images and their number

    def run(self) -> dict[str, float]:
        """Evaluate, and return the metrics; where the model reports losses, also their means over all images of all processes."""
        call_hook, split = self.runner.call_hook, self.split
        call_hook(f'before_{split}')
        call_hook(f'before_{split}_epoch')
        self.runner.model.eval()
        self._losses.clear()
        for number, batch in enumerate(self.dataloader):
            call_hook(f'before_{split}_iter', batch_idx=number, data_batch=batch)
            predictions = self._predict(batch)
            self.evaluator.process(data_samples=predictions, data_batch=batch)
            call_hook(f'after_{split}_iter', batch_idx=number, data_batch=batch, outputs=predictions)
        metrics = self.evaluator.evaluate(len(self.dataloader.dataset)) | self._mean_losses()
        call_hook(f'after_{split}_epoch', metrics=metrics)
        call_hook(f'after_{split}')
        return metrics

    @torch.no_grad()
    def _predict(self, batch: Any) -> Sequence[BaseDataElement]:
        model = self.runner.model
        with autocast_bfloat16(model, enabled=self.amp):
            predictions = getattr(model, f'{self.split}_step')(batch)
        last = predictions[-1]
        if isinstance(last, BaseDataElement) and last.keys() == ['loss']:
            predictions = predictions[:-1]
            self._count_losses(last.loss, len(predictions))
        return predictions

    def _count_losses(self, losses: Mapping[str, Tensor], num_images: int) -> None:
        for name, value in losses.items():
            total = self._losses.setdefault(name, [0.0, 0.0])
            total[0] += float(value) * num_images
            total[1] += num_images

    def _mean_losses(self) -> dict[str, float]:
        if not self._losses:
            return {}
        totals = sum_over_processes([value for name in sorted(self._losses) for value in self._losses[name]])
        means = {name: total / count for name, total, count in zip(sorted(self._losses), totals[::2], totals[1::2])}
        return {**means, f'{self.split}_loss': sum(mean for name, mean in means.items() if 'loss' in name)}


@LOOPS.register_module()
class ValLoop(EvaluationLoop):
    """Evaluates the validation split; see `EvaluationLoop`."""

    split = 'val'


@LOOPS.register_module()
class TestLoop(EvaluationLoop):
    """Evaluates the test split; see `EvaluationLoop`."""

    split = 'test'
    __test__ = False  # pytest would collect it
