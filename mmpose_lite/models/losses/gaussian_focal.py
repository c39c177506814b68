"""Focal loss on heatmaps whose peaks are 1 and whose slopes are hardly wrong."""

# Letters: B batch, C classes, H x W cells.
import torch
from torch import Tensor, nn

from mmpose_lite.models.losses.reduction import check_reduction, check_shapes, reduce_loss
from mmpose_lite.registry import LOSSES

_EPS = 1e-12  # added to probabilities in logarithms, as in mmdet


@LOSSES.register_module()
class GaussianFocalLoss(nn.Module):
    """-(1 - p)^alpha log(p) where the target is 1, -(1 - target)^gamma p^alpha log(1 - p) elsewhere.

    Source: Law and Deng, CornerNet, ECCV 2018, Eq. 1, arXiv:1808.01244.

    Args:
        alpha: how little what is easy counts.
        gamma: how little the slope of a peak counts.
        reduction: 'none', 'mean' or 'sum'; see `reduce_loss`.
        loss_weight: factor of the result.
    """

    def __init__(self, *, alpha: float = 2.0, gamma: float = 4.0, reduction: str = 'mean', loss_weight: float = 1.0) -> None:
        super().__init__()
        check_reduction('GaussianFocalLoss', reduction)
        self.alpha = alpha
        self.gamma = gamma
        self.reduction = reduction
        self.loss_weight = loss_weight

    def forward(
        self, pred: Tensor, target: Tensor, weight: Tensor | None = None, *, avg_factor: Tensor | float | None = None
    ) -> Tensor:
        """Return a scalar; 0 with zero gradient when nothing counts.

        Args:
            pred: (B, C, H, W) or any shape, probabilities.
            target: the same shape, in [0, 1].
            weight: the same shape, or its leading axes.
            avg_factor: divide the sum by this, such as the number of peaks, instead of by the number of cells.

        Raises:
            ValueError: the shapes do not fit together.
        """
        check_shapes('GaussianFocalLoss', pred, target)
        pred = pred.to(torch.promote_types(pred.dtype, torch.float32))
        at_peak = -(pred + _EPS).log() * (1 - pred) ** self.alpha
        elsewhere = -(1 - pred + _EPS).log() * pred**self.alpha * (1 - target) ** self.gamma
        loss = torch.where(target == 1, at_peak, elsewhere)
        return self.loss_weight * reduce_loss(loss, weight, reduction=self.reduction, avg_factor=avg_factor)
