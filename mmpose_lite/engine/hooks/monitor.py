"""Scalars of the training step without waiting for the device, and the stop at a loss that is no number."""

import json
import math
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.hooks import RuntimeInfoHook
from mmengine.logging import HistoryBuffer

from mmpose_lite.errors import RunError
from mmpose_lite.registry import HOOKS

HISTORY = 1000  # values kept of each scalar; mmengine keeps a million and copies them all in every iteration


class NonFiniteLossError(RunError):
    """A loss is NaN or infinite; the report file says in which iteration, on which images."""


@dataclass
class _Pending:
    """Scalars of one iteration on their way to the host."""

    iteration: int
    epoch: int
    names: list[str]
    values: torch.Tensor
    arrived: torch.cuda.Event | None
    lr: dict[str, list[float]]
    batch: Any


@HOOKS.register_module()
class MonitorHook(RuntimeInfoHook):
    """Replaces mmengine's RuntimeInfoHook, which waits for the device once per scalar and iteration.

    On a GPU the scalars of an iteration are copied to pinned memory behind the step, and looked at when they have arrived, an
    iteration or two later; a log line waits for the newest ones. On the CPU they are looked at at once. When a loss is not finite
    the run stops with a report on the iteration it came from.

    Args:
        stop_on_non_finite: stop the run; otherwise go on and let the log show it.
    """

    def __init__(self, *, stop_on_non_finite: bool = True) -> None:
        self.stop_on_non_finite = stop_on_non_finite
        self._pending: deque[_Pending] = deque()

    def before_train(self, runner: Any) -> None:
        super().before_train(runner)
        scalars = runner.message_hub.log_scalars
        for name in ('time', 'data_time', *runner.optim_wrapper.get_lr()):
            scalars.setdefault(f'train/{name}', HistoryBuffer(max_length=HISTORY))

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: dict[str, torch.Tensor] | None = None
    ) -> None:
        """Send the step's scalars on their way, and take in those that have arrived."""
        if outputs:
            named = dict(outputs)
            grad_norm = getattr(runner.optim_wrapper, 'grad_norm', None)
            if grad_norm is not None:
                named['grad_norm'] = grad_norm
            values = torch.stack([value.detach().float().reshape(()) for value in named.values()])
            arrived = None
            if values.is_cuda:
                host = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
                values = host.copy_(values, non_blocking=True)
                arrived = torch.cuda.Event()
                arrived.record()
            lr = runner.optim_wrapper.get_lr()
            self._pending.append(_Pending(runner.iter, runner.epoch, list(named), values, arrived, lr, data_batch))
        self.drain(runner, wait=False)

    def after_train(self, runner: Any) -> None:
        """Look at the last iterations."""
        self.drain(runner, wait=True)
        super().after_train(runner)

    def drain(self, runner: Any, *, wait: bool) -> None:
        """Take in what has arrived, or everything with `wait`.

        Raises:
            NonFiniteLossError: a loss is not finite.
        """
        while self._pending:
            first = self._pending[0]
            if first.arrived is not None and not first.arrived.query():
                if not wait:
                    return
                first.arrived.synchronize()
            self._pending.popleft()
            values = dict(zip(first.names, first.values.tolist()))
            scalars = runner.message_hub.log_scalars
            for name, value in values.items():
                if f'train/{name}' not in scalars:
                    scalars[f'train/{name}'] = HistoryBuffer(max_length=HISTORY)
                scalars[f'train/{name}'].update(value)
            broken = [name for name, value in values.items() if 'loss' in name and not math.isfinite(value)]
            if broken and self.stop_on_non_finite:
                raise NonFiniteLossError(_report(runner, first, values, broken))


def _report(runner: Any, step: _Pending, values: dict[str, float], broken: list[str]) -> str:
    """Write the report file and return the error's text."""
    samples = step.batch.get('data_samples') if isinstance(step.batch, dict) else None
    images = []
    for sample in samples if samples is not None else ():
        gt = sample.gt_instances
        keys = ('img_id', 'ann_id', 'img_path', 'flip')  # the boxes of a flipped image are those of its mirror image
        images.append(
            {key: sample.metainfo[key] for key in keys if key in sample.metainfo}
            | {'bboxes': gt.bboxes.tolist() if 'bboxes' in gt else None}
        )
    no_number = [name for name, parameter in runner.model.named_parameters() if not parameter.isfinite().all()]
    scalars = {name: value if math.isfinite(value) else str(value) for name, value in values.items()}
    report = dict(
        iteration=step.iteration + 1,
        epoch=step.epoch + 1,
        non_finite=broken,
        scalars=scalars,
        lr=step.lr,
        gradient_norm=scalars.get('grad_norm'),
        non_finite_parameters=no_number,  # after the step
        rank=runner.rank,
        images=images,
    )
    path = Path(runner.work_dir) / f'non_finite_rank{runner.rank}.json'
    path.write_text(json.dumps(report, indent=2, default=str))
    return (
        f'{", ".join(broken)} is not finite in iteration {step.iteration + 1} (epoch {step.epoch + 1}, lr {step.lr}). '
        f'The images, boxes, losses and gradient norm of this step are in {path}. The last checkpoint is from before. '
        'Usual causes: too high a learning rate (add warm-up or optim_wrapper.clip_grad), or degenerate annotations '
        '(tools/check_dataset.py).'
    )
