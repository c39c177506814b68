"""What a checkpoint is made of when it is written: tensors, text, numbers, and dicts and lists of them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from torch import Tensor

_HISTORY_KEYS = {'log_history', 'count_history', 'max_length'}


def to_plain(state: Any) -> Any:
    """Return a copy of the tree `state` that holds tensors (on the CPU) and dict, list, tuple, str, int, float, bool, None only.

    NumPy scalars become Python's, NumPy arrays tensors (of text: lists), paths text, enum members of text or numbers their
    value, mappings dicts, parameters tensors. A HistoryBuffer becomes a dict that `from_plain` turns back. CPU tensors are not
    copied. The `_metadata` of a state dict (layer versions) is lost; no layer of this project reads it.

    Raises:
        TypeError: anything else; the message gives the key path, e.g. `message_hub.log_scalars.train/loss`.
    """
    return _to_plain(state, '')


def from_plain(state: Any) -> Any:
    """Return a copy of the tree `state` where the dicts that `to_plain` made of HistoryBuffers are HistoryBuffers again."""
    if isinstance(state, Mapping):
        if set(state) == _HISTORY_KEYS:
            return HistoryBuffer(state['log_history'].numpy(), state['count_history'].numpy(), state['max_length'])
        return {key: from_plain(value) for key, value in state.items()}
    if type(state) in (list, tuple):
        return type(state)(from_plain(value) for value in state)
    return state


def _to_plain(value: Any, path: str) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Tensor):
        return value.detach().cpu()
    for kind in (int, float):
        if isinstance(value, kind):
            return kind(value)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {_plain_key(key, path): _to_plain(item, f'{path}.{key}' if path else str(key)) for key, item in value.items()}
    if isinstance(value, list | tuple):
        items = [_to_plain(item, f'{path}[{index}]') for index, item in enumerate(value)]
        return items if isinstance(value, list) else tuple(items)
    if isinstance(value, np.ndarray) and value.dtype.kind in 'biufcUS':
        return array_to_plain(value)
    if isinstance(value, HistoryBuffer):
        log, count = value.data
        return history_to_plain(log, count, value.max_length)
    raise TypeError(
        f'to_plain: `{path or "the checkpoint itself"}` must be a tensor or made of plain types, got {type(value).__module__}.'
        f'{type(value).__qualname__}; store its numbers or its name instead.'
    )


def _plain_key(key: Any, path: str) -> Any:
    plain = _to_plain(key, f'{path}.{key}' if path else str(key))
    if not isinstance(plain, str | int | float | tuple | None):
        raise TypeError(f'to_plain: the keys of `{path or "the checkpoint itself"}` must be text or numbers, got {key!r}.')
    return plain


def array_to_plain(array: np.ndarray) -> Tensor | list:
    if array.dtype.kind in 'US':
        return array.astype('U').tolist()
    return torch.from_numpy(array.astype(array.dtype.newbyteorder('='), order='C'))


def history_to_plain(log: np.ndarray, count: np.ndarray, max_length: int) -> dict[str, Any]:
    return dict(log_history=array_to_plain(log), count_history=array_to_plain(count), max_length=int(max_length))
