"""How benchmarks time and report: what is compared runs in turns in one process, since machines are never equally fast twice."""

import json
import math
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from terminaltables import AsciiTable


class Stopwatch:
    """Times between marks, of the device's own work: on a GPU the marks are events in its stream, and none of them waits.

    Args:
        device: 'cpu' or 'cuda'.
    """

    def __init__(self, device: str) -> None:
        self._on_gpu = device.startswith('cuda')
        self._marks: list[Any] = []
        if self._on_gpu:
            torch.cuda.synchronize()

    def mark(self) -> None:
        """Set a mark behind the work that has been given out so far."""
        if self._on_gpu:
            self._marks.append(torch.cuda.Event(enable_timing=True))
            self._marks[-1].record()
        else:
            self._marks.append(time.perf_counter())

    def seconds(self) -> list[float]:
        """Return the time from each mark to the next; waits for the device."""
        pairs = zip(self._marks, self._marks[1:])
        if not self._on_gpu:
            return [end - start for start, end in pairs]
        torch.cuda.synchronize()
        return [start.elapsed_time(end) / 1000 for start, end in pairs]


_SHORTEST_S = 0.02  # of a measurement; shorter runs are called several times


def in_turns(runs: Mapping[str, Callable[[], object]], *, repeats: int, device: str = 'cpu') -> dict[str, list[float]]:
    """Return the seconds of a call of each run, measured `repeats` times: first every one as a warm-up, then A B C, A B C, ..."""
    calls: dict[str, int] = {}
    for name, run in runs.items():
        for _ in range(2):  # the first call may load and compile what the second has
            taken = _seconds(run, 1, device)
            if device == 'cpu' and taken > _SHORTEST_S:
                break
        calls[name] = max(1, math.ceil(_SHORTEST_S / max(taken, 1e-6)))
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            seconds[name].append(_seconds(run, calls[name], device))
    return seconds


def _seconds(run: Callable[[], object], calls: int, device: str) -> float:
    watch = Stopwatch(device)
    watch.mark()
    for _ in range(calls):
        run()
    watch.mark()
    return watch.seconds()[0] / calls


@dataclass
class Report:
    """What a benchmark measured.

    Attributes:
        title: what ran, with its sizes.
        machine: see `machine`.
        rows: (name, values of the repeats, unit).
        notes: lines under the table.
    """

    title: str
    machine: dict[str, Any]
    rows: list[tuple[str, list[float], str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, name: str, values: Sequence[float], unit: str) -> None:
        """Add a row."""
        self.rows.append((name, [float(value) for value in values], unit))

    def add_ratio(self, name: str, above: Sequence[float], below: Sequence[float]) -> None:
        """Add the row of the quotients of two runs, repeat by repeat."""
        self.add(name, [a / b for a, b in zip(above, below)], 'x')

    def text(self) -> str:
        """Return title, machine, table and notes."""
        cells = [[name, *(_number(v) for v in _spread(values)), unit] for name, values, unit in self.rows]
        table = AsciiTable([['what', 'median', 'min', 'max', 'unit'], *cells])
        table.justify_columns = {1: 'right', 2: 'right', 3: 'right'}
        machine = ', '.join(f'{key} {value}' for key, value in self.machine.items())
        return '\n'.join([self.title, machine, table.table, *self.notes])

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON: `rows` by name, each with median, min, max, values, unit."""
        rows = {
            name: dict(zip(('median', 'min', 'max'), _spread(values)), values=values, unit=unit)
            for name, values, unit in self.rows
        }
        return dict(title=self.title, machine=self.machine, rows=rows, notes=self.notes)

    def write(self, path: str | Path) -> None:
        """Write `to_dict` as a JSON file."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(json.dumps(self.to_dict(), indent=2) + '\n')


def _spread(values: Sequence[float]) -> tuple[float, float, float]:
    return statistics.median(values), min(values), max(values)


def _number(value: float) -> str:
    """Return three figures, and all of those before the point."""
    return f'{value:.0f}' if abs(value) >= 100 else f'{value:.3g}'


def machine(device: str = 'cpu') -> dict[str, Any]:
    """Return what a figure depends on: processor, cores that this process may use, threads, versions, and the GPU if used."""
    import cv2

    facts: dict[str, Any] = dict(
        cpu=_cpu_name(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count(),
        threads=torch.get_num_threads(),
        python=platform.python_version(),
        torch=torch.__version__,
        opencv=cv2.__version__,
    )
    if device.startswith('cuda'):
        facts.update(gpu=torch.cuda.get_device_name(), cuda=torch.version.cuda)
    return facts


def _cpu_name() -> str:
    try:
        lines = Path('/proc/cpuinfo').read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(':', 1)[1].strip() for line in lines if line.startswith('model name')), platform.machine())


def peak_memory(device: str) -> tuple[float, str]:
    """Return the most memory that tensors took (GPU), or this process (CPU), in MB, and what it is called."""
    if device.startswith('cuda'):
        return torch.cuda.max_memory_allocated() / 1e6, 'peak memory of tensors'
    import resource

    to_bytes = 1 if platform.system() == 'Darwin' else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * to_bytes / 1e6, 'peak memory of the process'
