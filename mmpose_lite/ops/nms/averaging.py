"""Suppressions that learn from the boxes they let go: the kept box gets a better score, or better edges."""

# Letters: N boxes, P kept boxes.
from collections.abc import Iterator

import torch
from torch import Tensor

from mmpose_lite.ops.iou import pairwise_iou
from mmpose_lite.ops.nms.base import NMSResult, Suppression
from mmpose_lite.ops.nms.decay import Decay, Method, check_decay
from mmpose_lite.ops.nms.greedy import hard_nms, soft_nms
from mmpose_lite.registry import NMS

_PAIRS_AT_ONCE = 2**20  # bounds the memory of matrices of kept boxes and others
_LEAST = 1e-12  # score or variance, so that no mean divides by 0


def overlaps_of_kept(boxes: Tensor, labels: Tensor | None, kept: Tensor, others: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield ranks (p,) of some of the P kept boxes and their IoUs (p, M) with M others, 0 across labels, until all are done.

    Args:
        boxes: (N, 4).
        labels: (N,) or None.
        kept: (P,) indices.
        others: (M,) indices.
    """
    at_once = max(1, _PAIRS_AT_ONCE // max(1, len(others)))
    for start in range(0, len(kept), at_once):
        rows = kept[start : start + at_once]
        ious = pairwise_iou(boxes[rows], boxes[others])
        if labels is not None:
            ious = ious * (labels[rows, None] == labels[others])
        yield torch.arange(start, start + len(rows), device=boxes.device), ious


def clusters(boxes: Tensor, labels: Tensor | None, kept: Tensor, iou_threshold: float) -> tuple[Tensor, Tensor]:
    """Return for each box which kept box it belongs to, (N,) ranks, and its IoU with that one, (N,).

    A kept box belongs to itself, another to the one that suppressed it: the first whose IoU with it is above the threshold. A box
    without one, which rounding may leave, gets the rank P.
    """
    N, P = len(boxes), len(kept)
    owners = kept.new_full((N,), P).index_copy_(0, kept, torch.arange(P, device=boxes.device))
    shares = boxes.new_ones(N, dtype=torch.promote_types(boxes.dtype, torch.float32))
    gone = (owners == P).nonzero().squeeze(1)
    for ranks, ious in overlaps_of_kept(boxes, labels, kept, gone):
        # A boolean has no first maximum that one may rely on; a number that falls with the rank has.
        worth, row = ((ious > iou_threshold) * (P - ranks)[:, None]).max(dim=0)
        new = (worth > 0) & (owners[gone] == P)
        owners[gone] = torch.where(new, ranks[row], owners[gone])
        shares[gone] = torch.where(new, ious.gather(0, row[None])[0], shares[gone])
    return owners, shares


@NMS.register_module()
class IoUGuidedNMS(Suppression):
    """Keeps the box that is expected to lie best, not the one of the best class score; it gets the best score of its cluster.

    Source: Jiang et al., Acquisition of Localization Confidence for Accurate Object Detection (IoU-Net), ECCV 2018, Algorithm 1,
    arXiv:1807.11590.

    Args:
        iou_threshold: in (0, 1].
        max_num: keep at most this many; None keeps all.

    Raises:
        ValueError: an argument is out of range.
    """

    extra = 'pred_ious'

    def __init__(self, *, iou_threshold: float = 0.5, max_num: int | None = None) -> None:
        super().__init__(max_num=max_num)
        self.iou_threshold = self._check_threshold(iou_threshold)

    def _suppress(self, boxes: Tensor, scores: Tensor, labels: Tensor | None, extra: Tensor | None) -> NMSResult:
        assert extra is not None
        kept = hard_nms(boxes, extra, labels, self.iou_threshold)
        owners, _ = clusters(boxes, labels, kept, self.iou_threshold)
        best = torch.cat([scores[kept], scores.new_zeros(1)]).scatter_reduce(0, owners, scores, 'amax')[:-1]
        order = best.argsort(descending=True, stable=True)
        return NMSResult(boxes[kept[order]], best[order], kept[order])


@NMS.register_module()
class WeightedNMS(Suppression):
    """Replaces each kept box by the mean of its cluster, weighted with score times IoU with the kept box.

    Source: Zhou et al., CAD: Scale Invariant Framework for Real-Time Object Detection, ICCV Workshops 2017, Sec. 3.3.

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
        kept = hard_nms(boxes, scores, labels, self.iou_threshold)
        owners, shares = clusters(boxes, labels, kept, self.iou_threshold)
        weights = scores.to(shares.dtype).clamp(min=_LEAST) * shares
        sums = weights.new_zeros(len(kept) + 1, 5)
        sums.index_add_(0, owners, torch.cat([weights[:, None] * boxes, weights[:, None]], dim=1))
        means = sums[:-1, :4] / sums[:-1, 4:]
        return NMSResult(means.to(boxes.dtype), scores[kept], kept)


@NMS.register_module()
class SofterNMS(Suppression):
    """Soft-NMS whose taken boxes are then averaged with what overlaps them: near boxes of small variance count most.

    Each edge of a taken box becomes the mean of that edge over all boxes of its label that overlap it, the suppressed ones too,
    with the weights exp(-(1 - IoU)^2 / sigma_t) / variance.

    Source: He et al., Bounding Box Regression with Uncertainty for Accurate Object Detection, CVPR 2019, Algorithm 1 and Eq. 10,
    arXiv:1809.08545.

    Args:
        sigma_t: positive; greater takes further boxes into account. The paper's best is 0.02.
        method: see SoftNMS, as the rest.
        iou_threshold: see there.
        sigma: see there.
        min_score: see there.
        max_num: see there.

    Raises:
        ValueError: an argument is out of range.
    """

    extra = 'variances'

    def __init__(
        self,
        *,
        sigma_t: float = 0.02,
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
        if sigma_t <= 0:
            raise ValueError(f'SofterNMS: `sigma_t` must be above 0, got {sigma_t}.')
        self.sigma_t = sigma_t

    def _suppress(self, boxes: Tensor, scores: Tensor, labels: Tensor | None, extra: Tensor | None) -> NMSResult:
        assert extra is not None
        indices, taken_scores = soft_nms(
            boxes,
            scores,
            labels,
            decay=self.decay,
            iou_threshold=self.iou_threshold,
            min_score=self.min_score,
            max_num=self.max_num,
        )
        precise = 1 / extra.to(torch.promote_types(extra.dtype, torch.float32)).clamp(min=_LEAST)
        sums = precise.new_zeros(len(indices), 8)
        for ranks, ious in overlaps_of_kept(boxes, labels, indices, torch.arange(len(boxes), device=boxes.device)):
            ious.scatter_(1, indices[ranks, None], 1.0)  # with itself, also where a box has no area
            row, near = (ious > 0).nonzero(as_tuple=True)  # few of the pairs
            weights = torch.exp(-(1 - ious[row, near]).square() / self.sigma_t)[:, None] * precise[near]
            sums.index_add_(0, ranks[row], torch.cat([weights * boxes[near], weights], dim=1).to(sums.dtype))
        return NMSResult((sums[:, :4] / sums[:, 4:]).to(boxes.dtype), taken_scores, indices)
