"""Losses on the overlap of a predicted box with its target: the four edges are learnt together, at any scale alike."""

# Letters: N boxes.
import torch
from torch import Tensor
from torch.nn import functional

from mmpose_lite.models.losses.regression import RegressionLoss
from mmpose_lite.ops.iou import aligned_iou
from mmpose_lite.registry import LOSSES
from mmpose_lite.structures import bbox_xyxy_to_cxcywh

_MODES = ('log', 'linear', 'square')


@LOSSES.register_module()
class IoULoss(RegressionLoss):
    """-log(IoU), 1 - IoU or 1 - IoU^2, averaged over boxes. Boxes that do not touch give no gradient.

    Source: Yu et al., UnitBox, ACM Multimedia 2016, Sec. 3.1, arXiv:1608.01471 (the logarithm).

    Args:
        mode: 'log', 'linear' or 'square'.
        eps: least IoU in the logarithm, and least area of a union.
        reduction: 'none', 'mean' or 'sum'; see `reduce_loss`.
        loss_weight: factor of the result.

    Raises:
        ValueError: an argument is out of range.
    """

    on_boxes = True

    def __init__(self, *, mode: str = 'log', eps: float = 1e-6, reduction: str = 'mean', loss_weight: float = 1.0) -> None:
        super().__init__(reduction=reduction, loss_weight=loss_weight)
        if mode not in _MODES:
            raise ValueError(f'IoULoss: `mode` must be one of {_MODES}, got {mode!r}.')
        self.mode = mode
        self.eps = eps

    def compare(self, pred: Tensor, target: Tensor) -> Tensor:
        iou = aligned_iou(pred, target, eps=self.eps).clamp(min=self.eps)
        if self.mode == 'log':
            return -iou.log()
        return 1 - (iou if self.mode == 'linear' else iou.square())


@LOSSES.register_module()
class GIoULoss(RegressionLoss):
    """1 - GIoU, averaged over boxes: boxes that do not touch are drawn together.

    Source: Rezatofighi et al., Generalized Intersection over Union, CVPR 2019, Algorithm 2, arXiv:1902.09630.

    Args:
        eps: least area that is divided by.
        reduction: 'none', 'mean' or 'sum'; see `reduce_loss`.
        loss_weight: factor of the result.
    """

    on_boxes = True

    def __init__(self, *, eps: float = 1e-6, reduction: str = 'mean', loss_weight: float = 1.0) -> None:
        super().__init__(reduction=reduction, loss_weight=loss_weight)
        self.eps = eps

    def compare(self, pred: Tensor, target: Tensor) -> Tensor:
        return 1 - aligned_iou(pred, target, kind='giou', eps=self.eps)


@LOSSES.register_module()
class DIoULoss(RegressionLoss):
    """1 - DIoU, averaged over boxes: the centres are drawn together, which is faster than GIoU for a box inside another.

    Source: Zheng et al., Distance-IoU Loss, AAAI 2020, Eq. 7, arXiv:1911.08287.

    Args:
        eps: least area that is divided by.
        reduction: 'none', 'mean' or 'sum'; see `reduce_loss`.
        loss_weight: factor of the result.
    """

    on_boxes = True

    def __init__(self, *, eps: float = 1e-6, reduction: str = 'mean', loss_weight: float = 1.0) -> None:
        super().__init__(reduction=reduction, loss_weight=loss_weight)
        self.eps = eps

    def compare(self, pred: Tensor, target: Tensor) -> Tensor:
        return 1 - aligned_iou(pred, target, kind='diou', eps=self.eps)


@LOSSES.register_module()
class CIoULoss(RegressionLoss):
    """1 - CIoU, averaged over boxes: DIoU, and the aspect ratio once the boxes overlap by half.

    Source: Zheng et al., Distance-IoU Loss, AAAI 2020, Eq. 10, arXiv:1911.08287.

    Args:
        eps: least area that is divided by.
        reduction: 'none', 'mean' or 'sum'; see `reduce_loss`.
        loss_weight: factor of the result.
    """

    on_boxes = True

    def __init__(self, *, eps: float = 1e-6, reduction: str = 'mean', loss_weight: float = 1.0) -> None:
        super().__init__(reduction=reduction, loss_weight=loss_weight)
        self.eps = eps

    def compare(self, pred: Tensor, target: Tensor) -> Tensor:
        return 1 - aligned_iou(pred, target, kind='ciou', eps=self.eps)


@LOSSES.register_module()
class BoundedIoULoss(RegressionLoss):
    """Smooth L1 of 1 less a bound on the IoU for each of centre x, centre y, width and height by itself; averaged over all four.

    For a centre that is off by d along a side s of the target the bound is (s - 2 d) / (s + 2 d), or 0; for a side, the ratio of
    the smaller to the greater.

    Source: Tychsen-Smith and Petersson, Improving Object Localization with Fitness NMS and Bounded IoU Loss, CVPR 2018, Sec. 4,
    arXiv:1711.00164; the defaults are those of guided anchoring.

    Args:
        beta: where the parabola meets the line.
        eps: added to sides that are divided by, in the boxes' unit.
        reduction: 'none', 'mean' or 'sum'; see `reduce_loss`.
        loss_weight: factor of the result.

    Raises:
        ValueError: `beta` is not positive.
    """

    on_boxes = True

    def __init__(self, *, beta: float = 0.2, eps: float = 1e-3, reduction: str = 'mean', loss_weight: float = 1.0) -> None:
        super().__init__(reduction=reduction, loss_weight=loss_weight)
        if beta <= 0:
            raise ValueError(f'BoundedIoULoss: `beta` must be above 0, got {beta}.')
        self.beta = beta
        self.eps = eps

    def compare(self, pred: Tensor, target: Tensor) -> Tensor:
        pred, target = bbox_xyxy_to_cxcywh(pred), bbox_xyxy_to_cxcywh(target)
        sides, target_sides = pred[..., 2:], target[..., 2:]
        shifts = 2 * (target[..., :2] - pred[..., :2]).abs()
        of_center = 1 - ((target_sides - shifts) / (target_sides + shifts + self.eps)).clamp(min=0)
        of_sides = 1 - torch.minimum(target_sides / (sides + self.eps), sides / (target_sides + self.eps))
        losses = torch.cat([of_center, of_sides], dim=-1)
        return functional.smooth_l1_loss(losses, torch.zeros_like(losses), reduction='none', beta=self.beta)
