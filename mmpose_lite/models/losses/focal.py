"""Focal loss: cross entropy in which what is easy counts little."""

# Letters: N samples (or images, with axes H x W behind C), C classes.
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from mmpose_lite.models.losses.cross_entropy import binary_targets, class_weights, over_classes, over_samples
from mmpose_lite.models.losses.reduction import check_reduction, reduce_pixels
from mmpose_lite.registry import LOSSES


@LOSSES.register_module()
class FocalLoss(nn.Module):
    """Binary cross entropy of each class, times (1 - p)^gamma, p the probability given to the truth.

    Source: Lin et al., Focal Loss for Dense Object Detection, ICCV 2017, Eq. 5, arXiv:1708.02002. Unless `avg_factor` is given
    (the number of positives, in the paper), the sum is divided by the number of logits.

    Args:
        use_sigmoid: must be True; heads read it to know how scores are made of logits.
        gamma: 0 gives plain cross entropy.
        alpha: factor of positive targets, 1 - alpha that of negative ones; in [0, 1], one number or one per class.
        reduction: 'none', 'mean' or 'sum'; see `reduce_pixels`.
        class_weight: factors of the C classes, for positive and negative targets alike.
        ignore_index: the target that does not count.
        avg_non_ignore: divide by the number of logits that count.
        per_image: the mean of each image first, over which `reduction` then is.
        loss_weight: factor of the result.

    Raises:
        ValueError: an argument is out of range.
    """

    alpha: Tensor
    class_weight: Tensor | None

    def __init__(
        self,
        *,
        use_sigmoid: bool = True,
        gamma: float = 2.0,
        alpha: float | Sequence[float] = 0.25,
        reduction: str = 'mean',
        class_weight: Sequence[float] | None = None,
        ignore_index: int = -100,
        avg_non_ignore: bool = False,
        per_image: bool = False,
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__()
        check_reduction('FocalLoss', reduction)
        if not use_sigmoid:
            raise ValueError('FocalLoss: `use_sigmoid` must be True, got False; there is no softmax variant.')
        if gamma < 0:
            raise ValueError(f'FocalLoss: `gamma` must be 0 or more, got {gamma}.')
        alphas = (alpha,) if isinstance(alpha, int | float) else tuple(alpha)
        if not alphas or min(alphas) < 0 or max(alphas) > 1:
            raise ValueError(f'FocalLoss: `alpha` must be in [0, 1], one number or one per class, got {alpha}.')
        self.use_sigmoid = use_sigmoid
        self.gamma = gamma
        self.reduction = reduction
        self.ignore_index = ignore_index
        self.avg_non_ignore = avg_non_ignore
        self.per_image = per_image
        self.loss_weight = loss_weight
        self.register_buffer('alpha', torch.tensor(alphas, dtype=torch.float32), persistent=False)
        self.register_buffer('class_weight', class_weights('FocalLoss', class_weight), persistent=False)

    def forward(
        self,
        pred: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        *,
        avg_factor: Tensor | float | None = None,
        reduction: str | None = None,
    ) -> Tensor:
        """Return a scalar; 0 with zero gradient when nothing counts. With 'none': the shape of `pred`, or with `per_image` (N,).

        Args:
            pred: (N, C, ...) logits.
            target: (N, ...) indices of classes, C or more being background; or (N, C, ...) in [0, 1].
            weight: of the targets (N, ...) or of the logits (N, C, ...).
            avg_factor: divide the sum, or with `per_image` that of the means, by this instead.
            reduction: in place of the one of the constructor.

        Raises:
            ValueError: the shapes do not fit together.
        """
        pred = pred.to(torch.promote_types(pred.dtype, torch.float32))  # p^gamma of easy samples is 0 in half precision
        target, counts = binary_targets('FocalLoss', pred, target, self.ignore_index)
        alpha = self.alpha if len(self.alpha) == 1 else over_classes('FocalLoss', self.alpha, pred, name='alpha')
        balance = alpha * target + (1 - alpha) * (1 - target)
        p = pred.sigmoid()
        # Above 0, where the slope of a power below 1 is infinite.
        wrong = ((1 - p) * target + p * (1 - target)).clamp(min=torch.finfo(p.dtype).tiny)
        loss = functional.binary_cross_entropy_with_logits(pred, target, reduction='none') * balance * wrong**self.gamma
        loss = loss.where(counts, 0)
        if self.class_weight is not None:
            loss = loss * over_classes('FocalLoss', self.class_weight, pred)
        if weight is not None:
            loss = loss * over_samples('FocalLoss', weight, pred)
        share = counts.expand_as(pred) if self.avg_non_ignore else None
        reduction = reduction or self.reduction
        return self.loss_weight * reduce_pixels(loss, share, per_image=self.per_image, reduction=reduction, avg_factor=avg_factor)
