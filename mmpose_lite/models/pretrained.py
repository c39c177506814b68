"""Published weights of a backbone: `init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet50')`."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor, nn


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


def torchvision_url(name: str) -> str:
    """Return where torchvision keeps the weights `name`: 'resnet50' (IMAGENET1K_V1) or 'resnet50.imagenet1k_v2'."""
    import torchvision  # here, because only who asks for its weights needs it

    model, _, version = name.partition('.')
    version = version.upper() or 'IMAGENET1K_V1'
    try:
        weights = torchvision.models.get_model_weights(model)
    except ValueError as error:
        raise ValueError(f'torchvision has no model called {model!r} (checkpoint torchvision://{name}).') from error
    if version not in weights.__members__:
        known = [f'{model}.{key.lower()}' for key in weights.__members__]
        raise ValueError(f'torchvision has no weights {name!r}; it has {known}.')
    return weights[version].url


def fetch_state_dict(checkpoint: str) -> dict[str, Tensor]:
    """Read a state dict on the CPU; only tensors and plain values are unpickled.

    Args:
        checkpoint: 'torchvision://NAME' as in `torchvision_url`, a http(s) address (kept in torch.hub's cache), or a file.

    Raises:
        FileNotFoundError: there is no such file.
    """
    scheme, separator, rest = checkpoint.partition('://')
    if scheme == 'torchvision' and separator:
        checkpoint, scheme = torchvision_url(rest), 'https'
    if separator and scheme in ('http', 'https'):
        content = torch.hub.load_state_dict_from_url(checkpoint, map_location='cpu', weights_only=True)
    elif separator:
        raise ValueError(f'`checkpoint` must be a file or start with torchvision://, http:// or https://, got {checkpoint!r}.')
    elif not Path(checkpoint).is_file():
        raise FileNotFoundError(f'the file {checkpoint!r} given as `init_cfg.checkpoint` does not exist.')
    else:
        content = torch.load(checkpoint, map_location='cpu', weights_only=True)
    return content.get('state_dict', content)


def load_matching(module: nn.Module, state_dict: Mapping[str, Tensor], *, source: str, prefix: str = '') -> None:
    """Copy every tensor of `state_dict` that `module` has, in place, and log in one line what was and was not loaded.

    Args:
        module: the network that receives the weights; what it has and the state dict lacks keeps its initial value.
        state_dict: keys as the module's, after `prefix` is removed. A classifier (`fc.weight`) is left aside.
        source: how messages call the state dict.
        prefix: of the keys to take, such as 'backbone.'; keys without it are not looked at.

    Raises:
        ValueError: a shape differs, or not one key is the module's.
    """
    given = {key.removeprefix(prefix): value for key, value in state_dict.items() if key.startswith(prefix)}
    own = module.state_dict()
    matching = {key: value for key, value in given.items() if key in own}
    name = type(module).__name__
    if not matching:
        raise ValueError(f'{name}: no key of {source} with prefix {prefix!r} fits; it has {list(state_dict)[:3]} ...')
    wrong = [f'{k} {tuple(v.shape)} for {tuple(own[k].shape)}' for k, v in matching.items() if v.shape != own[k].shape]
    if wrong:
        raise ValueError(f'{name}: {len(wrong)} tensors of {source} have another shape, the first is {wrong[0]}.')
    module.load_state_dict(matching, strict=False)
    # Batch counters are no weights, and files of before they existed lack them.
    missing = [key for key in own if key not in matching and not key.endswith('num_batches_tracked')]
    unused = [key for key in given if key not in own]
    message = f'{name}: {len(matching)} of {len(own)} tensors loaded from {source}'
    message += f', not in it: {_some(missing)}' if missing else ''
    message += f', not used: {_some(unused)}' if unused else ''
    print_log(message + '.', logger='current')


def _some(keys: list[str]) -> str:
    return ', '.join(keys[:3]) + (f' and {len(keys) - 3} more' if len(keys) > 3 else '')


def load_pretrained(
    module: nn.Module,
    init_cfg: Mapping[str, Any],
    *,
    convert: Callable[[dict[str, Tensor]], dict[str, Tensor]] | None = None,
) -> None:
    """Load what a checked `init_cfg` names into `module`; see `fetch_state_dict` and `load_matching`.

    Args:
        module: the network.
        init_cfg: with `checkpoint` and perhaps `prefix`.
        convert: renames the keys of another project's layout to the module's; leaves the module's own as they are.
    """
    checkpoint = init_cfg['checkpoint']
    state_dict = fetch_state_dict(checkpoint)
    if convert is not None:
        state_dict = convert(state_dict)
    load_matching(module, state_dict, source=checkpoint, prefix=init_cfg.get('prefix', ''))
