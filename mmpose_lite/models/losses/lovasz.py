"""Lovasz losses: the intersection over union itself, made continuous."""

# Letters: B batch, C classes, H x W pixels; G groups that are compared: the B images, or 1 for the batch; P pixels of a group.
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from mmpose_lite.models.losses.cross_entropy import check_class_weight, class_weights
from mmpose_lite.models.losses.labels import check_labels, class_masks, mask_as_labels
from mmpose_lite.models.losses.reduction import check_reduction, reduce_loss
from mmpose_lite.registry import LOSSES

LOSS_TYPES = ('binary', 'multi_class')


def lovasz_extension(errors: Tensor, foreground: Tensor) -> Tensor:
    """Return (...,): the Lovasz extension of the Jaccard loss, at the errors of the pixels.

    Source: Berman et al., The Lovasz-Softmax loss, CVPR 2018, Alg. 1, arXiv:1705.08790.
    Differs: the steps are those of the IoU, not of 1 - IoU, from which most of a million pixels vanish in float32.

    Args:
        errors: (..., P), those of pixels that do not count 0 or less.
        foreground: (..., P) bool, whether a pixel has the class; False where it does not count.
    """
    errors, order = errors.sort(dim=-1, descending=True)
    truth = foreground.gather(-1, order).to(errors.dtype)
    total = truth.sum(dim=-1, keepdim=True)
    iou = (total - truth.cumsum(dim=-1)) / (total + (1 - truth).cumsum(dim=-1))
    steps = torch.cat((1 - iou[..., :1], iou[..., :-1] - iou[..., 1:]), dim=-1)
    return (functional.relu(errors) * steps).sum(dim=-1)


@LOSSES.register_module()
class LovaszLoss(nn.Module):
    """Lovasz-softmax loss of several classes, or Lovasz hinge loss of one.

    Source: Berman et al., CVPR 2018, Eq. 8 and 11, arXiv:1705.08790. Names, defaults and values are mmseg's; `ignore_index` is
    an argument here.

    Args:
        loss_type: 'multi_class', or 'binary' for a single channel, whose class is label 1.
        classes: of 'multi_class': average over the classes 'present' in the labels, over 'all', or over some (indices).
        per_image: the IoU of each image; otherwise that of the whole batch, as the benchmarks count it.
        reduction: over the images, with `per_image`: 'mean', 'sum', or 'none', which returns (B,).
        class_weight: C factors of the classes.
        loss_weight: factor of the result.
        ignore_index: label of the pixels that do not count.

    Raises:
        ValueError: an argument is out of range.
    """

    class_weight: Tensor | None
    chosen: Tensor | None

    def __init__(
        self,
        *,
        loss_type: str = 'multi_class',
        classes: str | Sequence[int] = 'present',
        per_image: bool = False,
        reduction: str = 'mean',
        class_weight: Sequence[float] | None = None,
        loss_weight: float = 1.0,
        ignore_index: int = 255,
    ) -> None:
        super().__init__()
        check_reduction('LovaszLoss', reduction)
        if loss_type not in LOSS_TYPES:
            raise ValueError(f'LovaszLoss: `loss_type` must be one of {LOSS_TYPES}, got {loss_type!r}.')
        if isinstance(classes, str) and classes not in ('present', 'all'):
            raise ValueError(f"LovaszLoss: `classes` must be 'present', 'all' or indices of classes, got {classes!r}.")
        if not isinstance(classes, str) and (loss_type == 'binary' or not classes or min(classes) < 0):
            raise ValueError(
                f"LovaszLoss: `classes` must be one or more indices from 0 on, and only with loss_type='multi_class', got "
                f'{tuple(classes)} and {loss_type!r}.'
            )
        self.loss_type = loss_type
        self.only_present = loss_type == 'multi_class' and classes == 'present'
        chosen = None if isinstance(classes, str) else torch.tensor(classes, dtype=torch.int64)
        self.register_buffer('chosen', chosen, persistent=False)
        self.highest = -1 if isinstance(classes, str) else max(classes)
        self.per_image = per_image
        self.reduction = reduction
        self.register_buffer('class_weight', class_weights('LovaszLoss', class_weight), persistent=False)
        self.loss_weight = loss_weight
        self.ignore_index = ignore_index

    def forward(
        self,
        pred: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        *,
        avg_factor: Tensor | float | None = None,
    ) -> Tensor:
        """Return a scalar; 0 with zero gradient when nothing is labelled.

        Args:
            pred: (B, C, H, W) logits; for 'binary' (B, 1, H, W) or (B, H, W).
            target: (B, H, W) labels; for 'binary' also (B, 1, H, W).
            weight: (B,), factors of the images, with `per_image`.
            avg_factor: with `per_image`: divide the sum over images by this instead of by B.

        Raises:
            TypeError: the labels are no integers.
            ValueError: the shapes do not fit together, or `weight` is given for the whole batch.
        """
        binary = self.loss_type == 'binary'
        if binary and pred.ndim == target.ndim == 3:
            pred = pred[:, None]
        target = mask_as_labels(pred, target)
        check_labels('LovaszLoss', pred, target)
        if binary != (pred.shape[1] == 1):
            raise ValueError(f'LovaszLoss: {self.loss_type!r} does not fit logits of {pred.shape[1]} channels.')
        if self.highest >= pred.shape[1]:
            raise ValueError(f'LovaszLoss: `classes` must be below {pred.shape[1]}, the channels, got {self.highest}.')
        check_class_weight('LovaszLoss', self.class_weight, pred)
        if weight is not None and not self.per_image:
            raise ValueError('LovaszLoss: `weight` (B,) is for images, so it needs per_image=True.')
        pred = pred if pred.dtype == torch.float64 else pred.float()
        labelled = (target != self.ignore_index)[:, None]
        truth = class_masks(target, pred.shape[1]) & labelled
        errors = 1 - torch.where(truth, pred, -pred) if binary else (truth.to(pred.dtype) - pred.softmax(dim=1)).abs()
        errors = errors.masked_fill(~labelled, 0)
        losses = self._mean_of_classes(*(self._by_group(x) for x in (errors, truth)))
        return self.loss_weight * reduce_loss(losses, weight, reduction=self.reduction, avg_factor=avg_factor)

    def _by_group(self, x: Tensor) -> Tensor:
        """Return (G, C, P) of (B, C, H, W)."""
        return x.flatten(2) if self.per_image else x.transpose(0, 1).flatten(1)[None]

    def _mean_of_classes(self, errors: Tensor, truth: Tensor) -> Tensor:
        weight = self.class_weight
        if self.chosen is not None:
            errors, truth = errors.index_select(1, self.chosen), truth.index_select(1, self.chosen)
            weight = None if weight is None else weight.index_select(0, self.chosen)
        losses = lovasz_extension(errors, truth)
        counts = truth.any(dim=2).to(losses.dtype) if self.only_present else torch.ones_like(losses)
        if weight is not None:
            losses = losses * weight.to(losses.dtype)
        return (losses * counts).sum(dim=1) / counts.sum(dim=1).clamp(min=1)
