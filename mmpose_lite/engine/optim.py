"""Optimizer wrappers that never wait for the device."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.optim import OptimWrapper as MMEngineOptimWrapper
from torch import Tensor, nn

from mmpose_lite.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class OptimWrapper(MMEngineOptimWrapper):
    """mmengine's wrapper; the norm of clipped gradients stays a tensor, in `grad_norm`."""

    grad_norm: Tensor | None = None

    def _clip_grad(self) -> None:
        params = [p for group in self.optimizer.param_groups for p in group['params'] if p.requires_grad and p.grad is not None]
        if params:
            self.grad_norm = self.clip_func(params, **self.clip_grad_kwargs)


@OPTIM_WRAPPERS.register_module()
class AutocastOptimWrapper(OptimWrapper):
    """Mixed precision by bfloat16 autocast, on GPUs and CPUs; bfloat16 has float32's range, so gradients need no scaling.

    GPUs without bfloat16 (before Ampere) are better served by mmengine's AmpOptimWrapper with dtype='float16'.

    Args:
        kwargs: what OptimWrapper takes: optimizer, accumulative_counts, clip_grad.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Run the forward pass of a step in autocast."""
        device = next(model.parameters()).device.type
        with super().optim_context(model), torch.autocast(device, dtype=torch.bfloat16):
            yield
