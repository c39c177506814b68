"""Cross entropy of the samples that are classified worst."""

# Letters: N samples, C classes.
from torch import Tensor, nn
from torch.nn import functional

from mmpose_lite.models.losses.reduction import check_shapes
from mmpose_lite.registry import LOSSES


@LOSSES.register_module()
class HardExampleCrossEntropyLoss(nn.Module):
    """Softmax cross entropy, averaged over the `num_hard` samples of the batch with the greatest loss; the rest gets no gradient.

    For boxes, which are few; OhemCrossEntropy does it for pixels, and OHEMSampler chooses boxes before both losses of a head, of
    which this one then keeps the hardest.

    Source: Shrivastava et al., Training Region-based Object Detectors with Online Hard Example Mining, CVPR 2016, Sec. 4,
    arXiv:1604.03540.

    Args:
        num_hard: samples kept; all of them if there are fewer.
        ignore_index: the target that does not count.
        loss_weight: factor of the result.

    Raises:
        ValueError: `num_hard` is not positive.
    """

    def __init__(self, *, num_hard: int = 128, ignore_index: int = -100, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.use_sigmoid = False  # heads read it to know how scores are made of logits
        if num_hard < 1:
            raise ValueError(f'HardExampleCrossEntropyLoss: `num_hard` must be 1 or more, got {num_hard}.')
        self.num_hard = num_hard
        self.ignore_index = ignore_index
        self.loss_weight = loss_weight

    def forward(
        self,
        pred: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        *,
        avg_factor: Tensor | float | None = None,
        reduction: str | None = None,
    ) -> Tensor:
        """Return a scalar; 0 with zero gradient when nothing counts. With 'none': (N,), the losses of all samples.

        Args:
            pred: (N, C) logits.
            target: (N,) indices of classes.
            weight: (N,); factors of the losses before the hardest are chosen, and 0 where a sample does not count.
            avg_factor: not looked at; heads pass it to every loss.
            reduction: 'none' to choose the hardest elsewhere, as OHEMSampler does; None for the mean of the hardest.

        Raises:
            ValueError: the shapes do not fit together, or there is no such reduction.
        """
        if pred.ndim != 2 or target.shape != pred.shape[:1]:
            raise ValueError(
                'HardExampleCrossEntropyLoss: `pred` and `target` must be (N, C) and (N,), '
                f'got {tuple(pred.shape)} and {tuple(target.shape)}.'
            )
        if reduction not in (None, 'none'):
            raise ValueError(f"HardExampleCrossEntropyLoss: `reduction` must be None or 'none', got {reduction!r}.")
        losses = functional.cross_entropy(pred, target.long(), ignore_index=self.ignore_index, reduction='none')
        counts = target != self.ignore_index
        if weight is not None:
            check_shapes('HardExampleCrossEntropyLoss', weight, target)
            losses, counts = losses * weight, counts & (weight > 0)
        if reduction == 'none':
            return self.loss_weight * losses
        hardest = losses.topk(min(self.num_hard, len(losses)), sorted=False).values
        return self.loss_weight * hardest.sum() / counts.sum().clamp(1, self.num_hard)
