"""A GPU that is made up: what runs on one only, or goes wrong on one only, is seen on any machine."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

GPU = torch.device('cuda', 0)
REFUSED = {'numpy', '__array__', '__dlpack__'}
FACTORIES = {'tensor', 'as_tensor'}  # that copy Python's numbers, and wait until they are there


class PretendGPU(TorchFunctionMode):
    """Within it tensors can be on a GPU: they say so, and so does what is made of them. Their values are computed on the CPU.

    Code that asks for the device therefore takes the way of a GPU, with values that can be compared with those of the other way.
    As on a GPU, a computation that mixes devices raises an AssertionError, and so does NumPy's view of a tensor.

    Args:
        waits: False refuses copies from the host that wait for the device, too. (For the other direction there is NoSync.)
    """

    def __init__(self, *, waits: bool = True) -> None:
        super().__init__()
        self.waits = waits

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs, name = dict(kwargs or {}), func.__name__
        if func == Tensor.device.__get__:
            return GPU if is_there(args[0]) else args[0].device
        if func == Tensor.is_cuda.__get__:
            return is_there(args[0])
        if func == Tensor.is_cpu.__get__:
            return not is_there(args[0])
        if name in ('to', 'cuda', 'cpu'):
            return self._moved(name, *args, **kwargs)
        there = [is_there(tensor) for tensor in tensors_in((args, kwargs))]
        assert not (any(there) and name in REFUSED), f'`{name}` of a tensor on a GPU is refused'
        assert name == 'copy_' or all(there) or not any(there), f'`{name}` mixes tensors of a GPU and of the host'
        device = kwargs.get('device')
        asked = any(there) if device is None else torch.device(device).type == 'cuda'
        copies = asked and (name == 'new_tensor' or (name in FACTORIES and not any(there)))
        assert self.waits or not copies, f'`{name}` copies from the host, and waits for the device'
        if device is not None:
            kwargs['device'] = 'cpu'
        result = func(*args, **kwargs)
        if asked and name != 'copy_':
            put(result)
        return result

    def _moved(self, name: str, tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Return what `to`, `cuda` and `cpu` do."""
        goal = is_there(tensor) if name == 'to' else name == 'cuda'
        rest = []
        for value in (*args, *(kwargs.pop(key) for key in ('device', 'other') if key in kwargs)):
            if isinstance(value, Tensor):
                goal = is_there(value)
                rest.append(value.dtype)
            elif isinstance(value, str | torch.device):
                goal = torch.device(value).type == 'cuda'
            elif name == 'to':
                rest.append(value)
        leaves = goal and not is_there(tensor) and not kwargs.get('non_blocking')
        assert self.waits or not leaves, f'`{name}` copies from the host, and waits for the device'
        kwargs = {key: value for key, value in kwargs.items() if key != 'non_blocking'} if name == 'to' else {}
        result = tensor.to(*rest, **kwargs) if rest or kwargs else tensor
        if result is tensor and goal != is_there(tensor):
            result = tensor.view_as(tensor)  # the one given stays where it is
        if goal:
            put(result)
        return result


def is_there(tensor: Tensor) -> bool:
    """Return whether a tensor is on the GPU."""
    return getattr(tensor, '_on_gpu', False)


def put(value: Any) -> Any:
    """Put on the GPU: the tensors of a module, or of a tensor, a list, a tuple or a dict; return `value`."""
    tensors = (*value.parameters(), *value.buffers()) if isinstance(value, nn.Module) else tensors_in(value)
    for tensor in tensors:
        tensor._on_gpu = True
    return value


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Yield the tensors of lists, tuples and dicts."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for part in value:
            yield from tensors_in(part)
    elif isinstance(value, dict):
        yield from tensors_in(list(value.values()))
