"""Published weights of a backbone: `init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet50')`."""

from collections.abc import Mapping
from typing import Any

from mmengine.logging import print_log
from torch import Tensor, nn

from mmpose_lite.checkpoints.layouts import convert_layout
from mmpose_lite.checkpoints.reading import load_checkpoint_file
from mmpose_lite.checkpoints.weights import extract_state_dict
from mmpose_lite.errors import ConfigError


def check_init_cfg(owner: str, init_cfg: Mapping[str, Any] | None) -> None:
    """Raise ValueError unless `init_cfg` is None or dict(type='Pretrained', checkpoint=...[, prefix=...])."""
    if init_cfg is None:
        return
    known = {'type', 'checkpoint', 'prefix'}
    if not isinstance(init_cfg, Mapping) or init_cfg.get('type') != 'Pretrained' or 'checkpoint' not in init_cfg:
        raise ValueError(
            f'{owner}: `init_cfg` must be dict(type="Pretrained", checkpoint=...) or None, got {init_cfg!r}. '
            'Other initial values are set in the class.'
        )
    if set(init_cfg) - known:
        raise ValueError(f'{owner}: `init_cfg` takes the keys {sorted(known)}, got {sorted(set(init_cfg) - known)}.')


def read_pretrained(module: nn.Module, init_cfg: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the weights that a checked `init_cfg` names: those after its `prefix`, without it.

    If more of the module's names are found after converting the checkpoint from another layout (torchvision's VGG, timm's ViT:
    see `convert_layout`), they come so.

    Raises:
        ConfigError: there is no such file, it is no checkpoint, or no name in it begins with the prefix.
        DownloadError: it cannot be downloaded.
        UntrustedCheckpointError: it is more than weights.
    """
    source, prefix = init_cfg['checkpoint'], init_cfg.get('prefix', '')
    try:
        state_dict = extract_state_dict(load_checkpoint_file(source))
    except (FileNotFoundError, ValueError) as error:
        raise ConfigError(f'config key `init_cfg.checkpoint`: {error}') from error
    own = module.state_dict().keys()
    plain = _after(prefix, state_dict)
    converted = _after('backbone.', convert_layout(state_dict).state_dict)
    chosen = max(plain, converted, key=lambda given: len(own & given.keys()))
    if not chosen:
        raise ConfigError(
            f'{type(module).__name__}: no name in {source} begins with the prefix {prefix!r} of `init_cfg`; it has '
            f'{list(state_dict)[:3]} ...'
        )
    return chosen


def _after(prefix: str, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in state_dict.items() if key.startswith(prefix)}


def load_matching(module: nn.Module, state_dict: Mapping[str, Tensor], *, source: str) -> None:
    """Copy every tensor of `state_dict` that `module` has, in place, and log in one line what was and was not loaded.

    Args:
        module: the network that receives the weights; what it has and the state dict lacks keeps its initial value.
        state_dict: keys as the module's. A classifier (`fc.weight`) is left aside.
        source: how messages call the state dict.

    Raises:
        ConfigError: a shape differs, or not one key is the module's.
    """
    own = module.state_dict()
    matching = {key: value for key, value in state_dict.items() if key in own}
    name = type(module).__name__
    if not matching:
        raise ConfigError(f'{name}: no key of {source} fits; it has {list(state_dict)[:3]} ...')
    wrong = [f'{k} {tuple(v.shape)} for {tuple(own[k].shape)}' for k, v in matching.items() if v.shape != own[k].shape]
    if wrong:
        raise ConfigError(f'{name}: {len(wrong)} tensors of {source} have another shape, the first is {wrong[0]}.')
    module.load_state_dict(matching, strict=False)
    # Batch counters are no weights, and files of before they existed lack them.
    missing = [key for key in own if key not in matching and not key.endswith('num_batches_tracked')]
    unused = [key for key in state_dict if key not in own]
    message = f'{name}: {len(matching)} of {len(own)} tensors loaded from {source}'
    message += f', not in it: {_some(missing)}' if missing else ''
    message += f', not used: {_some(unused)}' if unused else ''
    print_log(message + '.', logger='current')


def _some(keys: list[str]) -> str:
    return ', '.join(keys[:3]) + (f' and {len(keys) - 3} more' if len(keys) > 3 else '')


def load_pretrained(module: nn.Module, init_cfg: Mapping[str, Any]) -> None:
    """Load what a checked `init_cfg` names into `module`; see `read_pretrained` and `load_matching`."""
    load_matching(module, read_pretrained(module, init_cfg), source=init_cfg['checkpoint'])
