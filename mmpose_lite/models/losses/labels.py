"""Labels of pixels beside logits: checked, and as masks of classes."""

# Letters: B batch, C classes.
import torch
from torch import Tensor


def class_probabilities(logits: Tensor, *, use_sigmoid: bool) -> Tensor:
    """Return (B, C, ...) in [0, 1], in float32 or better: sums over many pixels need it. One channel always gets a sigmoid."""
    logits = logits if logits.dtype == torch.float64 else logits.float()
    return logits.sigmoid() if use_sigmoid or logits.shape[1] == 1 else logits.softmax(dim=1)


def class_masks(labels: Tensor, num_channels: int) -> Tensor:
    """Return (B, C, ...) bool, the pixels of each class, of labels (B, ...); a single channel is for label 1."""
    first = 1 if num_channels == 1 else 0
    classes = torch.arange(first, first + num_channels, device=labels.device)
    return labels[:, None] == classes.view(-1, *(1,) * (labels.ndim - 1))


def mask_as_labels(pred: Tensor, target: Tensor) -> Tensor:
    """Return (B, ...) labels where `target` is an integer mask (B, 1, ...) for a single channel; else `target`."""
    single = target.ndim == pred.ndim > 2 and target.shape[1] == pred.shape[1] == 1
    return target[:, 0] if single and not target.is_floating_point() else target


def check_labels(owner: str, pred: Tensor, target: Tensor) -> None:
    """Raise unless `target` holds one integer label for each place of the (B, C, ...) logits.

    Raises:
        TypeError: the labels are no integers.
        ValueError: the shapes do not fit together.
    """
    if pred.ndim < 2 or target.shape != (pred.shape[0], *pred.shape[2:]):
        raise ValueError(
            f'{owner}: `target` must be labels (B, H, W) where `pred` is (B, C, H, W), got {tuple(target.shape)} and '
            f'{tuple(pred.shape)}.'
        )
    if target.is_floating_point():
        raise TypeError(f'{owner}: `target` must be integer labels, got {target.dtype}.')
