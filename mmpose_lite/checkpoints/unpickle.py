"""Stand-ins for the few classes that published OpenMMLab checkpoints name in their pickles.

torch's `weights_only` reader gives a pickle only what stands on an allow-list. Listing NumPy's and mmengine's own functions would
let a file drive C code with states of its choice, replace methods of HistoryBuffer, and reach anything through `getattr`. So the
names lead to the stand-ins below: none of them imports, looks up or calls what a file chooses, each keeps plain numbers and
text, and raises UnpicklingError on what it does not expect. `resolve` then turns them into tensors and plain types.
"""

import pickle
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from torch.serialization import add_safe_globals, clear_safe_globals, get_safe_globals

from mmpose_lite.checkpoints.plain import array_to_plain, history_to_plain

_DTYPE = re.compile(r'b1|[iu][1248]|f[248]|c8|c16|[US]\d+')


class _Dtype:
    """numpy.dtype: numbers and text only."""

    def __init__(self, code: str, *flags: int) -> None:
        if not isinstance(code, str) or not _DTYPE.fullmatch(code):
            raise pickle.UnpicklingError(f'Unsupported global: GLOBAL numpy.dtype({code!r})')
        self.value = np.dtype(code)

    def __setstate__(self, state: tuple) -> None:
        self.value = self.value.newbyteorder('>' if state[1] == '>' else '<')


class _Array:
    """numpy.ndarray."""

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, is_fortran, content = state
        self.value = np.frombuffer(content, dtype.value).reshape(shape, order='F' if is_fortran else 'C')


class _History:
    """mmengine's HistoryBuffer, whose own `__setstate__` would take over functions from the file, for all buffers."""

    def __setstate__(self, state: dict) -> None:
        self.plain = history_to_plain(state['_log_history'].value, state['_count_history'].value, state['max_length'])


def _reconstruct(cls: type, shape: tuple, code: bytes) -> _Array:
    if not issubclass(cls, _Array):
        raise pickle.UnpicklingError(f'Unsupported global: GLOBAL numpy._reconstruct({cls.__name__})')
    return cls()


def _scalar(dtype: _Dtype, content: bytes) -> Any:
    return np.frombuffer(content, dtype.value)[0].item()


def _getattr(owner: Any, name: str) -> str:
    """getattr: a HistoryBuffer names its four statistics by it; `_History` ignores them."""
    if not (isinstance(owner, type) and issubclass(owner, _History) and name in ('min', 'max', 'current', 'mean')):
        raise pickle.UnpicklingError(f'Unsupported global: GLOBAL builtins.getattr({owner!r}, {name!r})')
    return name


def _bytes(*args: Any) -> bytes:
    """bytes(), how pickle protocol 2 writes b''."""
    if args:
        raise pickle.UnpicklingError(f'Unsupported global: GLOBAL builtins.bytes{args!r}')
    return b''


def _encode(text: str, encoding: str) -> bytes:
    """_codecs.encode, how pickle protocol 2 writes bytes."""
    return text.encode('latin1' if encoding == 'latin1' else 'ascii')


def _named(path: str, stand_in: Any) -> Any:
    """Return a copy of a stand-in with the name it answers to, by which torch finds it (2.4 knows no other way)."""
    module, _, name = path.rpartition('.')
    if isinstance(stand_in, type):
        return type(name, (stand_in,), {'__module__': module})

    def function(*args: Any) -> Any:
        return stand_in(*args)

    function.__module__, function.__name__, function.__qualname__ = module, name, name
    return function


_STAND_INS = {
    path: _named(path, stand_in)
    for path, stand_in in {
        'numpy.dtype': _Dtype,
        'numpy.ndarray': _Array,
        'numpy.core.multiarray._reconstruct': _reconstruct,  # NumPy 1
        'numpy.core.multiarray.scalar': _scalar,
        'numpy._core.multiarray._reconstruct': _reconstruct,  # NumPy 2
        'numpy._core.multiarray.scalar': _scalar,
        'mmengine.logging.history_buffer.HistoryBuffer': _History,
        'builtins.getattr': _getattr,
        'builtins.bytes': _bytes,
        '_codecs.encode': _encode,  # torch 2.4 only; later versions know it
    }.items()
}


@contextmanager
def stand_ins_allowed() -> Iterator[None]:
    """Put the stand-ins on torch's allow-list, before entries of the same name that others may have made, and off again."""
    before = list(get_safe_globals())
    names = [entry[1] if isinstance(entry, tuple) else f'{entry.__module__}.{entry.__name__}' for entry in before]
    clear_safe_globals()
    add_safe_globals([entry for entry, name in zip(before, names) if name not in _STAND_INS] + list(_STAND_INS.values()))
    try:
        yield
    finally:
        clear_safe_globals()
        add_safe_globals(before)


def resolve(value: Any) -> Any:
    """Put the plain form of each stand-in into its place; dicts and lists are changed where they are."""
    if isinstance(value, _Array):
        return array_to_plain(value.value)
    if isinstance(value, _History):
        return value.plain
    if isinstance(value, dict):
        for key in value:
            value[key] = resolve(value[key])
    elif isinstance(value, list):
        value[:] = [resolve(item) for item in value]
    elif type(value) is tuple:
        return tuple(resolve(item) for item in value)
    return value
