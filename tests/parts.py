"""Parts that the configs of `tiny.py` name: they count, break and end what the engine runs."""

import os
import signal
from collections.abc import Iterator, Mapping, Sequence, Sized
from typing import Any

import torch
from mmengine.dist import get_rank
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from torch import Tensor, nn
from torch.utils.data import Sampler

from mmpose_lite.datasets import SyntheticPeopleDataset
from mmpose_lite.models.losses import KeypointMSELoss
from mmpose_lite.registry import DATA_SAMPLERS, DATASETS, HOOKS, LOSSES, METRICS, NECKS


@NECKS.register_module()
class DropoutNeck(nn.Module):
    """Dropout, whose random numbers a resumed run must continue."""

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        self.dropout = nn.Dropout(p)

    def forward(self, feats: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return the maps with gaps."""
        return tuple(self.dropout(feat) for feat in feats)


@DATA_SAMPLERS.register_module()
class PlainSampler(Sampler[int]):
    """A sampler of one's own that goes through the data in its order and cannot start in the middle.

    Args:
        dataset: anything with a length.
    """

    def __init__(self, dataset: Sized) -> None:
        self.dataset = dataset

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self)))

    def __len__(self) -> int:
        return len(self.dataset)


@DATASETS.register_module()
class CountedPeopleDataset(SyntheticPeopleDataset):
    """Writes the index of every sample that is read to a file; workers do it too."""

    def __getitem__(self, index: int) -> Any:
        if not self.test_mode:
            with open(os.environ['COUNTED_PEOPLE'], 'a') as file:
                file.write(f'{int(index)}\n')
        return super().__getitem__(index)


@LOSSES.register_module()
class BreakingLoss(KeypointMSELoss):
    """Gives NaN at one step of one process.

    Args:
        at: step, counted from 1.
        rank: of the process.
    """

    def __init__(self, at: int, rank: int = 0) -> None:
        super().__init__(use_target_weight=True)
        self.at, self.rank, self.steps = at, rank, 0

    def forward(self, pred: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Return the loss."""
        self.steps += self.training
        breaks = self.training and self.steps == self.at and get_rank() == self.rank
        return super().forward(pred, target, weight) * (float('nan') if breaks else 1.0)


@HOOKS.register_module()
class EndingHook(Hook):
    """Ends a process before an iteration: by kill -9, or by an error.

    Args:
        before: iteration, counted from 1.
        how: 'kill' or 'raise'.
        rank: of the process.
    """

    def __init__(self, before: int, how: str = 'kill', rank: int = 0) -> None:
        self.before, self.how, self.rank = before, how, rank

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """End it."""
        if runner.iter + 1 == self.before and get_rank() == self.rank:
            if self.how == 'kill':
                os.kill(os.getpid(), signal.SIGKILL)
            raise LookupError(f'process {self.rank} has had enough')


@HOOKS.register_module()
class DtypeHook(Hook):
    """Keeps the data types that the first convolution puts out, in training and in evaluation."""

    seen: set[tuple[str, torch.dtype]] = set()  # noqa: RUF012  read by the test, which has no hold of the hook

    def before_run(self, runner: Any) -> None:
        """Watch the convolution."""
        self.seen.clear()
        conv = next(m for m in runner.model.modules() if isinstance(m, nn.Conv2d))
        conv.register_forward_hook(lambda conv, _, output: self.seen.add(('train' if conv.training else 'eval', output.dtype)))


@METRICS.register_module()
class UntoldMetric(BaseMetric):
    """A metric that does not tell the names of its values before it has computed them."""

    default_prefix = 'untold'

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Count the samples."""
        self.results.extend(1 for _ in data_samples)

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Return their number."""
        return dict(beauty=float(len(results)))


@HOOKS.register_module()
class ScriptedScoresHook(Hook):
    """Gives every evaluation the metrics that a test has chosen: `scripted/score`, and `scripted/distance`, which is 1 less.

    Args:
        values: the score after epoch 1, 2 ...; by iterations a dict of them.
    """

    priority = 'HIGHEST'  # before the hooks that read metrics

    def __init__(self, values: Sequence[float] | Mapping[int, float]) -> None:
        self.values = values if isinstance(values, Mapping) else dict(enumerate(values, 1))

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        """Put the score of this epoch or iteration in place of the real metrics."""
        score = self.values[runner.epoch or runner.iter]
        metrics.clear()
        metrics.update({'scripted/score': score, 'scripted/distance': score - 1})
