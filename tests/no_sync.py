"""Proof on any device that a computation does not wait for values: what would ask for one raises."""

from typing import Any

import torch
from torch.overrides import TorchFunctionMode

# Reading values on the host, and operations whose result has a size that depends on values.
READING = {'item', 'tolist', 'cpu', 'numpy', '__bool__', '__int__', '__float__', '__index__', '__array__', '__contains__'}
SIZING = {'nonzero', 'argwhere', 'masked_select', 'unique', 'equal', 'allclose'}


class NoSync(TorchFunctionMode):
    """Within it, calls that an accelerator must be waited for raise an AssertionError."""

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        name = func.__name__
        assert name not in READING | SIZING, f'`{name}` waits for the device'
        if name in ('__getitem__', '__setitem__'):
            index = args[1] if isinstance(args[1], tuple) else (args[1],)
            mask = any(isinstance(i, torch.Tensor) and i.dtype in (torch.bool, torch.uint8) for i in index)
            assert not mask, '`[mask]` waits for the device'
        return func(*args, **(kwargs or {}))
