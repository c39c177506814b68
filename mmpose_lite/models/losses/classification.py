"""Losses on classes."""

# Letters: B batch, K keypoints, W bins along x (Wx) or y (Wy).
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from mmpose_lite.models.losses.reduction import check_shapes
from mmpose_lite.registry import LOSSES


@LOSSES.register_module()
class KLDiscretLoss(nn.Module):
    """Kullback-Leibler divergence from the target's distribution to the softmax of the logits, of x plus of y.

    For each keypoint the mean over the bins; of these the sum over the batch, divided by K, as in mmpose: the loss grows with
    the batch, to which Adam is blind and SGD is not.

    Source: Li et al., SimCC, ECCV 2022, Sec. 3.2, arXiv:2107.03332; `beta` and `label_softmax`: Jiang et al., RTMPose,
    Sec. 3.3.2, arXiv:2303.07399.

    Args:
        beta: factor on the logits, an inverse temperature.
        label_softmax: make a distribution of the target by softmax(label_beta * target).
        label_beta: see there.
        use_target_weight: multiply the divergence of each keypoint by its weight.
        loss_weight: factor of the result.
    """

    def __init__(
        self,
        *,
        beta: float = 1.0,
        label_softmax: bool = False,
        label_beta: float = 10.0,
        use_target_weight: bool = True,
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.beta = beta
        self.label_softmax = label_softmax
        self.label_beta = label_beta
        self.use_target_weight = use_target_weight
        self.loss_weight = loss_weight

    def forward(self, pred: Sequence[Tensor], target: Sequence[Tensor], weight: Tensor | None = None) -> Tensor:
        """Return a scalar; 0 with zero gradient when nothing is labelled.

        Args:
            pred: logits (B, K, Wx) and (B, K, Wy).
            target: the same shapes, in [0, 1].
            weight: (B, K), 0 where the keypoint is not labelled.

        Raises:
            ValueError: the shapes do not fit together.
        """
        if self.use_target_weight and (weight is None or weight.shape != pred[0].shape[:2]):
            got = None if weight is None else tuple(weight.shape)
            raise ValueError(f'KLDiscretLoss: `weight` must be (B, K) = {tuple(pred[0].shape[:2])}, got {got}.')
        total = pred[0].new_zeros(())
        for logits, label in zip(pred, target, strict=True):
            check_shapes('KLDiscretLoss', logits, label)
            if self.label_softmax:
                label = functional.softmax(label * self.label_beta, dim=-1)
            log_prob = functional.log_softmax(logits * self.beta, dim=-1)
            divergence = functional.kl_div(log_prob, label, reduction='none').mean(dim=-1)
            total = total + (divergence * weight if self.use_target_weight else divergence).sum()
        return self.loss_weight * total / pred[0].shape[1]
