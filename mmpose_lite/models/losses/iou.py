"""Losses on the overlap of a predicted box with its target: the four edges are learnt together, at any scale alike."""

# Letters: N boxes.
from torch import Tensor

from mmpose_lite.models.losses.regression import RegressionLoss
from mmpose_lite.ops.iou import aligned_iou
from mmpose_lite.registry import LOSSES

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

    def __init__(self, *, eps: float = 1e-6, reduction: str = 'mean', loss_weight: float = 1.0) -> None:
        super().__init__(reduction=reduction, loss_weight=loss_weight)
        self.eps = eps

    def compare(self, pred: Tensor, target: Tensor) -> Tensor:
        return 1 - aligned_iou(pred, target, kind='ciou', eps=self.eps)
