from pathlib import Path

import cv2
import numpy as np
import pytest

from mmpose_lite.structures import ClassMeta
from mmpose_lite.visualization import draw_objects, draw_outcomes, draw_precision_recall
from mmpose_lite.visualization.detection import OUTCOME_BGR, class_colors

META = ClassMeta.load(dict(classes=['cat', 'dog'], palette=[[200, 0, 0], [0, 0, 100]]))
BOX = np.array([[20, 30, 60, 80]], np.float32)


def grey() -> np.ndarray:
    return np.full((100, 120, 3), 100, np.uint8)


def test_a_box_has_the_colour_of_its_class_on_its_edges() -> None:
    image = grey()
    drawn = draw_objects(image, BOX, np.array([1]), meta=META)
    np.testing.assert_array_equal(image, grey())
    assert drawn[55, 20].tolist() == drawn[79, 40].tolist() == [100, 0, 0]  # BGR of the dog; edges at 20 and 80
    assert drawn[55, 40].tolist() == [100, 100, 100], 'nothing is drawn inside'


def test_masks_are_laid_over_and_outlined() -> None:
    mask = np.zeros((1, 100, 120), np.uint8)
    mask[0, 40:70, 30:50] = 1
    drawn = draw_objects(grey(), BOX, np.array([0]), meta=META, masks=mask, alpha=0.5)
    assert drawn[55, 40].tolist() == [50, 50, 150]
    assert drawn[55, 30].tolist() == [0, 0, 200]
    assert drawn[35, 25].tolist() == [100, 100, 100]


def test_low_scores_are_left_out_and_ignored_objects_grey() -> None:
    low = draw_objects(grey(), BOX, np.array([0]), np.array([0.2]), meta=META, score_thr=0.3)
    np.testing.assert_array_equal(low, grey())
    ignored = draw_objects(grey(), BOX, np.array([0]), meta=META, is_ignored=np.array([True]))
    assert len(set(ignored[55, 20].tolist())) == 1


def test_the_best_object_lies_on_top() -> None:
    boxes = np.array([[20, 30, 60, 80], [20, 30, 60, 80]], np.float32)
    drawn = draw_objects(grey(), boxes, np.array([0, 1]), np.array([0.9, 0.5]), meta=META)
    assert drawn[55, 20].tolist() == [0, 0, 200]


def test_black_is_not_drawn_on_objects() -> None:
    colors = class_colors(ClassMeta.load(dict(classes=['a', 'b', 'c'])))
    assert (0, 0, 0) not in colors
    assert len(set(colors)) == 3
    assert colors[1:] == [rgb[::-1] for rgb in ClassMeta.load(dict(classes=['a', 'b', 'c'])).palette[1:]]


def test_boxes_far_outside_and_empty_ones() -> None:
    boxes = np.array([[-1e9, -1e9, 1e9, 1e9], [5, 5, 5, 5]], np.float32)
    draw_objects(grey(), boxes, np.array([0, 1]), meta=META)
    none = draw_objects(grey(), np.zeros((0, 4)), np.zeros(0, int), meta=META, masks=np.zeros((0, 1, 1)))
    np.testing.assert_array_equal(none, grey())


def test_outcomes_have_their_colours() -> None:
    boxes = {name: BOX + 3 * i for i, name in enumerate(OUTCOME_BGR)}
    drawn = draw_outcomes(grey(), boxes, {name: [''] for name in OUTCOME_BGR})
    for i, name in enumerate(OUTCOME_BGR):
        assert drawn[55, 20 + 3 * i].tolist() == list(OUTCOME_BGR[name])
    with pytest.raises(ValueError, match=r"`outcomes` takes \('found', 'wrong', 'missed', 'ignored'\), got \['lost'\]"):
        draw_outcomes(grey(), dict(lost=BOX), dict(lost=['']))


@pytest.mark.parametrize('num_classes', [2, 30])
def test_curves_are_written(num_classes: int, tmp_path: Path) -> None:
    precision = np.random.default_rng(0).random((10, 101, num_classes)).cumsum(axis=1)[:, ::-1] / 101
    precision[..., 0] = np.nan  # a class without objects
    path = draw_precision_recall(precision, [f'class {k}' for k in range(num_classes)], tmp_path / 'new' / 'c.png', title='val')
    picture = cv2.imread(str(path))
    assert min(picture.shape[:2]) > 300
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 50
    with pytest.raises(ValueError, match=r'`precision` must be \(10, R, 1\) for so many classes, got \(10, 101'):
        draw_precision_recall(precision, ['a'], path)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(labels=np.array([0, 1])), r"one entry for each of the 1 boxes, got {'labels': 2}"),
        (dict(masks=np.zeros((1, 5, 5))), r'`masks` must be \(100, 120\) \(h, w\) as the image, got \(5, 5\)'),
        (dict(labels=np.array([2])), r'`labels` must be 0 ... 1, got 2'),
        (dict(scores=np.zeros(3)), r"'scores': 3"),
    ],
)
def test_errors(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        draw_objects(grey(), **(dict(bboxes=BOX, labels=np.array([0]), meta=META) | change))
