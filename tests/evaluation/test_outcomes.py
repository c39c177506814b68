"""Found, wrong, missed and ignored: a case by hand, and the counts of COCOeval."""

import numpy as np

from mmpose_lite.evaluation.outcomes import match_objects

NONE = dict(gt_bboxes=np.zeros((0, 4)), gt_labels=np.zeros(0, int), gt_ignored=np.zeros(0, bool))


def boxes(*rows: tuple[float, float, float, float]) -> np.ndarray:
    return np.array(rows, np.float32).reshape(-1, 4)


def test_by_hand() -> None:
    """Two detections of one object: the better one finds it. One of another class, one in a crowd, one below the score."""
    found = boxes((0, 0, 10, 9), (0, 0, 10, 10), (30, 0, 40, 10), (52, 2, 56, 6), (70, 0, 80, 10), (90, 0, 99, 10))
    scores = np.array([0.8, 0.7, 0.9, 0.6, 0.2, 0.5])
    labels = np.array([0, 0, 1, 0, 0, 1])
    truth = boxes((0, 0, 10, 10), (30, 0, 40, 10), (50, 0, 60, 10), (70, 0, 80, 10))
    outcomes = match_objects(
        found,
        scores,
        labels,
        truth,
        np.array([0, 0, 0, 0]),
        np.array([False, False, True, False]),
    )
    assert outcomes.is_found.tolist() == [True, False, False, False, False, False]
    assert outcomes.is_ignored.tolist() == [False, False, False, True, True, False]
    assert outcomes.is_missed.tolist() == [False, True, False, True]


def test_the_threshold_is_met_at_equality() -> None:
    truth = dict(gt_bboxes=boxes((0, 0, 10, 10)), gt_labels=np.array([3]), gt_ignored=np.array([False]))
    for height, is_found in ((5.0, True), (4.9, False)):
        outcomes = match_objects(boxes((0, 0, 10, height)), np.array([1.0]), np.array([3]), **truth)
        assert outcomes.is_found.tolist() == [is_found]
        assert outcomes.is_missed.tolist() == [not is_found]


def test_the_object_that_is_overlapped_most() -> None:
    truth = dict(gt_bboxes=boxes((0, 0, 10, 8), (0, 0, 10, 10)), gt_labels=np.array([0, 0]), gt_ignored=np.zeros(2, bool))
    outcomes = match_objects(boxes((0, 0, 10, 10)), np.array([1.0]), np.array([0]), **truth)
    assert outcomes.is_missed.tolist() == [True, False]


def test_nothing_there_or_nothing_found() -> None:
    outcomes = match_objects(boxes((0, 0, 5, 5)), np.array([0.9]), np.array([0]), **NONE)
    assert not outcomes.is_found.any()
    assert not outcomes.is_ignored.any()
    empty = match_objects(boxes(), np.zeros(0), np.zeros(0, int), boxes((0, 0, 5, 5)), np.array([0]), np.array([False]))
    assert empty.is_missed.tolist() == [True]
