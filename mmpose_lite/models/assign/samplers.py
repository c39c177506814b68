"""Which priors count in the loss. A fixed number of rows comes out, so that nothing waits for the device."""

# Letters: N priors, S rows of the sample.
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from mmpose_lite.models.assign.assigner import Assignment
from mmpose_lite.registry import BOX_SAMPLERS


class Sampled(NamedTuple):
    """S = min(num, N) rows: positives, then negatives, then rows that stand for nothing where there are too few of both."""

    indices: Tensor  # (S,) int64, of the priors
    is_positive: Tensor  # (S,) bool
    is_valid: Tensor  # (S,) bool; rows that stand for nothing must get the weight 0


@BOX_SAMPLERS.register_module()
class RandomSampler:
    """Draws positives and negatives evenly; names and defaults are mmdet's. Base of the other samplers.

    Args:
        num: rows of an image.
        pos_fraction: positives among them at most; negatives fill the rest.
        neg_pos_ub: negatives per positive at most (per one positive, where there is none); below 0 there is no bound.
        add_gt_as_proposals: for the head to read: whether it puts the objects' own boxes before the priors, see
            `Assignment.with_gts`.

    Raises:
        ValueError: an argument is out of range.
    """

    needs_losses: ClassVar[bool] = False  # whether `sample` must be given the losses of the priors

    def __init__(self, *, num: int, pos_fraction: float, neg_pos_ub: float = -1, add_gt_as_proposals: bool = True) -> None:
        if num < 1 or not 0 <= pos_fraction <= 1:
            raise ValueError(
                f'{type(self).__name__}: `num` must be 1 or more and `pos_fraction` in [0, 1], got {num} and {pos_fraction}.'
            )
        self.num = num
        self.pos_fraction = pos_fraction
        self.neg_pos_ub = neg_pos_ub
        self.add_gt_as_proposals = add_gt_as_proposals

    @torch.no_grad()
    def sample(
        self, assignment: Assignment, *, losses: Tensor | None = None, generator: torch.Generator | None = None
    ) -> Sampled:
        """Return the rows of one image.

        Args:
            assignment: of its N priors.
            losses: (N,) of the priors, for samplers that look for hard ones.
            generator: of the random numbers, on the device of the assignment; None is torch's own.

        Raises:
            ValueError: the sampler needs `losses`, and they are missing or not (N,).
        """
        gt_inds = assignment.gt_inds
        N, device = len(gt_inds), gt_inds.device
        S, most_positive = min(self.num, N), min(int(self.num * self.pos_fraction), N)
        positive, negative = gt_inds > 0, gt_inds == 0
        num_positive = positive.sum().clamp(max=most_positive)
        num_negative = self.num - num_positive
        if self.neg_pos_ub >= 0:
            num_negative = num_negative.minimum((self.neg_pos_ub * num_positive.clamp(min=1)).long())
        draw = _Draw(assignment, torch.rand(N, generator=generator, device=device), losses)
        best_positive = _best(self.rank_positives(draw, most_positive), positive, most_positive)
        best_negative = _best(self.rank_negatives(draw, num_negative), negative, S)
        row = torch.arange(S, device=device)
        is_positive = row < num_positive
        is_valid = row < num_positive + negative.sum().minimum(num_negative)
        indices = torch.cat([best_positive, best_negative])
        place = torch.where(is_positive, row, (row - num_positive).clamp(min=0) + most_positive)
        return Sampled(indices[place], is_positive, is_valid)

    def rank_positives(self, draw: '_Draw', count: int) -> Tensor:
        """Return (N,) numbers: of the positives, the `count` greatest are taken."""
        return draw.chances

    def rank_negatives(self, draw: '_Draw', count: Tensor) -> Tensor:
        """Return (N,) numbers: of the negatives, the `count` (scalar) greatest are taken."""
        return draw.chances


class _Draw(NamedTuple):
    assignment: Assignment
    chances: Tensor  # (N,), random in [0, 1)
    losses: Tensor | None  # (N,)


@BOX_SAMPLERS.register_module()
class OHEMSampler(RandomSampler):
    """Takes the positives and negatives of the greatest loss.

    The head computes the losses of all priors, without gradient, and passes them to `sample`.

    Source: Shrivastava et al., Training Region-based Object Detectors with Online Hard Example Mining, CVPR 2016, Sec. 4,
    arXiv:1604.03540. Arguments as in RandomSampler.
    """

    needs_losses: ClassVar[bool] = True

    def rank_positives(self, draw: _Draw, count: int) -> Tensor:
        if draw.losses is None or draw.losses.shape != draw.chances.shape:
            got = None if draw.losses is None else tuple(draw.losses.shape)
            raise ValueError(f'OHEMSampler: `losses` of the priors {tuple(draw.chances.shape)} must be given, got {got}.')
        return draw.losses

    def rank_negatives(self, draw: _Draw, count: Tensor) -> Tensor:
        return self.rank_positives(draw, 0)


@BOX_SAMPLERS.register_module()
class InstanceBalancedPosSampler(RandomSampler):
    """Draws about as many positives of each object, so that large objects do not take the places of small ones.

    Each object gets round(places / objects) + 1; what is left is drawn from the other positives.

    Source: Pang et al., Libra R-CNN, CVPR 2019, Sec. 3.1 (published code), arXiv:1904.02701. Arguments as in RandomSampler.
    """

    def rank_positives(self, draw: _Draw, count: int) -> Tensor:
        gt_inds = draw.assignment.gt_inds.clamp(min=0)
        sizes = _sizes(gt_inds, draw.assignment.num_gts + 1)
        share = (count / (sizes[1:] > 0).sum().clamp(min=1)).round() + 1
        return draw.chances + (_rank_in_group(gt_inds, draw.chances, sizes) < share)


@BOX_SAMPLERS.register_module()
class IoUBalancedNegSampler(RandomSampler):
    """Draws negatives evenly over bins of their IoU, so that hard ones, which are few, are not missed.

    The range of IoU, from `floor_thr` to the greatest of the image, is cut into `num_bins` bins of equal width, and each gives
    up to 1 / `num_bins` of the places. Places that remain are filled at random.

    Source: Pang et al., Libra R-CNN, CVPR 2019, Sec. 3.1, arXiv:1904.02701. Names and defaults are mmdet's, and so is the end of
    the range, which counts the positives' IoU.
    Differs: -1 is the same for every image; mmdet sets it to 0 after the first one.

    Args:
        num: see RandomSampler.
        pos_fraction: see RandomSampler.
        floor_thr: IoU below it is not balanced; -1 balances everything.
        floor_fraction: share of the places for negatives below `floor_thr`.
        num_bins: see above.
        neg_pos_ub: see RandomSampler.
        add_gt_as_proposals: see RandomSampler.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        *,
        num: int,
        pos_fraction: float,
        floor_thr: float = -1,
        floor_fraction: float = 0.0,
        num_bins: int = 3,
        neg_pos_ub: float = -1,
        add_gt_as_proposals: bool = True,
    ) -> None:
        super().__init__(num=num, pos_fraction=pos_fraction, neg_pos_ub=neg_pos_ub, add_gt_as_proposals=add_gt_as_proposals)
        if not (floor_thr >= 0 or floor_thr == -1) or not 0 <= floor_fraction <= 1 or num_bins < 1:
            raise ValueError(
                'IoUBalancedNegSampler: `floor_thr` must be -1 or 0 or more, `floor_fraction` in [0, 1] and `num_bins` 1 or '
                f'more, got {floor_thr}, {floor_fraction} and {num_bins}.'
            )
        self.floor_thr = floor_thr
        self.floor_fraction = floor_fraction
        self.num_bins = num_bins

    def rank_negatives(self, draw: _Draw, count: Tensor) -> Tensor:
        ious, negative = draw.assignment.max_ious, draw.assignment.gt_inds == 0
        if not len(ious):
            return draw.chances
        balanced = negative & (ious >= self.floor_thr if self.floor_thr > 0 else ious > self.floor_thr)
        floor = max(self.floor_thr, 0.0)
        width = ((ious.max() - floor) / self.num_bins).clamp(min=torch.finfo(ious.dtype).eps)
        # The last two groups have no quota: the negatives of the very greatest IoU, and what is not balanced.
        bins = ((ious - floor) / width).long().clamp(0, self.num_bins).where(balanced, self.num_bins + 1)
        places = (count * (1 - self.floor_fraction)).floor()
        in_bin = _rank_in_group(bins, draw.chances, _sizes(bins, self.num_bins + 2))
        quota = balanced & (bins < self.num_bins) & (in_bin < (places / self.num_bins).floor())
        chosen = balanced & (_rank_in_set(balanced, draw.chances + quota) < places)
        others = negative & ~balanced
        from_floor = others & (_rank_in_set(others, draw.chances) < count - chosen.sum())
        return draw.chances + 2 * chosen + from_floor


@BOX_SAMPLERS.register_module()
class CombinedSampler(RandomSampler):
    """Takes the positives of one sampler and the negatives of another.

    Args:
        pos_sampler: config of a sampler; `num` and `pos_fraction` come from here.
        neg_sampler: likewise.
        num: see RandomSampler.
        pos_fraction: see RandomSampler.
        neg_pos_ub: see RandomSampler.
        add_gt_as_proposals: see RandomSampler.
    """

    def __init__(
        self,
        *,
        pos_sampler: dict[str, Any],
        neg_sampler: dict[str, Any],
        num: int,
        pos_fraction: float,
        neg_pos_ub: float = -1,
        add_gt_as_proposals: bool = True,
    ) -> None:
        super().__init__(num=num, pos_fraction=pos_fraction, neg_pos_ub=neg_pos_ub, add_gt_as_proposals=add_gt_as_proposals)
        self.pos_sampler = BOX_SAMPLERS.build(pos_sampler, num=num, pos_fraction=pos_fraction)
        self.neg_sampler = BOX_SAMPLERS.build(neg_sampler, num=num, pos_fraction=pos_fraction)

    @property
    def needs_losses(self) -> bool:
        return self.pos_sampler.needs_losses or self.neg_sampler.needs_losses

    def rank_positives(self, draw: _Draw, count: int) -> Tensor:
        return self.pos_sampler.rank_positives(draw, count)

    def rank_negatives(self, draw: _Draw, count: Tensor) -> Tensor:
        return self.neg_sampler.rank_negatives(draw, count)


def _best(values: Tensor, allowed: Tensor, count: int) -> Tensor:
    """Return the indices of the `count` greatest allowed values; where there are fewer, of any others after them."""
    return values.masked_fill(~allowed, -torch.inf).topk(count).indices


def _sizes(groups: Tensor, num_groups: int) -> Tensor:
    return groups.new_zeros(num_groups).index_add_(0, groups, torch.ones_like(groups))


def _rank_in_group(groups: Tensor, values: Tensor, sizes: Tensor) -> Tensor:
    """Return for each element how many of its group have a greater value; `sizes` are those of all groups."""
    order = values.argsort(descending=True)
    order = order[groups[order].argsort(stable=True)]
    starts = sizes.cumsum(0) - sizes
    ranks = torch.arange(len(groups), device=groups.device) - starts[groups[order]]
    return torch.empty_like(ranks).scatter_(0, order, ranks)


def _rank_in_set(members: Tensor, values: Tensor) -> Tensor:
    """Return for each member how many of the others have a greater value; for the rest numbers beyond those of all members."""
    order = values.masked_fill(~members, -torch.inf).argsort(descending=True)
    return torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=order.device))
