"""Gradient harmonising: elements whose gradient is like that of many others count less, the very easy and the outliers alike."""

# Letters: N samples (or images, with axes H x W behind C), C classes.
import torch
from torch import Tensor, nn
from torch.nn import functional

from mmpose_lite.models.losses.cross_entropy import binary_targets, over_samples
from mmpose_lite.models.losses.reduction import check_reduction, check_shapes, over_coordinates, reduce_loss
from mmpose_lite.registry import LOSSES


class _GradientDensity(nn.Module):
    """Counts gradients in `bins` parts of [0, 1], and smooths the counts over iterations.

    The running counts are a buffer, `acc_sum`, that exists for `momentum` above 0, as in mmdet.
    """

    acc_sum: Tensor

    def __init__(self, owner: str, *, bins: int, momentum: float, reduction: str, loss_weight: float) -> None:
        super().__init__()
        check_reduction(owner, reduction)
        if bins < 1:
            raise ValueError(f'{owner}: `bins` must be 1 or more, got {bins}.')
        if not 0 <= momentum < 1:
            raise ValueError(f'{owner}: `momentum` must be in [0, 1), got {momentum}.')
        self.bins = bins
        self.momentum = momentum
        self.reduction = reduction
        self.loss_weight = loss_weight
        if momentum > 0:
            self.register_buffer('acc_sum', torch.zeros(bins))

    @torch.no_grad()
    def weights(self, gradient: Tensor, counts: Tensor, total: Tensor) -> Tensor:
        """Return the weight of each element: `total` / (elements in its bin * bins that are not empty); 0 where none counts.

        Args:
            gradient: of each element, >= 0; the last bin takes what is above 1.
            counts: bool, in the same shape.
            total: scalar.
        """
        index = (gradient * self.bins).long().clamp(0, self.bins - 1).flatten()
        found = index.new_zeros(self.bins).index_add_(0, index, counts.flatten().long())  # float32 can not count beyond 2^24
        found = found.to(gradient.dtype)
        filled = found > 0
        smooth = found
        if self.momentum > 0:
            smooth = torch.where(filled, self.momentum * self.acc_sum + (1 - self.momentum) * found, self.acc_sum)
            if self.training:
                self.acc_sum.copy_(smooth)
        per_bin = torch.where(filled, total / smooth / filled.sum(), 0)
        return per_bin[index].view_as(gradient) * counts


@LOSSES.register_module()
class GHMC(_GradientDensity):
    """Binary cross entropy in which elements are weighted by the inverse of how many have a like gradient |p - target|.

    The sum is divided by the number of elements that count.

    Source: Li et al., Gradient Harmonized Single-stage Detector, AAAI 2019, Eq. 10 and 11, arXiv:1811.05181.

    Args:
        bins: parts of [0, 1] in which gradients are counted.
        momentum: of the counts from iteration to iteration; 0 counts afresh.
        use_sigmoid: must be True; heads read it to know how scores are made of logits.
        reduction: 'none', 'mean' or 'sum'; see `reduce_loss`.
        loss_weight: factor of the result.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        *,
        bins: int = 10,
        momentum: float = 0.0,
        use_sigmoid: bool = True,
        reduction: str = 'mean',
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__('GHMC', bins=bins, momentum=momentum, reduction=reduction, loss_weight=loss_weight)
        if not use_sigmoid:
            raise ValueError('GHMC: `use_sigmoid` must be True, got False; there is no softmax variant.')
        self.use_sigmoid = use_sigmoid

    def forward(
        self,
        pred: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        *,
        avg_factor: Tensor | float | None = None,
        reduction: str | None = None,
    ) -> Tensor:
        """Return a scalar; 0 with zero gradient when nothing counts. With 'none': the shape of `pred`.

        Args:
            pred: (N, C, ...) logits.
            target: (N, ...) indices of classes, C or more being background, below 0 ignored; or (N, C, ...) in [0, 1].
            weight: (N, ...) or (N, C, ...): 0 where an element does not count; other values are the same as 1.
            avg_factor: not looked at; heads pass it to every loss.
            reduction: in place of the one of the constructor.

        Raises:
            ValueError: the shapes do not fit together.
        """
        pred = pred.to(torch.promote_types(pred.dtype, torch.float32))
        target, counts = binary_targets('GHMC', pred, target, -100)
        counts = counts.expand_as(pred)
        if weight is not None:
            counts = counts & (over_samples('GHMC', weight, pred) > 0)
        total = counts.sum().clamp(min=1)
        weights = self.weights((pred.detach().sigmoid() - target).abs(), counts, total)
        loss = functional.binary_cross_entropy_with_logits(pred, target, reduction='none') * weights
        return self.loss_weight * _reduced(loss, reduction or self.reduction, total)


@LOSSES.register_module()
class GHMR(_GradientDensity):
    """Regression, sqrt(d^2 + mu^2) - mu, in which elements are weighted as in GHMC, by the gradient d / sqrt(d^2 + mu^2).

    The sum is divided by the sum of the given weights.

    Source: Li et al., Gradient Harmonized Single-stage Detector, AAAI 2019, Eq. 12 and 15, arXiv:1811.05181.

    Args:
        mu: where the parabola becomes a line, in the unit of the coordinates.
        bins: parts of [0, 1] in which gradients are counted.
        momentum: of the counts from iteration to iteration; 0 counts afresh.
        reduction: 'none', 'mean' or 'sum'; see `reduce_loss`.
        loss_weight: factor of the result.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self, *, mu: float = 0.02, bins: int = 10, momentum: float = 0.0, reduction: str = 'mean', loss_weight: float = 1.0
    ) -> None:
        super().__init__('GHMR', bins=bins, momentum=momentum, reduction=reduction, loss_weight=loss_weight)
        if mu <= 0:
            raise ValueError(f'GHMR: `mu` must be above 0, got {mu}.')
        self.mu = mu

    def forward(
        self,
        pred: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        *,
        avg_factor: Tensor | float | None = None,
        reduction: str | None = None,
    ) -> Tensor:
        """Return a scalar; 0 with zero gradient when nothing counts. With 'none': the shape of `pred`.

        Args:
            pred: (N, 4) or any other shape.
            target: the same shape.
            weight: the same shape, or its leading axes: (N,); 0 where an element does not count.
            avg_factor: not looked at; heads pass it to every loss.
            reduction: in place of the one of the constructor.

        Raises:
            ValueError: the shapes do not fit together.
        """
        check_shapes('GHMR', pred, target)
        weight = torch.ones_like(pred) if weight is None else over_coordinates('GHMR', weight, pred)
        difference = pred - target
        length = (difference.square() + self.mu**2).sqrt()
        total = weight.sum().clamp(min=1)
        weights = self.weights((difference / length).detach().abs(), weight > 0, total)
        return self.loss_weight * _reduced((length - self.mu) * weights, reduction or self.reduction, total)


def _reduced(loss: Tensor, reduction: str, total: Tensor) -> Tensor:
    return reduce_loss(loss, reduction=reduction, avg_factor=total if reduction == 'mean' else None)
