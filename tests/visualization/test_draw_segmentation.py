from pathlib import Path

import cv2
import numpy as np
import pytest

from mmpose_lite.structures import ClassMeta
from mmpose_lite.visualization import draw_confusion_matrix, draw_segmentation

META = ClassMeta.load(dict(classes=['background', 'cat', 'dog'], palette=[[0, 0, 0], [200, 0, 0], [0, 0, 100]]))


def test_classes_get_their_colour_and_background_stays() -> None:
    image = np.full((20, 30, 3), 100, np.uint8)
    labels = np.zeros((20, 30), np.uint8)
    labels[5:15, 5:15], labels[5:15, 20:25], labels[18:] = 1, 2, 255
    before = image.copy()
    drawn = draw_segmentation(image, labels, meta=META, alpha=0.5)
    np.testing.assert_array_equal(image, before)
    assert drawn[0, 0].tolist() == [100, 100, 100]
    assert drawn[10, 10].tolist() == [50, 50, 150]  # BGR: half of 100, half of RGB (200, 0, 0)
    assert drawn[10, 22].tolist() == [100, 50, 50]
    assert drawn[19, 3].tolist() == [178, 178, 178]
    assert drawn[5, 10].tolist() == [0, 0, 200], 'an outline in full colour'
    np.testing.assert_array_equal(draw_segmentation(image, np.zeros_like(labels), meta=META), image)


def test_a_first_class_of_another_name_is_drawn() -> None:
    meta = ClassMeta.load(dict(classes=['road', 'car'], palette=[[100, 0, 0], [0, 0, 100]]))
    drawn = draw_segmentation(np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.uint8), meta=meta)
    assert drawn[1, 1].tolist() == [0, 0, 50]


@pytest.mark.parametrize('num_classes', [2, 60])
def test_confusion_matrices_are_written(num_classes: int, tmp_path: Path) -> None:
    matrix = np.random.default_rng(0).integers(0, 1000, (num_classes, num_classes))
    matrix[0] = 0  # a class that is not there
    path = draw_confusion_matrix(matrix, [f'class {k}' for k in range(num_classes)], tmp_path / 'new' / 'c.png', title='val')
    picture = cv2.imread(str(path))
    assert min(picture.shape[:2]) > 300
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 50


def test_errors(tmp_path: Path) -> None:
    image, labels = np.zeros((4, 5, 3), np.uint8), np.zeros((4, 5), np.uint8)
    with pytest.raises(ValueError, match=r'`labels` must be \(H, W\) for an image \(H, W, 3\), got \(5, 4\), \(4, 5, 3\)'):
        draw_segmentation(image, labels.T, meta=META)
    with pytest.raises(ValueError, match=r'`labels` must be below 3 or 255, got \[7\]'):
        draw_segmentation(image, labels + 7, meta=META)
    with pytest.raises(ValueError, match=r'`matrix` must be \(2, 2\) for 2 classes, got \(3, 3\)'):
        draw_confusion_matrix(np.eye(3), ['a', 'b'], tmp_path / 'c.png')
