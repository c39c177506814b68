"""Cross entropy of the hardest pixels."""

# Letters: B batch, C classes, H x W pixels.
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from mmpose_lite.models.losses.cross_entropy import check_class_weight, class_weights
from mmpose_lite.models.losses.labels import check_labels, mask_as_labels
from mmpose_lite.models.losses.reduction import check_reduction, reduce_pixels
from mmpose_lite.registry import LOSSES


@LOSSES.register_module()
class OhemCrossEntropy(nn.Module):
    """Cross entropy, averaged over the pixels whose class has a probability below `thres`, or the `min_kept` lowest.

    The probabilities are those of a softmax over the classes; a single channel is the sigmoid of class 1 against class 0.

    Source: Shrivastava et al., Training Region-based Object Detectors with Online Hard Example Mining, CVPR 2016,
    arXiv:1604.03540; for pixels, Wu et al., arXiv:1605.06885, Sec. 3.3. Names and defaults are mmseg's.
    Differs: `ignore_index` is mmseg's `ignore_label`; `class_weight` works; a single channel is allowed; where no more than
    `min_kept` pixels are labelled all are kept (mmseg drops the easiest).

    Args:
        thres: pixels below it are hard.
        min_kept: keep at least so many pixels of the batch, or with `per_image` of each image, the hardest, if it has as many.
        per_image: the mean of the hardest pixels of each image first, over which `reduction` then is.
        reduction: 'none', 'mean' or 'sum'; see `reduce_pixels`.
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
        per_image: bool = False,
        reduction: str = 'mean',
        loss_weight: float = 1.0,
        class_weight: Sequence[float] | None = None,
        ignore_index: int = 255,
    ) -> None:
        super().__init__()
        check_reduction('OhemCrossEntropy', reduction)
        if not 0 < thres <= 1 or min_kept < 1:
            raise ValueError(f'OhemCrossEntropy: `thres` must be in (0, 1] and `min_kept` 1 or more, got {thres}, {min_kept}.')
        self.thres = thres
        self.min_kept = min_kept
        self.per_image = per_image
        self.reduction = reduction
        self.loss_weight = loss_weight
        self.register_buffer('class_weight', class_weights('OhemCrossEntropy', class_weight), persistent=False)
        self.ignore_index = ignore_index

    def forward(self, pred: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Return a scalar; 0 with zero gradient when nothing is labelled. With 'none': (B, H, W), or with `per_image` (B,).

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
        check_class_weight('OhemCrossEntropy', self.class_weight, pred)
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
        hard = self._hardest(probs, labelled)
        if weight is not None:
            losses = losses * weight
        return self.loss_weight * reduce_pixels(losses * hard, hard, per_image=self.per_image, reduction=self.reduction)

    def _hardest(self, probs: Tensor, labelled: Tensor) -> Tensor:
        """Return (B, H, W) bool, the labelled pixels that are kept, of the probabilities (B, H, W) of their classes."""
        ranked = probs.masked_fill(~labelled, 2)  # last of all; if too few are labelled, these are all kept
        ranked = ranked.flatten(1) if self.per_image else ranked.flatten()[None]
        highest = ranked.kthvalue(min(self.min_kept, ranked.shape[1]), dim=1).values
        return ((probs < self.thres) | (probs <= highest[:, None, None])) & labelled
