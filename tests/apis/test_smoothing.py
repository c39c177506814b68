"""The one-euro filter: values by hand and by the algorithm as printed, and what it is for."""

import math

import numpy as np
import pytest

from mmpose_lite.apis.smoothing import OneEuroSmoother, smoothing_factor

ONE = np.array([0])


def series(smoother: OneEuroSmoother, values: list[np.ndarray], scores: np.ndarray | None = None) -> np.ndarray:
    """Smooth one person of the (K, 2) `values`; return (frames, K, 2)."""
    scores = np.ones((len(values), len(values[0]))) if scores is None else scores
    return np.stack([smoother.update(ONE, value[None], score[None])[0] for value, score in zip(values, scores)])


def printed(values: np.ndarray, *, rate: float, min_cutoff: float, beta: float) -> list[float]:
    """Algorithm 1 of the paper for one number, in plain floats."""
    smoothed: list[float] = []
    speed = 0.0
    for value in values:
        if smoothed:
            speed_weight = 1 / (1 + rate / (2 * math.pi * 1.0))
            speed = speed_weight * (value - smoothed[-1]) * rate + (1 - speed_weight) * speed
            cutoff = min_cutoff + beta * abs(speed)
            weight = 1 / (1 + rate / (2 * math.pi * cutoff))
            smoothed.append(weight * value + (1 - weight) * smoothed[-1])
        else:
            smoothed.append(float(value))
    return smoothed


def test_a_step_by_hand() -> None:
    """At 10 frames/s and 1 Hz: r = 2 pi / 10, weight r / (r + 1) = 0.385870."""
    assert smoothing_factor(0.1, 1.0) == pytest.approx(0.385870, abs=1e-6)
    smoother = OneEuroSmoother(fps=10, min_cutoff=1, beta=0)
    first, second, third = series(smoother, [np.full((2, 2), v) for v in (0.0, 10.0, 10.0)])
    assert first.tolist() == [[0, 0], [0, 0]]
    np.testing.assert_allclose(second, 3.85870, atol=1e-5)
    np.testing.assert_allclose(third, 3.85870 + 0.385870 * (10 - 3.85870), atol=1e-4)


@pytest.mark.parametrize('beta', [0.0, 0.5, 7.0])
def test_equals_the_printed_algorithm(beta: float) -> None:
    rng = np.random.default_rng(0)
    path = np.cumsum(rng.normal(0, 3, 60))
    corners = np.array([[0.0, 0.0], [40.0, 90.0]])  # a body of 40 x 90 px: its size is 60
    found = series(OneEuroSmoother(fps=25, min_cutoff=0.8, beta=beta), [corners + np.array((x, 0.0)) for x in path])
    np.testing.assert_allclose(found[:, 0, 0], printed(path, rate=25, min_cutoff=0.8, beta=beta / 60), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(found[:, 0, 1], 0, atol=1e-9)


def test_jitter_goes_and_movement_stays() -> None:
    rng = np.random.default_rng(1)
    corners = np.array([[0.0, 0.0], [50.0, 150.0]])
    rest = series(OneEuroSmoother(fps=30), [corners + rng.normal(0, 1.0, (2, 2)) for _ in range(200)])
    assert rest[50:].std(axis=0).max() < 0.5
    walk = np.arange(200) * 8.0  # px per frame: nearly three body sizes per second
    moving = series(OneEuroSmoother(fps=30), [corners + np.array((x, 0.0)) for x in walk])
    assert np.abs(moving[100:, 0, 0] - walk[100:]).max() < 20
    slow = series(OneEuroSmoother(fps=30, beta=0), [corners + np.array((x, 0.0)) for x in walk])
    assert np.abs(slow[100:, 0, 0] - walk[100:]).max() > 30  # what beta is for


@pytest.mark.parametrize('corners', [[[0.0, 0.0]], [[0.0, 0.0], [0.0, 150.0]]], ids=['a lone keypoint', 'in a line'])
def test_keypoints_without_an_area_are_calmed_too(corners: list) -> None:
    rng = np.random.default_rng(1)
    rest = series(OneEuroSmoother(fps=30), [np.array(corners) + rng.normal(0, 1.0, (len(corners), 2)) for _ in range(200)])
    assert rest[50:].std(axis=0).max() < 0.5


def test_people_near_and_far_are_smoothed_alike() -> None:
    rng = np.random.default_rng(2)
    path = [np.array([[0.0, 0.0], [30.0, 60.0]]) + rng.normal(0, 2, (2, 2)).cumsum(axis=0) for _ in range(30)]
    small = series(OneEuroSmoother(fps=25), path)
    large = series(OneEuroSmoother(fps=25), [10 * p for p in path])
    np.testing.assert_allclose(large, 10 * small, rtol=1e-9, atol=1e-9)


def test_a_keypoint_that_is_not_found() -> None:
    """It stays as it is; when it comes back soon, the time between counts; after `max_gap` it starts anew."""
    smoother = OneEuroSmoother(fps=10, beta=0, max_gap=0.35)
    values = [np.full((2, 2), float(v)) for v in (0, 99, 10, 0, 99, 99, 99, 99, 50)]
    scores = np.array([[1, 1], [0, 1], [1, 1], [1, 1], [0, 1], [0, 1], [0, 1], [0, 1], [1, 1]])
    found = series(smoother, values, scores)[:, 0, 0]
    assert found[1] == 99
    assert found[2] == pytest.approx(10 * smoothing_factor(0.2, 1.0))
    assert found[8] == 50


def test_each_person_has_a_filter_of_their_own() -> None:
    smoother = OneEuroSmoother(fps=10, beta=0)
    a, b = np.zeros((2, 2)), np.full((2, 2), 100.0)
    ones = np.ones((2, 2))
    smoother.update(np.array([4, 9]), np.stack([a, b]), ones)
    swapped = smoother.update(np.array([9, 4]), np.stack([b + 1, a + 1]), ones)
    np.testing.assert_allclose(swapped[0], 100 + 0.38587, atol=1e-4)
    np.testing.assert_allclose(swapped[1], 0.38587, atol=1e-4)
    unknown = smoother.update(np.array([-1, 4]), np.stack([b + 7, a]), ones)
    assert (unknown[0] == 107).all()
    assert smoother.update(np.zeros(0, int), np.zeros((0, 2, 2)), np.zeros((0, 2))).shape == (0, 2, 2)


def test_reset_and_memory() -> None:
    smoother = OneEuroSmoother(fps=10)
    smoother.update(ONE, np.zeros((1, 2, 2)), np.ones((1, 2)))
    smoother.reset()
    assert (smoother.update(ONE, np.full((1, 2, 2), 9.0), np.ones((1, 2))) == 9).all()
    for number in range(50):
        smoother.update(np.array([number]), np.zeros((1, 2, 2)), np.ones((1, 2)))
    assert len(smoother._people) <= 7


def test_the_input_is_not_changed_and_its_type_stays() -> None:
    smoother = OneEuroSmoother(fps=10)
    for value in (0, 10):
        points = np.full((1, 2, 2), value, np.float32)
        smoothed = smoother.update(ONE, points, np.ones((1, 2), np.float32))
        assert (points == value).all()
        assert smoothed.dtype == np.float32


@pytest.mark.parametrize(('option', 'value'), [('fps', 0), ('min_cutoff', -1), ('speed_cutoff', 0), ('max_gap', 0), ('beta', -1)])
def test_wrong_arguments(option: str, value: float) -> None:
    with pytest.raises(ValueError, match=f'OneEuroSmoother: `{option}` must be .*, got {value}'):
        OneEuroSmoother(**{'fps': 25, option: value})
