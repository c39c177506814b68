"""Peaks, limbs and people, against plain loops."""

import math

import numpy as np
import pytest

from mmpose_lite.ops.paf_limbs import Limbs, find_limbs, line_products
from mmpose_lite.ops.paf_peaks import Peaks, find_peaks
from mmpose_lite.ops.paf_people import assemble_people, match_limbs
from tests import paf_reference as reference

W, H = 20, 16
LIMBS = ((0, 1), (1, 2))


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def gaussian(x: float, y: float, sigma: float = 0.9, size: tuple[int, int] = (W, H)) -> np.ndarray:
    """Return one float32 map (H, W)."""
    columns, rows = np.arange(size[0]), np.arange(size[1])[:, None]
    return np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2)).astype(np.float32)


def peaks_of(heatmaps: np.ndarray, threshold: float = 0.1, max_peaks: int = 100) -> Peaks:
    return find_peaks(heatmaps, threshold=threshold, max_peaks=max_peaks)


# Peaks


def test_peaks_of_noise_are_those_of_a_loop(rng: np.random.Generator) -> None:
    heatmaps = rng.normal(0.2, 0.4, (2, 3, H, W)).astype(np.float32)
    heatmaps[1, 1] = -1
    peaks = peaks_of(heatmaps)
    expected = [reference.find_peaks(heatmap, 0.1) for heatmap in heatmaps.reshape(6, H, W)]
    assert peaks.counts.tolist() == [len(found) for found in expected]
    assert peaks.maps.tolist() == [i for i, found in enumerate(expected) for _ in found]
    np.testing.assert_allclose(np.c_[peaks.points, peaks.scores], [peak for found in expected for peak in found], atol=1e-4)
    assert min(peaks.counts[[0, 1, 2, 3, 5]]) > 10


@pytest.mark.parametrize(('sigma', 'tolerance'), [(0.875, 0.06), (1.0, 1e-3), (2.0, 1e-3)])
def test_the_top_of_a_gaussian_is_exact_up_to_half_a_cell_outside(
    sigma: float, tolerance: float, rng: np.random.Generator
) -> None:
    """In the corner, the outer cells of a narrow one are so low that they count as higher."""
    points = rng.uniform((-0.5, -0.5), (W - 0.5, H - 0.5), (200, 2))
    points[:4] = (-0.49, -0.49), (W - 0.51, 3), (4, H - 0.51), (W - 0.51, H - 0.51)
    peaks = peaks_of(np.stack([gaussian(*point, sigma) for point in points])[None])
    assert peaks.counts.tolist() == [1] * 200
    np.testing.assert_allclose(peaks.points, points, atol=tolerance)  # cells


def test_smoothing_helps_against_noise(rng: np.random.Generator) -> None:
    points = rng.uniform(3, (W - 4, H - 4), (300, 2))
    noisy = np.stack([gaussian(*point) for point in points]) + rng.normal(0, 0.03, (300, H, W)).astype(np.float32)
    peaks = peaks_of(noisy[None], threshold=0.5)
    assert peaks.counts.tolist() == [1] * 300
    cells = np.array([np.unravel_index(m.argmax(), m.shape)[::-1] for m in noisy])
    errors, coarse = (np.linalg.norm(found - points, axis=1).mean() for found in (peaks.points, cells))
    assert errors < 0.06 < coarse / 5  # cells


def test_of_equal_cells_the_first_is_a_peak_and_the_point_lies_between() -> None:
    heatmaps = np.stack([gaussian(6.5, 4), gaussian(7, 4.5), gaussian(6.5, 4.5), np.full((H, W), 0.5, np.float32)])[None]
    heatmaps[0, 0, 4, 6:8] = heatmaps[0, 0, 4, 6]
    peaks = peaks_of(heatmaps)
    assert peaks.counts.tolist() == [1, 1, 1, 1]
    np.testing.assert_allclose(peaks.points, [(6.5, 4), (7, 4.5), (6.5, 4.5), (0, 0)], atol=1e-3)


def test_the_highest_peaks_are_kept(rng: np.random.Generator) -> None:
    heatmaps = rng.random((2, 2, H, W), dtype=np.float32)
    some, every = peaks_of(heatmaps, max_peaks=3), peaks_of(heatmaps)
    assert some.counts.tolist() == [3] * 4
    assert (np.diff(some.maps) >= 0).all()
    for i in range(4):
        assert sorted(some.scores[some.maps == i]) == sorted(every.scores[every.maps == i])[-3:]
    kept = np.isin(every.scores, some.scores)
    np.testing.assert_array_equal(some.points, every.points[kept])


def test_what_is_no_number_is_no_peak() -> None:
    heatmaps = np.stack([gaussian(6, 4) + gaussian(15, 9)] * 3)[None]
    heatmaps[0, 0, 4, 6] = np.nan
    heatmaps[0, 1, 4, 6] = np.inf
    heatmaps[0, 2] = np.nan
    peaks = peaks_of(heatmaps)
    assert peaks.counts.tolist() == [1, 1, 0]
    np.testing.assert_allclose(peaks.points, [(15, 9), (15, 9)], atol=1e-3)


@pytest.mark.parametrize('size', [(1, 1), (2, 2), (1, 5), (5, 2)])
def test_on_maps_of_few_cells_peaks_are_cells(size: tuple[int, int]) -> None:
    heatmap = np.zeros((1, 1, size[1], size[0]), np.float32)
    heatmap[0, 0, -1, -1] = 1
    assert peaks_of(heatmap).points.tolist() == [[size[0] - 1, size[1] - 1]]
    assert not len(peaks_of(0 * heatmap).points)


# Limbs


def made_peaks(*points_of_maps: list[tuple[float, float]]) -> Peaks:
    """Return peaks with score 1 given as one list of points per map."""
    counts = [len(points) for points in points_of_maps]
    points = np.array([p for points in points_of_maps for p in points], np.float32).reshape(-1, 2)
    return Peaks(points, np.ones(len(points), np.float32), np.repeat(np.arange(len(counts)), counts), np.array(counts))


def limbs_of(fields: np.ndarray, peaks: Peaks, num_samples: int = 10, min_support: float = 0.9) -> dict[tuple, float]:
    """Return the scores of the limbs by (start, end, kind), each of which must be unique."""
    found = find_limbs(fields, peaks, LIMBS, threshold=0.05, num_samples=num_samples, min_support=min_support)
    keys = list(zip(found.starts.tolist(), found.ends.tolist(), found.kinds.tolist()))
    assert len(set(keys)) == len(keys)
    return dict(zip(keys, found.scores.tolist()))


@pytest.mark.parametrize(('num_samples', 'min_support'), [(10, 0.9), (10, 0.8), (2, 1.0), (5, 0.1), (30, 0.5)])
def test_limbs_in_noise_are_those_of_a_loop(num_samples: int, min_support: float, rng: np.random.Generator) -> None:
    """Three images; every pair is judged, so the shortcut by a few samples must lose none."""
    fields = rng.normal(0, 0.4, (3, 4, H, W)).astype(np.float32)
    fields[:, 0] += 0.3
    fields[1] *= 0.02  # nothing to be found here
    points = [[tuple(p) for p in rng.uniform((-0.5, -0.5), (W - 0.5, H - 0.5), (n, 2))] for n in (6, 9, 5, 4, 4, 4, 0, 7, 3)]
    points[1][0] = points[0][0]  # two keypoints at one place
    peaks = made_peaks(*points)
    expected = {}
    for image in range(3):
        for kind, (a, b) in enumerate(LIMBS):
            plane = fields[image, 2 * kind : 2 * kind + 2]
            for i in np.flatnonzero(peaks.maps == 3 * image + a):
                for j in np.flatnonzero(peaks.maps == 3 * image + b):
                    pair = tuple(peaks.points[i].tolist()), tuple(peaks.points[j].tolist())
                    score = reference.limb_score(plane, *pair, 0.05, num_samples, min_support)
                    if score is not None:
                        expected[int(i), int(j), kind] = score
    found = limbs_of(fields, peaks, num_samples, min_support)
    assert found == pytest.approx(expected, abs=1e-5)
    assert len(expected) > 3


def test_a_row_of_people_is_not_one_long_limb() -> None:
    """Ten samples from the first to the last meet each of ten people, and nothing between them."""
    fields = np.zeros((1, 4, H, 4 * W), np.float32)
    for x in range(0, 73, 8):
        fields[0, 0, 5:8, x : x + 2] = 1
    peaks = made_peaks([(0, 6)], [(72, 6), (0.9, 6)], [])
    assert limbs_of(fields, peaks) == {(0, 2, 0): pytest.approx(1)}
    fields[0, 0, 5:8] = 0.5
    assert limbs_of(fields, peaks) == pytest.approx({(0, 1, 0): 0.5, (0, 2, 0): 0.5})


def test_the_direction_counts() -> None:
    fields = np.zeros((1, 4, H, W), np.float32)
    fields[0, 0] = 1
    peaks = made_peaks([(2, 3), (12, 3)], [(7, 3), (7, 8)], [])
    diagonal = 5 / math.hypot(5, 5)
    assert limbs_of(fields, peaks) == pytest.approx({(0, 2, 0): 1, (0, 3, 0): diagonal})


def test_fields_that_are_no_numbers_support_nothing() -> None:
    fields = np.zeros((1, 4, H, W), np.float32)
    fields[0, 0] = 1
    fields[0, 0, 3, 2:8] = np.nan
    fields[0, 0, 12] = np.inf
    peaks = made_peaks([(1, 3), (1, 8), (1, 12)], [(9, 3), (9, 8), (9, 12)], [])
    assert limbs_of(fields, peaks)[1, 4, 0] == pytest.approx(1)
    assert (0, 3, 0) not in limbs_of(fields, peaks)
    fields[0, 0, 8, 9] = np.inf  # the last two of ten samples
    assert limbs_of(fields, peaks, min_support=0.8)[1, 4, 0] == pytest.approx(0.8)
    assert limbs_of(np.full_like(fields, np.nan), peaks) == {}


@pytest.mark.parametrize('size', [(1, 1), (1, 6), (6, 1), (2, 2)])
def test_fields_of_few_cells(size: tuple[int, int]) -> None:
    fields = np.ones((1, 4, size[1], size[0]), np.float32)
    found = limbs_of(fields, made_peaks([(0, 0)], [(size[0] - 1, size[1] - 1)], []))
    assert len(found) == 1
    zero = (np.zeros(1), np.zeros(1))
    ends = zero, (np.array([size[0] - 1.0]), np.array([size[1] - 1.0]))
    products = line_products(fields[:, :2], np.array([0]), *ends, np.array([0, 0.5, 1]))  # the only field there is
    np.testing.assert_allclose(products, sum(size) - 2)


def test_lines_are_read_between_the_cells() -> None:
    """On a ramp, interpolation is exact: the field is x along the line and y across it."""
    x, y = np.meshgrid(np.arange(W), np.arange(H))
    fields = np.stack((np.zeros((2, H, W)), np.stack((x, y)))).astype(np.float32)
    starts, spans = (np.array([1.25, 0]), np.array([2.5, 0])), (np.array([6.5, W - 1]), np.array([-2.0, H - 1]))
    products = line_products(fields, np.array([1, 1]), starts, spans, np.array([0, 0.3, 1]))
    for s, share in enumerate((0, 0.3, 1)):
        for c in range(2):
            px, py = (starts[a][c] + share * spans[a][c] for a in (0, 1))
            assert products[s, c] == pytest.approx(px * spans[0][c] + py * spans[1][c], abs=1e-4)


def test_no_peaks() -> None:
    assert limbs_of(np.zeros((2, 4, H, W), np.float32), made_peaks(*[[]] * 6)) == {}


# Matching


def made_limbs(*rows: tuple[int, int, int, float]) -> Limbs:
    """Return limbs given as (start, end, kind, score)."""
    starts, ends, kinds, scores = zip(*rows) if rows else ([],) * 4
    return Limbs(np.array(starts, np.intp), np.array(ends, np.intp), np.array(kinds, np.intp), np.array(scores, np.float32))


@pytest.mark.parametrize('seed', range(20))
def test_matching_is_the_greedy_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)
    num = int(rng.integers(0, 200))
    starts, ends = rng.integers(0, 15, num), rng.integers(15, 30, num)
    scores = rng.integers(0, 30, num) / 10  # many are equal
    rows = list(dict.fromkeys(zip(starts.tolist(), ends.tolist(), rng.integers(0, 3, num).tolist(), scores.tolist())))
    matched = match_limbs(made_limbs(*rows))
    expected = reference.match([(score, kind, start, end) for start, end, kind, score in rows])
    found = zip(matched.scores.tolist(), matched.kinds.tolist(), matched.starts.tolist(), matched.ends.tolist())
    assert list(found) == [(pytest.approx(score), *rest) for score, *rest in expected]


def test_of_equal_limbs_the_first_counts() -> None:
    assert match_limbs(made_limbs((0, 2, 0, 0.5), (0, 3, 0, 0.5), (1, 2, 0, 0.5), (1, 3, 0, 0.4))).starts.tolist() == [0, 1]
    assert match_limbs(made_limbs((0, 2, 0, 0.5), (0, 3, 1, 0.5))).kinds.tolist() == [0, 1]  # another kind, another limb


# Assembly


def people_of(limbs: Limbs, peaks: Peaks, min_keypoints: int = 1, min_score: float = 0.0) -> list[tuple[list[int], float]]:
    people = assemble_people(limbs, peaks, num_keypoints=3, num_limbs=4, min_keypoints=min_keypoints, min_score=min_score)
    assert (np.diff(people.images) >= 0).all()
    return list(zip(people.peaks.tolist(), people.scores.tolist()))


def test_redundant_limbs_join_and_add_to_the_score() -> None:
    peaks = made_peaks([(0, 0)], [(1, 0)], [(2, 0)])
    chain = [(0, 1, 0, 0.9), (1, 2, 1, 0.8)]
    assert people_of(made_limbs(*chain), peaks) == [([0, 1, 2], pytest.approx((3 + 1.7) / 7))]
    assert people_of(made_limbs(*chain, (0, 2, 2, 0.5)), peaks) == [([0, 1, 2], pytest.approx((3 + 2.2) / 7))]
    assert people_of(made_limbs(chain[0]), peaks) == [([0, 1, -1], pytest.approx(2.9 / 7)), ([-1, -1, 2], pytest.approx(1 / 7))]


def test_a_limb_joins_two_halves_but_not_two_people() -> None:
    halves = made_peaks([(0, 0)], [(1, 0)], [(2, 0)])
    assert len(people_of(made_limbs((0, 1, 0, 0.9)), halves)) == 2
    assert len(people_of(made_limbs((0, 1, 0, 0.9), (1, 2, 1, 0.1)), halves)) == 1
    # Peaks 0, 1 are keypoint 0, then 2, 3 keypoint 1, then 4, 5 keypoint 2. The last limb crosses over.
    two = made_peaks([(0, 0), (0, 5)], [(1, 0), (1, 5)], [(2, 0), (2, 5)])
    limbs = [(0, 2, 0, 0.9), (1, 3, 0, 0.8), (2, 4, 1, 0.7), (3, 5, 1, 0.6), (0, 5, 2, 0.5)]
    assert [peaks for peaks, _ in people_of(made_limbs(*limbs), two)] == [[0, 2, 4], [1, 3, 5]]
    # With the highest score, the same limb wins, and what contradicts it is left out.
    limbs = [(0, 5, 2, 1.0), *limbs[:-1]]
    assert [peaks for peaks, _ in people_of(made_limbs(*limbs), two)] == [[0, 2, 5], [1, 3, -1], [-1, -1, 4]]


def test_people_with_too_little_are_left_out() -> None:
    peaks = made_peaks([(0, 0), (0, 5)], [(1, 0), (1, 5)], [(2, 0)])
    limbs = made_limbs((0, 2, 0, 0.9), (2, 4, 1, 0.9), (1, 3, 0, 0.2))
    assert [p for p, _ in people_of(limbs, peaks)] == [[0, 2, 4], [1, 3, -1]]
    assert [p for p, _ in people_of(limbs, peaks, min_keypoints=3)] == [[0, 2, 4]]
    assert [p for p, _ in people_of(limbs, peaks, min_score=1.11)] == [[0, 2, 4]]  # (2 + 0.2) / 2 is less
    assert len(people_of(limbs, peaks, min_score=1.09)) == 2


def test_images_do_not_mix_and_the_best_come_first() -> None:
    peaks = made_peaks([(0, 0), (0, 5)], [(1, 0), (1, 5)], [], [(0, 0)], [(1, 0)], [])
    limbs = made_limbs((4, 5, 0, 0.9), (1, 3, 0, 0.8), (0, 2, 0, 0.7))
    people = assemble_people(limbs, peaks, num_keypoints=3, num_limbs=2, min_keypoints=2, min_score=0)
    assert people.images.tolist() == [0, 0, 1]
    assert people.peaks.tolist() == [[1, 3, -1], [0, 2, -1], [4, 5, -1]]


def test_nobody() -> None:
    people = assemble_people(made_limbs(), made_peaks([], [], []), num_keypoints=3, num_limbs=2, min_keypoints=1, min_score=0)
    assert people.peaks.shape == (0, 3)
    assert match_limbs(made_limbs()).starts.shape == (0,)
