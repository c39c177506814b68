"""Suppressions that keep the boxes as they are and let go of those, or of the scores of those, that overlap a better one."""

# Letters: N boxes.
import torch
from torch import Tensor

from mmpose_lite.ops.nms.base import NMSResult, Suppression
from mmpose_lite.ops.nms.decay import Decay, Method, check_decay, take_best
from mmpose_lite.registry import NMS


def hard_nms(boxes: Tensor, scores: Tensor, labels: Tensor | None, iou_threshold: float) -> Tensor:
    """Return (P,) indices of the boxes whose IoU with every better kept one of their label is at most the threshold, best first.

    On the CPU each label is suppressed by itself, so that the time does not grow with pairs of different labels. Elsewhere all
    are at once, kept apart by moving the boxes, in double precision, so that the IoUs stay what they are.
    """
    from torchvision.ops import nms

    dtype = torch.promote_types(boxes.dtype, torch.float32)
    if labels is None or not len(boxes):
        return nms(boxes.to(dtype), scores.to(dtype), iou_threshold)
    if boxes.device.type == 'cpu':
        boxes, scores, order = boxes.to(dtype), scores.to(dtype), labels.argsort(stable=True)
        of_labels = order.split(labels.unique(return_counts=True)[1].tolist())
        kept = torch.cat([rows[nms(boxes[rows], scores[rows], iou_threshold)] for rows in of_labels])
        kept = kept.sort().values  # of equal scores the first in the input comes first
        return kept[scores[kept].argsort(descending=True, stable=True)]
    boxes = boxes.double()
    offsets = labels.to(boxes.dtype) * (boxes.max() - boxes.min() + 1)
    return nms(boxes + offsets[:, None], scores.double(), iou_threshold)


def soft_nms(
    boxes: Tensor,
    scores: Tensor,
    labels: Tensor | None,
    *,
    decay: Decay,
    iou_threshold: float,
    min_score: float,
    max_num: int | None,
) -> tuple[Tensor, Tensor]:
    """Return (P,) indices and (P,) decayed scores, best first; the gaussian has no threshold."""
    threshold = 0.0 if decay.method == 'gaussian' else iou_threshold
    return take_best(boxes, scores, labels, decay=decay, thresholds=threshold, min_score=min_score, max_num=max_num)


@NMS.register_module()
class HardNMS(Suppression):
    """Drops every box whose IoU with a better kept one is above the threshold; the kernel is torchvision's.

    Args:
        iou_threshold: in (0, 1].
        max_num: keep at most this many; None keeps all.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(self, *, iou_threshold: float = 0.5, max_num: int | None = None) -> None:
        super().__init__(max_num=max_num)
        self.iou_threshold = self._check_threshold(iou_threshold)

    def _suppress(self, boxes: Tensor, scores: Tensor, labels: Tensor | None, extra: Tensor | None) -> NMSResult:
        indices = hard_nms(boxes, scores, labels, self.iou_threshold)
        return NMSResult(boxes[indices], scores[indices], indices)


@NMS.register_module()
class SoftNMS(Suppression):
    """Lowers the scores of boxes that overlap a better one instead of dropping them.

    Source: Bodla et al., Soft-NMS: Improving Object Detection With One Line of Code, ICCV 2017, Eq. 2 and 3, arXiv:1704.04503.
    Names and defaults are mmcv's.

    Args:
        method: from an IoU of `iou_threshold` on, 'linear' multiplies a score by 1 - IoU and 'naive' by 0; 'gaussian' by
            exp(-IoU^2 / sigma) at any IoU.
        iou_threshold: see there; in (0, 1].
        sigma: see there; positive.
        min_score: boxes whose score has fallen below it are dropped.
        max_num: keep at most this many; None keeps all.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        *,
        method: Method = 'linear',
        iou_threshold: float = 0.3,
        sigma: float = 0.5,
        min_score: float = 1e-3,
        max_num: int | None = None,
    ) -> None:
        super().__init__(max_num=max_num)
        check_decay(self._name, method, sigma, min_score)
        self.decay = Decay(method, sigma)
        self.iou_threshold = self._check_threshold(iou_threshold)
        self.min_score = min_score

    def _suppress(self, boxes: Tensor, scores: Tensor, labels: Tensor | None, extra: Tensor | None) -> NMSResult:
        indices, scores = soft_nms(
            boxes,
            scores,
            labels,
            decay=self.decay,
            iou_threshold=self.iou_threshold,
            min_score=self.min_score,
            max_num=self.max_num,
        )
        return NMSResult(boxes[indices], scores, indices)


@NMS.register_module()
class AdaptiveNMS(Suppression):
    """Suppresses less where objects stand close: the threshold is the density of the kept box's object, if that is greater.

    Source: Liu et al., Adaptive NMS: Refining Pedestrian Detection in a Crowd, CVPR 2019, Sec. 3.2, arXiv:1904.03629. The density
    of an object is its greatest IoU with another one.

    Args:
        method: 'naive' drops what overlaps from the threshold on; 'linear' and 'gaussian' lower its score, by the factors of
            SoftNMS.
        iou_threshold: least threshold, in (0, 1].
        sigma: of the gaussian; positive.
        min_score: boxes whose score has fallen below it are dropped, unless the method is 'naive'.
        max_num: keep at most this many; None keeps all.

    Raises:
        ValueError: an argument is out of range.
    """

    extra = 'densities'

    def __init__(
        self,
        *,
        method: Method = 'naive',
        iou_threshold: float = 0.5,
        sigma: float = 0.5,
        min_score: float = 1e-3,
        max_num: int | None = None,
    ) -> None:
        super().__init__(max_num=max_num)
        check_decay(self._name, method, sigma, min_score)
        self.decay = Decay(method, sigma)
        self.iou_threshold = self._check_threshold(iou_threshold)
        self.min_score = min_score

    def _suppress(self, boxes: Tensor, scores: Tensor, labels: Tensor | None, extra: Tensor | None) -> NMSResult:
        assert extra is not None
        indices, scores = take_best(
            boxes,
            scores,
            labels,
            decay=self.decay,
            thresholds=extra.clamp(min=self.iou_threshold),
            min_score=self.min_score,
            max_num=self.max_num,
        )
        return NMSResult(boxes[indices], scores, indices)


@NMS.register_module()
class DIoUNMS(Suppression):
    """Drops what overlaps a better box unless its centre is far off: compares IoU less the penalty of DIoU with the threshold.

    Source: Zheng et al., Distance-IoU Loss, AAAI 2020, Sec. "Non-Maximum Suppression using DIoU", arXiv:1911.08287.

    Args:
        iou_threshold: in (0, 1].
        max_num: keep at most this many; None keeps all.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(self, *, iou_threshold: float = 0.5, max_num: int | None = None) -> None:
        super().__init__(max_num=max_num)
        self.iou_threshold = self._check_threshold(iou_threshold)

    def _suppress(self, boxes: Tensor, scores: Tensor, labels: Tensor | None, extra: Tensor | None) -> NMSResult:
        decay = Decay('naive', by_distance=True)
        indices, scores = take_best(boxes, scores, labels, decay=decay, thresholds=self.iou_threshold, max_num=self.max_num)
        return NMSResult(boxes[indices], scores, indices)
