"""Suppressions without a loop over boxes: a few operations on the matrix of all IoUs."""

# Letters: N boxes, best first.
from abc import abstractmethod
from typing import Literal

import torch
from torch import Tensor

from mmpose_lite.ops.nms.base import NMSResult, Suppression, mutual_overlaps
from mmpose_lite.registry import NMS

_MOST_TOGETHER = 8192  # boxes of several labels; more are taken label by label, so that the matrix of all pairs has room


def ious_with_better(boxes: Tensor, labels: Tensor | None) -> Tensor:
    """Return (N, N) IoUs of each box (column) with those before it (rows), 0 elsewhere and across labels."""
    return mutual_overlaps(boxes, labels).triu(diagonal=1)


def _best_first(boxes: Tensor, scores: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
    order = scores.argsort(descending=True, stable=True)
    return boxes[order], scores[order], None if labels is None else labels[order], order


class _ParallelNMS(Suppression):
    """A subclass writes `_together`, in which boxes of different labels leave each other alone."""

    def _suppress(self, boxes: Tensor, scores: Tensor, labels: Tensor | None, extra: Tensor | None) -> NMSResult:
        if labels is None or len(boxes) <= _MOST_TOGETHER:
            return self._together(boxes, scores, labels)
        of_labels = labels.argsort(stable=True).split(labels.unique(return_counts=True)[1].tolist())
        parts = [self._together(boxes[rows], scores[rows], None) for rows in of_labels]
        indices = torch.cat([rows[part.indices] for rows, part in zip(of_labels, parts)])
        kept_scores = torch.cat([part.scores for part in parts])
        order = indices.argsort()  # of equal scores the first in the input comes first
        order = order[kept_scores[order].argsort(descending=True, stable=True)]
        return NMSResult(boxes[indices[order]], kept_scores[order], indices[order])

    @abstractmethod
    def _together(self, boxes: Tensor, scores: Tensor, labels: Tensor | None) -> NMSResult:
        """Return what is kept, best score first; by a matrix of all pairs."""


@NMS.register_module()
class ClusterNMS(_ParallelNMS):
    """Hard NMS by repetition: a box is out if a box that is in, and better, overlaps it too much, until nothing changes.

    Takes as many rounds as the longest chain of boxes that decide over each other, few in practice; the result is that of
    HardNMS. Memory grows with N^2, of many boxes with those of a label.

    Source: Zheng et al., Enhancing Geometric Factors in Model Learning and Inference for Object Detection and Instance
    Segmentation, IEEE Trans. Cybernetics 2021, Sec. IV, arXiv:2005.03572.

    Args:
        iou_threshold: in (0, 1].
        max_num: keep at most this many; None keeps all.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(self, *, iou_threshold: float = 0.5, max_num: int | None = None) -> None:
        super().__init__(max_num=max_num)
        self.iou_threshold = self._check_threshold(iou_threshold)

    def _together(self, boxes: Tensor, scores: Tensor, labels: Tensor | None) -> NMSResult:
        boxes, scores, labels, order = _best_first(boxes, scores, labels)
        suppresses = ious_with_better(boxes, labels) > self.iou_threshold
        stays = scores.new_ones(len(boxes), dtype=torch.bool)
        while True:
            now = ~(suppresses & stays[:, None]).any(dim=0)
            if torch.equal(now, stays):
                break
            stays = now
        kept = stays.nonzero().squeeze(1)
        return NMSResult(boxes[kept], scores[kept], order[kept])


@NMS.register_module()
class MatrixNMS(_ParallelNMS):
    """Lowers all scores at once, by the worst overlap with a better box; one that is itself overlapped counts less.

    The factor of a box j is the least, over better boxes i, of f(IoU_ij) / f(greatest IoU of i with a box better than i).
    Memory grows with N^2, of many boxes with those of a label.

    Source: Wang et al., SOLOv2: Dynamic and Fast Instance Segmentation, NeurIPS 2020, Sec. 3.3, arXiv:2003.10152.
    Differs: the overlaps are those of boxes, not of masks.

    Args:
        method: f: 'gaussian', exp(-sigma IoU^2), or 'linear', 1 - IoU.
        sigma: see there; positive. Here it multiplies, while in SoftNMS it divides.
        min_score: boxes whose score has fallen below it are dropped.
        max_num: keep at most this many; None keeps all.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        *,
        method: Literal['gaussian', 'linear'] = 'gaussian',
        sigma: float = 2.0,
        min_score: float = 0.05,
        max_num: int | None = None,
    ) -> None:
        super().__init__(max_num=max_num)
        if method not in ('gaussian', 'linear'):
            raise ValueError(f"MatrixNMS: `method` must be 'gaussian' or 'linear', got {method!r}.")
        if sigma <= 0 or min_score < 0:
            raise ValueError(f'MatrixNMS: `sigma` must be above 0 and `min_score` 0 or more, got {sigma} and {min_score}.')
        self.method = method
        self.sigma = sigma
        self.min_score = min_score

    def _together(self, boxes: Tensor, scores: Tensor, labels: Tensor | None) -> NMSResult:
        boxes, scores, labels, order = _best_first(boxes, scores, labels)
        if not len(boxes):
            return NMSResult(boxes, scores, order)
        ious = ious_with_better(boxes, labels)
        own = ious.amax(dim=0)[:, None]  # of the better box
        if self.method == 'gaussian':
            factors = torch.exp(self.sigma * (own.square() - ious.square())).amin(dim=0)
        else:
            factors = ((1 - ious) / (1 - own).clamp(min=torch.finfo(ious.dtype).eps)).amin(dim=0)
        decayed = (scores * factors).to(scores.dtype)
        by_decayed = decayed.argsort(descending=True, stable=True)
        kept = by_decayed[decayed[by_decayed] >= self.min_score]
        return NMSResult(boxes[kept], decayed[kept], order[kept])
