"""How fast training data comes: decoding alone, the whole pipeline, several workers."""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import torch
from mmengine.config import Config
from torch.utils.data import DataLoader

from mmpose_lite.apis.benchmark import Report, machine
from mmpose_lite.datasets.collate import build_collate, init_worker
from mmpose_lite.datasets.sampling import DefaultSampler, Draw
from mmpose_lite.datasets.transforms.loading import read_image
from mmpose_lite.engine.config import ConfigError
from mmpose_lite.registry import DATASETS


def benchmark_data(cfg: Config, *, num_samples: int, repeats: int, workers: int = 0) -> Report:
    """Measure the training data of a config.

    In this process and on one core: samples/s of the pipeline with collating, of decoding alone (batch about, on the same
    files), their ratio, and the time of each step. With `workers` also samples/s of a DataLoader and its workers' memory.

    Args:
        cfg: as `load_config` returns it.
        num_samples: from the start of the training data; fewer where it is shorter.
        repeats: of all that.
        workers: worker processes of the loader; 0 leaves it out.

    Raises:
        ConfigError: the config has no training data.
    """
    loader = cfg.get('train_dataloader')
    if loader is None:
        raise ConfigError('benchmark data: the config has no `train_dataloader`.')
    dataset = DATASETS.build(loader['dataset'])
    batch_size, collate = loader.get('batch_size', 1), build_collate(loader.get('collate_fn'))
    num_samples = min(num_samples, len(dataset))
    with _one_thread():
        report = Report(f'training data, {num_samples} samples in batches of {batch_size}', machine())
        _measure_pipeline(report, dataset, collate, num_samples, batch_size, repeats)
        _measure_steps(report, dataset, num_samples)
    if workers:
        _measure_loader(report, dataset, collate, batch_size, repeats, workers)
    return report


@contextmanager
def _one_thread() -> Iterator[None]:
    """Give OpenCV and torch one thread, as data workers have."""
    before = cv2.getNumThreads(), torch.get_num_threads()
    init_worker(0)
    try:
        yield
    finally:
        cv2.setNumThreads(before[0])
        torch.set_num_threads(before[1])


def _measure_pipeline(report: Report, dataset: Any, collate: Callable, num_samples: int, batch_size: int, repeats: int) -> None:
    paths = [dataset.get_data_info(index)['img_path'] for index in range(num_samples)]
    decoding, pipeline = [], []
    for repeat in range(-1, repeats):  # -1 is a warm-up: it brings the files into the cache
        decoding_s = pipeline_s = 0.0
        for start in range(0, num_samples, batch_size):
            indices = range(start, min(start + batch_size, num_samples))
            began = time.perf_counter()
            for index in indices:
                read_image(paths[index])
            decoded = time.perf_counter()
            collate([dataset[Draw(index, 0, repeat + 1)] for index in indices])
            decoding_s += decoded - began
            pipeline_s += time.perf_counter() - decoded
        if repeat >= 0:
            decoding.append(num_samples / decoding_s)
            pipeline.append(num_samples / pipeline_s)
    report.add('decoding alone', decoding, 'samples/s')
    report.add('pipeline, one process', pipeline, 'samples/s')
    report.add_ratio('pipeline / decoding', pipeline, decoding)


def _measure_steps(report: Report, dataset: Any, num_samples: int) -> None:
    """Add the time of each transform, where the dataset is a plain one."""
    steps = getattr(getattr(dataset, 'pipeline', None), 'transforms', None)
    if not steps:
        return
    times: dict[str, list[float]] = {}
    original = list(steps)

    def timed(step: Any) -> Any:
        values = times.setdefault(f'step {type(step).__name__}', [])

        def run(results: Mapping[str, Any]) -> Any:
            began = time.perf_counter()
            results = step(results)
            values.append(1e6 * (time.perf_counter() - began))
            return results

        return run

    steps[:] = [timed(step) for step in original]
    try:
        for index in range(num_samples):
            dataset[Draw(index, 0, 0)]
    finally:
        steps[:] = original
    for name, values in times.items():
        report.add(name, values, 'us')


def _measure_loader(report: Report, dataset: Any, collate: Callable, batch_size: int, repeats: int, workers: int) -> None:
    loader = DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=DefaultSampler(dataset, seed=0),
        num_workers=workers,
        collate_fn=collate,
        worker_init_fn=init_worker,
        persistent_workers=True,
    )
    speeds, memory = [], []
    for epoch in range(repeats):
        loader.sampler.set_epoch(epoch)
        batches = iter(loader)
        pids = [worker.pid for worker in batches._workers]  # kept over the epochs
        first = next(batches)
        began, seen, peak = time.perf_counter(), 0, 0.0
        for batch in batches:
            seen += len(batch['data_samples'])
            peak = max(peak, sum(map(_resident_mb, pids)) / workers)
        if not seen:
            report.notes.append(f'one batch holds all {len(first["data_samples"])} samples, so the loader was not measured')
            return
        speeds.append(seen / (time.perf_counter() - began))
        memory.append(peak)
    report.add(f'loader, {workers} workers', speeds, 'samples/s')
    report.add('memory of a worker', memory, 'MB')
    report.notes.append(f'growth of a worker from the first epoch to the last ({repeats}): {memory[-1] - memory[0]:.1f} MB')


def _resident_mb(pid: int) -> float:
    """Return the memory of a process, 0 where the system does not tell."""
    try:
        pages = int(Path(f'/proc/{pid}/statm').read_text().split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf('SC_PAGE_SIZE') / 1e6
