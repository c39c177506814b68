"""Which object, if any, a prior (an anchor or a proposal) is to find."""

# Letters: N priors, M objects.
from typing import NamedTuple

import torch
from torch import Tensor

from mmpose_lite.ops.iou import pairwise_iou
from mmpose_lite.registry import ASSIGNERS


class Assignment(NamedTuple):
    """What each of N priors is to find; the numbers are mmdet's."""

    gt_inds: Tensor  # (N,) int64: i + 1 for object i, 0 for background, -1 for neither
    max_ious: Tensor  # (N,) greatest IoU with an object; -1 where the prior lies in an ignored region
    num_gts: int  # M

    def with_gts(self, is_object: Tensor | None = None) -> 'Assignment':
        """Return the assignment for the boxes of the M objects themselves, each to its own, followed by the N priors.

        Args:
            is_object: (M,) bool; boxes for which it is False are neither. None: all are objects.
        """
        own = torch.arange(1, self.num_gts + 1, device=self.gt_inds.device)
        own = own if is_object is None else own.where(is_object, -1)
        ones = self.max_ious.new_ones(self.num_gts)
        return Assignment(torch.cat([own, self.gt_inds]), torch.cat([ones, self.max_ious]), self.num_gts)


@ASSIGNERS.register_module()
class MaxIoUAssigner:
    """Gives a prior to the object it overlaps most, by IoU; names and defaults are mmdet's.

    1. A prior with the IoU of at least `pos_iou_thr` is to find that object; one below `neg_iou_thr` is background; one between
       is neither.
    2. An object whose best prior has at least `min_pos_iou` gets it in any case, and all that tie with it. Where objects compete
       for a prior, the last one gets it.
    3. A prior that lies in an ignored region by more than `ignore_iof_thr` is neither.

    Source: Ren et al., Faster R-CNN, NeurIPS 2015, Sec. 3.1.2, arXiv:1506.01497.
    Differs: ignored regions count in images without objects, too; an object that overlaps no prior gets none (in mmdet, with a
    `min_pos_iou` of 0 as in RetinaNet, it gets all that do not overlap it).

    Args:
        pos_iou_thr: see above.
        neg_iou_thr: see above; a pair (low, high) makes background what is in [low, high), and in images without objects all.
        min_pos_iou: see above.
        gt_max_assign_all: False gives an object one of the priors that tie.
        ignore_iof_thr: share of the prior in the region, or of the region in the prior; below 0 regions do not count.
        ignore_wrt_candidates: which of the two shares.
        match_low_quality: False leaves out rule 2.

    Raises:
        ValueError: a threshold is out of range.
    """

    def __init__(
        self,
        *,
        pos_iou_thr: float,
        neg_iou_thr: float | tuple[float, float],
        min_pos_iou: float = 0.0,
        gt_max_assign_all: bool = True,
        ignore_iof_thr: float = -1.0,
        ignore_wrt_candidates: bool = True,
        match_low_quality: bool = True,
    ) -> None:
        low, high = neg_iou_thr if isinstance(neg_iou_thr, tuple | list) else (0.0, neg_iou_thr)
        if not 0 <= low <= high <= pos_iou_thr <= 1:
            raise ValueError(
                'MaxIoUAssigner: `neg_iou_thr` and `pos_iou_thr` must be in [0, 1] and rise, '
                f'got {neg_iou_thr} and {pos_iou_thr}.'
            )
        if not 0 <= min_pos_iou <= 1:
            raise ValueError(f'{type(self).__name__}: `min_pos_iou` must be in [0, 1], got {min_pos_iou}.')
        self.pos_iou_thr = pos_iou_thr
        self.neg_iou_range = (low, high)
        self.min_pos_iou = min_pos_iou
        self.gt_max_assign_all = gt_max_assign_all
        self.ignore_iof_thr = ignore_iof_thr
        self.ignore_wrt_candidates = ignore_wrt_candidates
        self.match_low_quality = match_low_quality

    @torch.no_grad()
    def assign(
        self,
        priors_xyxy: Tensor,
        gt_boxes_xyxy: Tensor,
        *,
        is_object: Tensor | None = None,
        ignored_xyxy: Tensor | None = None,
    ) -> Assignment:
        """Assign the priors of one image; nothing waits for the device.

        Args:
            priors_xyxy: (N, 4).
            gt_boxes_xyxy: (M, 4), M may be 0.
            is_object: (M,) bool; boxes for which it is False get no prior. None: all are objects.
            ignored_xyxy: boxes (I, 4) around crowds and the like, empty ones of no effect; None if there are none.

        Raises:
            ValueError: the shapes do not fit together.
        """
        N, M = len(priors_xyxy), len(gt_boxes_xyxy)
        if priors_xyxy.shape != (N, 4) or gt_boxes_xyxy.shape != (M, 4):
            raise ValueError(
                'MaxIoUAssigner: priors and objects must be (N, 4) and (M, 4), '
                f'got {tuple(priors_xyxy.shape)} and {tuple(gt_boxes_xyxy.shape)}.'
            )
        ious = pairwise_iou(gt_boxes_xyxy, priors_xyxy)
        return self._assigned(ious, is_object, self._ignored(priors_xyxy, ignored_xyxy))

    def _assigned(self, ious: Tensor, is_object: Tensor | None, ignored: Tensor | None) -> Assignment:
        """Apply the rules to IoUs (M, N); `is_object` is (M,), `ignored` (N,)."""
        M, N = ious.shape
        if is_object is not None:
            ious = ious.where(is_object[:, None], 0)
        max_ious, best = ious.max(dim=0) if M else (ious.new_zeros(N), None)
        if ignored is not None:
            ious = ious.masked_fill(ignored, -1.0)
            max_ious = max_ious.masked_fill(ignored, -1.0)
        low, high = self.neg_iou_range
        nobody = M == 0 if is_object is None else ~is_object.any()  # then nothing reaches `low`, and all is background
        gt_inds = torch.where(((max_ious >= low) | (nobody & (max_ious >= 0))) & (max_ious < high), 0, -1)
        if best is not None and N:
            gt_inds = torch.where(max_ious >= self.pos_iou_thr, best + 1, gt_inds)
            if self.match_low_quality:
                forced = self._best_priors(ious)
                gt_inds = torch.where(forced > 0, forced, gt_inds)
        return Assignment(gt_inds, max_ious, M)

    def _ignored(self, priors: Tensor, regions: Tensor | None) -> Tensor | None:
        """Return (N,), true for priors in ignored regions."""
        if regions is None or not len(regions) or self.ignore_iof_thr < 0:
            return None
        if self.ignore_wrt_candidates:
            shares = pairwise_iou(priors, regions, kind='iof').amax(dim=1)
        else:
            shares = pairwise_iou(regions, priors, kind='iof').amax(dim=0)
        return shares > self.ignore_iof_thr

    def _best_priors(self, ious: Tensor) -> Tensor:
        """Return (N,): i + 1 where the prior is the best one of object i, else 0; `ious` is (M, N)."""
        greatest, where = ious.max(dim=1, keepdim=True)
        if self.gt_max_assign_all:
            wins = ious == greatest
        else:
            wins = torch.zeros_like(ious, dtype=torch.bool).scatter_(1, where, True)
        wins &= (greatest >= self.min_pos_iou) & (greatest > 0)
        numbers = torch.arange(1, len(ious) + 1, device=ious.device)[:, None]
        return (wins * numbers).amax(dim=0)


@ASSIGNERS.register_module()
class ApproxMaxIoUAssigner(MaxIoUAssigner):
    """As `MaxIoUAssigner`, for priors that are A boxes each: what counts is the best of them.

    Source: Wang et al., Region Proposal by Guided Anchoring, CVPR 2019, Sec. 3.5, Eq. 5, arXiv:1901.03278. Names and defaults
    are mmdet's.
    Differs: a prior lies in an ignored region if one of its boxes does; mmdet asks the square in their place.

    Args:
        pos_iou_thr: see `MaxIoUAssigner`, as for the others.
        neg_iou_thr: see there.
        min_pos_iou: see there.
        gt_max_assign_all: see there.
        ignore_iof_thr: see there.
        ignore_wrt_candidates: see there.
        match_low_quality: see there.
    """

    @torch.no_grad()
    def assign(
        self,
        priors_xyxy: Tensor,
        gt_boxes_xyxy: Tensor,
        *,
        is_object: Tensor | None = None,
        ignored_xyxy: Tensor | None = None,
    ) -> Assignment:
        """Assign the priors (N, A, 4) of one image; all else as in `MaxIoUAssigner.assign`."""
        M = len(gt_boxes_xyxy)
        if priors_xyxy.ndim != 3 or priors_xyxy.shape[2] != 4 or gt_boxes_xyxy.shape != (M, 4):
            raise ValueError(
                'ApproxMaxIoUAssigner: priors and objects must be (N, A, 4) and (M, 4), '
                f'got {tuple(priors_xyxy.shape)} and {tuple(gt_boxes_xyxy.shape)}.'
            )
        N, A, _ = priors_xyxy.shape
        boxes = priors_xyxy.flatten(0, 1)
        ious = pairwise_iou(gt_boxes_xyxy, boxes).view(M, N, A).amax(dim=2)
        ignored = self._ignored(boxes, ignored_xyxy)
        return self._assigned(ious, is_object, None if ignored is None else ignored.view(N, A).any(dim=1))
