"""Peaks of heatmaps with several people, between the cells."""

# Letters: B batch, K keypoints, H x W cells, P peaks of the batch. Points (x, y) are in cells: 0 is a cell's centre.
from typing import NamedTuple

import numpy as np

_FLOOR = 0.01  # of a peak's height: lower cells count as so high when its top is found


class Peaks(NamedTuple):
    """Candidates for keypoints, in the order of the maps.

    Attributes:
        points: (P, 2) float32 in cells.
        scores: (P,) float32, values of the heatmaps.
        maps: (P,) b * K + k, ascending.
        counts: (B * K,) peaks of each map.
    """

    points: np.ndarray
    scores: np.ndarray
    maps: np.ndarray
    counts: np.ndarray


def find_peaks(heatmaps: np.ndarray, *, threshold: float, max_peaks: int) -> Peaks:
    """Return the cells that are higher than their eight neighbours, moved to the top between the cells.

    Of equal neighbours the first in reading order is a peak. A cell that is no finite number is none, nor are those around it
    if it is NaN.

    Args:
        heatmaps: (B, K, H, W), any range.
        threshold: peaks must be higher; 0 or more.
        max_peaks: of a map; the highest are kept.
    """
    B, K, H, W = heatmaps.shape
    padded = np.full((B, K, H + 2, W + 2), -np.inf, dtype=np.float32)
    padded[..., 1:-1, 1:-1] = heatmaps
    flat = padded.ravel()
    row = W + 2
    cells = np.flatnonzero(flat > threshold)
    scores = flat.take(cells)
    for step in (1, row, row - 1, row + 1):
        kept = np.flatnonzero((scores > flat.take(cells - step)) & (scores >= flat.take(cells + step)))
        cells, scores = cells.take(kept), scores.take(kept)
    maps = cells // ((H + 2) * row)
    counts = np.bincount(maps, minlength=B * K)
    if counts.max(initial=0) > max_peaks or np.isinf(scores).any():
        kept = _highest(scores, maps, counts, max_peaks)
        cells, scores, maps = cells[kept], scores[kept], maps[kept]
        counts = np.bincount(maps, minlength=B * K)
    points = np.stack((cells % row, cells // row % (H + 2)), axis=-1) - 1
    return Peaks(_refined(padded, points, scores, maps), scores, maps, counts)


def _highest(scores: np.ndarray, maps: np.ndarray, counts: np.ndarray, max_peaks: int) -> np.ndarray:
    """Return the indices, ascending, of the `max_peaks` highest finite scores of each map."""
    order = np.lexsort((-scores, np.isinf(scores), maps))
    rank = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    kept = order[rank < max_peaks]
    return np.sort(kept[np.isfinite(scores[kept])])


def _refined(padded: np.ndarray, points: np.ndarray, scores: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """Return (P, 2) float32: along each axis the top of the parabola through the logarithms of three cells.

    For a Gaussian this is exact. The cells are smoothed (1, 2, 1) across the axis against noise. At the border they are the last
    three of the map, and the top may lie up to half a cell outside. On maps of fewer than three columns or rows points stay.

    Source: the Newton step of Zhang et al., DARK, CVPR 2020, Eq. 3 to 9, arXiv:1910.06278, for each axis by itself.

    Args:
        padded: (B, K, H + 2, W + 2) heatmaps with a border.
        points: (P, 2) cells.
        scores: (P,) values of the heatmaps there, above 0.
        maps: (P,) b * K + k.
    """
    H, W = padded.shape[2] - 2, padded.shape[3] - 2
    if min(H, W) < 3:
        return points.astype(np.float32)
    middle = np.clip(points, 1, (W - 2, H - 2))
    row = W + 2
    index = (maps * (H + 2) + middle[:, 1] + 1) * row + middle[:, 0] + 1
    patch = padded.ravel().take(index[:, None, None] + (np.arange(-1, 2)[:, None] * row + np.arange(-1, 2)))
    smooth = (patch[:, 0] + 2 * patch[:, 1] + patch[:, 2], patch[..., 0] + 2 * patch[..., 1] + patch[..., 2])  # along x, y
    with np.errstate(invalid='ignore'):  # a cell that is no number, beside the peak's neighbours
        logs = np.log(np.maximum(np.stack(smooth, axis=1), 4 * _FLOOR * scores[:, None, None]))
        before, here, after = logs[..., 0], logs[..., 1], logs[..., 2]
        bend = 2 * here - before - after
        step = np.divide(after - before, 2 * bend, out=(points - middle).astype(np.float32), where=bend > 0)
    return np.clip(middle + step, points - 0.5, points + 0.5).astype(np.float32)
