"""Losses on coordinates: keypoints, boxes, box deltas."""

from torch import Tensor, nn
from torch.nn import functional

from mmpose_lite.models.losses.reduction import check_reduction, check_shapes, reduce_loss
from mmpose_lite.registry import LOSSES


@LOSSES.register_module()
class SmoothL1Loss(nn.Module):
    """0.5 d^2 / beta where the error d is below beta, d - 0.5 beta above it; averaged over all coordinates.

    Source: Girshick, Fast R-CNN, ICCV 2015, Eq. 3, arXiv:1504.08083 (beta = 1).

    Args:
        beta: where the parabola meets the line, in the unit of the coordinates; 0 gives L1.
        reduction: 'none', 'mean' or 'sum'; see `reduce_loss`.
        loss_weight: factor of the result.
    """

    def __init__(self, *, beta: float = 1.0, reduction: str = 'mean', loss_weight: float = 1.0) -> None:
        super().__init__()
        if beta < 0:
            raise ValueError(f'SmoothL1Loss: `beta` must be 0 or more, got {beta}.')
        check_reduction('SmoothL1Loss', reduction)
        self.beta = beta
        self.reduction = reduction
        self.loss_weight = loss_weight

    def forward(
        self, pred: Tensor, target: Tensor, weight: Tensor | None = None, *, avg_factor: Tensor | float | None = None
    ) -> Tensor:
        """Return a scalar; 0 with zero gradient when there is nothing to learn from.

        Args:
            pred: (N, 4) boxes, (B, K, 2) keypoints, or any other shape.
            target: the same shape.
            weight: the same shape, or its leading axes: (N,), (B, K).
            avg_factor: divide the sum by this instead of by the number of coordinates.

        Raises:
            ValueError: the shapes do not fit together.
        """
        check_shapes('SmoothL1Loss', pred, target)
        loss = functional.smooth_l1_loss(pred, target, reduction='none', beta=self.beta)
        return self.loss_weight * reduce_loss(loss, weight, reduction=self.reduction, avg_factor=avg_factor)


@LOSSES.register_module()
class L1Loss(nn.Module):
    """Absolute error, averaged over all coordinates.

    Args:
        reduction: 'none', 'mean' or 'sum'; see `reduce_loss`.
        loss_weight: factor of the result.
    """

    def __init__(self, *, reduction: str = 'mean', loss_weight: float = 1.0) -> None:
        super().__init__()
        check_reduction('L1Loss', reduction)
        self.reduction = reduction
        self.loss_weight = loss_weight

    def forward(
        self, pred: Tensor, target: Tensor, weight: Tensor | None = None, *, avg_factor: Tensor | float | None = None
    ) -> Tensor:
        """Return a scalar; arguments as in `SmoothL1Loss.forward`."""
        check_shapes('L1Loss', pred, target)
        loss = functional.l1_loss(pred, target, reduction='none')
        return self.loss_weight * reduce_loss(loss, weight, reduction=self.reduction, avg_factor=avg_factor)
