"""Cross entropy: softmax over classes, or one sigmoid per class."""

# Letters: N samples (or images, with axes H x W behind C), C classes.
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from mmpose_lite.models.losses.reduction import check_reduction, check_shapes, reduce_pixels
from mmpose_lite.registry import LOSSES


def class_weights(owner: str, weights: Sequence[float] | None) -> Tensor | None:
    """Return the weights as a (C,) tensor."""
    if weights is not None and (len(weights) == 0 or min(weights) < 0):
        raise ValueError(f'{owner}: `class_weight` must be one number >= 0 per class, got {weights}.')
    return None if weights is None else torch.tensor(weights, dtype=torch.float32)


def check_class_weight(owner: str, weights: Tensor | None, logits: Tensor, *, name: str = 'class_weight') -> None:
    """Raise ValueError unless there is one weight for each channel of the logits (N, C, ...), or none at all."""
    if weights is not None and weights.shape != logits.shape[1:2]:
        raise ValueError(f'{owner}: `{name}` needs one entry per channel ({logits.shape[1]}), got {len(weights)}.')


def over_classes(owner: str, weights: Tensor, logits: Tensor, *, name: str = 'class_weight') -> Tensor:
    """Return (C,) weights of the classes in the shape (C, 1 ...) that broadcasts against the logits (N, C, ...)."""
    check_class_weight(owner, weights, logits, name=name)
    return weights.view(-1, *[1] * (logits.ndim - 2))


def over_samples(owner: str, weight: Tensor, logits: Tensor) -> Tensor:
    """Return the weights of samples, (N, ...), or of elements, (N, C, ...), so that they broadcast against the logits."""
    if weight.shape == logits.shape:
        return weight
    if weight.shape != logits.shape[:1] + logits.shape[2:]:
        raise ValueError(
            f'{owner}: `weight` must have the shape of the logits {tuple(logits.shape)} with or without the axis of classes, '
            f'got {tuple(weight.shape)}.'
        )
    return weight.unsqueeze(1)


def binary_targets(owner: str, logits: Tensor, target: Tensor, ignore_index: int) -> tuple[Tensor, Tensor]:
    """Return a target for every logit, and where it counts.

    Args:
        owner: the class that an error names.
        logits: (N, C, ...).
        target: (N, ...) indices of classes, C or more standing for the background, which is 0 in all channels; or (N, C, ...)
            in [0, 1]. `ignore_index` and below 0: does not count.
        ignore_index: see `target`.

    Returns:
        Targets (N, C, ...) in the logits' type, and a bool mask (N, C, ...) or (N, 1, ...).

    Raises:
        ValueError: the shapes do not fit together.
    """
    if target.ndim == logits.ndim:
        check_shapes(owner, logits, target)
        counts = (target >= 0) & (target != ignore_index)
        return target.where(counts, 0).to(logits.dtype), counts
    _check_indices(owner, logits, target)
    target = target.unsqueeze(1)
    classes = torch.arange(logits.shape[1], device=logits.device).view(-1, *[1] * (logits.ndim - 2))
    counts = (target >= 0) & (target != ignore_index)
    return ((target == classes) & counts).to(logits.dtype), counts


def _check_indices(owner: str, logits: Tensor, target: Tensor) -> None:
    if target.shape != logits.shape[:1] + logits.shape[2:]:
        raise ValueError(
            f'{owner}: `target` must have the shape of the logits {tuple(logits.shape)} without the axis of classes, '
            f'got {tuple(target.shape)}; one in their shape needs `use_sigmoid=True`.'
        )


@LOSSES.register_module()
class CrossEntropyLoss(nn.Module):
    """Negative log-likelihood of the right class, for samples (N, C) as for the pixels of maps (N, C, H, W).

    What does not count (`ignore_index`) adds 0. Unless `avg_factor` is given, the sum is divided by the number of targets, the
    ignored ones included; with sigmoids by the number of logits.

    Differs: mmdet's `use_mask` is `use_sigmoid` here; the mask head picks the channel of its class.

    Args:
        use_sigmoid: a sigmoid and a binary target for each class, in place of one softmax. One channel and labels of 0 and 1
            are two different things: as indices (N,), class 0 is the only one and 1 is background, as in mmdet's RPN; a
            foreground mask is passed in the logits' shape (N, 1, ...).
        reduction: 'none', 'mean' or 'sum'; see `reduce_pixels`.
        class_weight: factors of the C classes: of each target's loss, or with sigmoids of the positive targets.
        ignore_index: the target that does not count.
        avg_non_ignore: divide by the number of those that count.
        avg_class_weight: divide by the sum of the targets' class weights, as torch and mmseg do and mmdet does not; needs
            `class_weight`, and softmax.
        per_image: the mean of each image first, over which `reduction` then is: an image of few labelled pixels counts as
            much as any other.
        loss_weight: factor of the result.

    Raises:
        ValueError: an argument is out of range.
    """

    class_weight: Tensor | None

    def __init__(
        self,
        *,
        use_sigmoid: bool = False,
        reduction: str = 'mean',
        class_weight: Sequence[float] | None = None,
        ignore_index: int = -100,
        avg_non_ignore: bool = False,
        avg_class_weight: bool = False,
        per_image: bool = False,
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__()
        check_reduction('CrossEntropyLoss', reduction)
        if avg_class_weight and (class_weight is None or use_sigmoid):
            raise ValueError('CrossEntropyLoss: `avg_class_weight` must be False without `class_weight` or with `use_sigmoid`.')
        self.use_sigmoid = use_sigmoid
        self.reduction = reduction
        self.ignore_index = ignore_index
        self.avg_non_ignore = avg_non_ignore
        self.avg_class_weight = avg_class_weight
        self.per_image = per_image
        self.loss_weight = loss_weight
        self.register_buffer('class_weight', class_weights('CrossEntropyLoss', class_weight), persistent=False)

    def forward(
        self,
        pred: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        *,
        avg_factor: Tensor | float | None = None,
        reduction: str | None = None,
    ) -> Tensor:
        """Return a scalar; 0 with zero gradient when nothing counts.

        With 'none': the target's shape, or with sigmoids `pred`'s, or with `per_image` (N,).

        Args:
            pred: (N, C, ...) logits.
            target: (N, ...) indices of classes; with sigmoids C or more is background, and (N, C, ...) in [0, 1] is allowed.
            weight: of the targets (N, ...); with sigmoids also (N, C, ...).
            avg_factor: divide the sum, or with `per_image` that of the means, by this instead.
            reduction: in place of the one of the constructor.

        Raises:
            ValueError: the shapes do not fit together.
        """
        pred = pred.to(torch.promote_types(pred.dtype, torch.float32))  # means over many pixels need it
        compute = self._binary if self.use_sigmoid else self._softmax
        loss, share = compute(pred, target, weight)
        reduction = reduction or self.reduction
        return self.loss_weight * reduce_pixels(loss, share, per_image=self.per_image, reduction=reduction, avg_factor=avg_factor)

    def _softmax(self, pred: Tensor, target: Tensor, weight: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Return losses in the target's shape, and what each adds to the divisor of the mean if not 1."""
        _check_indices('CrossEntropyLoss', pred, target)
        check_class_weight('CrossEntropyLoss', self.class_weight, pred)
        class_weight = None if self.class_weight is None else self.class_weight.to(pred.dtype)
        loss = functional.cross_entropy(pred, target.long(), class_weight, ignore_index=self.ignore_index, reduction='none')
        if weight is not None:
            check_shapes('CrossEntropyLoss', weight, target)
            loss = loss * weight
        counts = target != self.ignore_index
        if self.avg_class_weight:
            assert self.class_weight is not None
            weights = self.class_weight[target.long().where(counts, 0)]
            return loss, weights.where(counts, 0)
        return loss, counts if self.avg_non_ignore else None

    def _binary(self, pred: Tensor, target: Tensor, weight: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Return losses in the logits' shape, and what each adds to the divisor of the mean if not 1."""
        target, counts = binary_targets('CrossEntropyLoss', pred, target, self.ignore_index)
        pos_weight = None if self.class_weight is None else over_classes('CrossEntropyLoss', self.class_weight, pred)
        loss = functional.binary_cross_entropy_with_logits(pred, target, pos_weight=pos_weight, reduction='none')
        loss = loss.where(counts, 0)
        if weight is not None:
            loss = loss * over_samples('CrossEntropyLoss', weight, pred)
        return loss, counts.expand_as(pred) if self.avg_non_ignore else None
