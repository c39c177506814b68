"""Whether a network keeps the memory format that it was given."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def channels_last_throughout(model: nn.Module) -> Iterator[None]:
    """Demand that every convolution is given a map in channels-last memory; else it copies it first."""
    seen: dict[str, bool] = {}
    for key, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_pre_hook(
                lambda _, given, key=key: seen.update({key: given[0].is_contiguous(memory_format=torch.channels_last)})
            )
    yield
    assert seen, 'it has convolutions'
    assert all(seen.values()), [key for key, is_last in seen.items() if not is_last]
