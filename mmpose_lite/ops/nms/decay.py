"""Take the best box again and again; each time the boxes that overlap it lose score: some of it in Soft-NMS, all of it in greedy
suppression.

Two ways to the same result. On the CPU the boxes are taken one by one, with NumPy, which costs less per call on short arrays than
torch does. On a GPU every box that beats all waiting boxes that it could lower, or that could lower it, is taken at once: scores
only fall, and only when a neighbour is taken, so the best of a neighbourhood is the first of it whatever happens elsewhere.
"""

# Letters: N boxes, P taken boxes, T candidates of one refill, G candidates of one group, W boxes in the window of a group.
import math
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from mmpose_lite.ops.nms.base import mutual_overlaps

Method = Literal['naive', 'linear', 'gaussian']
METHODS: tuple[Method, ...] = ('naive', 'linear', 'gaussian')
_TINY = float(np.finfo(np.float32).tiny)  # a score below it counts as 0
_LOG_ZERO = -1e4  # stands for log(0), so that 0 * log(0) is 0
_TIE = 2.0**-40  # far below the spacing of float32 scores
_ROUNDS_PER_CHECK = 4  # asking whether all is done waits for the device
_MAX_DENSE = 5000  # boxes; above, the (N, N) matrices of the GPU's way take too much memory
_ALL_AT_ONCE = 1024  # boxes that are all candidates from the start; with more, many fall before it is their turn
_CANDIDATES = (16, 64, 512)  # least, first and greatest T otherwise
_GROUP = 48  # G


class Decay(NamedTuple):
    """What is left of a box's score once a box that overlaps it is taken.

    Attributes:
        method: what is left from the threshold of the taken box on: 'naive' 0, 'linear' 1 - overlap, 'gaussian'
            exp(-overlap^2 / sigma).
        sigma: see there.
        by_distance: the overlap is IoU less the squared distance of the centres over the squared diagonal of the enclosing box
            (DIoU), in place of IoU.
    """

    method: Method
    sigma: float = 0.5
    by_distance: bool = False


def check_decay(owner: str, method: str, sigma: float, min_score: float) -> None:
    """Raise ValueError unless the parameters of a decay are in their ranges."""
    if method not in METHODS:
        raise ValueError(f'{owner}: `method` must be one of {METHODS}, got {method!r}.')
    if sigma <= 0:
        raise ValueError(f'{owner}: `sigma` must be above 0, got {sigma}.')
    if min_score < 0:
        raise ValueError(f'{owner}: `min_score` must be 0 or more, got {min_score}.')


def take_best(
    boxes: Tensor,
    scores: Tensor,
    labels: Tensor | None,
    *,
    decay: Decay,
    thresholds: Tensor | float,
    min_score: float = 0.0,
    max_num: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Take boxes until none of at least `min_score` is left.

    Args:
        boxes: (N, 4) xyxy, finite.
        scores: (N,), finite; what is not above 0 is never taken, except by the 'naive' method, which looks at the order alone.
        labels: (N,) or None; boxes of different labels leave each other alone.
        decay: how scores fall.
        thresholds: in [0, 1], of each box (N,) once it is taken, or of all; 0 for the gaussian alone.
        min_score: least score of a box that is taken; not for 'naive'.
        max_num: stop after so many.

    Returns:
        (P,) int64 indices in the order they were taken, and (P,) the scores they had then: none is greater than the one before.
    """
    dtype = torch.promote_types(torch.promote_types(boxes.dtype, scores.dtype), torch.float32)
    boxes, current = boxes.to(dtype), scores.to(dtype)
    thresholds = torch.as_tensor(thresholds, dtype=dtype, device=boxes.device).expand(scores.shape)
    if decay.method == 'naive':
        order = scores.argsort(descending=True, stable=True)
        current = torch.empty_like(current).scatter_(0, order, torch.arange(len(order), 0, -1, device=boxes.device).to(dtype))
        min_score = 0.0
    min_score = torch.tensor(max(min_score, _TINY), dtype=dtype).item()  # rounded as the scores are
    if boxes.is_cuda and len(boxes) <= _MAX_DENSE:
        indices, taken = take_in_rounds(boxes, current, labels, decay, thresholds, min_score)
    else:
        indices, taken = take_one_by_one(boxes, current, labels, decay, thresholds, min_score, max_num)
    return indices, scores[indices] if decay.method == 'naive' else taken.to(scores.dtype)


def take_in_rounds(
    boxes: Tensor, scores: Tensor, labels: Tensor | None, decay: Decay, thresholds: Tensor, min_score: float
) -> tuple[Tensor, Tensor]:
    """Do what `take_best` says, many boxes at once; with matrices (N, N)."""
    N = len(boxes)
    overlaps = mutual_overlaps(boxes, labels, kind='diou' if decay.by_distance else 'iou')
    logs = _log_factors(overlaps, thresholds[:, None], decay)  # of the column's box, once the row's is taken
    rivals = ((logs < 0) | (logs.T < 0)).fill_diagonal_(False)  # one of the two may have the greater threshold
    logs.fill_diagonal_(_LOG_ZERO)  # a box is taken once
    # In double precision, so that the scores of two boxes are never equal: the first in the input is the better one.
    first = scores.double().clamp(min=0).log() - _TIE * torch.arange(N, device=boxes.device)
    logs = logs.to(first.dtype)
    least = math.log(min_score) - _TIE * (N + 1)
    waiting, at_taking = functional.threshold(first, least, -torch.inf), torch.full_like(first, -torch.inf)
    while N and bool(waiting.max() > -torch.inf):
        for _ in range(_ROUNDS_PER_CHECK):  # of few kernels: with a thousand boxes, launching them is what takes the time
            taken = waiting > torch.where(rivals, waiting[:, None], -torch.inf).amax(dim=0)
            at_taking = torch.where(taken, waiting, at_taking)
            waiting = functional.threshold(torch.addmv(waiting, logs.T, taken.to(logs.dtype)), least, -torch.inf)
    order = at_taking.argsort(descending=True)
    indices = order[: int(at_taking.isfinite().sum())]
    return indices, (scores[indices] * (at_taking - first)[indices].exp()).to(scores.dtype)


def _log_factors(overlaps: Tensor, thresholds: Tensor, decay: Decay) -> Tensor:
    if decay.method == 'gaussian':
        logs = -overlaps.square() / decay.sigma
    elif decay.method == 'linear':
        logs = (1 - overlaps).log().clamp(min=_LOG_ZERO)
    else:
        logs = torch.full_like(overlaps, _LOG_ZERO)
    return logs.where(overlaps >= thresholds, 0)


def take_one_by_one(
    boxes: Tensor,
    scores: Tensor,
    labels: Tensor | None,
    decay: Decay,
    thresholds: Tensor,
    min_score: float,
    max_num: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Do what `take_best` says, on the host.

    The factors by which a box lowers the others are computed for T candidates at a time, those of the best scores; taking a box
    is then one product and one search for the maximum. When the best box is none of the candidates, boxes that are taken or have
    fallen below the minimum are dropped, and new candidates are chosen.
    """
    waiting = _Waiting.sorted_by_place(boxes, scores, labels, thresholds, min_score)
    factors = _Factors(decay)
    taken: list[np.ndarray] = [np.empty(0, np.int64)]
    taken_scores: list[float] = []
    remaining = len(scores) if max_num is None else max_num
    least, T, most = _CANDIDATES
    if len(waiting.scores) <= min(_ALL_AT_ONCE, 2 * remaining):
        T = len(waiting.scores)
    ascending = np.sort(waiting.scores)
    ties = set(ascending[1:][ascending[1:] == ascending[:-1]].tolist())
    exact = False
    while remaining and len(waiting.scores):
        row_of = factors.of(waiting, waiting.best(T, exact=exact))
        positions, found = _take_while_known(waiting, row_of, min_score, remaining, ties, exact=exact)
        taken.append(waiting.indices[positions])
        taken_scores += found
        remaining -= len(found)
        exact = exact or not found  # the first of equal scores was not among the candidates
        T = min(2 * T, most) if 2 * len(found) >= T else max(T // 2, least)
        waiting = waiting.at(np.flatnonzero(waiting.scores >= min_score))
    indices = torch.from_numpy(np.concatenate(taken)).to(boxes.device)
    return indices, torch.from_numpy(np.array(taken_scores)).to(scores)


def _take_while_known(
    waiting: '_Waiting',
    row_of: dict[int, tuple[np.ndarray, np.ndarray]],
    min_score: float,
    most: int,
    ties: set[float],
    *,
    exact: bool,
) -> tuple[list[int], list[float]]:
    """Take boxes as long as the best one has its factors in `row_of`; return positions and scores, and lower `waiting.scores`.

    Of boxes with one of the scores `ties`, or with any equal scores if `exact`, the first in the input is the best.
    """
    scores, indices = waiting.scores, waiting.indices
    positions: list[int] = []
    found: list[float] = []
    argmax, item, known, multiply = scores.argmax, scores.item, row_of.get, np.multiply  # this loop is what suppression costs
    while len(found) < most:
        i = int(argmax())
        score = item(i)
        if exact or score in ties:
            equal = np.flatnonzero(scores == score)
            i = int(equal[indices[equal].argmin()])
        entry = known(i)
        if entry is None or score < min_score:
            break
        window, row = entry
        multiply(window, row, window)
        scores[i] = 0
        positions.append(i)
        found.append(score)
    return positions, found


class _Waiting(NamedTuple):
    """The boxes that may still be taken, from left to right: what overlaps a box stands in a window around it."""

    scores: np.ndarray
    indices: np.ndarray  # into the boxes that were given
    lower: np.ndarray  # (2, N), x1 and y1
    upper: np.ndarray  # (2, N), x2 and y2
    areas: np.ndarray
    thresholds: np.ndarray
    labels: np.ndarray | None
    left: np.ndarray  # x1 and x2, moved apart by label
    right: np.ndarray

    @classmethod
    def sorted_by_place(
        cls, boxes: Tensor, scores: Tensor, labels: Tensor | None, thresholds: Tensor, min_score: float
    ) -> '_Waiting':
        edges = boxes.cpu().numpy().T
        lower, upper = edges[:2], edges[2:]
        areas = np.maximum(upper - lower, 0).prod(axis=0)
        (left, right), classes = edges[::2], None
        if labels is not None and edges.size:
            classes = labels.cpu().numpy()
            offsets = classes * (float(edges[::2].max()) - float(edges[::2].min()) + 1)
            left, right = left + offsets, right + offsets
        every = cls(
            scores.cpu().numpy(),
            np.arange(len(scores)),
            lower,
            upper,
            np.maximum(areas, np.finfo(areas.dtype).tiny),  # so that 0 is never divided by 0
            thresholds.cpu().numpy(),
            classes,
            left,
            right,
        )
        order = np.argsort(left, kind='stable')
        return every.at(order[every.scores[order] >= min_score])

    def at(self, positions: np.ndarray) -> '_Waiting':
        return _Waiting(*(None if array is None else array.take(positions, axis=-1) for array in self))  # type: ignore[arg-type]

    def best(self, count: int, *, exact: bool) -> np.ndarray:
        """Return the positions of the `count` best scores, in rising order; of equal ones the first in the input, if `exact`."""
        N = len(self.scores)
        if count >= N:
            return np.arange(N)
        if exact:
            return np.sort(np.lexsort((self.indices, -self.scores))[:count])
        return np.sort(np.argpartition(self.scores, N - count)[N - count :])


class _Factors:
    """Computes the factors of `Decay` into memory that is used again: fresh pages cost more than the arithmetic."""

    def __init__(self, decay: Decay) -> None:
        self.decay = decay
        self._memory = np.empty(0, np.float32)
        self._zeros = np.zeros(0, np.float32)

    def of(self, waiting: _Waiting, positions: np.ndarray) -> dict[int, tuple[np.ndarray, np.ndarray]]:
        """Return for each of the rising positions the scores of the boxes that it can overlap, and the factors on them.

        The factors are valid until the next call.
        """
        chosen = waiting.at(positions)
        starts = np.arange(0, len(positions), _GROUP)
        begins = np.maximum.accumulate(waiting.right).searchsorted(chosen.left[starts], side='right')
        ends = np.maximum(waiting.left.searchsorted(np.maximum.reduceat(chosen.right, starts)), begins)
        sizes = np.minimum(len(positions) - starts, _GROUP) * (ends - begins)
        rows_memory, scratch = self._split(int(sizes.sum()), int(sizes.max()), waiting.scores.dtype)
        windows: list[np.ndarray] = []
        factors: list[np.ndarray] = []
        used = 0
        for start, begin, end, size in zip(starts.tolist(), begins.tolist(), ends.tolist(), sizes.tolist()):
            group, window = slice(start, min(start + _GROUP, len(positions))), slice(begin, end)
            shape = (group.stop - start, end - begin)
            rows = rows_memory[used : used + size].reshape(shape)
            self._fill(rows, scratch[: 4 * size].reshape(2, 2, *shape), chosen, group, waiting, window)
            windows += [waiting.scores[window]] * len(rows)
            factors.extend(rows)
            used += size
        return dict(zip(positions.tolist(), zip(windows, factors)))

    def _split(self, num_rows: int, num_scratch: int, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray]:
        needed = num_rows + 4 * num_scratch
        if needed > len(self._memory) or self._memory.dtype != dtype:
            self._memory = np.empty(needed, dtype)
        if 2 * num_scratch > len(self._zeros) or self._zeros.dtype != dtype:
            self._zeros = np.zeros(2 * num_scratch, dtype)
        return self._memory[:num_rows], self._memory[num_rows:]

    def _fill(
        self, rows: np.ndarray, scratch: np.ndarray, chosen: _Waiting, group: slice, waiting: _Waiting, window: slice
    ) -> None:
        """Write the factors of the chosen boxes `group` on those of the window into `rows` (G, W); scratch is (2, 2, G, W)."""
        lower, upper = chosen.lower[:, group, None], chosen.upper[:, group, None]
        lowers, uppers = waiting.lower[:, None, window], waiting.upper[:, None, window]
        sides = np.minimum(upper, uppers, out=scratch[0])
        sides -= np.maximum(lower, lowers, out=scratch[1])
        np.maximum(sides, self._zeros[: sides.size].reshape(sides.shape), out=sides)  # NumPy is slow at comparing with a scalar
        np.multiply(sides[0], sides[1], out=rows)
        union = np.add(chosen.areas[group, None], waiting.areas[window], out=sides[0])
        union -= rows
        rows /= union
        if self.decay.by_distance:
            centers = np.square((lower + upper - lowers - uppers) / 2, out=scratch[0]).sum(axis=0)
            diagonals = np.square(np.maximum(upper, uppers) - np.minimum(lower, lowers), out=scratch[1]).sum(axis=0)
            rows -= centers / np.maximum(diagonals, np.finfo(rows.dtype).tiny)
        if waiting.labels is not None and chosen.labels is not None:
            rows *= chosen.labels[group, None] == waiting.labels[window]
        counts = rows >= chosen.thresholds[group, None]
        if self.decay.method == 'naive':
            np.subtract(1, counts, out=rows)
            return
        rows *= counts
        if self.decay.method == 'linear':
            np.subtract(1, rows, out=rows)
        else:
            rows *= rows
            rows *= -1 / self.decay.sigma
            np.exp(rows, out=rows)
