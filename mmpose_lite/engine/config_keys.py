"""Which keys a config has, and of which kind their values are; a key or an option that nothing reads is an error.

The checks raise ConfigError.
"""

import difflib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmpose_lite.engine.config_files import ConfigFile, made_of
from mmpose_lite.errors import ConfigError

RUNNER_KEYS = (
    'activation_checkpointing',
    'auto_scale_lr',
    'channels_last',
    'compile',
    'custom_hooks',
    'custom_imports',
    'data_root',
    'default_hooks',
    'default_scope',
    'efficient_conv_bn_eval',
    'env_cfg',
    'find_unused_parameters',
    'import_folders',
    'launcher',
    'load_from',
    'load_min_match',
    'load_revise_keys',
    'log_level',
    'log_processor',
    'meta',
    'model',
    'model_wrapper_cfg',
    'optim_wrapper',
    'param_scheduler',
    'randomness',
    'resume',
    'sync_bn',
    'test_cfg',
    'test_dataloader',
    'test_evaluator',
    'train_cfg',
    'train_dataloader',
    'trust_checkpoints',
    'val_cfg',
    'val_dataloader',
    'val_evaluator',
    'visualizer',
    'work_dir',
)
KINDS = (  # (keys, what their values must be, in types and in words)
    (
        (
            'auto_scale_lr',
            'default_hooks',
            'env_cfg',
            'log_processor',
            'model',
            'model_wrapper_cfg',
            'optim_wrapper',
            'randomness',
            'test_cfg',
            'test_dataloader',
            'train_cfg',
            'train_dataloader',
            'val_cfg',
            'val_dataloader',
            'visualizer',
        ),
        Mapping,
        'a dict',
    ),
    (('load_from', 'work_dir'), str, 'a text'),
    (('custom_hooks', 'import_folders', 'load_revise_keys'), (list, tuple), 'a list'),
    (('param_scheduler',), (list, tuple, Mapping), 'a list, or a dict'),
)
# The keys of sections that no class reads, whose argument a misspelt one would be.
SECTION_KEYS = {
    'auto_scale_lr': ('enable', 'base_batch_size'),
    'env_cfg': ('cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit'),
    'randomness': ('seed', 'diff_rank_seed', 'deterministic'),
}
PARAMWISE_KEYS = (  # of mmengine's constructor of optimizer wrappers; `dcn_offset_lr_mult` looks for mmcv's compiled layers
    'bias_decay_mult',
    'bias_lr_mult',
    'bypass_duplicate',
    'custom_keys',
    'dwconv_decay_mult',
    'flat_decay_mult',
    'norm_decay_mult',
)


def check_names(cfg: Config, path: Path) -> None:
    """Refuse a top-level name that is nearly a key: it would be taken for a variable of the config, and never be read."""
    for name in cfg:
        near = [] if name in RUNNER_KEYS else difflib.get_close_matches(name, RUNNER_KEYS, n=1, cutoff=0.8)
        if near:
            raise ConfigError(
                f'config {str(path)!r}: nothing reads the key `{name}`; did you mean `{near[0]}`? '
                'If it is a variable of your own, give it a name less like that.'
            )


def check_options(
    cfg: Config, options: Mapping[str, Any], files: Sequence[ConfigFile], path: Path, reads: Collection[str]
) -> None:
    """Refuse options that would change nothing: of a key that is not there, or of a variable that has been used already."""
    for option in options:
        first = option.split('.')[0]
        if first in RUNNER_KEYS or first in reads:
            continue
        if first not in cfg:
            near = difflib.get_close_matches(first, [*cfg, *RUNNER_KEYS], n=3)
            hint = f'; did you mean {", ".join(near)}?' if near else '.'
            raise ConfigError(f'--cfg-options {option}: {str(path)!r} has no key `{first}`{hint}')
        made = made_of(files, first)
        if made:
            raise ConfigError(
                f'--cfg-options {option}: `{first}` is a variable, from which {str(path)!r} makes `{"`, `".join(made)}` before '
                'it looks at options. Change its value in a config of your own, or give the key that has it: `python '
                'tools/print_config.py` shows all of them.'
            )


def check_kinds(cfg: Config) -> None:
    """Refuse values that are not of the kind that their key has, and unknown keys of sections that no class reads."""
    for keys, kind, words in KINDS:
        for key in keys:
            if cfg.get(key) is not None and not isinstance(cfg[key], kind):
                raise ConfigError(f'config key `{key}`: must be {words}, got {cfg[key]!r}.')
    if cfg.get('resume') not in (None, True, False, 'auto'):
        raise ConfigError(
            f"config key `resume`: must be True, False or 'auto', got {cfg.resume!r}; a checkpoint is named by `load_from`."
        )
    for key, known in SECTION_KEYS.items():
        check_keys(cfg.get(key) or {}, known, key)
    scaling = cfg.get('auto_scale_lr') or {}
    if scaling.get('enable') and not (isinstance(scaling.get('base_batch_size'), int) and scaling['base_batch_size'] > 0):
        raise ConfigError(
            'config key `auto_scale_lr`: `base_batch_size` must be the batch size that the learning rate is meant for, got '
            f'{scaling.get("base_batch_size")!r}.'
        )


def check_keys(section: Mapping[str, Any], known: Sequence[str], path: str) -> None:
    """Refuse a key that nothing reads, in the section of that path."""
    for key in section:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f'did you mean `{near[0]}`?' if near else f'it has {", ".join(known)}.'
            raise ConfigError(f'config key `{path}`: nothing reads the key `{key}`; {hint}')
