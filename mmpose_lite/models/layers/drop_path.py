"""Stochastic depth: a residual branch that is now and then left out while training."""

from torch import Tensor, nn


class DropPath(nn.Module):
    """Set whole samples to 0 with probability `p` while training, and scale the others by 1 / (1 - p).

    Source: Huang et al., Deep Networks with Stochastic Depth, ECCV 2016, arXiv:1603.09382.

    Raises:
        ValueError: `p` is not in [0, 1).
    """

    def __init__(self, p: float = 0.0) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(f'DropPath: `p` must be in [0, 1), got {p}.')
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, ...) of the branch (B, ...)."""
        if not self.training or self.p == 0:
            return x
        kept = x.new_empty((x.shape[0],) + (1,) * (x.ndim - 1)).bernoulli_(1 - self.p)
        return x * (kept / (1 - self.p))

    def extra_repr(self) -> str:
        return f'p={self.p}'
