"""VOC's average precision: curves by hand, its rules for difficult and doubly found objects, and COCOeval at one IoU."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mmengine.logging import MMLogger

from mmpose_lite.evaluation.voc_detection import voc_average_precision
from mmpose_lite.registry import METRICS
from mmpose_lite.structures import ClassMeta
from tests.voc_folder import write_voc

META = ClassMeta.load(dict(classes=['dog', 'cat']))


def test_the_area_by_hand() -> None:
    """Right, wrong, right of 3: precision is 1 up to recall 1/3, then 2/3 up to 2/3, then 0."""
    assert voc_average_precision(np.array([True, False, True]), 3, eval_mode='area') == pytest.approx((1 + 2 / 3) / 3)
    assert voc_average_precision(np.array([True, False, True]), 3, eval_mode='11points') == pytest.approx(
        (4 * 1 + 3 * 2 / 3) / 11
    )
    assert voc_average_precision(np.zeros(0, bool), 3, eval_mode='area') == 0
    assert voc_average_precision(np.array([True, True]), 2, eval_mode='11points') == pytest.approx(1)


def build(folder: Path, **args: Any) -> Any:
    args = dict(type='VOCMetric', ann_file='ImageSets/Main/test.txt', data_root=str(folder)) | args
    metric = METRICS.build(args)
    metric.dataset_meta = dict(class_meta=META)
    return metric


def found(image_id: int, objects: Sequence[tuple[int, Sequence[float], float]]) -> dict[str, Any]:
    boxes = np.array([bbox for _, bbox, _ in objects], np.float32).reshape(-1, 4)
    labels, scores = (np.array([o[i] for o in objects]) for i in (0, 2))
    return dict(img_id=image_id, pred_instances=dict(bboxes=boxes, labels=labels.astype(int), scores=scores.astype(np.float32)))


def evaluate(metric: Any, samples: Sequence[dict[str, Any]]) -> dict[str, float]:
    metric.process(None, samples)
    return metric.evaluate(len(samples))


def test_rules_by_hand(tmp_path: Path) -> None:
    """Of the dogs of image 1 one is difficult. Found: it (does not count), the other (right), the other again (wrong)."""
    write_voc(tmp_path)
    dogs = [(0, (59, 29, 79, 49), 0.9), (0, (10, 20, 50, 60), 0.8), (0, (10, 20, 50, 58), 0.7)]
    cats = [(1, (0, 0, 20, 5), 0.6)]  # an IoU of exactly one half is not above it
    ours = evaluate(build(tmp_path, classwise=True), [found(1, dogs + cats), found(2, [(1, (4, 4, 44, 54), 0.5)]), found(3, [])])
    assert ours['voc/AP.dog'] == pytest.approx(1)
    assert ours['voc/AP.cat'] == pytest.approx(0.5 * 0.5)
    assert ours['voc/mAP'] == pytest.approx((1 + 0.25) / 2)


def test_against_cocoeval_at_one_iou(tmp_path: Path) -> None:
    """Without difficult objects and double finds the two rules agree but for how they sample the curve."""
    rng = np.random.default_rng(0)
    images, samples = {}, []
    for number in range(1, 31):
        corner = rng.integers(1, 20, 2)
        objects, detections = [], []
        for column in range(3):
            x, y = int(corner[0]) + 25 * column, int(corner[1])
            name = 'dog' if rng.random() < 0.5 else 'cat'
            objects.append((name, (x, y, x + 19, y + 19), 0))
            shift = int(rng.integers(0, 9))
            label = META.classes.index(name) if rng.random() < 0.8 else 0
            detections.append((label, (x - 1 + shift, y - 1, x + 19 + shift, y + 19), float(rng.random())))
        images[f'{number:06d}'] = objects
        samples.append(found(number, detections))
    write_voc(tmp_path, images)
    ours = evaluate(build(tmp_path), samples)['voc/mAP']
    coco = METRICS.build(dict(type='CocoDetectionMetric', ann_file='ImageSets/Main/test.txt', data_root=str(tmp_path)))
    coco.dataset_meta = dict(class_meta=META)
    theirs = evaluate(coco, samples)['coco/bbox_mAP_50']
    assert 0.3 < theirs < 0.95
    assert ours == pytest.approx(theirs, abs=0.01)


def test_images_that_were_not_predicted_are_told_and_count_as_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    warnings: list[str] = []
    monkeypatch.setattr(MMLogger.get_current_instance(), 'warning', warnings.append)
    write_voc(tmp_path, {'1': [('dog', (1, 1, 20, 20), 0)], '2': [('dog', (1, 1, 20, 20), 0)], '3': []})
    ours = evaluate(build(tmp_path), [found(1, [(0, (0, 0, 20, 20), 0.9)])])
    assert ours['voc/mAP'] == pytest.approx(0.5)
    assert len(warnings) == 1
    assert warnings[0].startswith('VOCMetric: 1 of 2 images with objects')


def test_errors(tmp_path: Path) -> None:
    write_voc(tmp_path)
    with pytest.raises(ValueError, match=r"`eval_mode` must be one of \('area', '11points'\) .* got 'mean', 0.5"):
        build(tmp_path, eval_mode='mean')
    box = (1.0, 1, 5, 5)
    with pytest.raises(ValueError, match=r'VOCMetric: the predictions do not belong .*(?s:.*)image ids.* predicted 9;'):
        evaluate(build(tmp_path), [found(9, [])])
    with pytest.raises(ValueError, match=r'(?s)VOCMetric: the predictions do not belong .*labels .* 2 .*as many classes'):
        evaluate(build(tmp_path), [found(1, [(2, box, 0.5)])])
    with pytest.raises(
        ValueError, match='VOCMetric: predicted boxes and scores must be finite; NaN or infinity in 1 of 1 images'
    ):
        evaluate(build(tmp_path), [found(1, [(0, box, np.nan)])])
    with pytest.raises(FileNotFoundError, match=r"VOCMetric: `ann_file` '.*val.txt' does not exist"):
        build(tmp_path, ann_file='ImageSets/Main/val.txt')
    metric = build(tmp_path)
    metric.dataset_meta = None
    with pytest.raises(RuntimeError, match="`dataset_meta` has no 'class_meta'"):
        evaluate(metric, [found(1, [])])
    write_voc(tmp_path, {'1': [('dog', (1, 1, 5, 5), 1)]})
    with pytest.raises(ValueError, match='has no object of the classes that is not difficult'):
        evaluate(build(tmp_path), [found(1, [])])
