"""Associative embedding: peaks of heatmaps, and people made of them by their tags."""

# Letters: B batch, K keypoints, H x W heatmap cells, M peaks kept per keypoint, L numbers of a tag, N people of one image,
# P missing keypoints of a batch. Map m of a batch is b * K + k, and its cell at x, y has the index (m * H + y) * W + x.
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

_TAG_COST = 100.0  # of one (rounded) unit of tag distance, against heights of peaks, which are near [0, 1]
_TIE_COST = 1e-3  # of the squared distance as it is
_CELLS_AT_ONCE = 2**18  # bounds the memory of `best_cells`


def find_peaks(heatmaps: Tensor, *, kernel_size: int, max_peaks: int) -> tuple[Tensor, Tensor]:
    """Return scores and indices (B, K, M) of the highest peaks of each map, in falling order; M is at most H * W.

    A peak is the first cell, row by row, with the greatest value of the window around it, so a plateau has one. Where a map has
    fewer than M, the others have the score -inf.

    Args:
        heatmaps: (B, K, H, W), any range.
        kernel_size: of the window, odd.
        max_peaks: M.
    """
    B, K, H, W = heatmaps.shape
    interleaved = heatmaps.contiguous(memory_format=torch.channels_last)  # pooled in a tenth of the time on the CPU
    _, first = functional.max_pool2d(interleaved, kernel_size, stride=1, padding=kernel_size // 2, return_indices=True)
    cells = torch.arange(H * W, device=heatmaps.device).view(H, W)
    scores, peaks = torch.where(first == cells, heatmaps, -torch.inf).flatten(2).topk(min(max_peaks, H * W))
    return scores, peaks + torch.arange(B * K, device=heatmaps.device).view(B, K, 1) * (H * W)


def cell_points(heatmaps: Tensor, indices: Tensor) -> Tensor:
    """Return x and y, (..., 2) in cells, of indices (...) into heatmaps (B, K, H, W)."""
    H, W = heatmaps.shape[2:]
    return torch.stack((indices % W, torch.div(indices, W, rounding_mode='floor') % H), dim=-1).float()


def shift_to_higher(heatmaps: Tensor, indices: Tensor) -> Tensor:
    """Return `cell_points`, moved by a quarter of a cell towards the higher neighbour along each axis.

    Source: Newell et al., Stacked Hourglass, ECCV 2016, Sec. 3.3, arXiv:1603.06937.
    Differs: neighbours of one height, and the border of the map, move nothing; published code moves left and up.
    """
    H, W = heatmaps.shape[2:]
    points = cell_points(heatmaps, indices)
    slopes = []
    for position, length, step in ((points[..., 0], W, 1), (points[..., 1], H, W)):
        step_inside = step * ((position > 0) & (position < length - 1))
        slopes.append(heatmaps.take(indices + step_inside) - heatmaps.take(indices - step_inside))
    return points + 0.25 * torch.stack(slopes, dim=-1).sign()


def best_cells(heatmaps: Tensor, tags: Tensor, maps: Tensor, person_tags: Tensor) -> Tensor:
    """Return for each of P missing keypoints the index (P,) of the cell where the person's tag fits best and the map is highest.

    The cost is that of `group_by_tags`.

    Args:
        heatmaps: (B, K, H, W), any range.
        tags: (L, B, K, H, W).
        maps: (P,) of the missing keypoints, see the letters.
        person_tags: (P, L), mean tags of the people that miss them.
    """
    num_cells = heatmaps[0, 0].numel()
    heights, tags = heatmaps.view(-1, num_cells), tags.view(len(tags), -1, num_cells)
    at_once = max(1, _CELLS_AT_ONCE // num_cells)
    cells = []
    for m, tag in zip(maps.split(at_once), person_tags.split(at_once)):
        distances = (tags[:, m] - tag.T[..., None]).square_().sum(dim=0).sqrt_()
        cells.append((heights[m] - _TAG_COST * distances.round_()).argmax(dim=1))
    return maps * num_cells + torch.cat(cells)


def group_by_tags(
    scores: np.ndarray, tags: np.ndarray, *, order: Sequence[int], keypoint_thr: float, tag_thr: float, max_people: int
) -> np.ndarray:
    """Join the peaks of one image to people; return for each person the peak of each keypoint, (N, K), or -1.

    Keypoint by keypoint, the peaks are matched with the people found so far by the Hungarian method, at the cost of 100 times
    the rounded distance between the peak's tag and the mean tag of the person, less the peak's score. A peak that no person has
    taken, or whose tag is too far from its person's, starts a new one.

    Source: Newell et al., Associative Embedding, NeurIPS 2017, Sec. 3.3, arXiv:1611.05424, with the costs of the published code.
    Differs: tags too far from each other cost the same, however far they are and whatever the score. Published, the cost goes on
    growing; since tags lie on a line, a peak that fits and one of a new person can often change places at no cost, and of two
    peaks that fit one person the lower may win. Of matches that still cost the same the one with nearer tags is taken.

    Args:
        scores: (K, M), those of a keypoint in falling order.
        tags: (K, M, L); peaks whose score or tag is not finite are left out.
        order: the K keypoints in the order of matching.
        keypoint_thr: peaks must score more.
        tag_thr: tags of one person must be nearer to their mean.
        max_people: once there are so many, no new ones are started.
    """
    from scipy.optimize import linear_sum_assignment

    K, _, L = tags.shape
    members = np.full((max_people, K), -1)
    tag_sums, counts, N = np.zeros((max_people, L)), np.zeros((max_people, 1)), 0
    usable = (scores > keypoint_thr) & np.isfinite(scores) & np.isfinite(tags).all(axis=-1)
    for k in order:
        peaks = np.flatnonzero(usable[k])
        tag = tags[k, peaks].astype(np.float64)
        distances = np.linalg.norm(tag[:, None] - (tag_sums[:N] / counts[:N])[None], axis=-1)
        near = distances < tag_thr
        costs = _TAG_COST * np.round(distances) - scores[k, peaks, None] + _TIE_COST * distances**2
        rows, columns = linear_sum_assignment(np.where(near, costs, _TAG_COST * (tag_thr + 1)))
        person = np.full(len(peaks), -1)
        person[rows] = np.where(near[rows, columns], columns, -1)
        new = np.flatnonzero(person < 0)[: max_people - N]
        person[new] = np.arange(N, N + len(new))
        N += len(new)
        taken = person >= 0
        members[person[taken], k] = peaks[taken]
        tag_sums[person[taken]] += tag[taken]
        counts[person[taken]] += 1
    return members[:N]
