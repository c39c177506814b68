"""Optimizer wrappers that never wait for the device, and mixed precision."""

import functools
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper as MMEngineOptimWrapper
from torch import Tensor, nn

from mmpose_lite.errors import RunError
from mmpose_lite.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class OptimWrapper(MMEngineOptimWrapper):
    """mmengine's wrapper; `grad_norm` is the gradients' norm before clipping, as a tensor, also where nothing is clipped."""

    grad_norm: Tensor | None = None

    def step(self, **kwargs: Any) -> None:
        """Measure the gradients, clip them where the config says so, and step.

        Raises:
            RunError: the learning rate is beyond float32.
        """
        grads = [p.grad for group in self.optimizer.param_groups for p in group['params'] if p.grad is not None]
        if grads and not (self.clip_grad_kwargs and self.grad_name == 'grad_norm'):  # that clipping measures it, too
            self.grad_norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(grads)))
        try:
            super().step(**kwargs)
        except RuntimeError as error:
            if 'overflow' not in str(error):
                raise
            rates = {name: max(values) for name, values in self.get_lr().items()}
            raise RunError(
                f'OptimWrapper: the optimizer cannot compute with the learning rate {rates} ({error}). Set '
                '`optim_wrapper.optimizer.lr` to a smaller one.'
            ) from error

    def _clip_grad(self) -> None:
        params = [p for group in self.optimizer.param_groups for p in group['params'] if p.grad is not None]
        norm = self.clip_func(params, **self.clip_grad_kwargs) if params else None
        self.grad_norm = self.grad_norm if norm is None else norm


@OPTIM_WRAPPERS.register_module()
class AutocastOptimWrapper(OptimWrapper):
    """Mixed precision by bfloat16 autocast, on GPUs and CPUs; bfloat16 has float32's range, so gradients need no scaling.

    A CPU that only emulates bfloat16 computes in float32 instead, which is faster there; a log line says so. GPUs without
    bfloat16 (before Ampere) are better served by mmengine's AmpOptimWrapper with dtype='float16'.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Run the forward pass of a step in autocast."""
        with super().optim_context(model), autocast_bfloat16(model):
            yield


def autocast_bfloat16(model: nn.Module, *, enabled: bool = True) -> torch.autocast:
    """Return the context in which `model` computes in bfloat16, where its device multiplies such numbers itself."""
    device = next(model.parameters()).device.type
    return torch.autocast(device, dtype=torch.bfloat16, enabled=enabled and computes_bfloat16(device))


@functools.cache
def computes_bfloat16(device: str) -> bool:
    """Return whether a 'cuda' or 'cpu' device multiplies bfloat16 numbers itself; where the CPU cannot be asked, True."""
    cpu_info = Path('/proc/cpuinfo')
    if device != 'cpu' or not cpu_info.exists():
        return True
    words = set(cpu_info.read_text().split())
    if words & {'avx512_bf16', 'amx_bf16', 'bf16'}:
        return True
    print_log('this CPU only emulates bfloat16: mixed precision is off, computing in float32.', 'current', logging.WARNING)
    return False
