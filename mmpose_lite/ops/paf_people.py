"""People made of peaks and the limbs between them."""

# Letters: K keypoints, L limbs, P peaks of the batch, C limbs found in the batch, N people of the batch.
from typing import NamedTuple

import numpy as np

from mmpose_lite.ops.paf_limbs import Limbs
from mmpose_lite.ops.paf_peaks import Peaks


class People(NamedTuple):
    """People in the order of the images, in each from the highest score down.

    Attributes:
        peaks: (N, K), -1 where a keypoint was not found.
        scores: (N,), the scores of keypoints and limbs, summed and divided by K + L: in [0, 1] when the maps are.
        images: (N,), ascending.
    """

    peaks: np.ndarray
    scores: np.ndarray
    images: np.ndarray


def match_limbs(limbs: Limbs) -> Limbs:
    """Return, from the highest score down, limbs of which no two of a kind share a peak; of equal ones the first counts.

    Source: Cao et al., OpenPose, TPAMI 2019, Sec. 3.3, arXiv:1812.08008: a greedy matching of each kind of limb.

    The result is that of taking limb after limb, but a round takes every limb that is the best of both its peaks at once.
    """
    limbs = limbs.take(np.argsort(-limbs.scores, kind='stable'))
    num_peaks = max(limbs.starts.max(initial=0), limbs.ends.max(initial=0)) + 1
    starts, ends = (limbs.kinds * num_peaks + peaks for peaks in (limbs.starts, limbs.ends))
    best = np.zeros((limbs.kinds.max(initial=0) + 1) * num_peaks, dtype=np.intp)  # limb of each kind at each peak; -1: taken
    chosen = np.zeros(len(starts), dtype=bool)
    rest = np.arange(len(starts))[::-1]  # the best last: of several values written to one place the last one stays
    while len(rest):
        start, end = starts[rest], ends[rest]
        best[start] = rest
        best[end] = rest
        first = (best[start] == rest) & (best[end] == rest)
        chosen[rest[first]] = True
        best[start[first]] = -1
        best[end[first]] = -1
        rest = rest[(best[start] >= 0) & (best[end] >= 0)]
    return limbs.take(chosen)


def assemble_people(
    limbs: Limbs, peaks: Peaks, *, num_keypoints: int, num_limbs: int, min_keypoints: int, min_score: float
) -> People:
    """Return the people that matched limbs make of peaks.

    Args:
        limbs: from `match_limbs`, the highest score first.
        peaks: of all images.
        num_keypoints: K.
        num_limbs: L.
        min_keypoints: of a person.
        min_score: of a person: the scores of its keypoints and limbs, summed and divided by the number of its keypoints.
    """
    owners, limb_scores = _join(limbs, peaks.maps % num_keypoints)
    leaders, person = np.unique(owners, return_inverse=True)
    counts = np.bincount(person, minlength=len(leaders))
    totals = limb_scores[leaders] + np.bincount(person, weights=peaks.scores, minlength=len(leaders))
    images = peaks.maps[leaders] // num_keypoints
    kept = np.flatnonzero((counts >= min_keypoints) & (totals >= min_score * counts))
    kept = kept[np.lexsort((-totals[kept], images[kept]))]
    rows = np.full(len(leaders), -1)
    rows[kept] = np.arange(len(kept))
    found = np.flatnonzero(rows[person] >= 0)
    members = np.full((len(kept), num_keypoints), -1)
    members[rows[person[found]], peaks.maps[found] % num_keypoints] = found
    return People(members, totals[kept] / (num_keypoints + num_limbs), images[kept])


def _join(limbs: Limbs, keypoints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Join peaks to people, limb by limb.

    Source: Cao et al., OpenPose, TPAMI 2019, Sec. 3.4, on redundant limbs: from the highest score down, a limb joins the people
    at its two ends. One that would give a person two keypoints of a kind contradicts limbs of a higher score and is left out.

    Args:
        limbs: the highest score first.
        keypoints: (P,) from 0 to K - 1.

    Returns:
        For each peak the one that stands for its person (P,), and there the sum of the person's limbs' scores (P,).
    """
    leaders = list(range(len(keypoints)))  # for each peak one that is nearer to that which stands for the person, or itself
    kinds = [1 << k for k in keypoints.tolist()]  # of each person, as a set of bits
    scores = [0.0] * len(leaders)
    for person, other, score in zip(limbs.starts.tolist(), limbs.ends.tolist(), limbs.scores.tolist()):
        while leaders[person] != person:
            person = leaders[person]
        while leaders[other] != other:
            other = leaders[other]
        if person != other:
            if kinds[person] & kinds[other]:
                continue
            leaders[other] = person
            kinds[person] |= kinds[other]
            scores[person] += scores[other]
        scores[person] += score
    owners = np.array(leaders, dtype=np.intp)
    while (owners[owners] != owners).any():
        owners = owners[owners]
    return owners, np.array(scores)
