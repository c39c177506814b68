"""Scores of pixels and of boundaries: by hand, against loops, and through the metrics."""

import itertools
import logging
import math

import numpy as np
import pytest

from mmpose_lite.errors import MetricError
from mmpose_lite.evaluation.segmentation import BoundaryFScore, IoUMetric, boundary_f_scores, class_scores, confusion_matrix
from mmpose_lite.registry import METRICS
from mmpose_lite.structures import ClassMeta

META = ClassMeta.load(dict(classes=['ground', 'cat', 'dog']))
PRED = np.array([[0, 0, 1, 1], [2, 0, 1, 0]], np.uint8)
TRUTH = np.array([[0, 1, 1, 1], [0, 255, 1, 255]], np.uint8)


def metric(name: str = 'IoUMetric', **args: object) -> IoUMetric | BoundaryFScore:
    built = METRICS.build(dict(type=name, **args))
    built.dataset_meta = dict(class_meta=META)
    return built


def evaluate(built: IoUMetric | BoundaryFScore, pairs: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, float]:
    built.process(None, [dict(img_path=f'{i}', pred_seg_map=p, gt_seg_map=t) for i, (p, t) in enumerate(pairs)])
    return built.evaluate(len(pairs))


def random_maps(seed: int, shape: tuple[int, int] = (9, 11)) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 3, shape, dtype=np.uint8), rng.choice([0, 1, 2, 255], shape).astype(np.uint8)


def test_scores_by_hand() -> None:
    matrix = confusion_matrix(PRED, TRUTH, 3)
    assert matrix.tolist() == [[1, 0, 1], [1, 3, 0], [0, 0, 0]]
    scores = class_scores(matrix)
    assert scores['IoU'].tolist() == pytest.approx([1 / 3, 3 / 4, 0.0])
    assert scores['Dice'].tolist() == scores['Fscore'].tolist() == pytest.approx([2 / 4, 6 / 7, 0.0])
    assert scores['Precision'].tolist() == pytest.approx([1 / 2, 1.0, 0.0])
    assert scores['Acc'].tolist() == pytest.approx([1 / 2, 3 / 4, math.nan], nan_ok=True)


def test_scores_against_a_loop() -> None:
    pred, truth = random_maps(0)
    scores = class_scores(confusion_matrix(pred, truth, 3))
    for k in range(3):
        tp = fp = fn = 0
        for place in np.ndindex(pred.shape):
            if truth[place] == 255:
                continue
            tp += pred[place] == k == truth[place]
            fp += pred[place] == k != truth[place]
            fn += truth[place] == k != pred[place]
        assert scores['IoU'][k] == pytest.approx(tp / (tp + fp + fn))
        assert scores['Dice'][k] == pytest.approx(2 * tp / (2 * tp + fp + fn))
        assert scores['Dice'][k] == pytest.approx(2 * scores['IoU'][k] / (1 + scores['IoU'][k]))
        assert scores['Precision'][k] == pytest.approx(tp / (tp + fp))
        assert scores['Recall'][k] == pytest.approx(tp / (tp + fn))


def test_an_absent_class_is_not_averaged() -> None:
    matrix = confusion_matrix(np.zeros((2, 2), np.uint8), np.zeros((2, 2), np.uint8), 3)
    assert class_scores(matrix)['IoU'].tolist() == pytest.approx([1.0, math.nan, math.nan], nan_ok=True)
    assert evaluate(metric(), [(np.zeros((2, 2), np.uint8),) * 2])['seg/mIoU'] == 1.0


def test_the_metric_counts_all_pixels_of_the_split_together() -> None:
    pairs = [random_maps(seed, (5 + seed, 7)) for seed in range(4)]
    results = evaluate(metric(iou_metrics=['mIoU', 'mDice', 'mFscore']), pairs)
    total = sum(confusion_matrix(p, t, 3) for p, t in pairs)
    scores = class_scores(total)
    assert results['seg/aAcc'] == pytest.approx(np.trace(total) / total.sum())
    for name, of in (('mIoU', 'IoU'), ('mAcc', 'Acc'), ('mDice', 'Dice'), ('mFscore', 'Fscore'), ('mPrecision', 'Precision')):
        assert results[f'seg/{name}'] == pytest.approx(scores[of].mean())
    assert results['seg/IoU.cat'] == pytest.approx(scores['IoU'][1])
    assert results['seg/Dice.dog'] == pytest.approx(scores['Dice'][2])
    assert len(evaluate(metric(classwise=False), pairs)) == 3


def test_an_image_is_kept_as_the_pairs_of_classes_it_has() -> None:
    """Of 256 classes a matrix is 512 kB, and a split has thousands of images."""
    iou = IoUMetric()
    iou.dataset_meta = dict(class_meta=dict(classes=[str(k) for k in range(254)]))
    maps = np.array([[253, 253], [3, 253]], np.uint8), np.array([[253, 253], [253, 255]], np.uint8)
    iou.process(None, [dict(zip(('pred_seg_map', 'gt_seg_map'), maps), img_path='a.png')])
    assert sum(part.nbytes for part in iou.results[0]) < 100
    iou.evaluate(1)
    assert iou.confusion is not None
    assert iou.confusion.sum() == 3
    assert (iou.confusion[253, 253], iou.confusion[253, 3]) == (2, 1)


def test_the_confusion_matrix_is_kept_and_classes_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    iou = metric()
    with caplog.at_level(logging.INFO):
        evaluate(iou, [(PRED, TRUTH)])
    np.testing.assert_array_equal(iou.confusion, confusion_matrix(PRED, TRUTH, 3))


def slow_boundary(labels: np.ndarray, k: int, truth: np.ndarray) -> set[tuple[int, int]]:
    H, W = labels.shape
    found = set()
    for y, x in np.ndindex(H, W):
        if truth[y, x] == 255 or labels[y, x] != k:
            continue
        for v, u in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
            if 0 <= v < H and 0 <= u < W and truth[v, u] != 255 and labels[v, u] != k:
                found.add((y, x))
    return found


@pytest.mark.parametrize('tolerance', [1.0, 1.5, 2.9])
def test_boundaries_against_a_loop(tolerance: float) -> None:
    rng = np.random.default_rng(1)
    truth = np.kron(rng.integers(0, 3, (3, 4), dtype=np.uint8), np.ones((8, 8), np.uint8))
    pred = np.roll(truth, (1, 2), axis=(0, 1))
    truth[4:9, 5:9] = 255
    scores = boundary_f_scores(pred, truth, 4, tolerance=tolerance)
    for k in range(3):
        ours, theirs = slow_boundary(pred, k, truth), slow_boundary(truth, k, truth)

        def near(a: set, b: set, reach: float) -> float:
            return sum(any(math.dist(p, q) <= reach for q in b) for p in a) / len(a)

        precision, recall = near(ours, theirs, tolerance), near(theirs, ours, tolerance)
        assert scores[k] == pytest.approx(2 * precision * recall / max(precision + recall, 1e-9))
    assert math.isnan(scores[3])


def test_boundaries_by_hand() -> None:
    truth = np.zeros((40, 40), np.uint8)
    truth[10:30, 10:30] = 1
    assert boundary_f_scores(truth, truth, 2, tolerance=1).tolist() == [1.0, 1.0]
    for shift, within in ((1, True), (4, False)):
        moved = np.zeros_like(truth)
        moved[10:30, 10 + shift : 30 + shift] = 1
        score = boundary_f_scores(moved, truth, 2, tolerance=2)[1]
        # Shifted out of reach, the upper and lower edges still match, for most of their length.
        assert score == 1.0 if within else 0.3 < score < 0.7
    nothing = np.zeros_like(truth)
    assert boundary_f_scores(nothing, truth, 2, tolerance=2)[1] == 0.0
    assert np.isnan(boundary_f_scores(nothing, nothing, 2, tolerance=2)).all(), 'the border of the image is no boundary'
    ignored = truth.copy()
    ignored[truth == 0] = 255
    assert np.isnan(boundary_f_scores(truth, ignored, 2, tolerance=2)[1]), 'nor is that of ignored pixels'


def test_the_boundary_metric_averages_images_that_have_the_class() -> None:
    square, nothing = np.zeros((40, 40), np.uint8), np.zeros((40, 40), np.uint8)
    square[10:30, 10:30] = 1
    results = evaluate(metric('BoundaryFScore'), [(square, square), (nothing, square), (nothing, nothing)])
    assert results['seg/BF.cat'] == pytest.approx(0.5)
    assert results['seg/mBF'] == pytest.approx((results['seg/BF.ground'] + 0.5) / 2)
    assert math.isnan(results['seg/BF.dog'])


@pytest.mark.filterwarnings('error')
def test_without_any_boundary_there_is_no_score() -> None:
    results = evaluate(metric('BoundaryFScore'), [(np.zeros((9, 9), np.uint8),) * 2])
    assert all(math.isnan(value) for value in results.values())


def test_permuting_the_images_changes_nothing() -> None:
    pairs = [random_maps(seed) for seed in range(3)]
    for name in ('IoUMetric', 'BoundaryFScore'):
        first, *others = (evaluate(metric(name), list(order)) for order in itertools.permutations(pairs))
        assert all(other == pytest.approx(first) for other in others)


def test_one_group_is_a_text() -> None:
    assert evaluate(metric(iou_metrics='mDice', classwise=False), [(PRED, TRUTH)]).keys() == {'seg/aAcc', 'seg/mDice', 'seg/mAcc'}
    with pytest.raises(ValueError, match=r"got \('mKappa',\)"):
        metric(iou_metrics='mKappa')


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"`iou_metrics` must be some of \('mIoU', 'mDice', 'mFscore'\), got \('IoU',\)"):
        metric(iou_metrics=['IoU'])
    with pytest.raises(ValueError, match=r'`tolerance` must be in \(0, 1\), a share of the diagonal, got 3'):
        metric('BoundaryFScore', tolerance=3)
    with pytest.raises(ValueError, match=r'prediction \(2, 4\) and truth \(4, 2\) of 0 must have the size'):
        evaluate(metric(), [(PRED, TRUTH.T)])
    with pytest.raises(ValueError, match='data samples need `gt_seg_map`, image a has none'):
        metric().process(None, [dict(img_path='a', pred_seg_map=PRED)])
    with pytest.raises(ValueError, match='no pixel of the split has a class'):
        evaluate(metric(), [(PRED, np.full_like(TRUTH, 255))])
    with pytest.raises(ValueError, match=r'labels must be below 2, the number of classes, got \[2\]'):
        confusion_matrix(PRED, TRUTH, 2)
    with pytest.raises(MetricError, match='BoundaryFScore: there is nothing to evaluate'):
        evaluate(metric('BoundaryFScore'), [])
    homeless = metric()
    homeless.dataset_meta = {}
    with pytest.raises(ValueError, match="`dataset_meta` has no 'class_meta'"):
        evaluate(homeless, [(PRED, TRUTH)])
