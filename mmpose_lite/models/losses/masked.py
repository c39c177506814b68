"""Losses on maps of whole images, where some cells are left out: crowds, people without labels."""

# Letters: B batch, C channels, H x W cells.
from abc import abstractmethod

import torch
from torch import Tensor, nn

from mmpose_lite.models.losses.reduction import check_shapes, reduce_loss
from mmpose_lite.registry import LOSSES

REDUCTIONS = ('image', 'mean')


class MaskedLoss(nn.Module):
    """An error per cell and channel, 0 where the mask is 0; a subclass writes `error`.

    Args:
        reduction: 'image': sum over channels and cells, mean over the images, as the publications count, whose learning rates
            then hold; 'mean': mean over images, channels and cells. Cells left out count as cells without error.
        loss_weight: factor of the result.

    Raises:
        ValueError: the reduction is unknown.
    """

    def __init__(self, *, reduction: str = 'image', loss_weight: float = 1.0) -> None:
        super().__init__()
        if reduction not in REDUCTIONS:
            raise ValueError(f'{type(self).__name__}: `reduction` must be one of {REDUCTIONS}, got {reduction!r}.')
        self.reduction = reduction
        self.loss_weight = loss_weight

    @abstractmethod
    def error(self, pred: Tensor, target: Tensor) -> Tensor:
        """Return the error (B, C, H, W) of each cell and channel."""

    def forward(self, pred: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return a scalar; 0 with zero gradient where the mask is 0 everywhere.

        Args:
            pred: (B, C, H, W) maps, any range.
            target: (B, C, H, W) maps: heatmaps in [0, 1], or fields in [-1, 1].
            mask: (B, H, W), 1 in cells that count, 0 in those left out; None counts all.

        Raises:
            ValueError: the shapes do not fit together.
        """
        name = type(self).__name__
        check_shapes(name, pred, target)
        loss = self.error(pred, target)
        if mask is not None:
            expected = (pred.shape[0], *pred.shape[2:])
            if tuple(mask.shape) != expected:
                raise ValueError(f'{name}: `mask` must be (B, H, W) = {expected}, got {tuple(mask.shape)}.')
            loss = loss * mask[:, None]
        if self.reduction == 'image':
            return self.loss_weight * loss.sum() / max(len(loss), 1)
        return self.loss_weight * reduce_loss(loss)


@LOSSES.register_module()
class MaskedMSELoss(MaskedLoss):
    """Squared error in the cells that count; see `MaskedLoss` for the arguments.

    Source: Cao et al., CVPR 2017, Eq. 5, arXiv:1611.08050. The authors' code halves the squares: `loss_weight=0.5`.
    """

    def error(self, pred: Tensor, target: Tensor) -> Tensor:
        """Return (pred - target)^2."""
        return (pred - target).square()


@LOSSES.register_module()
class MaskedFocalL2Loss(MaskedLoss):
    """Squared error in the cells that count, times a factor that is small where the prediction is right already.

    Source: the focal L2 loss of Li et al., Simple Pose, AAAI 2020, arXiv:1911.10529. With s the prediction and s* the target, the
    factor is |1 - (s - alpha)|^gamma where s* >= target_thr, and |s + beta|^gamma elsewhere.
    Differs: fields have signs. A target counts by its size, and s along its sign: a field of -1 is as foreground as one of 1, and
    in the background |s| takes the place of s.

    Args:
        gamma: exponent of the factor, 0 or more; 0 gives `MaskedMSELoss`.
        alpha: keeps the factor of a foreground cell above 0 where it is right.
        beta: keeps the factor of a background cell above 0 where it is right.
        target_thr: size of a target from which on a cell is foreground.
        reduction: see `MaskedLoss`.
        loss_weight: factor of the result.

    Raises:
        ValueError: gamma, alpha or beta is negative, or `target_thr` is not positive.
    """

    def __init__(
        self,
        *,
        gamma: float = 2.0,
        alpha: float = 0.1,
        beta: float = 0.02,
        target_thr: float = 0.01,
        reduction: str = 'image',
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__(reduction=reduction, loss_weight=loss_weight)
        if min(gamma, alpha, beta) < 0 or target_thr <= 0:
            raise ValueError(
                'MaskedFocalL2Loss: `gamma`, `alpha` and `beta` must be 0 or more and `target_thr` above 0, '
                f'got {gamma}, {alpha}, {beta} and {target_thr}.'
            )
        self.gamma = gamma
        self.alpha = alpha
        self.beta = beta
        self.target_thr = target_thr

    def error(self, pred: Tensor, target: Tensor) -> Tensor:
        """Return (pred - target)^2 * factor."""
        foreground = target.abs() >= self.target_thr
        distance = torch.where(foreground, 1 - (pred * target.sign() - self.alpha), pred.abs() + self.beta)
        return (pred - target).square() * distance.abs() ** self.gamma
