"""Less memory for more time: what a block computes on its way is computed again in the backward pass, not kept."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def run_block(block: Callable[[Tensor], Tensor], x: Tensor, *, with_cp: bool) -> Tensor:
    """Return block(x); with `with_cp` nothing inside of it is kept for the backward pass.

    Differs: mmcv keeps all where `x` needs no gradient, as an image does not: in the first block, whose maps are the largest.
    """
    return checkpoint(block, x, use_reentrant=False) if with_cp and torch.is_grad_enabled() else block(x)
