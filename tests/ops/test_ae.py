import numpy as np
import pytest
import torch

from mmpose_lite.ops.ae import best_cells, cell_points, find_peaks, group_by_tags, shift_to_higher
from tests.slow_ae import slow_best_cell, slow_groups, slow_peaks

THRESHOLDS = dict(keypoint_thr=0.1, tag_thr=1.0, max_people=30)


@pytest.mark.parametrize('kernel_size', [1, 3, 5])
@pytest.mark.parametrize('levels', [4, 1000])  # with 4 there are many ties
def test_peaks_are_those_of_a_slow_loop(kernel_size: int, levels: int) -> None:
    heatmaps = torch.randint(levels, (2, 3, 12, 9)) / levels
    scores, indices = find_peaks(heatmaps, kernel_size=kernel_size, max_peaks=12 * 9)
    for b, k in np.ndindex(2, 3):
        wanted = slow_peaks(heatmaps[b, k].numpy(), kernel_size // 2)
        found = torch.isfinite(scores[b, k])
        points = cell_points(heatmaps, indices[b, k])[found].tolist()
        assert scores[b, k][found].tolist() == pytest.approx([score for score, _, _ in wanted])
        assert sorted(points) == sorted([float(x), float(y)] for _, y, x in wanted)
        assert heatmaps.take(indices[b, k])[found].tolist() == scores[b, k][found].tolist()


def test_a_plateau_is_one_peak() -> None:
    heatmaps = torch.zeros(1, 1, 8, 8)
    heatmaps[0, 0, 2:4, 3:7] = 1  # wider than the window
    scores, indices = find_peaks(heatmaps, kernel_size=3, max_peaks=5)
    assert (scores[0, 0] > 0).tolist() == [True, False, False, False, False]
    assert cell_points(heatmaps, indices)[0, 0, 0].tolist() == [3, 2]


def test_the_highest_peaks_are_kept() -> None:
    heatmaps = torch.rand(1, 1, 20, 20)
    every, _ = find_peaks(heatmaps, kernel_size=3, max_peaks=400)
    some, _ = find_peaks(heatmaps, kernel_size=3, max_peaks=4)
    assert torch.equal(some, every[..., :4])
    assert find_peaks(heatmaps[..., :2, :1], kernel_size=3, max_peaks=4)[0].shape == (1, 1, 2)


def test_points_move_towards_the_higher_neighbour() -> None:
    heatmaps = torch.zeros(1, 2, 5, 6)
    heatmaps[0, 1, 2, 3] = 1
    heatmaps[0, 1, 2, 4] = heatmaps[0, 1, 1, 3] = 0.3
    heatmaps[0, 1, 2, 2] = 0.1
    at = torch.tensor([(1 * 5 + y) * 6 + x for x, y in ((3, 2), (1, 2), (5, 2), (3, 0), (5, 4))])
    expected = [[3.25, 1.75], [1.25, 2], [5, 2], [3, 0], [5, 4]]  # the border stays
    assert shift_to_higher(heatmaps, at).tolist() == expected


@pytest.mark.parametrize('max_people', [3, 30])
@pytest.mark.parametrize('seed', range(8))
def test_groups_are_those_of_a_slow_search(seed: int, max_people: int) -> None:
    rng = np.random.default_rng(seed)
    K, M, L = 5, 3, 1 + seed % 2
    scores = -np.sort(-rng.uniform(0, 1, (K, M)))
    tags = rng.integers(0, 4, (K, M, 1)) * 0.8 + rng.normal(0, 0.3, (K, M, L))
    order = rng.permutation(K).tolist()
    thresholds = {**THRESHOLDS, 'max_people': max_people}
    members = group_by_tags(scores, tags, order=order, **thresholds)
    wanted = slow_groups(scores, tags, order, **thresholds)
    assert [{k: m for k, m in enumerate(person) if m >= 0} for person in members.tolist()] == [
        dict(sorted(person.items())) for person in wanted
    ]
    assert 1 < len(members) <= max_people


def ideal_peaks(N: int, K: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return scores (K, N), tags (K, N, 1) and the person of each peak (K, N), in an order of its own for each keypoint."""
    people = np.stack([rng.permutation(N) for _ in range(K)])
    return -np.sort(-rng.uniform(0.2, 1, (K, N))), 2.0 * people[..., None] + rng.uniform(-0.2, 0.2, (K, N, 1)), people


@pytest.mark.parametrize('N', [1, 2, 30])
def test_ideal_tags_give_the_people(N: int) -> None:
    scores, tags, people = ideal_peaks(N, 17, np.random.default_rng(N))
    members = group_by_tags(scores, tags, order=range(17), **THRESHOLDS)
    assert members.shape == (N, 17)
    person = people[np.arange(17), members]
    assert (person == person[:, :1]).all()
    assert sorted(person[:, 0]) == list(range(N))


@pytest.mark.parametrize('num_others', [0, 3])  # people of other tags, who leave room for the lower peak
def test_the_higher_peak_wins_a_person_and_the_other_starts_one(num_others: int) -> None:
    scores = np.full((2, 2 + num_others), -np.inf)
    tags = np.zeros((2, 2 + num_others, 1))
    scores[0, : 1 + num_others], scores[1, :2] = 0.9, (0.7, 0.8)
    tags[0, 1 : 1 + num_others, 0] = 5 + np.arange(num_others)
    members = group_by_tags(scores, tags, order=(0, 1), **THRESHOLDS)
    assert members[0].tolist() == [0, 1]
    assert members[-1].tolist() == [-1, 0]
    assert len(members) == 2 + num_others


@pytest.mark.parametrize('stranger', [-10.0, 4.0, 25.0])
def test_a_stranger_takes_no_place_from_a_peak_that_fits(stranger: float) -> None:
    """On a line, |stranger - B| = |stranger - A| + |A - B|: exchanging the stranger with A's peak would cost nothing."""
    scores = np.array([[0.9, 0.8], [0.9, 0.8]])
    tags = np.array([[[0.0], [10.0]], [[stranger], [0.1]]])
    assert group_by_tags(scores, tags, order=(0, 1), **THRESHOLDS).tolist() == [[0, 1], [1, -1], [-1, 0]]


def test_as_many_people_as_allowed() -> None:
    scores = np.array([[0.9, -np.inf], [0.8, 0.7]])
    tags = np.zeros((2, 2, 1))
    assert group_by_tags(scores, tags, order=(0, 1), **{**THRESHOLDS, 'max_people': 1}).tolist() == [[0, 0]]


def test_tags_within_a_unit_leave_the_choice_to_the_scores() -> None:
    """Distances are rounded, so 0.4 costs as much as 0.1: the higher peak is taken."""
    scores, tags = np.array([[0.9, 0.0], [0.8, 0.7]]), np.array([[[0.0], [0.0]], [[0.4], [0.1]]])
    assert group_by_tags(scores, tags, order=(0, 1), **THRESHOLDS)[0].tolist() == [0, 0]
    tags[1, 0] = 0.6
    assert group_by_tags(scores, tags, order=(0, 1), **THRESHOLDS)[0].tolist() == [0, 1]


def test_thresholds_of_grouping() -> None:
    scores, tags = np.array([[0.9], [0.3]]), np.array([[[0.0]], [[0.8]]])

    def run(**change: float) -> list[list[int]]:
        return group_by_tags(scores, tags, order=(0, 1), **{**THRESHOLDS, **change}).tolist()

    assert run() == [[0, 0]]
    assert run(tag_thr=0.8) == [[0, -1], [-1, 0]]
    assert run(keypoint_thr=0.3) == [[0, -1]]
    assert run(keypoint_thr=0.9) == []


def test_peaks_without_a_finite_tag_are_left_out() -> None:
    tags = np.array([[[0.0]], [[np.nan]], [[np.inf]]])
    assert group_by_tags(np.ones((3, 1)), tags, order=(1, 0, 2), **THRESHOLDS).tolist() == [[0, -1, -1]]


def test_missing_keypoints_are_found_where_a_slow_loop_finds_them(monkeypatch: pytest.MonkeyPatch) -> None:
    heatmaps, tags = torch.rand(2, 3, 7, 8), 4 * torch.randn(2, 2, 3, 7, 8)
    maps, person_tags = torch.tensor([0, 5, 5, 3, 2]), torch.randn(5, 2)
    indices = best_cells(heatmaps, tags, maps, person_tags)
    points = cell_points(heatmaps, indices).long().tolist()
    for m, tag, index, (x, y) in zip(maps.tolist(), person_tags, indices.tolist(), points):
        b, k = divmod(m, 3)
        assert (y, x) == slow_best_cell(heatmaps[b, k].numpy(), tags[:, b, k].numpy(), tag.numpy())
        assert index == (m * 7 + y) * 8 + x
    monkeypatch.setattr('mmpose_lite.ops.ae._CELLS_AT_ONCE', 2 * 7 * 8)  # in three parts
    assert torch.equal(best_cells(heatmaps, tags, maps, person_tags), indices)
