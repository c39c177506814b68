"""How fast a network predicts."""

import copy
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

from mmpose_lite.apis.benchmark import Report, in_turns, machine, peak_memory
from mmpose_lite.apis.benchmark_network import Batch, made_up_batch, variants, without_pretrained
from mmpose_lite.apis.infer import init_model
from mmpose_lite.datasets.collate import build_collate
from mmpose_lite.engine.config import ConfigError
from mmpose_lite.engine.optim import autocast_bfloat16
from mmpose_lite.registry import DATASETS


def benchmark_infer(
    cfg: Config,
    *,
    checkpoint: str | Path | None = None,
    device: str,
    batch_sizes: Sequence[int] = (1, 32),
    amp: bool = False,
    compare: str | None = None,
    synthetic: bool = False,
    levels: Sequence[int] = (),
    repeats: int = 5,
) -> Report:
    """Measure predictions of a config from collated batches to results on the host, as its `test_cfg` says.

    Args:
        cfg: as `load_config` returns it.
        checkpoint: weights; None for those of the constructors, which take as long.
        device: 'cpu' or 'cuda'.
        batch_sizes: of the runs.
        amp: mixed precision.
        compare: as in `benchmark_train`; or 'slide': whole images and the windows of `test_cfg`, for segmentation.
        synthetic: made-up batches; otherwise the first samples of the test data.
        levels: of a UNet++: the network pruned to each of them; none is the whole network.
        repeats: of each.

    Raises:
        ConfigError: the config has no model or no test data, or what is compared is of other networks.
        PathError: the network has no levels, or no such level.
        ValueError: `compare` is unknown.
    """
    if cfg.get('model') is None:
        raise ConfigError('benchmark infer: the config needs `model`.')
    if (levels or compare == 'slide') and cfg.model.get('decode_head') is None:
        asked = '`levels` are of a UNet++' if levels else "`compare='slide'` is of segmentation"
        raise ConfigError(f'benchmark infer: {asked}, the config has no `model.decode_head`.')
    chosen = _test_modes(amp) if compare == 'slide' else variants(amp, compare)
    batches = {size: made_up_batch(cfg, size) if synthetic else _read_batch(cfg, size) for size in batch_sizes}
    cfg = Config(dict(cfg.to_dict(), model=without_pretrained(cfg.model.to_dict())))
    runs: dict[str, Callable[[], object]] = {}
    sizes: dict[str, int] = {}
    suffixes = {f', level {level}': _pruned(level) for level in levels} or {'': {}}
    for (variant, settings), (suffix, options) in itertools.product(chosen.items(), suffixes.items()):
        model = init_model(_with_options(cfg, settings.get('options', {}) | options), checkpoint, device=device)
        if not settings['channels_last']:
            model.to(memory_format=torch.contiguous_format)
            model.data_preprocessor.memory_format = torch.contiguous_format
        for size, batch in batches.items():
            for part, run in _stages(model, batch, amp=settings['amp']).items():
                name = f'{variant}{suffix}, batch {size}: {part}'
                runs[name], sizes[name] = run, size
    how = f'flip test {"on" if getattr(model, "flip_test", False) else "off"}'
    if getattr(model, 'slides', False):
        how += f', windows of {model.window_size} px (w, h) every {model.window_stride}, {model.window_batch} at once'
    report = Report(f'prediction on {device}, {how}', machine(device))
    with torch.inference_mode():
        seconds = in_turns(runs, repeats=repeats, device=device)
    for name, values in seconds.items():
        report.add(name, [sizes[name] / s for s in values], 'images/s')
    if compare is not None:
        first, *others = chosen
        for size, suffix, second in itertools.product(batch_sizes, suffixes, others):
            pair = (seconds[f'{name}{suffix}, batch {size}: whole'] for name in (first, second))
            report.add_ratio(f'{second} / {first}{suffix}, batch {size}, speed', *pair)
    memory, what = peak_memory(device)
    report.notes.append(f'{what}: {memory:.0f} MB')
    return report


def _test_modes(amp: bool) -> dict[str, dict[str, Any]]:
    """Return name -> settings of whole images and of windows, as `variants` does."""
    modes = {'whole images': 'whole', 'windows': 'slide'}
    return {name: dict(amp=amp, channels_last=True, options={'model.test_cfg.mode': mode}) for name, mode in modes.items()}


def _pruned(level: int) -> dict[str, Any]:
    return {'model.backbone.level': level, 'model.decode_head.level': level}


def _with_options(cfg: Config, options: dict[str, Any]) -> Config:
    changed = copy.deepcopy(cfg)
    changed.merge_from_dict(options)
    return changed


def _stages(model: Any, batch: Batch, *, amp: bool) -> dict[str, Callable[[], object]]:
    """Return the whole prediction; and network and decoding by themselves, where the head has them apart."""

    def whole() -> object:
        with autocast_bfloat16(model, enabled=amp):
            return model.test_step(batch)

    if not hasattr(getattr(model, 'head', None), 'decode'):
        return dict(whole=whole)
    inputs = model.data_preprocessor(batch, False)['inputs']

    def network() -> Any:
        with autocast_bfloat16(model, enabled=amp):
            return model.merge_passes(model.head(model.extract_feat(inputs)), inputs)

    with torch.inference_mode():
        raw = network()
    return {'whole': whole, 'network': network, 'decoding': lambda: model.head.decode(raw)}


def _read_batch(cfg: Config, batch_size: int) -> Batch:
    loader = cfg.get('test_dataloader') or cfg.get('val_dataloader')
    if loader is None:
        raise ConfigError('benchmark infer: the config has no `test_dataloader`; made-up batches do without (--synthetic).')
    dataset = DATASETS.build(loader['dataset'])
    return build_collate(loader.get('collate_fn'))([dataset[i % len(dataset)] for i in range(batch_size)])
