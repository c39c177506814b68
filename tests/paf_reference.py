"""People from heatmaps and fields, step by step in plain Python: slow, to be read beside the papers and compared with."""

import math
from dataclasses import dataclass, field

import numpy as np


@dataclass(eq=False)
class Person:
    """Peaks by keypoint, each (x, y, score) in cells, and the scores of the limbs between them."""

    peaks: dict[int, tuple[float, float, float]] = field(default_factory=dict)
    limb_scores: list[float] = field(default_factory=list)

    @property
    def total(self) -> float:
        return sum(peak[2] for peak in self.peaks.values()) + sum(self.limb_scores)


def find_peaks(heatmap: np.ndarray, threshold: float) -> list[tuple[float, float, float]]:
    """Return (x, y, score) of the cells of a map (H, W) that are higher than all around them; of equal ones the first."""
    H, W = heatmap.shape
    peaks = []
    for y in range(H):
        for x in range(W):
            here = heatmap[y, x]
            around = [(v, u) for v in (y - 1, y, y + 1) for u in (x - 1, x, x + 1) if (v, u) != (y, x)]
            inside = [(v, u) for v, u in around if 0 <= v < H and 0 <= u < W]
            if here > threshold and all(here > heatmap[c] if c < (y, x) else here >= heatmap[c] for c in inside):
                peaks.append((*top(heatmap, x, y), float(here)))
    return peaks


def top(heatmap: np.ndarray, x: int, y: int) -> tuple[float, float]:
    """Return the top of the parabolas through the logarithms of three cells, which are smoothed across."""
    H, W = heatmap.shape
    floor = 0.01 * heatmap[y, x]
    u, v = min(max(x, 1), W - 2), min(max(y, 1), H - 2)
    near = heatmap[v - 1 : v + 2, u - 1 : u + 2].astype(float)
    result = []
    for cell, middle, values in ((x, u, near.T), (y, v, near)):
        a, b, c = (math.log(max(float(row @ (1, 2, 1)) / 4, floor)) for row in values)
        bend = 2 * b - a - c
        place = middle + (c - a) / (2 * bend) if bend > 0 else cell
        result.append(min(max(place, cell - 0.5), cell + 0.5))
    return result[0], result[1]


def sample(plane: np.ndarray, x: float, y: float) -> float:
    """Return the bilinear value of a map (H, W) at a point inside it."""
    H, W = plane.shape
    u, v = min(int(x), W - 2), min(int(y), H - 2)
    return float((v + 1 - y, y - v) @ plane[v : v + 2, u : u + 2].astype(float) @ (u + 1 - x, x - u))


def limb_score(field_xy: np.ndarray, a: tuple, b: tuple, threshold: float, num_samples: int, min_support: float) -> float | None:
    """Return the mean component of a field (2, H, W) along the line from a to b, or None if too few of its points support it."""
    H, W = field_xy.shape[1:]
    (ax, ay), (bx, by) = ((min(max(p[0], 0), W - 1), min(max(p[1], 0), H - 1)) for p in (a, b))
    length = math.hypot(bx - ax, by - ay)
    if length < 0.4:
        return threshold

    def components(n: int) -> list[float]:
        points = [(ax + (bx - ax) * i / (n - 1), ay + (by - ay) * i / (n - 1)) for i in range(n)]
        return [(sample(field_xy[0], *p) * (bx - ax) + sample(field_xy[1], *p) * (by - ay)) / length for p in points]

    def supported(values: list[float]) -> bool:
        return sum(v > threshold for v in values) >= math.ceil(min_support * len(values) - 1e-6)

    values = components(num_samples)
    if supported(values) and length > num_samples:
        values = components(math.ceil(math.hypot(H, W)))
    return sum(values) / len(values) if supported(values) else None


def match(candidates: list[tuple[float, int, int, int]]) -> list[tuple[float, int, int, int]]:
    """Return those of (score, limb, start, end), the best first, that share no end with a better one of the same limb."""
    taken, kept = set(), []
    for candidate in sorted(candidates, key=lambda c: -c[0]):
        _, limb, start, end = candidate
        if (limb, start) not in taken and (limb, end) not in taken:
            taken |= {(limb, start), (limb, end)}
            kept.append(candidate)
    return kept


def find_people(
    heatmaps: np.ndarray,
    fields: np.ndarray,
    limbs: tuple[tuple[int, int], ...],
    *,
    keypoint_thr: float = 0.1,
    limb_thr: float = 0.05,
    num_samples: int = 10,
    min_support: float = 0.9,
    min_keypoints: int = 3,
    min_score: float = 0.4,
) -> list[Person]:
    """Return the people of one image, the best first, of heatmaps (K, H, W) and fields (2L, H, W)."""
    peaks = [(k, peak) for k, heatmap in enumerate(heatmaps) for peak in find_peaks(heatmap, keypoint_thr)]
    candidates = []
    for limb, (first, second) in enumerate(limbs):
        for i, (k, a) in enumerate(peaks):
            for j, (m, b) in enumerate(peaks):
                if (k, m) == (first, second):
                    score = limb_score(fields[2 * limb : 2 * limb + 2], a, b, limb_thr, num_samples, min_support)
                    if score is not None:
                        candidates.append((score, limb, i, j))
    people = [Person({k: peak}) for k, peak in peaks]
    person_of = dict(enumerate(people))
    for score, _, i, j in match(candidates):
        one, other = person_of[i], person_of[j]
        if one is not other:
            if one.peaks.keys() & other.peaks.keys():
                continue
            one.peaks |= other.peaks
            one.limb_scores += other.limb_scores
            people.remove(other)
            person_of = {peak: one if person is other else person for peak, person in person_of.items()}
        one.limb_scores.append(score)
    kept = [p for p in people if len(p.peaks) >= min_keypoints and p.total >= min_score * len(p.peaks)]
    return sorted(kept, key=lambda p: -p.total)
