"""Associative embedding in plain loops, which the package is compared with."""

# Letters: K keypoints, M peaks, L numbers of a tag, H x W heatmap cells, N people.
from collections.abc import Sequence
from itertools import permutations

import numpy as np


def slow_peaks(heatmap: np.ndarray, radius: int) -> list[tuple[float, int, int]]:
    """Return score, y and x of the peaks of one map, highest first; of equal cells in one window the first one counts."""
    H, W = heatmap.shape
    peaks = []
    for y in range(H):
        for x in range(W):
            window = [
                (-heatmap[v, u], v, u)
                for v in range(max(0, y - radius), min(H, y + radius + 1))
                for u in range(max(0, x - radius), min(W, x + radius + 1))
            ]
            if min(window)[1:] == (y, x):
                peaks.append((float(heatmap[y, x]), y, x))
    return sorted(peaks, reverse=True)


def slow_groups(
    scores: np.ndarray, tags: np.ndarray, order: Sequence[int], *, keypoint_thr: float, tag_thr: float, max_people: int
) -> list[dict[int, int]]:
    """Return keypoint -> peak of each person; every way to match the peaks with the people is tried."""
    people: list[dict[int, int]] = []
    for k in order:
        peaks = [m for m in range(scores.shape[1]) if scores[k, m] > keypoint_thr]
        means = [np.mean([tags[joint, m] for joint, m in person.items()], axis=0) for person in people]

        def cost(m: int, n: int | None, k: int = k, means: list[np.ndarray] = means) -> float:
            distance = np.inf if n is None else float(np.linalg.norm(tags[k, m] - means[n]))
            if distance >= tag_thr:
                return 100 * (tag_thr + 1)
            return 100 * round(distance) - scores[k, m] + distance**2 / 1000

        choices = [None] * len(peaks) + list(range(len(people)))
        best = min(set(permutations(choices, len(peaks))), key=lambda who: sum(cost(m, n) for m, n in zip(peaks, who)))
        for m, n in zip(peaks, best):
            if n is not None and cost(m, n) < 100 * (tag_thr + 1):
                people[n][k] = m
            elif len(people) < max_people:
                people.append({k: m})
    return people


def slow_best_cell(heatmap: np.ndarray, tags: np.ndarray, person_tag: np.ndarray) -> tuple[int, int]:
    """Return y and x of the cell of one map (H, W) where the tags (L, H, W) fit best."""
    costs = {
        (y, x): round(float(np.linalg.norm(tags[:, y, x] - person_tag))) * 100 - heatmap[y, x]
        for y, x in np.ndindex(heatmap.shape)
    }
    return min(costs, key=costs.get)


def slow_decode(
    heatmaps: np.ndarray, tags: np.ndarray, order: Sequence[int], *, stride: float, kernel_size: int, **thresholds: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return keypoints (N, K, 2) in px, their scores (N, K) and the people's (N,) of one image, adjusted and refined.

    Args:
        heatmaps: (K, H, W).
        tags: (L, K, H, W).
    """
    K, H, W = heatmaps.shape
    peaks = [slow_peaks(heatmap, kernel_size // 2)[: int(thresholds['max_people'])] for heatmap in heatmaps]
    M = max(len(of_keypoint) for of_keypoint in peaks)
    scores, tags_at_peaks = np.full((K, M), -np.inf), np.zeros((K, M, len(tags)))
    for k, of_keypoint in enumerate(peaks):
        for m, (score, y, x) in enumerate(of_keypoint):
            scores[k, m], tags_at_peaks[k, m] = score, tags[:, k, y, x]
    people = slow_groups(scores, tags_at_peaks, order, **thresholds)
    keypoints, keypoint_scores = np.zeros((len(people), K, 2)), np.zeros((len(people), K))
    for n, person in enumerate(people):
        person_tag = np.mean([tags_at_peaks[k, m] for k, m in person.items()], axis=0)
        for k, heatmap in enumerate(heatmaps):
            y, x = peaks[k][person[k]][1:] if k in person else slow_best_cell(heatmap, tags[:, k], person_tag)
            if heatmap[y, x] <= 0:
                keypoints[n, k] = (0.5 * stride - 0.5, 0.5 * stride - 0.5)  # cell 0
                continue
            keypoint_scores[n, k] = heatmap[y, x]
            dx = 0.25 * np.sign(heatmap[y, x + 1] - heatmap[y, x - 1]) if 0 < x < W - 1 else 0
            dy = 0.25 * np.sign(heatmap[y + 1, x] - heatmap[y - 1, x]) if 0 < y < H - 1 else 0
            keypoints[n, k] = ((x + dx + 0.5) * stride - 0.5, (y + dy + 0.5) * stride - 0.5)
    person_scores = [sum(scores[k, m] for k, m in person.items()) / K for person in people]
    return keypoints, keypoint_scores, np.array(person_scores)
