"""A part that was built for other channels or more images than it is given: what torch says of a layer, told by its part."""

import inspect
from types import TracebackType
from typing import Any

from torch import Tensor, nn

# What layers call the channels they take -> the axis of their input that has them.
_AXES = {'in_channels': 1, 'num_features': 1, 'num_channels': 1, 'in_features': -1, 'normalized_shape': -1}


def explain_lone_value(model: nn.Module, error: ValueError) -> str:
    """Return what to change if a norm in training was given one value per channel, which has no variance; '' for other errors."""
    name, layer, given = _failed_layer(model, error.__traceback__)
    if given is None or 'when training, got input size' not in str(error):  # torch's words, of all kinds of norms
        return ''
    part_name = _part_of(model, name)
    return (
        f'`model.{part_name}`: the layer `{name.removeprefix(part_name + ".")}` ({type(layer).__name__}) of '
        f'{type(model.get_submodule(part_name)).__name__} is given one value per channel, {tuple(given.shape)}, of which a norm '
        'cannot learn in training. Set `train_dataloader.batch_size` to 2 or more for each process, and '
        '`train_dataloader.drop_last=True` if an epoch ends with one image; or make the input larger.'
    )


def explain_misfit(model: nn.Module, traceback: TracebackType | None) -> str:
    """Return which key of the config to change, if a forward pass failed at a layer that was built for other channels.

    Args:
        model: whole network; its parts have the names of their config keys.
        traceback: of the error.

    Returns:
        The message; '' if the pass failed for another reason.
    """
    name, layer, given = _failed_layer(model, traceback)
    key = next((key for key in _AXES if hasattr(layer, key)), '')
    if not key or given is None or given.ndim < 2:
        return ''
    wanted = getattr(layer, key)
    wanted = wanted[-1] if isinstance(wanted, tuple) else wanted
    if wanted == given.shape[_AXES[key]]:
        return ''
    part_name = _part_of(model, name)
    what, path, advice = 'channels', f'{part_name}.in_channels', 'Set `in_channels` to fit.'
    if _AXES[key] == -1:  # channels, or all numbers of a map in a row
        what, path, advice = 'numbers', part_name, 'Set `in_channels` and the sizes of maps to fit.'
    return (
        f'config key `model.{path}`: {type(model.get_submodule(part_name)).__name__} was built for {wanted} {what} and is given '
        f'{given.shape[_AXES[key]]} (its layer `{name.removeprefix(part_name + ".")}`, input {tuple(given.shape)}). '
        f'{_maps_before(model, part_name)}{advice}'
    )


def _failed_layer(model: nn.Module, traceback: TracebackType | None) -> tuple[str, Any, Tensor | None]:
    """Return the innermost module that was running, its name, and the tensor it was given; None without any."""
    names = {id(module): name for name, module in model.named_modules()}
    name, layer, given = '', None, None
    while traceback is not None:
        frame = traceback.tb_frame
        arguments = [frame.f_locals.get(key) for key in frame.f_code.co_varnames[: frame.f_code.co_argcount]]
        if len(arguments) > 1 and id(arguments[0]) in names and isinstance(arguments[1], Tensor):
            name, layer, given = names[id(arguments[0])], arguments[0], arguments[1]
        traceback = traceback.tb_next
    return name, layer, given


def _part_of(model: nn.Module, layer_name: str) -> str:
    """Return the name of the part with `in_channels` that the layer is of: a neck, a head, a head inside a head."""
    names = layer_name.split('.')
    for depth in range(1, len(names)):
        part = model.get_submodule('.'.join(names[:depth]))
        if 'in_channels' in inspect.signature(type(part)).parameters:
            return '.'.join(names[:depth])
    return names[0]


def _maps_before(model: nn.Module, part_name: str) -> str:
    before = [name for name in ('neck', 'backbone') if getattr(model, name, None) is not None and not part_name.startswith(name)]
    channels = getattr(getattr(model, before[0]), 'out_channels', None) if before else None
    if channels is None:
        return ''
    return f'The maps of `model.{before[0]}` ({type(getattr(model, before[0])).__name__}) have {channels} channels. '
