"""Numbers of people from frame to frame: through crossings, gaps and mixed-up orders."""

import math

import numpy as np
import pytest

from mmpose_lite.apis.tracking import NO_TRACK, OksTracker, track_similarity

SIGMAS = (0.05, 0.1, 0.1, 0.08)
POSE = np.array([[0, 0], [-15, 40], [15, 40], [5, 100]], np.float32)  # 30 x 100 px


def people(*corners: tuple[float, float]) -> np.ndarray:
    """Return the pose at each corner, (N, 4, 2)."""
    return np.stack([POSE + corner for corner in corners]).astype(np.float32) if corners else np.zeros((0, 4, 2), np.float32)


def follow(tracker: OksTracker, poses: np.ndarray) -> list[int]:
    return tracker.update(poses, np.ones(poses.shape[:2], np.float32)).tolist()


def test_similarity_by_hand() -> None:
    """Two keypoints in common, 3 and 4 px away; the third of the one is not found in the other."""
    keypoints = np.array([[[0.0, 0.0], [40.0, 40.0], [20.0, 20.0]]])
    other = np.array([[[3.0, 0.0], [40.0, 44.0], [99.0, 99.0]]])
    found, other_found = np.array([[True, True, True]]), np.array([[True, True, False]])
    areas = (40 * 40 + 37 * 44) / 2
    first, second = math.exp(-9 / (8 * areas * 0.05**2)), math.exp(-16 / (8 * areas * 0.1**2))
    value = track_similarity(keypoints, found, other, other_found, sigmas=SIGMAS[:3])
    assert value.shape == (1, 1)
    assert value[0, 0] == pytest.approx((first + second) / 2)  # two in common of at least two
    alone = track_similarity(keypoints, np.array([[True, False, True]]), other, other_found, sigmas=SIGMAS[:3])
    areas = (32 * 32 + 37 * 44) / 2  # 20 x 20 px counts as 32 x 32
    assert alone[0, 0] == pytest.approx(math.exp(-9 / (8 * areas * 0.05**2)) / 2)  # one in common of two
    nothing = track_similarity(keypoints, np.array([[False, False, True]]), other, other_found, sigmas=SIGMAS[:3])
    assert nothing[0, 0] == 0


def test_everybody_keeps_the_number_whatever_the_order() -> None:
    tracker = OksTracker(SIGMAS)
    rng = np.random.default_rng(0)
    corners = np.array([[50.0, 50], [150, 60], [300, 50], [420, 80]])
    first = np.array(follow(tracker, people(*corners)))
    assert first.tolist() == [0, 1, 2, 3]
    for _ in range(20):
        corners = corners + rng.normal(0, 3, corners.shape)
        order = rng.permutation(4)
        assert follow(tracker, people(*corners[order])) == first[order].tolist()


@pytest.mark.parametrize('speed', [6.0, 10.0, 14.0])
@pytest.mark.parametrize('gap', [0.0, 5.0])
def test_people_who_cross_keep_their_numbers(speed: float, gap: float) -> None:
    """Equal poses walk through each other: in two successive frames each stands where the other has just been."""
    tracker = OksTracker(SIGMAS)
    for frame in range(40):
        x = speed * (frame - 19.5)
        assert follow(tracker, people((300 + x, 50), (300 - x, 50 + gap))) == [0, 1], frame


@pytest.mark.parametrize('hidden', [1, 5, 12])
def test_who_comes_back_after_a_gap_is_known(hidden: int) -> None:
    """Two walk; one is behind something for some frames, while the other passes on."""
    tracker = OksTracker(SIGMAS, max_age=12)
    for frame in range(30):
        walking, other = (100 + 4 * frame, 50), (500 - 2 * frame, 60)
        seen = not 10 <= frame < 10 + hidden
        assert follow(tracker, people(walking, other) if seen else people(other)) == ([0, 1] if seen else [1])


def test_who_is_away_too_long_is_somebody_new() -> None:
    tracker = OksTracker(SIGMAS, max_age=3)
    assert follow(tracker, people((100, 50), (300, 50))) == [0, 1]
    for _ in range(3):
        assert follow(tracker, people((300, 50))) == [1]
    assert follow(tracker, people((100, 50), (300, 50))) == [0, 1]
    for _ in range(4):
        assert follow(tracker, people((300, 50))) == [1]
    assert follow(tracker, people((100, 50), (300, 50))) == [2, 1]  # a number does not come again


def test_a_jump_across_the_picture_is_somebody_new() -> None:
    tracker = OksTracker(SIGMAS)
    assert follow(tracker, people((100, 50))) == [0]
    assert follow(tracker, people((300, 50))) == [1]
    strict = OksTracker(SIGMAS, min_oks=1.0)
    assert [follow(strict, people((100 + x, 50))) for x in (0, 0, 1)] == [[0], [0], [1]]


def test_the_best_sum_wins_not_the_best_pair() -> None:
    """B stands between both tracks and fits the left one best; A fits only the left one: greedily, A would be somebody new."""
    tracker = OksTracker(SIGMAS, min_oks=0.05)
    assert follow(tracker, people((100, 50), (120, 50))) == [0, 1]
    assert follow(tracker, people((90, 50), (108, 50))) == [0, 1]


def test_empty_frames_and_people_without_keypoints() -> None:
    tracker = OksTracker(SIGMAS)
    assert follow(tracker, people()) == []
    assert follow(tracker, people((100, 50))) == [0]
    assert follow(tracker, people()) == []
    scores = np.array([[0.0] * 4, [1.0] * 4], np.float32)
    assert tracker.update(people((100, 50), (100, 50)), scores).tolist() == [NO_TRACK, 0]
    part = np.array([[0.9, 0.0, 0.9, 0.0]], np.float32)
    poses = people((101, 50))
    poses[0, [1, 3]] = 0  # where a keypoint is not found its place says nothing
    assert tracker.update(poses, part).tolist() == [0]
    assert follow(tracker, people((102, 50))) == [0]


def test_people_of_one_keypoint() -> None:
    tracker = OksTracker((0.079,))
    for frame in range(10):
        x = 3.0 * frame
        assert follow(tracker, np.array([[[100 + x, 50]], [[200 - x, 50]]], np.float32)) == [0, 1]


def test_reset_begins_another_video() -> None:
    tracker = OksTracker(SIGMAS)
    assert follow(tracker, people((100, 50), (300, 50))) == [0, 1]
    tracker.reset()
    assert follow(tracker, people((300, 50))) == [0]


def test_memory_does_not_grow_with_the_people_seen() -> None:
    tracker = OksTracker(SIGMAS, max_age=2)
    for frame in range(50):
        assert follow(tracker, people((1000 * frame, 50))) == [frame]
    assert len(tracker._tracks) <= 4


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match=r'`min_oks` must be in \(0, 1\], got 0'):
        OksTracker(SIGMAS, min_oks=0)
    with pytest.raises(ValueError, match='`max_age` must be 0 or more, got -1'):
        OksTracker(SIGMAS, max_age=-1)
    with pytest.raises(ValueError, match=r'`keypoints` must be \(N, 4, 2\) and `scores` \(N, 4\), got \(1, 3, 2\) and \(1, 4\)'):
        OksTracker(SIGMAS).update(np.zeros((1, 3, 2)), np.zeros((1, 4)))
