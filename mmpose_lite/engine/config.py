"""Reading configs: one Python dialect, values inherited from the top level, mistakes named with their file and key."""

import difflib
import inspect
import os
import sys
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.hooks import EMAHook

from mmpose_lite.engine.config_files import config_files, import_custom_modules, read_files
from mmpose_lite.engine.config_keys import PARAMWISE_KEYS, check_keys, check_kinds, check_names, check_options
from mmpose_lite.engine.config_text import ReadableConfig
from mmpose_lite.errors import ConfigError
from mmpose_lite.registry import (
    DATASETS,
    HOOKS,
    LOOPS,
    METRICS,
    MODELS,
    OPTIM_WRAPPER_CONSTRUCTORS,
    OPTIM_WRAPPERS,
    OPTIMIZERS,
    PARAM_SCHEDULERS,
    VISBACKENDS,
    VISUALIZERS,
    PathError,
    Registry,
)

SPLITS = ('train', 'val', 'test')
# What a dataset and a model take from the top level of a config unless they say otherwise.
INHERITED = ('meta', 'data_root')
# Codecs for crops of one person; only HeatmapCodec has a variant for those of UDP.
CROP_CODECS = ('HeatmapCodec', 'MegviiHeatmapCodec', 'SimCCCodec')
# Steps after which objects are to be ignored, and assigners that look at these only with `ignore_iof_thr`.
IGNORING_STEPS = ('SNIPResize', 'SNIPERChip')
ASSIGNERS_BY_IOU = ('MaxIoUAssigner', 'ApproxMaxIoUAssigner')


def load_config(path: str | Path, cfg_options: Mapping[str, Any] | None = None, *, reads: Collection[str] = ()) -> Config:
    """Read a config file, apply command-line options, import its modules, hand inherited values down.

    Args:
        path: a .py config. Its folder, those of its bases with `custom_imports`, and the working directory are put on the import
            path; where the modules were found is kept as `import_folders`, for the copy of the config in a work dir.
        cfg_options: dotted key -> value, as `--cfg-options` gives them.
        reads: top-level keys that the caller reads, beside those of the runner.

    Raises:
        ConfigError: the file, a base or a module is missing or faulty, a name in it is nearly a key, an option names a key that
            nothing reads, a value is of another kind than its key, or crops and codec do not fit together.
    """
    path = Path(path)
    if not path.is_file():
        folder = path.parent if path.parent.is_dir() else Path('configs')
        near = difflib.get_close_matches(path.name, [p.name for p in folder.glob('*.py')], n=3)
        hint = f' Near names in {folder}: {", ".join(near)}.' if near else ''
        raise ConfigError(f'config file {str(path)!r} {"is a folder" if path.is_dir() else "does not exist"}.{hint}')
    if path.suffix != '.py':
        raise ConfigError(f'config file {str(path)!r} must end in .py; commands take the config first, then the checkpoint.')
    files = config_files(path)
    cfg = ReadableConfig()
    cfg.__setstate__(read_files(path, files).__getstate__())
    check_names(cfg, path)
    check_options(cfg, cfg_options or {}, files, path, reads)
    for option, value in (cfg_options or {}).items():
        if option in INHERITED:  # as a whole, for a file's name may be replaced by a dict
            cfg[option] = value
            continue
        try:
            cfg.merge_from_dict({option: value})
        except Exception as error:
            raise ConfigError(
                f'--cfg-options {option}={value!r} does not fit {str(path)!r}: {error}. (A part of a list is named by its '
                'number, as in val_evaluator.0.thr; a list is replaced by a list.)'
            ) from error
    check_kinds(cfg)
    beside = [str(file.path.parent) for file in files if 'custom_imports' in file.names]
    ours = (*(cfg.get('import_folders') or ()), *beside, str(path.resolve().parent), os.getcwd())
    sys.path[:0] = [folder for folder in reversed(dict.fromkeys(ours)) if folder not in sys.path]
    if cfg.get('custom_imports'):
        cfg.import_folders = [folder for folder in import_custom_modules(cfg.custom_imports) if folder in ours]
    complete(cfg)
    return cfg


def complete(cfg: Config) -> None:
    """Hand inherited values down, and look whether parts fit that do not know each other; for configs without a file, too.

    Raises:
        ConfigError: see `hand_down`, `check_crops` and `check_ignored`.
    """
    hand_down(cfg)
    check_crops(cfg)
    check_ignored(cfg)


def takes(registry: Registry, cfg: Mapping[str, Any], argument: str) -> bool:
    """Return whether the class that `cfg` names has such an argument."""
    return argument in inspect.signature(registry.class_of(cfg)).parameters


def _datasets(cfg: Any, where: str) -> Iterator[tuple[str, Any]]:
    """Yield the dataset configs in a dataset config, wrappers opened, each with its key."""
    inner = [(f'{where}.datasets[{number}]', part) for number, part in enumerate(cfg.get('datasets') or ())]
    if isinstance(cfg.get('dataset'), Mapping):
        inner.append((f'{where}.dataset', cfg['dataset']))
    if not inner:
        yield where, cfg
    for key, part in inner:
        yield from _datasets(part, key)


def metric_configs(evaluator: Any) -> list[Any]:
    """Return the metric configs of an evaluator config: a dict, a list, or a dict with `metrics`."""
    if evaluator is None:
        return []
    if isinstance(evaluator, Mapping):
        return metric_configs(evaluator['metrics']) if 'metrics' in evaluator else [evaluator]
    return list(evaluator) if isinstance(evaluator, list | tuple) else [evaluator]


def hook_configs(cfg: Config) -> dict[str, Any]:
    """Return the configs of the hooks by their keys; None for one that is left out."""
    hooks = {f'default_hooks.{name}': hook for name, hook in (cfg.get('default_hooks') or {}).items()}
    return hooks | {f'custom_hooks[{number}]': hook for number, hook in enumerate(cfg.get('custom_hooks') or ())}


def check_host_parts(cfg: Config) -> None:
    """Look up the parts that mmengine builds, whose errors name neither the key nor what was meant.

    Raises:
        UnknownTypeError: a name is not registered.
        ArgumentError: an argument is unknown or missing.
        ConfigError: `paramwise_cfg` has a key that mmengine's constructor does not read.
    """

    def check(registry: Registry, part: Any, path: str, *given: str) -> None:
        try:
            registry.check(part, given=given)
        except PathError as error:
            error.prepend(path, part)
            raise

    for key in ('train_cfg', 'val_cfg', 'test_cfg'):
        if 'type' in (cfg.get(key) or {}):
            check(LOOPS, cfg[key], key, 'runner', 'dataloader', 'evaluator')
    if cfg.get('optim_wrapper') is not None:
        wrapper = {'type': 'OptimWrapper', 'constructor': 'DefaultOptimWrapperConstructor', **cfg.optim_wrapper}
        constructor, paramwise = wrapper.pop('constructor'), wrapper.pop('paramwise_cfg', None) or {}
        is_plain = constructor == 'DefaultOptimWrapperConstructor'  # others may read other keys
        if is_plain or 'type' in cfg.optim_wrapper:
            check(OPTIM_WRAPPERS, wrapper, 'optim_wrapper')
        if is_plain or 'optimizer' in wrapper:
            check(OPTIMIZERS, wrapper.get('optimizer'), 'optim_wrapper.optimizer', 'params')
        check(
            OPTIM_WRAPPER_CONSTRUCTORS, {'type': constructor}, 'optim_wrapper.constructor', 'optim_wrapper_cfg', 'paramwise_cfg'
        )
        if not isinstance(paramwise, Mapping):
            raise ConfigError(f'config key `optim_wrapper.paramwise_cfg`: must be a dict, got {paramwise!r}.')
        if is_plain:
            check_keys(paramwise, PARAMWISE_KEYS, 'optim_wrapper.paramwise_cfg')
    for where, scheduler in _numbered(cfg.get('param_scheduler'), 'param_scheduler'):
        check(PARAM_SCHEDULERS, scheduler, where, 'optimizer')
    if cfg.get('visualizer') is not None:
        check(VISUALIZERS, {'type': 'Visualizer', **cfg.visualizer}, 'visualizer')
        for where, backend in _numbered(cfg.visualizer.get('vis_backends'), 'visualizer.vis_backends'):
            check(VISBACKENDS, backend, where, 'save_dir')
    for where, hook in hook_configs(cfg).items():
        if isinstance(hook, Mapping):
            hook = {key: value for key, value in hook.items() if key != 'priority'}
        if hook is not None:
            check(HOOKS, hook, where)
            if hook['type'] == 'EMAHook':  # what it does not take itself is for the average
                average = {key: value for key, value in hook.items() if key not in inspect.signature(EMAHook).parameters}
                check(MODELS, average | dict(type=hook.get('ema_type', 'ExponentialMovingAverage')), where, 'model')


def _numbered(parts: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield the configs in a list, or the one that stands alone, each with its key."""
    for number, part in enumerate(parts if isinstance(parts, list | tuple) else () if parts is None else (parts,)):
        yield f'{path}[{number}]', part


def hand_down(cfg: Config) -> None:
    """Give top-level `meta` and `data_root` to the parts that take them and have none; metrics also get their split's `ann_file`.

    So one option on the command line moves the data, and one meta file changes every count.

    Raises:
        ConfigError: a part is not known or missing.
    """

    def give(registry: Registry, part: Any, where: str, values: Mapping[str, Any]) -> None:
        if not isinstance(part, Mapping):
            raise ConfigError(f'config key `{where}`: must be a dict with the key `type`, got {part!r}.')
        try:
            for name, value in values.items():
                if value is not None and part.get(name) is None and takes(registry, part, name):
                    part[name] = value
        except PathError as error:
            error.prepend(where, part)
            raise ConfigError(str(error)) from error

    top = {name: cfg.get(name) for name in INHERITED}
    if isinstance(cfg.get('model'), Mapping) and 'type' in cfg.model:
        give(MODELS, cfg.model, 'model', top)
    for split in SPLITS:
        loader = cfg.get(f'{split}_dataloader')
        if loader is None:
            continue
        if not isinstance(loader.get('dataset'), Mapping):
            raise ConfigError(f'config key `{split}_dataloader`: needs the key `dataset`, the config of a dataset.')
        parts = list(_datasets(loader['dataset'], f'{split}_dataloader.dataset'))
        for where, part in parts:
            give(DATASETS, part, where, top)
        for number, metric in enumerate(metric_configs(cfg.get(f'{split}_evaluator'))):
            values = {name: parts[0][1].get(name) for name in ('data_root', 'ann_file')}
            give(METRICS, metric, f'{split}_evaluator[{number}]', values)


def check_crops(cfg: Config) -> None:
    """Refuse crops of UDP with a codec of another kind, and plain crops with UDP's: both train without a word, and are biased.

    A step that says `use_udp=False` is taken at its word: there are published weights that are tested so.

    Raises:
        ConfigError: a step of a pipeline does not fit the codec.
    """
    codec = cfg.get('model')
    for key in ('head', 'codec'):
        codec = codec.get(key) if isinstance(codec, Mapping) else None
    if not isinstance(codec, Mapping) or codec.get('type') not in CROP_CODECS:
        return
    is_udp = codec.get('variant') == 'udp'
    for where, step in _steps(cfg):
        if not isinstance(step, Mapping) or step.get('type') != 'TopdownAffine' or bool(step.get('use_udp')) == is_udp:
            continue
        if is_udp and 'use_udp' not in step:
            raise ConfigError(
                f"config key `{where}`: TopdownAffine needs use_udp=True, as the codec has variant='udp'; on plain crops its "
                'keypoints are up to 1 px of the crop beside the true ones. Where that is meant, write use_udp=False.'
            )
        if not is_udp:
            raise ConfigError(
                f'config key `{where}`: TopdownAffine: `use_udp` must be False, as the codec ({codec["type"]}) has no '
                "variant='udp', got True; its keypoints are up to 1 px of the crop beside the true ones on crops of UDP."
            )


def check_ignored(cfg: Config) -> None:
    """Refuse objects to be ignored with an assigner that does not look at them: they would be learnt as background.

    An assigner that says `ignore_iof_thr=-1` is taken at its word.

    Raises:
        ConfigError: a step of a pipeline does not fit an assigner.
    """
    steps = [
        (where, step['type'])
        for where, step in _steps(cfg)
        if isinstance(step, Mapping) and step.get('type') in IGNORING_STEPS and not where.startswith(('val_', 'test_'))
    ]
    blind = [
        (where, part)
        for where, part in _parts(cfg.get('model'), 'model')
        if part.get('type') in ASSIGNERS_BY_IOU and 'ignore_iof_thr' not in part
    ]
    if steps and blind:
        (where, step), (key, assigner) = steps[0], blind[0]
        raise ConfigError(
            f'config key `{key}`: {assigner["type"]} needs `ignore_iof_thr`, such as 0.5, since {step} (`{where}`) leaves '
            'objects to be ignored, which would be learnt as background. Where that is meant, write ignore_iof_thr=-1.'
        )


def _parts(cfg: Any, where: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the dicts in a config, each with its key."""
    if isinstance(cfg, Mapping):
        yield where, cfg
        for key, part in cfg.items():
            yield from _parts(part, f'{where}.{key}')
    elif isinstance(cfg, list | tuple):
        for number, part in enumerate(cfg):
            yield from _parts(part, f'{where}[{number}]')


def _steps(cfg: Config) -> Iterator[tuple[str, Any]]:
    """Yield the steps of all pipelines that a network is shown, each with its key."""
    pipelines = {}
    for split in SPLITS:
        if cfg.get(f'{split}_dataloader') is not None:
            for where, part in _parts(cfg[f'{split}_dataloader'], f'{split}_dataloader'):
                if 'pipeline' in part:
                    pipelines[f'{where}.pipeline'] = part['pipeline']
    for where, hook in hook_configs(cfg).items():
        if isinstance(hook, Mapping):
            pipelines[f'{where}.switch_pipeline'] = hook.get('switch_pipeline')
    for where, steps in pipelines.items():
        for number, step in enumerate(steps if isinstance(steps, list | tuple) else ()):
            yield f'{where}[{number}]', step
