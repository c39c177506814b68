"""Limbs between peaks, read from part affinity fields."""

# Letters: B batch, K keypoints, L limbs, H x W cells, P peaks of the batch, C pairs of peaks, S samples of a line.
# Points (x, y) are in cells: 0 is a cell's centre.
import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from mmpose_lite.ops.paf_peaks import Peaks

_SHORT = 0.4  # cells; nearer peaks have no direction to speak of (OpenPose's code: 1/150 of the map's size)
_NUM_SAMPLES_AT_ONCE = 2**14  # in arrays that fit into the cache and that the allocator has at hand


class Limbs(NamedTuple):
    """Pairs of peaks that a field connects.

    Attributes:
        starts: (C,) peaks.
        ends: (C,) peaks.
        kinds: (C,) from 0 to L - 1.
        scores: (C,) float32, mean component of the field along the line.
    """

    starts: np.ndarray
    ends: np.ndarray
    kinds: np.ndarray
    scores: np.ndarray

    def take(self, indices: np.ndarray) -> 'Limbs':
        """Return the limbs at `indices`, or where they are true."""
        return Limbs(*(values[indices] for values in self))


def find_limbs(
    fields: np.ndarray,
    peaks: Peaks,
    limbs: Sequence[tuple[int, int]],
    *,
    threshold: float,
    num_samples: int,
    min_support: float,
) -> Limbs:
    """Return the pairs of peaks between which a field runs.

    Source: Cao et al., OpenPose, TPAMI 2019, arXiv:1812.08008, Eq. 11: the field's component along the line between the peaks,
    averaged over points of the line.
    Differs: fields are read between the cells, so that they need not be enlarged. A line of more than `num_samples` cells is
    looked at again, at as many points as the map's diagonal has cells: points further apart may fall on one person after another
    of a row.

    Any two peaks nearer than 0.4 cells are a pair, with `threshold` for a score, as in OpenPose's code: they have no direction.

    Args:
        fields: (B, 2L, H, W), any range; what is not a finite number supports nothing.
        peaks: of the B images.
        limbs: L pairs of keypoints.
        threshold: a sample supports a limb when the component is larger.
        num_samples: of a line, both ends included; at least 2.
        min_support: share of the samples that must support a limb, above 0, at most 1.
    """
    lines = _Lines(fields, peaks.points, threshold)
    shares, least = _samples(num_samples, min_support)
    # If so few samples are all against a pair, it is lost whatever the others say. That is the fate of most pairs.
    num_few = num_samples - least + 1
    few = shares[(2 * np.arange(num_few) + 1) * num_samples // (2 * num_few)]
    pairs = lines.supported(_all_pairs(peaks.counts, limbs, len(fields), size=_block(few)), few, 1)
    pairs = lines.supported(_split(pairs, size=_block(shares)), shares, least)
    is_long = pairs.lengths > num_samples
    if is_long.any():
        shares, least = _samples(math.ceil(math.hypot(*fields.shape[2:])), min_support)
        finer = lines.supported(_split(pairs.take(is_long), size=_block(shares)), shares, least)
        pairs = _Pairs(*map(np.concatenate, zip(pairs.take(~is_long), finer)))
    return Limbs(pairs.starts, pairs.ends, pairs.fields % len(limbs), pairs.scores)


def _block(shares: np.ndarray) -> int:
    """Return how many pairs are sampled in one go."""
    return max(1, _NUM_SAMPLES_AT_ONCE // len(shares))


def _samples(num_samples: int, min_support: float) -> tuple[np.ndarray, int]:
    """Return the places of samples on a line, from 0 to 1, and how many of them must support a limb."""
    return np.linspace(0, 1, num_samples, dtype=np.float32), math.ceil(min_support * num_samples - 1e-6)


class _Pairs(NamedTuple):
    """Peaks that a limb could connect; all (C,). `fields` are b * L + l; lengths (cells) and scores come last."""

    starts: np.ndarray
    ends: np.ndarray
    fields: np.ndarray
    lengths: np.ndarray
    scores: np.ndarray

    def take(self, indices: np.ndarray | slice) -> '_Pairs':
        return _Pairs(*(values[indices] for values in self))


def _split(pairs: _Pairs, *, size: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield starts, ends and fields, `size` at a time; at least once."""
    for first in range(0, max(len(pairs.starts), 1), size):
        part = slice(first, first + size)
        yield pairs.starts[part], pairs.ends[part], pairs.fields[part]


def _all_pairs(
    counts: np.ndarray, limbs: Sequence[tuple[int, int]], num_images: int, *, size: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield starts, ends and fields of all pairs, about `size` at a time; at least once."""
    offsets = np.arange(num_images)[:, None] * (len(counts) // num_images)
    start_maps, end_maps = ((offsets + [limb[i] for limb in limbs]).ravel() for i in (0, 1))
    first = np.cumsum(counts) - counts
    # A row is a start with all its ends.
    starts = _ranges(first[start_maps], counts[start_maps])
    fields = np.repeat(np.arange(len(start_maps)), counts[start_maps])
    first_ends, num_ends = first[end_maps[fields]], counts[end_maps[fields]]
    before = np.cumsum(num_ends)
    cuts = [0, *np.searchsorted(before, np.arange(size, num_ends.sum(), size)).tolist(), len(starts)]
    for row, stop in pairwise(cuts):
        ends = num_ends[row:stop]
        yield np.repeat(starts[row:stop], ends), _ranges(first_ends[row:stop], ends), np.repeat(fields[row:stop], ends)


def _ranges(first: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return first[0], first[0] + 1, ... (counts[0] numbers), first[1], first[1] + 1, ..."""
    return np.arange(counts.sum()) + np.repeat(first - (np.cumsum(counts) - counts), counts)


class _Lines:
    """Reads fields along the lines between peaks.

    Args:
        fields: (B, 2L, H, W).
        points: (P, 2) in cells; half a cell outside the map counts as its border.
        threshold: see `find_limbs`.
    """

    def __init__(self, fields: np.ndarray, points: np.ndarray, threshold: float) -> None:
        H, W = fields.shape[2:]
        self._fields = np.ascontiguousarray(fields, dtype=np.float32).reshape(-1, 2, H, W)
        self._x, self._y = points[:, 0].clip(0, W - 1), points[:, 1].clip(0, H - 1)
        self._threshold = threshold

    def supported(self, blocks: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]], shares: np.ndarray, least: int) -> _Pairs:
        """Return those of the pairs (starts, ends, fields) that at least `least` of the samples at `shares` support."""
        return _Pairs(*map(np.concatenate, zip(*(self._supported(*block, shares, least) for block in blocks))))

    def _supported(self, starts: np.ndarray, ends: np.ndarray, fields: np.ndarray, shares: np.ndarray, least: int) -> _Pairs:
        x, y = self._x.take(starts), self._y.take(starts)
        dx, dy = self._x.take(ends) - x, self._y.take(ends) - y
        lengths = np.sqrt(dx * dx + dy * dy)
        with np.errstate(invalid='ignore'):
            along = line_products(self._fields, fields, (x, y), (dx, dy), shares)
        supports = np.count_nonzero(along > self._threshold * lengths, axis=0)
        kept = np.flatnonzero((supports >= least) | (lengths < _SHORT))
        along, lengths = along.take(kept, axis=1), lengths.take(kept)
        along[~np.isfinite(along)] = 0
        scores = np.full_like(lengths, self._threshold)
        np.divide(along.mean(axis=0), lengths, out=scores, where=lengths >= _SHORT)
        return _Pairs(starts.take(kept), ends.take(kept), fields.take(kept), lengths, scores)


def line_products(
    fields: np.ndarray,
    indices: np.ndarray,
    starts: tuple[np.ndarray, np.ndarray],
    spans: tuple[np.ndarray, np.ndarray],
    shares: np.ndarray,
) -> np.ndarray:
    """Return (S, C): the scalar product of field and span at S points of each of C lines, interpolated between the cells.

    Args:
        fields: (M, 2, H, W) float32, x and y.
        indices: (C,) the field of each line.
        starts: x and y (C,) in cells, from 0 to W - 1 and to H - 1.
        spans: from the start to the end of the line, which lies inside too.
        shares: (S,) of the way along the span.
    """
    H, W = fields.shape[2:]
    flat = fields.reshape(-1)
    (x, y), (dx, dy) = starts, spans
    x, y = x + shares[:, None] * dx, y + shares[:, None] * dy
    left, above = np.floor(x), np.floor(y)
    x -= left
    y -= above
    cells = (above * W + left).astype(np.intp)  # float32 counts exactly up to 16 million cells
    cells += indices * (2 * H * W)

    def component(first: int) -> np.ndarray:
        # What stands after the last column or row gets the weight 0.
        here, right, below, beyond = (
            flat[min(first + step, flat.size - 1) :].take(cells, mode='clip') for step in (0, 1, W, W + 1)
        )
        return _mix(_mix(here, right, x), _mix(below, beyond, x), y)

    return component(0) * dx + component(H * W) * dy


def _mix(first: np.ndarray, second: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Return first + share * (second - first), in the memory of both."""
    second -= first
    second *= share
    first += second
    return first
