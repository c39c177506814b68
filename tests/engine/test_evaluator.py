"""Metrics that do not fit their dataset are told before a run begins."""

from pathlib import Path
from typing import Any

import pytest

from mmpose_lite.engine.evaluator import Evaluator
from mmpose_lite.engine.hooks.checkpoint import known_rule
from mmpose_lite.errors import ConfigError
from mmpose_lite.evaluation import EPE, IoUMetric
from mmpose_lite.evaluation.metas import META_KEYS
from mmpose_lite.registry import METRICS
from mmpose_lite.structures import ClassMeta, KeypointMeta

POSES = dict(keypoint_meta=KeypointMeta.load('lsp14'))
OBJECTS = dict(class_meta=ClassMeta.load('voc20'))


def test_every_metric_of_ours_says_what_it_measures() -> None:
    METRICS.find('EPE', {})  # imports them
    ours = {name: cls for name, cls in METRICS.module_dict.items() if cls.__module__.startswith('mmpose_lite.evaluation')}
    assert {'AUC', 'BoundaryFScore', 'CocoWholeBodyMetric', 'VOCMetric'} < ours.keys()
    assert all(cls.measures in META_KEYS for cls in ours.values())


def test_metrics_get_what_the_dataset_declares() -> None:
    evaluator = Evaluator([EPE()])
    for declared in (POSES, POSES | OBJECTS, {}, None):
        evaluator.dataset_meta = declared
        assert evaluator.dataset_meta is evaluator.metrics[0].dataset_meta is declared


def test_a_metric_of_something_else_is_refused() -> None:
    known = r'EPE: it measures keypoints, and the dataset has classes; .* CocoDetectionMetric, IoUMetric'
    with pytest.raises(ConfigError, match=known) as caught:
        Evaluator([EPE()]).dataset_meta = OBJECTS
    assert caught.value.in_every_process, 'one of several processes tells it'
    with pytest.raises(ConfigError, match=r'IoUMetric: it measures classes, .* has keypoints; .* CocoMetric, .*PCKAccuracy'):
        Evaluator([IoUMetric()]).dataset_meta = POSES


def test_a_metric_that_computes_more_than_its_base_tells_is_not_held_to_those_names() -> None:
    class More(EPE):
        def compute_metrics(self, results: list) -> dict[str, float]:
            return super().compute_metrics(results) | dict(beauty=1.0)

    assert Evaluator([EPE()]).names() == ['epe/EPE']
    assert Evaluator([EPE(), More()]).names() is None


TWO = dict(class_meta=ClassMeta.load(dict(classes=['cat', 'dog'])))


@pytest.mark.parametrize(
    ('cfg', 'declared', 'some', 'number'),
    [
        (dict(type='PCKAccuracy', thr=[0.2, 0.05], norm_item='torso', prefix='a'), POSES, ['a/tPCK@0.2', 'a/tPCK@0.05'], 2),
        (dict(type='AUC'), POSES, ['auc/AUC'], 1),
        (dict(type='CocoMetric', ann_file='FILE'), POSES, ['coco/AP', 'coco/AP .5', 'coco/AR (L)'], 10),
        (dict(type='CocoMetric', ann_file='FILE', format_only=True, outfile_prefix='x'), POSES, [], 0),
        (dict(type='CocoWholeBodyMetric', ann_file='FILE'), POSES, ['coco-wholebody/AP', 'coco-wholebody/hand/AR (L)'], 70),
        (
            dict(type='CocoDetectionMetric', ann_file='FILE', metric=['bbox', 'segm'], classwise=True),
            TWO,
            ['coco/bbox_mAP', 'coco/bbox_mAP.dog', 'coco/segm_AR@1', 'coco/segm_mAP.cat'],
            2 * (12 + 2),
        ),
        (dict(type='CocoDetectionMetric', ann_file='FILE'), TWO, ['coco/bbox_mAP_75'], 12),
        (dict(type='VOCMetric', ann_file='FILE', classwise=True), TWO, ['voc/mAP', 'voc/AP.cat', 'voc/AP.dog'], 3),
        (
            dict(type='IoUMetric', iou_metrics=['mIoU', 'mDice']),
            TWO,
            ['seg/aAcc', 'seg/mIoU', 'seg/mAcc', 'seg/mDice', 'seg/IoU.cat', 'seg/IoU.dog', 'seg/Dice.cat', 'seg/Dice.dog'],
            8,
        ),
        (dict(type='IoUMetric', iou_metrics=['mFscore'], classwise=False), TWO, ['seg/mFscore', 'seg/mPrecision'], 4),
        (dict(type='BoundaryFScore'), TWO, ['seg/mBF', 'seg/BF.cat', 'seg/BF.dog'], 3),
    ],
)
def test_the_names_of_values_are_known_before_and_tell_which_way_is_better(
    cfg: dict[str, Any], declared: dict[str, Any], some: list[str], number: int, tmp_path: Path
) -> None:
    (tmp_path / 'file').touch()
    evaluator = Evaluator([METRICS.build({**cfg, **({'ann_file': str(tmp_path / 'file')} if 'ann_file' in cfg else {})})])
    evaluator.dataset_meta = declared
    names = evaluator.names()
    assert len(names) == number
    assert [name for name in names if name in some] == some
    assert {known_rule(name) for name in names} <= {'greater'}
