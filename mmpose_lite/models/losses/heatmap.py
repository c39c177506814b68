"""Losses on heatmaps. Unlabelled keypoints are those whose weight is 0; they count as elements with no error."""

# Letters: B batch, K keypoints, H x W heatmap cells.
import torch
from torch import Tensor, nn
from torch.nn import functional

from mmpose_lite.errors import ConfigError
from mmpose_lite.models.losses.reduction import check_reduction, check_shapes, reduce_loss
from mmpose_lite.registry import LOSSES


def _keypoint_weight(owner: str, target: Tensor, weight: Tensor | None) -> Tensor:
    """Return (B, K, 1, 1) of the (B, K) weights that the loss asked for."""
    if weight is None:
        raise ValueError(f'{owner}: `weight` (B, K) is needed with use_target_weight=True, got None.')
    if weight.shape != target.shape[:2]:
        raise ValueError(f'{owner}: `weight` must be (B, K) = {tuple(target.shape[:2])}, got {tuple(weight.shape)}.')
    return weight[:, :, None, None]


@LOSSES.register_module()
class KeypointMSELoss(nn.Module):
    """Squared error, averaged over all cells of all B * K heatmaps.

    Source: Xiao et al., Simple Baselines for Human Pose Estimation and Tracking, ECCV 2018, Sec. 2, arXiv:1804.06208.
    Differs: `use_target_weight=False` ignores the weights (mmpose 1.x uses them all the same), and `skip_empty_channel`
    looks at each channel for itself (mmpose 1.x at all of them together).

    Args:
        use_target_weight: multiply the squared error of each keypoint by its weight.
        skip_empty_channel: leave out channels whose target is 0 everywhere.
        reduction: 'none', 'mean' or 'sum'; see `reduce_loss`.
        loss_weight: factor of the result.
    """

    def __init__(
        self,
        *,
        use_target_weight: bool = False,
        skip_empty_channel: bool = False,
        reduction: str = 'mean',
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__()
        check_reduction('KeypointMSELoss', reduction)
        self.use_target_weight = use_target_weight
        self.skip_empty_channel = skip_empty_channel
        self.reduction = reduction
        self.loss_weight = loss_weight

    def forward(
        self,
        pred: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        *,
        mask: Tensor | None = None,
        avg_factor: Tensor | float | None = None,
    ) -> Tensor:
        """Return a scalar; 0 with zero gradient when nothing is labelled.

        Args:
            pred: (B, K, H, W) heatmaps, any range.
            target: (B, K, H, W) heatmaps in [0, 1].
            weight: (B, K), 0 where the keypoint is not labelled.
            mask: (B, K, H, W) or (B, 1, H, W), 0 in cells that do not count, such as crowds.
            avg_factor: divide the sum by this instead of by B * K * H * W.

        Raises:
            ValueError: the shapes do not fit together.
        """
        check_shapes('KeypointMSELoss', pred, target)
        loss = functional.mse_loss(pred, target, reduction='none')
        if self.use_target_weight:
            loss = loss * _keypoint_weight('KeypointMSELoss', target, weight)
        if self.skip_empty_channel:
            loss = loss * (target != 0).any(dim=(2, 3), keepdim=True)
        if mask is not None:
            loss = loss * mask
        return self.loss_weight * reduce_loss(loss, reduction=self.reduction, avg_factor=avg_factor)


@LOSSES.register_module()
class KeypointOHKMMSELoss(nn.Module):
    """Squared error of the hardest keypoints: for each sample the mean over its `topk` largest, then the mean over samples.

    Source: Chen et al., Cascaded Pyramid Network for Multi-Person Pose Estimation, CVPR 2018, Sec. 3.2, arXiv:1711.07319.

    Args:
        use_target_weight: multiply prediction and target by the keypoint's weight (so the error by its square).
        topk: keypoints kept per sample, at most K.
        reduction: over the B samples: 'none' gives (B,), 'mean' or 'sum'.
        loss_weight: factor of the result.
    """

    def __init__(
        self, *, use_target_weight: bool = False, topk: int = 8, reduction: str = 'mean', loss_weight: float = 1.0
    ) -> None:
        super().__init__()
        if topk < 1:
            raise ValueError(f'KeypointOHKMMSELoss: `topk` must be 1 or more, got {topk}.')
        check_reduction('KeypointOHKMMSELoss', reduction)
        self.use_target_weight = use_target_weight
        self.topk = topk
        self.reduction = reduction
        self.loss_weight = loss_weight

    def forward(
        self, pred: Tensor, target: Tensor, weight: Tensor | None = None, *, avg_factor: Tensor | float | None = None
    ) -> Tensor:
        """Return a scalar; 0 with zero gradient when nothing is labelled.

        Args:
            pred: (B, K, H, W) heatmaps, any range.
            target: (B, K, H, W) heatmaps in [0, 1].
            weight: (B, K), 0 where the keypoint is not labelled.
            avg_factor: divide the sum over samples by this instead of by B.

        Raises:
            ConfigError: K < topk.
            ValueError: the shapes do not fit together.
        """
        check_shapes('KeypointOHKMMSELoss', pred, target)
        if pred.shape[1] < self.topk:
            raise ConfigError(f'KeypointOHKMMSELoss: `topk` must be at most the {pred.shape[1]} keypoints, got {self.topk}.')
        loss = functional.mse_loss(pred, target, reduction='none').mean(dim=(2, 3))
        if self.use_target_weight:
            loss = loss * _keypoint_weight('KeypointOHKMMSELoss', target, weight).flatten(1).square()
        hardest = loss.topk(self.topk, dim=1, sorted=False).values.mean(dim=1)
        return self.loss_weight * reduce_loss(hardest, reduction=self.reduction, avg_factor=avg_factor)


@LOSSES.register_module()
class AdaptiveWingLoss(nn.Module):
    """Logarithmic for small errors, linear for large ones; steeper where the target is high.

    Source: Wang et al., Adaptive Wing Loss for Robust Face Alignment via Heatmap Regression, ICCV 2019, Eq. 4,
    arXiv:1904.07399. Differs: without the weighted loss map of its Sec. 4.3, as in mmpose.

    Args:
        alpha: exponent at target 0; above 2, so that the background is smooth at 0.
        omega: scale of the logarithmic part.
        epsilon: error at which the logarithm bends.
        theta: error at which the linear part begins.
        use_target_weight: multiply prediction and target by the keypoint's weight.
        reduction: 'none', 'mean' or 'sum'; see `reduce_loss`.
        loss_weight: factor of the result.
    """

    def __init__(
        self,
        *,
        alpha: float = 2.1,
        omega: float = 14.0,
        epsilon: float = 1.0,
        theta: float = 0.5,
        use_target_weight: bool = False,
        reduction: str = 'mean',
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__()
        check_reduction('AdaptiveWingLoss', reduction)
        self.alpha = alpha
        self.omega = omega
        self.epsilon = epsilon
        self.theta = theta
        self.use_target_weight = use_target_weight
        self.reduction = reduction
        self.loss_weight = loss_weight

    def forward(
        self, pred: Tensor, target: Tensor, weight: Tensor | None = None, *, avg_factor: Tensor | float | None = None
    ) -> Tensor:
        """Return a scalar; 0 with zero gradient when nothing is labelled.

        Args:
            pred: (B, K, H, W) heatmaps, any range.
            target: (B, K, H, W) heatmaps in [0, 1].
            weight: (B, K), 0 where the keypoint is not labelled.
            avg_factor: divide the sum by this instead of by B * K * H * W.

        Raises:
            ValueError: the shapes do not fit together.
        """
        check_shapes('AdaptiveWingLoss', pred, target)
        if self.use_target_weight:
            weight = _keypoint_weight('AdaptiveWingLoss', target, weight)
            pred, target = pred * weight, target * weight
        delta = (target - pred).abs()
        power = self.alpha - target
        ratio = self.theta / self.epsilon
        bend = ratio**power
        slope = self.omega * power * ratio ** (power - 1) / (1 + bend) / self.epsilon  # A in the paper
        offset = self.theta * slope - self.omega * torch.log1p(bend)  # C: joins the two parts
        small = self.omega * torch.log1p((delta / self.epsilon) ** power)
        loss = torch.where(delta < self.theta, small, slope * delta - offset)
        return self.loss_weight * reduce_loss(loss, reduction=self.reduction, avg_factor=avg_factor)
