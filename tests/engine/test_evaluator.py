"""Metrics that do not fit their dataset are told before a run begins."""

import pytest

from mmpose_lite.engine.evaluator import Evaluator
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
