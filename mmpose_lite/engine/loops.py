"""Training by iterations that resumes without reading past batches."""

from collections.abc import Mapping
from typing import Any

import torch
from mmengine.runner import BaseLoop
from mmengine.runner import IterBasedTrainLoop as MMEngineIterBasedTrainLoop
from mmengine.runner.utils import calc_dynamic_intervals
from torch.utils.data import DataLoader

from mmpose_lite.datasets.sampling import InfiniteSampler
from mmpose_lite.errors import ConfigError
from mmpose_lite.registry import LOOPS


@LOOPS.register_module()
class IterBasedTrainLoop(MMEngineIterBasedTrainLoop):
    """mmengine's loop of this name; a resumed run tells the sampler where to start instead of reading every past batch.

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
        self.runner.call_hook('before_train')
        self.runner.call_hook('before_train_epoch')
        batches = iter(self.dataloader)
        while self._iter < self._max_iters and not self.stop_training:
            self.runner.model.train()
            self.run_iter(next(batches))
            self._decide_current_val_interval()
            due = self._iter % self.val_interval == 0 or self._iter == self._max_iters
            if self.runner.val_loop is not None and self._iter >= self.val_begin and due:
                self.runner.val_loop.run()
        self.runner.call_hook('after_train_epoch')
        self.runner.call_hook('after_train')
        return self.runner.model
