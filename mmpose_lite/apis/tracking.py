"""Who is who from frame to frame: people keep their number as long as their poses go on from one another."""

# Letters: N people of a frame, T tracks, K keypoints.
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from mmpose_lite.ops.oks import oks

NO_TRACK = -1
_DAMPING = 0.95  # of the speed, for each frame in which a person is not seen: who has gone does not fly on
_MIN_AREA = 32.0**2  # px^2, COCO's limit of a small object: a lone keypoint has no extent, and yet may move a little
_LEARNING = 0.5  # share of the newest step in the speed


@dataclass(eq=False)
class _Track:
    """One person, as last seen."""

    number: int
    keypoints: np.ndarray  # (K, 2) px
    found: np.ndarray  # (K,) bool
    velocity: np.ndarray  # (2,) px per frame
    age: int = 0  # frames since it was seen

    def expected(self) -> np.ndarray:
        """Return where the keypoints should be in the next frame, (K, 2) px."""
        return self.keypoints + self.velocity * sum(_DAMPING**frame for frame in range(self.age + 1))

    def go_on(self, keypoints: np.ndarray, found: np.ndarray) -> None:
        common = found & self.found
        step = (keypoints - self.keypoints)[common].mean(axis=0) / (self.age + 1)
        self.velocity = _LEARNING * step + (1 - _LEARNING) * self.velocity
        self.keypoints, self.found, self.age = keypoints, found, 0


class OksTracker:
    """Numbers the people of successive frames by the object keypoint similarity (OKS) of their poses.

    A track expects its pose where its mean motion takes it. Poses and tracks are paired so that the sum of their OKS is highest
    (Hungarian method); the keypoints that both have count, and if these are less than all that either has, the OKS is lowered by
    their share. What fits no track begins one with a new number. A track that is not seen for `max_age` frames ends, and its
    number does not come again.

    Args:
        sigmas: (K,) constants of the keypoints.
        min_oks: a pair needs at least this OKS, in (0, 1].
        max_age: frames that a person may be out of sight.
        keypoint_thr: keypoints with a score above it are found.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(self, sigmas: Sequence[float], *, min_oks: float = 0.1, max_age: int = 30, keypoint_thr: float = 0.05) -> None:
        if not 0 < min_oks <= 1:
            raise ValueError(f'OksTracker: `min_oks` must be in (0, 1], got {min_oks}.')
        if max_age < 0:
            raise ValueError(f'OksTracker: `max_age` must be 0 or more, got {max_age}.')
        self.sigmas = tuple(sigmas)
        self.min_oks = min_oks
        self.max_age = max_age
        self.keypoint_thr = keypoint_thr
        self.reset()

    def reset(self) -> None:
        """Forget everybody and count from 0 again, as at the start of another video."""
        self._tracks: list[_Track] = []
        self._next_number = 0

    def update(self, keypoints: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """Return the numbers (N,) int64 of the people of the next frame; NO_TRACK for one without a found keypoint.

        Args:
            keypoints: (N, K, 2) px; N may be 0.
            scores: (N, K).

        Raises:
            ValueError: the shapes do not fit together.
        """
        K = len(self.sigmas)
        if keypoints.shape[1:] != (K, 2) or scores.shape != keypoints.shape[:2]:
            raise ValueError(
                f'OksTracker: `keypoints` must be (N, {K}, 2) and `scores` (N, {K}), got {keypoints.shape} and {scores.shape}.'
            )
        found = scores > self.keypoint_thr
        numbers = np.full(len(keypoints), NO_TRACK, np.int64)
        people = np.flatnonzero(found.any(axis=1))
        pairs = self._pairs(keypoints[people], found[people])
        followed = [track for track, _ in pairs]
        for track in self._tracks:
            track.age += track not in followed
        for track, row in pairs:
            person = people[row]
            track.go_on(keypoints[person], found[person])
            numbers[person] = track.number
        self._tracks = [track for track in self._tracks if track.age <= self.max_age]
        for person in people[numbers[people] == NO_TRACK]:
            numbers[person] = self._next_number
            self._tracks.append(_Track(self._next_number, keypoints[person], found[person], np.zeros(2)))
            self._next_number += 1
        return numbers

    def _pairs(self, keypoints: np.ndarray, found: np.ndarray) -> list[tuple[_Track, int]]:
        """Return tracks with the rows of `keypoints` (N, K, 2) that go on with them."""
        from scipy.optimize import linear_sum_assignment

        if not self._tracks or not len(keypoints):
            return []
        expected = np.stack([track.expected() for track in self._tracks])
        expected_found = np.stack([track.found for track in self._tracks])
        similarity = track_similarity(keypoints, found, expected, expected_found, sigmas=self.sigmas)
        similarity[similarity < self.min_oks] = 0
        rows, columns = linear_sum_assignment(similarity, maximize=True)
        return [(self._tracks[column], int(row)) for row, column in zip(rows, columns) if similarity[row, column] > 0]


def track_similarity(
    keypoints: np.ndarray,
    found: np.ndarray,
    others: np.ndarray,
    others_found: np.ndarray,
    *,
    sigmas: Sequence[float],
) -> np.ndarray:
    """Return (N, T): the OKS over the keypoints that both have, at the mean of the two areas (boxes around the found keypoints),
    times the share that these are of the smaller number of found keypoints.

    Args:
        keypoints: (N, K, 2) px.
        found: (N, K) bool, at least one of each person.
        others: (T, K, 2) px.
        others_found: (T, K) bool, likewise.
        sigmas: (K,).
    """
    common = found[:, None] & others_found[None]
    areas = (_areas(keypoints, found)[:, None] + _areas(others, others_found)[None]) / 2
    points, other_points, area, visible = (torch.from_numpy(a) for a in (keypoints, others, areas, common.astype(np.float32)))
    similarity = oks(points[:, None].double(), other_points[None].double(), sigmas=sigmas, areas=area, visible=visible).numpy()
    fewest = np.minimum(found.sum(axis=1)[:, None], others_found.sum(axis=1)[None])
    return similarity * common.sum(axis=-1) / fewest


def _areas(keypoints: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Return (N,) px^2 of the boxes around the found keypoints, at least `_MIN_AREA`."""
    low = np.where(found[..., None], keypoints, np.inf).min(axis=1)
    high = np.where(found[..., None], keypoints, -np.inf).max(axis=1)
    return np.maximum((high - low).astype(np.float64).prod(axis=-1), _MIN_AREA)
