"""Calm keypoints in video: jitter goes, quick movements stay."""

# Letters: N people of a frame, K keypoints.
import math
from dataclasses import dataclass

import numpy as np

_MIN_SIZE = 32.0  # px, as COCO's small objects: a lone keypoint and those in a line have no area, and jitter all the same


def smoothing_factor(seconds: np.ndarray | float, cutoff: np.ndarray | float) -> np.ndarray | float:
    """Return the weight in [0, 1] of a value `seconds` after the last one, in a low-pass filter that cuts at `cutoff` Hz."""
    r = 2 * math.pi * cutoff * seconds
    return r / (r + 1)


@dataclass
class _State:
    """The filter of one person."""

    value: np.ndarray  # (K, 2) px, smoothed
    speed: np.ndarray  # (K, 2) px/s, smoothed
    frame: np.ndarray  # (K,) of the last value; -1 before the first


class OneEuroSmoother:
    """Smooths the keypoints of tracked people: much while they rest, little while they move.

    Source: Casiez et al., 1 Euro Filter, CHI 2012, Algorithm 1, https://gery.casiez.net/1euro.
    Differs: the speed that raises the cut-off is counted in body sizes (square root of the box around the keypoints, 32 px at
    least) per second, so that the same `beta` does for people near and far; a keypoint that was not found for some frames counts
    the time between.

    Args:
        fps: frames per second.
        min_cutoff: Hz, of a keypoint at rest; lower calms more.
        beta: Hz per (body size / s); higher lags less behind quick movements.
        speed_cutoff: Hz, for the speed.
        keypoint_thr: keypoints with a score up to it are not found: they stay as they are.
        max_gap: seconds after which a person or keypoint that was not seen starts anew.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        *,
        fps: float,
        min_cutoff: float = 1.0,
        beta: float = 3.0,
        speed_cutoff: float = 1.0,
        keypoint_thr: float = 0.05,
        max_gap: float = 0.5,
    ) -> None:
        for name, value in (('fps', fps), ('min_cutoff', min_cutoff), ('speed_cutoff', speed_cutoff), ('max_gap', max_gap)):
            if not value > 0:
                raise ValueError(f'OneEuroSmoother: `{name}` must be above 0, got {value}.')
        if beta < 0:
            raise ValueError(f'OneEuroSmoother: `beta` must be 0 or more, got {beta}.')
        self.fps = fps
        self.min_cutoff = min_cutoff
        self.beta = beta
        self.speed_cutoff = speed_cutoff
        self.keypoint_thr = keypoint_thr
        self.max_gap = max_gap
        self.reset()

    def reset(self) -> None:
        """Forget everybody."""
        self._people: dict[int, _State] = {}
        self._frame = -1

    def update(self, numbers: np.ndarray, keypoints: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """Return the smoothed keypoints (N, K, 2) of the next frame, px.

        Args:
            numbers: (N,) from a tracker; a negative number is nobody known, and is left as it is.
            keypoints: (N, K, 2) px.
            scores: (N, K).
        """
        self._frame += 1
        smoothed = keypoints.astype(np.float64)
        for row, number in enumerate(numbers.tolist()):
            if number >= 0:
                self._smooth(number, smoothed[row], scores[row] > self.keypoint_thr)
        oldest = self._frame - self.max_gap * self.fps
        self._people = {number: state for number, state in self._people.items() if state.frame.max() >= oldest}
        return smoothed.astype(keypoints.dtype)

    def _smooth(self, number: int, points: np.ndarray, found: np.ndarray) -> None:
        """Smooth the found ones of (K, 2) keypoints in place."""
        if number not in self._people:
            self._people[number] = _State(points.copy(), np.zeros_like(points), np.full(len(points), -1))
        state = self._people[number]
        seconds = (self._frame - state.frame) / self.fps
        known = found & (state.frame >= 0) & (seconds <= self.max_gap)
        if known.any():
            size = max(_MIN_SIZE, math.sqrt(np.ptp(points[found], axis=0).prod()))
            dt = seconds[known, None]
            speed = (points[known] - state.value[known]) / dt
            state.speed[known] += smoothing_factor(dt, self.speed_cutoff) * (speed - state.speed[known])
            cutoff = self.min_cutoff + self.beta * np.abs(state.speed[known]) / size
            points[known] = state.value[known] + smoothing_factor(dt, cutoff) * (points[known] - state.value[known])
        state.speed[found & ~known] = 0
        state.value[found] = points[found]
        state.frame[found] = self._frame
