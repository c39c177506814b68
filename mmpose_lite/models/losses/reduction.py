"""From one number per element to a scalar: the rule that all losses share."""

from torch import Tensor

REDUCTIONS = ('none', 'mean', 'sum')
EPS = 1.2e-7  # float32's epsilon, added to divisors as in mmdet: 0 / 0 is 0 without asking the device


def check_reduction(owner: str, reduction: str) -> None:
    """Raise ValueError unless `reduction` is 'none', 'mean' or 'sum'."""
    if reduction not in REDUCTIONS:
        raise ValueError(f'{owner}: `reduction` must be one of {REDUCTIONS}, got {reduction!r}.')


def check_shapes(owner: str, pred: Tensor, target: Tensor) -> None:
    """Raise ValueError unless `pred` and `target` have the same shape."""
    if pred.shape != target.shape:
        raise ValueError(f'{owner}: `pred` and `target` must have one shape, got {tuple(pred.shape)} and {tuple(target.shape)}.')


def over_coordinates(owner: str, weight: Tensor, loss: Tensor) -> Tensor:
    """Return the weights of the leading axes of `loss` in its shape: (N,) or (N, 4) as (N, 4)."""
    if weight.shape != loss.shape[: weight.ndim]:
        raise ValueError(f'{owner}: `weight` of shape {tuple(weight.shape)} does not fit a loss of {tuple(loss.shape)}.')
    return weight.reshape(weight.shape + (1,) * (loss.ndim - weight.ndim)).expand_as(loss)


def reduce_loss(
    loss: Tensor, weight: Tensor | None = None, *, reduction: str = 'mean', avg_factor: Tensor | float | None = None
) -> Tensor:
    """Weight and reduce; 0 with zero gradient for no element or for weights of 0.

    Args:
        loss: one value per element, any shape.
        weight: of the elements, or of the leading axes of `loss`: (N,) or (N, 4) for a loss of (N, 4).
        reduction: 'mean' divides by the number of elements, whatever their weights; 'sum'; 'none' keeps the shape.
        avg_factor: for 'mean': divide the sum by this instead, such as the number of positive samples.

    Raises:
        ValueError: the weight's shape does not fit, or `avg_factor` is given with 'sum'.
    """
    if weight is not None:
        loss = loss * over_coordinates('reduce_loss', weight, loss)
    if reduction == 'none':
        return loss
    if reduction == 'sum':
        if avg_factor is not None:
            raise ValueError('reduce_loss: `avg_factor` needs `reduction="mean"`, got "sum".')
        return loss.sum()
    if avg_factor is None:
        return loss.sum() / max(loss.numel(), 1)
    return loss.sum() / (avg_factor + EPS)


def reduce_pixels(
    loss: Tensor,
    share: Tensor | None = None,
    *,
    per_image: bool,
    reduction: str,
    avg_factor: Tensor | float | None = None,
) -> Tensor:
    """Reduce losses of pixels, all of the batch alike; or take the mean of each image, and reduce these.

    Args:
        loss: (B, ...), one value per pixel, or per pixel and class.
        share: the same shape: what each adds to the divisor of a mean, 0 where it does not count; None for 1 everywhere.
        per_image: whether `reduction` is over the means of the images. An image in which nothing counts is a 0 among them.
        reduction: see `reduce_loss`; 'none' returns the shape of `loss`, or (B,).
        avg_factor: see `reduce_loss`; in place of the sum of the shares, or of B.
    """
    if per_image:
        of_image = loss.unsqueeze(1).flatten(1)
        loss = of_image.mean(dim=1)
        if share is not None:
            loss = of_image.sum(dim=1) / (share.unsqueeze(1).flatten(1).sum(dim=1) + EPS)
    elif share is not None and avg_factor is None and reduction == 'mean':
        avg_factor = share.sum()
    return reduce_loss(loss, reduction=reduction, avg_factor=avg_factor)
