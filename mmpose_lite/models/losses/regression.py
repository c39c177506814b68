"""Losses on coordinates: keypoints, boxes, box deltas."""

# Letters: N boxes.
import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from mmpose_lite.models.losses.reduction import check_reduction, check_shapes, reduce_loss
from mmpose_lite.registry import LOSSES
from mmpose_lite.structures import bbox_area


class RegressionLoss(nn.Module):
    """What losses on coordinates share; a subclass writes `compare`.

    Args:
        reduction: 'none', 'mean' or 'sum'; see `reduce_loss`.
        loss_weight: factor of the result.

    Attributes:
        on_boxes: what is compared are boxes xyxy; other numbers make no sense.
    """

    on_boxes: ClassVar[bool] = False

    def __init__(self, *, reduction: str = 'mean', loss_weight: float = 1.0) -> None:
        super().__init__()
        check_reduction(type(self).__name__, reduction)
        self.reduction = reduction
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
        """Return a scalar; 0 with zero gradient when there is nothing to learn from.

        Args:
            pred: (N, 4) boxes, (B, K, 2) keypoints, or any other shape; of losses on overlap (..., 4) corners.
            target: the same shape.
            weight: the same shape, or its leading axes: (N,), (B, K). Losses on overlap average the four weights of a box.
            avg_factor: divide the sum by this instead of by the number of coordinates, or of boxes in losses on overlap.
            reduction: in place of the one of the constructor.

        Raises:
            ValueError: the shapes do not fit together.
        """
        check_shapes(type(self).__name__, pred, target)
        loss = self.compare(pred, target)
        if weight is not None and weight.ndim > loss.ndim:
            weight = weight.mean(dim=-1)
        return self.loss_weight * reduce_loss(loss, weight, reduction=reduction or self.reduction, avg_factor=avg_factor)

    def compare(self, pred: Tensor, target: Tensor) -> Tensor:
        """Return a loss per coordinate, or per box (...) for losses on overlap."""
        raise NotImplementedError


@LOSSES.register_module()
class L1Loss(RegressionLoss):
    """Absolute error, averaged over all coordinates.

    Args:
        reduction: 'none', 'mean' or 'sum'; see `reduce_loss`.
        loss_weight: factor of the result.
    """

    def compare(self, pred: Tensor, target: Tensor) -> Tensor:
        return functional.l1_loss(pred, target, reduction='none')


@LOSSES.register_module()
class MSELoss(RegressionLoss):
    """Squared error, averaged over all coordinates.

    Args:
        reduction: 'none', 'mean' or 'sum'; see `reduce_loss`.
        loss_weight: factor of the result.
    """

    def compare(self, pred: Tensor, target: Tensor) -> Tensor:
        return functional.mse_loss(pred, target, reduction='none')


@LOSSES.register_module()
class SmoothL1Loss(RegressionLoss):
    """0.5 d^2 / beta where the error d is below beta, d - 0.5 beta above it; averaged over all coordinates.

    Source: Girshick, Fast R-CNN, ICCV 2015, Eq. 3, arXiv:1504.08083 (beta = 1).

    Args:
        beta: where the parabola meets the line, in the unit of the coordinates; 0 gives L1.
        reduction: 'none', 'mean' or 'sum'; see `reduce_loss`.
        loss_weight: factor of the result.
    """

    def __init__(self, *, beta: float = 1.0, reduction: str = 'mean', loss_weight: float = 1.0) -> None:
        super().__init__(reduction=reduction, loss_weight=loss_weight)
        if beta < 0:
            raise ValueError(f'SmoothL1Loss: `beta` must be 0 or more, got {beta}.')
        self.beta = beta

    def compare(self, pred: Tensor, target: Tensor) -> Tensor:
        return functional.smooth_l1_loss(pred, target, reduction='none', beta=self.beta)


@LOSSES.register_module()
class BalancedL1Loss(RegressionLoss):
    """Smooth L1 with a steeper slope for small errors, so that near boxes pull as hard as far ones; averaged over coordinates.

    For an error d below beta: alpha / b (b d + 1) log(b d / beta + 1) - alpha d, with b = exp(gamma / alpha) - 1; from there on
    gamma d + C, with the C that joins the two.

    Source: Pang et al., Libra R-CNN, CVPR 2019, Eq. 6 to 9, arXiv:1904.02701, where beta is 1.

    Args:
        alpha: smaller raises the gradient of small errors.
        gamma: gradient of large errors.
        beta: where the two parts meet, in the unit of the coordinates.
        reduction: 'none', 'mean' or 'sum'; see `reduce_loss`.
        loss_weight: factor of the result.

    Raises:
        ValueError: an argument is not positive.
    """

    def __init__(
        self,
        *,
        alpha: float = 0.5,
        gamma: float = 1.5,
        beta: float = 1.0,
        reduction: str = 'mean',
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__(reduction=reduction, loss_weight=loss_weight)
        if min(alpha, gamma, beta) <= 0:
            raise ValueError(f'BalancedL1Loss: `alpha`, `gamma` and `beta` must be above 0, got {alpha}, {gamma} and {beta}.')
        self.alpha = alpha
        self.gamma = gamma
        self.beta = beta

    def compare(self, pred: Tensor, target: Tensor) -> Tensor:
        error = (pred - target).abs()
        b = math.exp(self.gamma / self.alpha) - 1
        small = self.alpha / b * (b * error + 1) * torch.log1p(b * error / self.beta) - self.alpha * error
        large = self.gamma * error + self.gamma / b - self.alpha * self.beta
        return torch.where(error < self.beta, small, large)


@LOSSES.register_module()
class BoxKLLoss(RegressionLoss):
    """Regression with a predicted variance: where the network is unsure it may err, but pays for being unsure.

    Of an error d and a predicted log variance a: exp(-a) d^2 / 2 + a / 2, beyond d = 1 exp(-a) (d - 1/2) + a / 2; averaged over
    all coordinates. It can be negative. SofterNMS reads the variances, exp(a).

    Source: He et al., Bounding Box Regression with Uncertainty for Accurate Object Detection, CVPR 2019, Eq. 9 and 10,
    arXiv:1809.08545.

    Args:
        reduction: 'none', 'mean' or 'sum'; see `reduce_loss`.
        loss_weight: factor of the result.
    """

    def forward(
        self,
        pred: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        *,
        log_variances: Tensor,
        avg_factor: Tensor | float | None = None,
        reduction: str | None = None,
    ) -> Tensor:
        """Return a scalar; arguments as in `RegressionLoss.forward`, and `log_variances` in the shape of `pred`.

        Raises:
            ValueError: the shapes do not fit together.
        """
        check_shapes('BoxKLLoss', pred, target)
        check_shapes('BoxKLLoss', pred, log_variances)
        error = functional.smooth_l1_loss(pred, target, reduction='none')
        loss = torch.exp(-log_variances) * error + log_variances / 2
        return self.loss_weight * reduce_loss(loss, weight, reduction=reduction or self.reduction, avg_factor=avg_factor)


def build_box_loss(owner: str, loss: Mapping[str, Any], *, decoded: bool) -> nn.Module:
    """Return the loss of a config, for a head that gives it boxes if `decoded`, else deltas.

    Raises:
        ValueError: the loss is on boxes, and the head would give it deltas, which train to nonsense.
    """
    built = LOSSES.build(loss)
    if getattr(built, 'on_boxes', False) and not decoded:
        raise ValueError(
            f'{owner}: `reg_decoded_bbox` must be True with a `loss_bbox` on boxes, {loss["type"]}, got False; losses on deltas '
            'are SmoothL1Loss, L1Loss and the like.'
        )
    return built


def small_box_weight(bboxes_xyxy: Tensor, image_size: tuple[float, float] | Tensor) -> Tensor:
    """Return (N,) weights in [1, 2] for a regression loss: 2 less the share of the image that the box fills.

    Source: YOLOv3's published code (Redmon and Farhadi, arXiv:1804.02767).

    Args:
        bboxes_xyxy: (N, 4) ground truth in px.
        image_size: (w, h) of the image in px, or (N, 2) of several images.
    """
    width, height = image_size.unbind(-1) if isinstance(image_size, Tensor) else image_size
    return 2 - (bbox_area(bboxes_xyxy) / (width * height)).clamp(max=1)
