"""Averaged weights, for mmengine's EMAHook."""

import math

from mmengine.model import ExponentialMovingAverage
from torch import Tensor, nn

from mmpose_lite.registry import MODELS


@MODELS.register_module()
class ExpMomentumEMA(ExponentialMovingAverage):
    """Moving average whose first steps follow the network closely: dict(type='EMAHook', ema_type='ExpMomentumEMA', ...).

    Step t moves the average towards the weights by momentum + (1 - momentum) * exp(-(1 + t) / gamma).

    Source: Ge et al., YOLOX, arXiv:2107.08430 (its code); as in mmdet and mmpose.

    Args:
        model: the network.
        momentum: share of the new weights, in (0, 1), once training has settled.
        gamma: steps in which the start fades, positive.
        interval: steps between two updates.
        update_buffers: average running statistics too, instead of copying them.

    Raises:
        ValueError: `gamma` is not positive.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        momentum: float = 0.0002,
        gamma: int = 2000,
        interval: int = 1,
        update_buffers: bool = False,
    ) -> None:
        super().__init__(model, momentum=momentum, interval=interval, update_buffers=update_buffers)
        if gamma <= 0:
            raise ValueError(f'ExpMomentumEMA: `gamma` must be positive, got {gamma}.')
        self.gamma = gamma

    def avg_func(self, averaged_param: Tensor, source_param: Tensor, steps: int) -> None:
        """Move one averaged tensor, in place."""
        momentum = self.momentum + (1 - self.momentum) * math.exp(-(1 + float(steps)) / self.gamma)
        averaged_param.lerp_(source_param, momentum)
