"""Losses on the overlap of regions: what they share, dice and generalised dice.

They sum over pixels before they compare, so that a class of few pixels counts as much as one of many.
"""

# Letters: B batch, C classes, H x W pixels; G groups whose pixels are summed up: the B images, or 1 for the batch.
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mmpose_lite.models.losses.cross_entropy import check_class_weight, class_weights
from mmpose_lite.models.losses.labels import check_labels, class_masks, class_probabilities, mask_as_labels
from mmpose_lite.models.losses.reduction import check_reduction, reduce_loss
from mmpose_lite.registry import LOSSES


class RegionSums(NamedTuple):
    """Sums over the pixels of each group, by class: (G, C)."""

    both: Tensor  # prediction * target: the true positives, where both are hard
    pred: Tensor
    target: Tensor


class RegionLoss(nn.Module):
    """What losses of regions share; a subclass writes `compare`.

    Args:
        use_sigmoid: one class against the rest in each channel; otherwise a softmax over them. A single channel is always one
            class (label 1) against the rest (label 0).
        reduction: over the groups: 'mean', 'sum', or 'none', which returns (G,).
        class_weight: C factors of the classes; 0 leaves a class out.
        loss_weight: factor of the result.
        ignore_index: label of the pixels that belong to no class; if it is a class, that class is left out.
        per_image: compare image by image; otherwise sum up the pixels of the whole batch first, which is steadier where many
            images lack a class.
        avg_non_ignore: leave ignored pixels out altogether; otherwise what is predicted there counts as false, as in mmseg.

    Raises:
        ValueError: an argument is out of range.
    """

    class_weight: Tensor | None
    squared = False  # whether to sum up the squares of predictions and targets

    def __init__(
        self,
        *,
        use_sigmoid: bool,
        reduction: str,
        class_weight: Sequence[float] | None,
        loss_weight: float,
        ignore_index: int,
        per_image: bool,
        avg_non_ignore: bool,
    ) -> None:
        super().__init__()
        owner = type(self).__name__
        check_reduction(owner, reduction)
        self.use_sigmoid = use_sigmoid
        self.reduction = reduction
        self.register_buffer('class_weight', class_weights(owner, class_weight), persistent=False)
        self.loss_weight = loss_weight
        self.ignore_index = ignore_index
        self.per_image = per_image
        self.avg_non_ignore = avg_non_ignore

    def activate(self, pred: Tensor) -> Tensor:
        """Return probabilities of logits."""
        return class_probabilities(pred, use_sigmoid=self.use_sigmoid)

    def compare(self, sums: RegionSums, class_weight: Tensor | None) -> Tensor:
        """Return the loss (G,) of each group, its classes weighted by (C,)."""
        raise NotImplementedError

    def forward(
        self,
        pred: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        *,
        avg_factor: Tensor | float | None = None,
    ) -> Tensor:
        """Return a scalar; a group without a labelled pixel gives 0 with zero gradient.

        Args:
            pred: (B, C, H, W) logits.
            target: (B, H, W) labels, for a single channel also (B, 1, H, W); or masks (B, C, H, W) in [0, 1].
            weight: (B, H, W), factors of the pixels.
            avg_factor: for 'mean': divide the sum over the groups by this instead of by G.

        Raises:
            TypeError: the labels are no integers.
            ValueError: the shapes do not fit together.
        """
        target = mask_as_labels(pred, target)
        self._check(pred, target, weight)
        labelled = None
        if target.shape != pred.shape:
            labelled = (target != self.ignore_index)[:, None]
            target = class_masks(target, pred.shape[1]) & labelled
        factor = None if weight is None else weight[:, None]
        if labelled is not None and self.avg_non_ignore:
            factor = labelled if factor is None else factor * labelled
        losses = self.compare(self._sums(self.activate(pred), target, factor), self._weight_of_classes(pred))
        if labelled is not None:
            found = labelled.flatten(1).any(dim=1)
            losses = losses * (found if self.per_image else found.any())
        return self.loss_weight * reduce_loss(losses, reduction=self.reduction, avg_factor=avg_factor)

    def _check(self, pred: Tensor, target: Tensor, weight: Tensor | None) -> None:
        owner = type(self).__name__
        if target.shape != pred.shape:
            check_labels(owner, pred, target)
        check_class_weight(owner, self.class_weight, pred)
        if weight is not None and weight.shape != (pred.shape[0], *pred.shape[2:]):
            raise ValueError(f'{owner}: `weight` must be (B, H, W), one per pixel, got {tuple(weight.shape)}.')

    def _sums(self, probs: Tensor, target: Tensor, factor: Tensor | None) -> RegionSums:
        def total(x: Tensor) -> Tensor:
            summed = (x if factor is None else x * factor).flatten(2).sum(dim=2)
            return summed if self.per_image else summed.sum(dim=0, keepdim=True)

        target = target.to(probs.dtype)
        both = probs * target
        if self.squared:
            probs, target = probs.square(), target.square()
        return RegionSums(total(both), total(probs), total(target))

    def _weight_of_classes(self, pred: Tensor) -> Tensor | None:
        C = pred.shape[1]
        if C == 1 or not 0 <= self.ignore_index < C:
            return self.class_weight
        others = torch.arange(C, device=pred.device) != self.ignore_index
        return others.float() if self.class_weight is None else others * self.class_weight


def mean_of_classes(losses: Tensor, class_weight: Tensor | None) -> Tensor:
    """Return (G,) means of the losses (G, C) times their weights (C,), divided by C whatever these are."""
    return (losses if class_weight is None else losses * class_weight.to(losses.dtype)).mean(dim=1)


@LOSSES.register_module()
class DiceLoss(RegionLoss):
    """1 - 2 |P T| / (|P|^2 + |T|^2), P predicted and T true.

    Source: Milletari et al., V-Net, 3DV 2016, Sec. 3, arXiv:1606.04797. Names, defaults and values are mmseg's.
    Differs: a single channel is for label 1 (mmseg 1.2 takes it for label 0).

    Args:
        use_sigmoid: one class against the rest in each channel; otherwise a softmax over them. A single channel is always one
            class (label 1) against the rest (label 0).
        activate: False where `pred` holds probabilities already.
        reduction: over the groups: 'mean', 'sum', or 'none', which returns (G,).
        naive_dice: |P| + |T| in place of the squares: with hard predictions 1 - F1.
        per_class: compare class by class and average; otherwise all classes are one region, of which large ones are the most.
        class_weight: C factors of the classes; 0 leaves a class out.
        loss_weight: factor of the result.
        ignore_index: label of the pixels that belong to no class; if it is a class, that class is left out.
        eps: added below, with `naive_dice` above too, px; keeps an empty region from 0 / 0. Without `naive_dice` a region that is
            not there costs 1 whatever is predicted, as in mmseg.
        per_image: compare image by image; otherwise the whole batch is one image.
        avg_non_ignore: leave ignored pixels out altogether; otherwise what is predicted there counts as false, as in mmseg.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        *,
        use_sigmoid: bool = True,
        activate: bool = True,
        reduction: str = 'mean',
        naive_dice: bool = False,
        per_class: bool = False,
        class_weight: Sequence[float] | None = None,
        loss_weight: float = 1.0,
        ignore_index: int = 255,
        eps: float = 1e-3,
        per_image: bool = True,
        avg_non_ignore: bool = False,
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
        if eps <= 0:
            raise ValueError(f'DiceLoss: `eps` must be above 0, got {eps}.')
        self.with_activation = activate
        self.squared = not naive_dice
        self.per_class = per_class
        self.eps = eps

    def activate(self, pred: Tensor) -> Tensor:
        """Return probabilities of `pred`."""
        return super().activate(pred) if self.with_activation else pred

    def compare(self, sums: RegionSums, class_weight: Tensor | None) -> Tensor:
        """Return the loss (G,) of each group."""
        if not self.per_class:
            weighted = sums if class_weight is None else (s * class_weight.to(s.dtype) for s in sums)
            sums, class_weight = RegionSums(*(s.sum(dim=1, keepdim=True) for s in weighted)), None
        if self.squared:
            dice = 2 * sums.both / (sums.pred + sums.target + 2 * self.eps)
        else:
            dice = (2 * sums.both + self.eps) / (sums.pred + sums.target + self.eps)
        return mean_of_classes(1 - dice, class_weight)


@LOSSES.register_module()
class GeneralizedDiceLoss(RegionLoss):
    """Dice of all classes together, each weighted by 1 / |T|^2, so that a class counts by its shape and not by its size.

    Source: Sudre et al., Generalised Dice Overlap, DLMIA 2017, Sec. 2.1, arXiv:1707.03237.
    Differs: the weight of a class that is absent, infinite in the paper, is that of the rarest one that is present.

    Args:
        use_sigmoid: one class against the rest in each channel; otherwise a softmax over them. A single channel is always one
            class (label 1) against the rest (label 0).
        reduction: over the groups: 'mean', 'sum', or 'none', which returns (G,).
        class_weight: C further factors of the classes; 0 leaves a class out.
        loss_weight: factor of the result.
        ignore_index: label of the pixels that belong to no class; if it is a class, that class is left out.
        eps: added above and below the weighted sums.
        per_image: compare image by image; otherwise the whole batch is one image.
        avg_non_ignore: leave ignored pixels out altogether; otherwise what is predicted there counts as false.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        *,
        use_sigmoid: bool = False,
        reduction: str = 'mean',
        class_weight: Sequence[float] | None = None,
        loss_weight: float = 1.0,
        ignore_index: int = 255,
        eps: float = 1e-5,
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
        if eps <= 0:
            raise ValueError(f'GeneralizedDiceLoss: `eps` must be above 0, got {eps}.')
        self.eps = eps

    def compare(self, sums: RegionSums, class_weight: Tensor | None) -> Tensor:
        """Return the loss (G,) of each group."""
        present = sums.target > 0
        weight = torch.where(present, sums.target, 1).reciprocal().square()
        rarest = (weight * present).amax(dim=1, keepdim=True)
        # Only the ratios of the weights matter; the rarest gets 1, so that eps means the same for small and large images. Without
        # any class, as a single channel is where its object is not, what is predicted still has a weight of 1.
        weight = torch.where(present, weight / torch.where(rarest > 0, rarest, 1), 1)
        if class_weight is not None:
            weight = weight * class_weight.to(weight.dtype)
        both, pred, target = ((weight * s).sum(dim=1) for s in sums)
        return 1 - (2 * both + self.eps) / (pred + target + self.eps)
