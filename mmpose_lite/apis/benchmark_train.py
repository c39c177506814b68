"""How fast a network trains, what the engine adds to its steps, and how long it waits for data."""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.runner import EpochBasedTrainLoop
from torch.utils.data import DataLoader, Dataset

from mmpose_lite.apis.benchmark import Report, Stopwatch, machine, peak_memory
from mmpose_lite.apis.benchmark_network import Batch, made_up_batch, variants, without_pretrained
from mmpose_lite.engine.config import ConfigError
from mmpose_lite.engine.runner import Runner

_WITHOUT = ('draw', 'summary', 'progress')  # hooks that make files or a bar, beside `checkpoint`
_PARTS = ('to device, normalise', 'forward', 'backward', 'optimiser')  # of a step
_SYNCHRONISING = ('cudaStreamSynchronize', 'cudaEventSynchronize')


class _Repeated(Dataset):
    """A few collated batches again and again."""

    def __init__(self, batches: Sequence[Batch]) -> None:
        self.batches = batches
        self.metainfo: dict[str, object] = {}  # the loop asks for it

    def __len__(self) -> int:
        return 1_000_000  # the end of the epoch, at which hooks do more, is never reached

    def __getitem__(self, index: int) -> Batch:
        return self.batches[index % len(self.batches)]


class _DrivenLoop(EpochBasedTrainLoop):
    """A training loop that gets ready and then leaves it to the benchmark to call `run_iter`."""

    def run(self) -> torch.nn.Module:
        self.runner.call_hook('before_train')
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        return self.runner.model


@dataclass
class _Training:
    """A run that has begun, and what was measured of it, per repeat."""

    runner: Runner
    batches: Sequence[Batch]
    device: str
    seconds: dict[str, list[float]] = field(default_factory=dict)  # of an iteration
    count: int = 0

    @classmethod
    def begin(cls, cfg: Config, batches: Sequence[Batch] | None, num_batches: int, device: str) -> '_Training':
        """Build everything as training does, and stop before the first iteration; `batches` None reads those of the config."""
        runner = Runner.from_cfg(cfg)
        if batches is None:
            loader = runner.build_dataloader(dict(cfg.train_dataloader, persistent_workers=False), seed=0)
            batches = list(islice(loader, num_batches))
        elif device == 'cuda':
            batches = [{name: value.pin_memory() for name, value in batch.items()} for batch in batches]
        loader = DataLoader(_Repeated(batches), batch_size=1, collate_fn=_only)
        runner._train_loop = _DrivenLoop(runner, loader, max_epochs=1)
        runner.train()
        return cls(runner, batches, device)

    def bare(self, iterations: int) -> None:
        """Time training steps alone."""
        model, optim_wrapper = self.runner.model, self.runner.optim_wrapper
        self._time('bare', iterations, lambda batch: model.train_step(batch, optim_wrapper=optim_wrapper))

    def engine(self, iterations: int) -> None:
        """Time the same steps with all the hooks around them, and the host's part in the hooks."""
        model = self.runner.model
        step, in_steps, in_loop = model.train_step, 0.0, 0.0

        def timed_step(*args: object, **kwargs: object) -> object:
            nonlocal in_steps
            began = time.perf_counter()
            outputs = step(*args, **kwargs)
            in_steps += time.perf_counter() - began
            return outputs

        def run(batch: Batch) -> None:
            nonlocal in_loop
            began = time.perf_counter()
            self.runner.train_loop.run_iter(self.count, batch)
            in_loop += time.perf_counter() - began
            self.count += 1

        model.train_step = timed_step
        try:
            self._time('engine', iterations, run)
        finally:
            model.train_step = step
        self.seconds.setdefault('hooks', []).append((in_loop - in_steps) / iterations)

    def parts(self, iterations: int) -> None:
        """Time the parts of a step."""
        model, optim_wrapper = self.runner.model, self.runner.optim_wrapper
        watch = Stopwatch(self.device)
        watch.mark()
        for batch in islice(cycle(self.batches), iterations):
            with optim_wrapper.optim_context(model):
                on_device = model.data_preprocessor(batch, True)
                watch.mark()
                losses = model(**on_device, mode='loss')
            loss, _ = model.parse_losses(losses)
            watch.mark()
            optim_wrapper.backward(optim_wrapper.scale_loss(loss))
            watch.mark()
            optim_wrapper.step()
            optim_wrapper.zero_grad()
            watch.mark()
        means = np.reshape(watch.seconds(), (iterations, len(_PARTS))).mean(axis=0)
        for name, value in zip(_PARTS, means.tolist()):
            self.seconds.setdefault(name, []).append(value)

    def _time(self, name: str, iterations: int, step: Callable[[Batch], object]) -> None:
        watch = Stopwatch(self.device)
        watch.mark()
        for batch in islice(cycle(self.batches), iterations):
            step(batch)
        watch.mark()
        self.seconds.setdefault(name, []).append(watch.seconds()[0] / iterations)

    def with_loader(self, loader: DataLoader, iterations: int) -> tuple[float, float]:
        """Return images/s of the engine on the config's own loader, and the share of the time it waits for a batch."""
        batches: Iterator[Batch] = iter(loader)
        next(batches)  # not the start of the workers
        waiting, images = 0.0, 0
        watch = Stopwatch(self.device)
        watch.mark()
        for _ in range(iterations):
            asked = time.perf_counter()
            batch = next(batches)
            waiting += time.perf_counter() - asked
            images += len(batch['inputs'])
            self.runner.train_loop.run_iter(self.count, batch)
            self.count += 1
        watch.mark()
        (seconds,) = watch.seconds()
        return images / seconds, waiting / seconds

    def profile(self, path: str | Path, iterations: int) -> dict[str, int]:
        """Write a trace of the engine between two log lines; return how often the host waited and copied from the device."""
        from torch.profiler import ProfilerActivity, profile

        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if self.device == 'cuda' else [])]
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with profile(activities=activities) as profiler:
            for index, batch in enumerate(islice(cycle(self.batches), iterations)):
                self.runner.train_loop.run_iter(index, batch)
        profiler.export_chrome_trace(str(path))
        counts = dict.fromkeys((*_SYNCHRONISING, 'Memcpy DtoH'), 0)
        for event in profiler.key_averages():
            for name in counts:
                counts[name] += event.count if event.key.startswith(name) else 0
        return counts


def _only(batches: list[Batch]) -> Batch:
    return batches[0]


def _training_cfg(cfg: Config, work_dir: str, *, amp: bool, channels_last: bool) -> Config:
    """Return a config that trains the same and leaves no files."""
    cfg = Config(cfg.to_dict())
    for key in ('val_dataloader', 'val_cfg', 'val_evaluator', 'test_dataloader', 'test_cfg', 'test_evaluator', 'load_from'):
        cfg.pop(key, None)
    hooks = {name: hook for name, hook in cfg.get('default_hooks', {}).items() if name not in _WITHOUT}
    cfg.default_hooks = {**hooks, 'checkpoint': None}
    cfg.model = without_pretrained(cfg.model.to_dict())
    cfg.work_dir, cfg.log_level, cfg.channels_last = work_dir, 'WARNING', channels_last
    if amp or _is_amp(cfg):
        cfg.optim_wrapper.type = 'AutocastOptimWrapper' if amp else 'OptimWrapper'
    return cfg


def _is_amp(cfg: Config) -> bool:
    return cfg.optim_wrapper.get('type') == 'AutocastOptimWrapper'


def benchmark_train(
    cfg: Config,
    *,
    device: str,
    amp: bool = False,
    compare: str | None = None,
    synthetic: bool = False,
    iterations: int = 20,
    repeats: int = 5,
    profile: str | Path | None = None,
) -> Report:
    """Measure training steps of a config on batches that are there already, and then with its data loader.

    Args:
        cfg: as `load_config` returns it.
        device: 'cpu' or 'cuda', the one chosen by `apis.cli.choose_device`.
        amp: mixed precision; so is what the config trains in it, where nothing else is compared.
        compare: 'amp': float32 and mixed precision in turns; 'channels-last': the two memory formats in turns; 'all': contiguous
            float32, and the first two.
        synthetic: made-up batches; nothing is read, and the loader is not measured.
        iterations: of each measurement.
        repeats: of each measurement.
        profile: also write a torch.profiler trace here.

    Raises:
        ConfigError: the config does not train.
        ValueError: `compare` is unknown.
    """
    missing = [key for key in ('model', 'train_dataloader', 'train_cfg', 'optim_wrapper') if cfg.get(key) is None]
    if missing:
        raise ConfigError(f'benchmark train: the config needs {", ".join(f"`{key}`" for key in missing)}.')
    batches = [made_up_batch(cfg, cfg.train_dataloader.get('batch_size', 1))] if synthetic else None
    with tempfile.TemporaryDirectory() as work_dir:
        trainings: dict[str, _Training] = {}
        for name, settings in variants(amp or _is_amp(cfg), compare).items():
            prepared = _training_cfg(cfg, work_dir, **settings)
            trainings[name] = _Training.begin(prepared, batches, min(iterations, 8), device)
            batches = trainings[name].batches  # the same for all
        batch_size = len(batches[0]['inputs'])
        report = Report(f'training, batches of {batch_size} on {device}', machine(device))
        for repeat in range(-1, repeats):  # -1 is a warm-up
            for training in trainings.values():
                for measure in (training.bare, training.engine, training.parts):
                    measure(iterations if repeat >= 0 else min(iterations, 3))
                if repeat < 0:
                    training.seconds.clear()
        for name, training in trainings.items():
            _report_training(report, name, training, batch_size)
        if compare is not None:
            (first, a), *others = trainings.items()
            for second, b in others:
                report.add_ratio(f'{second} / {first}, speed', a.seconds['bare'], b.seconds['bare'])
        first_training = next(iter(trainings.values()))
        if not synthetic:
            _report_loader(report, first_training, cfg, iterations, repeats)
        memory, what = peak_memory(device)
        report.notes.append(f'{what}: {memory:.0f} MB')
        if profile is not None:
            length = min(iterations, cfg.get('default_hooks', {}).get('logger', {}).get('interval', 50) - 1)
            counts = first_training.profile(profile, length)
            report.notes.append(f'{profile}: {length} iterations; ' + ', '.join(f'{n} {c}' for n, c in counts.items()))
    return report


def _report_training(report: Report, variant: str, training: _Training, batch_size: int) -> None:
    seconds = training.seconds
    report.add(f'{variant}: steps alone', [batch_size / s for s in seconds['bare']], 'images/s')
    report.add(f'{variant}: with the engine', [batch_size / s for s in seconds['engine']], 'images/s')
    added = [1000 * (engine - bare) for engine, bare in zip(seconds['engine'], seconds['bare'])]
    report.add(f'{variant}: added by the engine', added, 'ms/step')
    report.add(f"{variant}: host's time in hooks", [1000 * s for s in seconds['hooks']], 'ms/step')
    for part in _PARTS:
        report.add(f'{variant}: {part}', [1000 * s for s in seconds[part]], 'ms/step')


def _report_loader(report: Report, training: _Training, cfg: Config, iterations: int, repeats: int) -> None:
    loader = training.runner.build_dataloader(cfg.train_dataloader, seed=0)
    length = iterations
    if hasattr(loader.sampler, 'set_epoch'):  # one that ends
        length = min(iterations, len(loader) - 1)
    if length < 1:
        report.notes.append('the training data is a single batch, so the loader was not measured')
        return
    speeds, shares = zip(*(training.with_loader(loader, length) for _ in range(repeats)))
    report.add(f'with the loader, {loader.num_workers} workers', speeds, 'images/s')
    report.add('waiting for data', [100 * share for share in shares], '% of time')
