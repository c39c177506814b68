"""Log lines, and the log files of the work dir."""

import csv
import json
import math
from pathlib import Path
from typing import Any

from mmengine.dist import master_only
from mmengine.hooks import Hook

from mmpose_lite.registry import HOOKS
from mmpose_lite.visualization.curves import read_log

JSON_LOG = 'log.jsonl'
CSV_LOG = 'log.csv'


@HOOKS.register_module()
class LogHook(Hook):
    """Every `interval` iterations and after every evaluation: a line on the console, in log.jsonl, log.csv and the backends.

    A row has `split` ('train', 'val' or 'test'), `epoch` and `iter` (counted from 1) and the scalars: means over the log
    processor's window in training, metrics in evaluation. A new run in the same folder begins new files, a resumed one goes on
    in them.

    Args:
        interval: iterations between two lines.
    """

    priority = 'BELOW_NORMAL'

    def __init__(self, *, interval: int = 50) -> None:
        if interval < 1:
            raise ValueError(f'LogHook: `interval` must be positive, got {interval}.')
        self.interval = interval

    @master_only
    def before_train(self, runner: Any) -> None:
        """Begin new files; a resumed run keeps the rows up to its checkpoint, for it repeats what came after.

        The evaluation at its checkpoint comes after it, too.
        """
        log, table = (Path(runner.work_dir) / name for name in (JSON_LOG, CSV_LOG))
        rows = read_log(log) if runner.iter and log.exists() else []
        rows = [row for row in rows if row.get('iter', 0) < runner.iter + (row.get('split') == 'train')]
        for path in (log, table):
            path.unlink(missing_ok=True)
        for row in rows:
            _append(log, table, row)

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Write a line if it is time, or if the epoch ends."""
        if self.every_n_inner_iters(batch_idx, self.interval) or self.end_of_epoch(runner.train_dataloader, batch_idx):
            scalars, line = runner.log_processor.get_log_after_iter(runner, batch_idx, 'train')
            self._write(runner, 'train', scalars, line, step=runner.iter + 1)

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        """Write the metrics of the validation split."""
        scalars, line = runner.log_processor.get_log_after_epoch(runner, len(runner.val_dataloader), 'val')
        self._write(runner, 'val', scalars, line, step=position(runner)[1])

    def after_test_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        """Write the metrics of the test split."""
        scalars, line = runner.log_processor.get_log_after_epoch(runner, len(runner.test_dataloader), 'test')
        self._write(runner, 'test', scalars, line, step=position(runner)[1])

    def after_run(self, runner: Any) -> None:
        """Close the backends."""
        runner.visualizer.close()

    @master_only
    def _write(self, runner: Any, split: str, scalars: dict[str, Any], line: str, *, step: int) -> None:
        runner.logger.info(line)
        epoch, iteration = position(runner)
        if split == 'train':
            epoch, iteration = runner.epoch + 1, runner.iter + 1
        numbers = {k: float(v) for k, v in scalars.items() if k not in ('epoch', 'iter', 'step') and _is_number(v)}
        runner.visualizer.add_scalars(numbers, step=step)
        row = {'split': split, 'epoch': epoch, 'iter': iteration, **numbers}
        folder = Path(runner.work_dir)
        _append(folder / JSON_LOG, folder / CSV_LOG, row)


def position(runner: Any) -> tuple[int, int]:
    """Return the epochs and iterations done; 0, 0 in a run that only tests."""
    return (runner.epoch, runner.iter) if runner.training else (0, 0)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) or getattr(value, 'size', 0) == 1 or getattr(value, 'ndim', 1) == 0


def _is_plain(value: Any) -> bool:
    return not isinstance(value, float) or math.isfinite(value)


def _append(log: Path, table: Path, row: dict[str, Any]) -> None:
    with log.open('a') as file:
        file.write(json.dumps({k: v if _is_plain(v) else None for k, v in row.items()}) + '\n')
    _append_csv(table, row)


def _append_csv(path: Path, row: dict[str, Any]) -> None:
    """Append a row; a column that is new is added to the whole file."""
    rows: list[dict[str, Any]] = []
    columns: list[str] = []
    if path.exists():
        with path.open(newline='') as file:
            columns = next(csv.reader(file), [])
    if set(row) <= set(columns):
        with path.open('a', newline='') as file:
            csv.DictWriter(file, columns).writerow(row)
        return
    if columns:
        with path.open(newline='') as file:
            rows = list(csv.DictReader(file))
    columns += [name for name in row if name not in columns]
    with path.open('w', newline='') as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows([*rows, row])
