"""What the suppressions of boxes share: one signature, checks, and what happens to values that are not finite."""

# Letters: N boxes, P kept boxes.
from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from mmpose_lite.ops.iou import IoUKind, pairwise_iou

# What a variant may need beside boxes and scores -> its shape, and what predicts it.
EXTRAS = {
    'pred_ious': ('(N,)', 'the IoU with its object that the network expects of each box'),
    'variances': ('(N, 4)', 'of the edges, in one unit for all boxes, as a head trained with BoxKLLoss predicts them'),
    'densities': ('(N,)', 'the greatest IoU with another object that the network expects of the object of each box'),
}


class NMSResult(NamedTuple):
    """The boxes that are kept, best score first."""

    boxes: Tensor  # (P, 4) xyxy; variants that average boxes return the averages
    scores: Tensor  # (P,), after decay
    indices: Tensor  # (P,) int64, into the boxes that were given


class Suppression(ABC):
    """Keeps one box per object: `nms(boxes_xyxy, scores, labels, ...) -> NMSResult`, on the device of the boxes.

    Boxes of different labels leave each other alone. A box is left out when its area, its score or the extra that the variant
    needs is NaN or infinite. Of equal scores, the first in the input comes first. No gradient flows.

    Args:
        max_num: keep at most this many, the best of all labels; None keeps all.

    Raises:
        ValueError: `max_num` is not positive.
    """

    extra: ClassVar[str | None] = None  # the one of EXTRAS that the variant needs

    def __init__(self, *, max_num: int | None = None) -> None:
        if max_num is not None and max_num < 1:
            raise ValueError(f'{self._name}: `max_num` must be 1 or more, or None for all boxes, got {max_num}.')
        self.max_num = max_num

    @torch.no_grad()
    def __call__(
        self,
        boxes_xyxy: Tensor,
        scores: Tensor,
        labels: Tensor | None = None,
        *,
        pred_ious: Tensor | None = None,
        variances: Tensor | None = None,
        densities: Tensor | None = None,
    ) -> NMSResult:
        """Return what is kept, best score first. Extras that the variant does not need are not looked at.

        Args:
            boxes_xyxy: (N, 4), any unit.
            scores: (N,).
            labels: (N,) integers; None for boxes of one class, or to suppress across classes.
            pred_ious: (N,) in [0, 1], see EXTRAS.
            variances: (N, 4), positive, see EXTRAS.
            densities: (N,) in [0, 1], see EXTRAS.

        Raises:
            ValueError: the shapes do not fit together, or the extra that the variant needs is missing.
        """
        N = len(boxes_xyxy)
        if boxes_xyxy.shape != (N, 4) or scores.shape != (N,) or (labels is not None and labels.shape != (N,)):
            shapes = [None if tensor is None else tuple(tensor.shape) for tensor in (boxes_xyxy, scores, labels)]
            raise ValueError(
                f'{self._name}: boxes, scores and labels must be (N, 4), (N,) and (N,) or None, '
                f'got {shapes[0]}, {shapes[1]} and {shapes[2]}.'
            )
        extra = dict(pred_ious=pred_ious, variances=variances, densities=densities).get(self.extra or '')
        self._check_extra(extra, N)
        sides = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).to(torch.promote_types(boxes_xyxy.dtype, torch.float32))
        finite = sides.prod(dim=1).isfinite() & scores.isfinite()
        if extra is not None:
            finite &= extra.isfinite().reshape(N, extra.shape[1:].numel()).all(dim=1)
        rows = None if finite.all() else finite.nonzero().squeeze(1)
        if rows is not None:
            boxes_xyxy, scores = boxes_xyxy[rows], scores[rows]
            labels = None if labels is None else labels[rows]
            extra = None if extra is None else extra[rows]
        with torch.autocast(boxes_xyxy.device.type, enabled=False):  # products of coordinates need full precision
            kept = self._suppress(boxes_xyxy, scores, labels, extra)
        indices = kept.indices if rows is None else rows[kept.indices]
        return NMSResult(kept.boxes[: self.max_num], kept.scores[: self.max_num], indices[: self.max_num])

    @abstractmethod
    def _suppress(self, boxes: Tensor, scores: Tensor, labels: Tensor | None, extra: Tensor | None) -> NMSResult:
        """Return what is kept of finite boxes, best score first; `max_num` is applied afterwards."""

    @property
    def _name(self) -> str:
        return type(self).__name__

    def _check_extra(self, extra: Tensor | None, N: int) -> None:
        if self.extra is None:
            return
        shape, meaning = EXTRAS[self.extra]
        if extra is None:
            raise ValueError(
                f'{self._name}: `{self.extra}` {shape} must be given: {meaning}. Let the head predict it, or choose a variant '
                'without it.'
            )
        if extra.shape != ((N, 4) if self.extra == 'variances' else (N,)):
            raise ValueError(f'{self._name}: `{self.extra}` must be {shape} for N = {N} boxes, got {tuple(extra.shape)}.')

    def _check_threshold(self, value: float, argument: str = 'iou_threshold') -> float:
        if not 0 < value <= 1:
            raise ValueError(f'{self._name}: `{argument}` must be in (0, 1], got {value}.')
        return value


def mutual_overlaps(boxes: Tensor, labels: Tensor | None, *, kind: IoUKind = 'iou') -> Tensor:
    """Return the (N, N) overlaps of boxes among themselves, 0 where the labels differ."""
    overlaps = pairwise_iou(boxes, boxes, kind=kind)
    return overlaps if labels is None else overlaps * (labels[:, None] == labels)
