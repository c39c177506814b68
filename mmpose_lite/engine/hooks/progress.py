"""A progress bar with the time that is left."""

import logging
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from mmpose_lite.registry import HOOKS


class _AboveTheBar:
    """A stream for the logger's handler that prints above the bar."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def write(self, text: str) -> None:
        if text.strip():
            self._progress.console.print(text.rstrip('\n'), markup=False, highlight=False, soft_wrap=True)

    def flush(self) -> None:
        """Nothing is kept back."""


@HOOKS.register_module()
class ProgressHook(Hook):
    """A bar for the whole training and one for each evaluation, on a terminal only; elsewhere the log lines carry the ETA."""

    priority = 'VERY_LOW'

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._train: Any = None
        self._eval: Any = None
        self._handlers: list[tuple[logging.StreamHandler, Any]] = []

    def before_run(self, runner: Any) -> None:
        """Start the bar, and let log lines appear above it."""
        console = Console()
        if not (console.is_terminal and is_main_process()):
            return
        self._progress = Progress(
            TextColumn('{task.description}'),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn('left'),
            TimeRemainingColumn(),
            console=console,
        )
        self._progress.start()
        for handler in runner.logger.handlers:
            if type(handler) is logging.StreamHandler:
                self._handlers.append((handler, handler.setStream(_AboveTheBar(self._progress))))

    def before_train(self, runner: Any) -> None:
        """Add the bar of the training."""
        if self._progress is not None:
            self._train = self._progress.add_task('train', total=runner.max_iters, completed=runner.iter)

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Move it on."""
        if self._progress is not None:
            self._progress.update(self._train, completed=runner.iter + 1)

    def before_val_epoch(self, runner: Any) -> None:
        """Add the bar of an evaluation."""
        self._begin(runner.val_dataloader, 'val')

    def before_test_epoch(self, runner: Any) -> None:
        """Add the bar of a test."""
        self._begin(runner.test_dataloader, 'test')

    def _begin(self, loader: Any, name: str) -> None:
        if self._progress is not None:
            self._eval = self._progress.add_task(name, total=len(loader))

    def _after_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None, mode: str = 'train') -> None:
        if self._progress is not None and mode != 'train':
            self._progress.advance(self._eval)

    def _after_epoch(self, runner: Any, mode: str = 'train') -> None:
        if self._progress is not None and mode != 'train':
            self._progress.remove_task(self._eval)

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        """Take the bar of the evaluation away."""
        self._after_epoch(runner, mode='val')

    def after_test_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        """Take the bar of the test away."""
        self._after_epoch(runner, mode='test')

    def after_run(self, runner: Any) -> None:
        """Stop the bar and give the logger its stream back."""
        self.stop()

    def stop(self) -> None:
        """Stop the bar; the runner calls this also when the run fails, so that the terminal is left clean."""
        for handler, stream in self._handlers:
            handler.setStream(stream)
        self._handlers.clear()
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
