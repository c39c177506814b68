"""Cross entropy of the hardest pixels."""

# Letters: B batch, C classes, H x W pixels.
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from mmpose_lite.models.losses.cross_entropy import class_weights
from mmpose_lite.models.losses.labels import check_labels, mask_as_labels
from mmpose_lite.registry import LOSSES


@LOSSES.register_module()
class OhemCrossEntropy(nn.Module):
    """Cross entropy, averaged over the pixels whose class has a probability below `thres`, or the `min_kept` lowest.

    The probabilities are those of a softmax over the classes; a single channel is the sigmoid of class 1 against class 0.

    Source: Shrivastava et al., Training Region-based Object Detectors with Online Hard Example Mining, CVPR 2016,
    arXiv:1604.03540; for pixels, Wu et al., arXiv:1605.06885, Sec. 3.3. Names and defaults are mmseg's.
    Differs: `ignore_index` is mmseg's `ignore_label`; `class_weight` works; a single channel is allowed.

    Args:
        thres: pixels below it are hard.
        min_kept: keep at least so many pixels of the batch, the hardest, if it has as many.
        loss_weight: factor of the result.
        class_weight: C factors of the classes; of a single channel that of class 1.
        ignore_index: label of the pixels that do not count.

    Raises:
        ValueError: an argument is out of range.
    """

    class_weight: Tensor | None

    def __init__(
        self,
        *,
        thres: float = 0.7,
        min_kept: int = 100_000,
        loss_weight: float = 1.0,
        class_weight: Sequence[float] | None = None,
        ignore_index: int = 255,
    ) -> None:
        super().__init__()
        if not 0 < thres <= 1 or min_kept < 1:
            raise ValueError(f'OhemCrossEntropy: `thres` must be in (0, 1] and `min_kept` 1 or more, got {thres}, {min_kept}.')
        self.thres = thres
        self.min_kept = min_kept
        self.loss_weight = loss_weight
        self.register_buffer('class_weight', class_weights('OhemCrossEntropy', class_weight), persistent=False)
        self.ignore_index = ignore_index

    def forward(self, pred: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Return a scalar; 0 with zero gradient when nothing is labelled.

        Args:
            pred: (B, C, H, W) logits.
            target: (B, H, W) labels, for a single channel also (B, 1, H, W).
            weight: (B, H, W), factors of the pixels' losses.

        Raises:
            TypeError: the labels are no integers.
            ValueError: the shapes do not fit together.
        """
        target = mask_as_labels(pred, target)
        check_labels('OhemCrossEntropy', pred, target)
        pred = pred if pred.dtype == torch.float64 else pred.float()
        class_weight = None if self.class_weight is None else self.class_weight.to(pred.dtype)
        if pred.shape[1] == 1:
            pred = torch.cat((torch.zeros_like(pred), pred), dim=1)  # whose softmax is (1 - sigmoid, sigmoid)
            class_weight = None if class_weight is None else torch.cat((torch.ones_like(class_weight), class_weight))
        labelled = target != self.ignore_index
        log_probs = pred.log_softmax(dim=1)
        losses = functional.nll_loss(log_probs, target.long(), class_weight, ignore_index=self.ignore_index, reduction='none')
        index = target.long().masked_fill(~labelled, 0)[:, None]
        probs = log_probs.detach().gather(1, index)[:, 0].exp()
        hard = (probs < self._threshold(probs, labelled)) & labelled
        if weight is not None:
            losses = losses * weight
        return self.loss_weight * (losses * hard).sum() / hard.sum().clamp(min=1)

    def _threshold(self, probs: Tensor, labelled: Tensor) -> Tensor:
        """Return the probability below which pixels are kept: the larger of `thres` and that of pixel `min_kept` (from 0)."""
        largest = probs.masked_fill(~labelled, 0).max()
        if self.min_kept < probs.numel():
            # Pixels that do not count come last; if too few count, all of them are kept but the easiest.
            lowest = probs.masked_fill(~labelled, 2).flatten().kthvalue(self.min_kept + 1).values
            largest = torch.minimum(lowest, largest)
        return largest.clamp(min=self.thres)
