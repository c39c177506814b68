"""Random holes in the image. Keypoints keep their labels: the network is to infer what it cannot see."""

# Letters: H x W px of the image.
from collections.abc import Sequence
from typing import Any

import numpy as np

from mmpose_lite.datasets.transforms.augment import check_probability
from mmpose_lite.registry import TRANSFORMS


@TRANSFORMS.register_module()
class CoarseDropout:
    """Cover some rectangles of the image.

    Source: DeVries and Taylor, Cutout, arXiv:1708.04552; arguments as in albumentations' transform of this name.

    Required keys: rng, img.
    Modified keys: img.

    Args:
        max_holes: greatest number of rectangles.
        max_height: greatest height: px if an int, a share of the image's if a float in (0, 1].
        max_width: greatest width, likewise.
        min_holes: smallest number; None for `max_holes`.
        min_height: smallest height; None for `max_height`.
        min_width: smallest width; None for `max_width`.
        fill_value: of 0..255, one for all channels or B, G, R.
        prob: of covering anything.

    Raises:
        ValueError: a range is empty, or a length is no number of px and no share.
    """

    def __init__(
        self,
        *,
        max_holes: int = 8,
        max_height: float = 8,
        max_width: float = 8,
        min_holes: int | None = None,
        min_height: float | None = None,
        min_width: float | None = None,
        fill_value: int | Sequence[int] = 0,
        prob: float = 0.5,
    ) -> None:
        check_probability('CoarseDropout', 'prob', prob)
        min_holes = max_holes if min_holes is None else min_holes
        if not 1 <= min_holes <= max_holes:
            raise ValueError(f'CoarseDropout: needs 1 <= `min_holes` <= `max_holes`, got {min_holes} and {max_holes}.')
        self.num_holes = (min_holes, max_holes)
        self.heights = _range('height', min_height, max_height)
        self.widths = _range('width', min_width, max_width)
        self.fill_value = fill_value
        self.prob = prob

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        rng = results['rng']
        if rng.random() >= self.prob:
            return results
        H, W = results['img'].shape[:2]
        results['img'] = img = results['img'].copy()
        for _ in range(rng.integers(*self.num_holes, endpoint=True)):
            h, w = _length(rng, self.heights, H), _length(rng, self.widths, W)
            y, x = rng.integers(0, H - h, endpoint=True), rng.integers(0, W - w, endpoint=True)
            img[y : y + h, x : x + w] = self.fill_value
        return results


def _range(name: str, low: float | None, high: float) -> tuple[float, float]:
    low = high if low is None else low
    shares = isinstance(high, float)
    if isinstance(low, float) != shares or not 0 < low <= high or (shares and high > 1):
        raise ValueError(
            f'CoarseDropout: `min_{name}` and `max_{name}` must be 0 < min <= max, both int (px) or both float up to 1 '
            f'(shares of the image), got {low} and {high}.'
        )
    return low, high


def _length(rng: np.random.Generator, limits: tuple[float, float], available: int) -> int:
    """Draw a length in px."""
    if isinstance(limits[1], float):
        return int(available * rng.uniform(*limits))
    return min(int(rng.integers(*limits, endpoint=True)), available)


@TRANSFORMS.register_module()
class GridMask:
    """Cover the squares of a grid.

    Source: Chen et al., GridMask Data Augmentation, Sec. 3.1, arXiv:2001.04086.
    Differs: the grid is not turned, and the probability does not grow during training.

    Required keys: rng, img.
    Modified keys: img.

    Args:
        unit_range: smallest and greatest d, the distance between squares in px; below the size of the image.
        ratio: r, the share of d that is kept between squares, so that 1 - (1 - r)^2 of the image is kept.
        fill_value: of 0..255, one for all channels or B, G, R.
        prob: of covering anything.

    Raises:
        ValueError: the range is empty, or `ratio` is not between 0 and 1.
    """

    def __init__(
        self,
        *,
        unit_range: tuple[int, int] = (64, 160),
        ratio: float = 0.6,
        fill_value: int | Sequence[int] = 0,
        prob: float = 0.5,
    ) -> None:
        check_probability('GridMask', 'prob', prob)
        if len(unit_range) != 2 or not 2 <= unit_range[0] <= unit_range[1]:
            raise ValueError(f'GridMask: `unit_range` must be 2 <= smallest <= greatest px, got {tuple(unit_range)}.')
        if not 0 < ratio < 1:
            raise ValueError(f'GridMask: `ratio`, the share that is kept between squares, must be in (0, 1), got {ratio}.')
        self.unit_range = (int(unit_range[0]), int(unit_range[1]))
        self.ratio = ratio
        self.fill_value = fill_value
        self.prob = prob

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        rng = results['rng']
        if rng.random() >= self.prob:
            return results
        unit = int(rng.integers(*self.unit_range, endpoint=True))
        side = min(max(round(unit * (1 - self.ratio)), 1), unit - 1)
        offset_y, offset_x = rng.integers(0, unit, 2)
        H, W = results['img'].shape[:2]
        covered_y = (np.arange(H) + offset_y) % unit < side
        covered_x = (np.arange(W) + offset_x) % unit < side
        results['img'] = results['img'].copy()
        results['img'][np.ix_(covered_y, covered_x)] = self.fill_value
        return results
