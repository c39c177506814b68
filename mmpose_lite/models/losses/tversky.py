"""Losses on the overlap of regions with a price for each kind of mistake: Tversky, focal Tversky."""

# Letters: C classes, G groups whose pixels are summed up, see `RegionLoss`.
from collections.abc import Sequence

from torch import Tensor

from mmpose_lite.models.losses.region import RegionLoss, RegionSums, mean_of_classes
from mmpose_lite.registry import LOSSES


def tversky_index(sums: RegionSums, *, alpha: float, beta: float, smooth: float) -> Tensor:
    """Return (G, C) in [0, 1]: TP / (TP + alpha FP + beta FN), `smooth` added above and below."""
    false_positives, false_negatives = sums.pred - sums.both, sums.target - sums.both
    return (sums.both + smooth) / (sums.both + alpha * false_positives + beta * false_negatives + smooth)


def _check_tversky(owner: str, *, alpha: float, beta: float, smooth: float) -> None:
    if min(alpha, beta) < 0 or smooth <= 0:
        raise ValueError(f'{owner}: `alpha` and `beta` must be 0 or more and `smooth` above 0, got {alpha}, {beta} and {smooth}.')


@LOSSES.register_module()
class TverskyLoss(RegionLoss):
    """1 - TP / (TP + alpha FP + beta FN), averaged over the classes; alpha = beta = 0.5 is dice, alpha = beta = 1 the IoU.

    Source: Salehi et al., Tversky Loss Function for Image Segmentation, MLMI 2017, Eq. 3, arXiv:1706.05721. Names, defaults and
    values are mmseg's.

    Args:
        smooth: added above and below, px; keeps an empty region from 0 / 0.
        class_weight: C factors of the classes; 0 leaves a class out.
        loss_weight: factor of the result.
        ignore_index: label of the pixels that belong to no class; if it is a class, that class is left out.
        alpha: cost of a false positive.
        beta: cost of a false negative; above `alpha` for small objects, which are easily missed.
        use_sigmoid: one class against the rest in each channel; otherwise a softmax over them. A single channel is always one
            class (label 1) against the rest (label 0).
        reduction: over the groups: 'mean', 'sum', or 'none', which returns (G,).
        per_image: compare image by image; otherwise the whole batch is one image.
        avg_non_ignore: leave ignored pixels out altogether; otherwise what is predicted there counts as false.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        *,
        smooth: float = 1.0,
        class_weight: Sequence[float] | None = None,
        loss_weight: float = 1.0,
        ignore_index: int = 255,
        alpha: float = 0.3,
        beta: float = 0.7,
        use_sigmoid: bool = False,
        reduction: str = 'mean',
        per_image: bool = True,
        avg_non_ignore: bool = True,
    ) -> None:
        super().__init__(
            use_sigmoid=use_sigmoid,
            reduction=reduction,
            class_weight=class_weight,
            loss_weight=loss_weight,
            ignore_index=ignore_index,
            per_image=per_image,
            avg_non_ignore=avg_non_ignore,
        )
        _check_tversky('TverskyLoss', alpha=alpha, beta=beta, smooth=smooth)
        self.alpha, self.beta, self.smooth = alpha, beta, smooth

    def compare(self, sums: RegionSums, class_weight: Tensor | None) -> Tensor:
        """Return the loss (G,) of each group."""
        index = tversky_index(sums, alpha=self.alpha, beta=self.beta, smooth=self.smooth)
        return mean_of_classes(1 - index, class_weight)


@LOSSES.register_module()
class FocalTverskyLoss(RegionLoss):
    """(1 - Tversky index)^(1 / gamma), averaged over the classes: above gamma = 1, classes that are nearly right still count.

    Source: Abraham and Khan, A Novel Focal Tversky Loss Function, ISBI 2019, Eq. 4, arXiv:1810.07842, with its weights 0.7 of a
    false negative and 0.3 of a false positive.

    Args:
        gamma: 1 or more.
        smooth: added above and below, px; keeps an empty region from 0 / 0.
        class_weight: C factors of the classes; 0 leaves a class out.
        loss_weight: factor of the result.
        ignore_index: label of the pixels that belong to no class; if it is a class, that class is left out.
        alpha: cost of a false positive.
        beta: cost of a false negative.
        use_sigmoid: one class against the rest in each channel; otherwise a softmax over them. A single channel is always one
            class (label 1) against the rest (label 0).
        reduction: over the groups: 'mean', 'sum', or 'none', which returns (G,).
        per_image: compare image by image; otherwise the whole batch is one image.
        avg_non_ignore: leave ignored pixels out altogether; otherwise what is predicted there counts as false.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        *,
        gamma: float = 4 / 3,
        smooth: float = 1.0,
        class_weight: Sequence[float] | None = None,
        loss_weight: float = 1.0,
        ignore_index: int = 255,
        alpha: float = 0.3,
        beta: float = 0.7,
        use_sigmoid: bool = False,
        reduction: str = 'mean',
        per_image: bool = True,
        avg_non_ignore: bool = True,
    ) -> None:
        super().__init__(
            use_sigmoid=use_sigmoid,
            reduction=reduction,
            class_weight=class_weight,
            loss_weight=loss_weight,
            ignore_index=ignore_index,
            per_image=per_image,
            avg_non_ignore=avg_non_ignore,
        )
        _check_tversky('FocalTverskyLoss', alpha=alpha, beta=beta, smooth=smooth)
        if gamma < 1:
            raise ValueError(f'FocalTverskyLoss: `gamma` must be 1 or more, got {gamma}.')
        self.alpha, self.beta, self.smooth, self.gamma = alpha, beta, smooth, gamma

    def compare(self, sums: RegionSums, class_weight: Tensor | None) -> Tensor:
        """Return the loss (G,) of each group."""
        index = tversky_index(sums, alpha=self.alpha, beta=self.beta, smooth=self.smooth)
        # The root is infinitely steep at 0: a class that is right to float precision gives no gradient.
        return mean_of_classes((1 - index).clamp(min=1e-7) ** (1 / self.gamma), class_weight)
