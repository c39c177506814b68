"""Which way is better: the metrics' names tell."""

import pytest

from mmpose_lite.registry import HOOKS


@pytest.mark.parametrize(
    ('metric', 'rule'),
    [
        ('coco/AP', 'greater'),
        ('coco/AR50', 'greater'),
        ('pck/PCK@0.2', 'greater'),
        ('pckh/PCKh@0.5', 'greater'),
        ('auc/AUC', 'greater'),
        ('epe/EPE', 'less'),
        ('loss_heatmap', 'less'),
    ],
)
def test_no_rule_is_needed(metric: str, rule: str) -> None:
    assert HOOKS.build(dict(type='CheckpointHook', save_best=metric)).rules == [rule]
    assert HOOKS.build(dict(type='EarlyStoppingHook', monitor=metric)).rule == rule


def test_an_unknown_metric_needs_one() -> None:
    with pytest.raises(ValueError, match='rule'):
        HOOKS.build(dict(type='EarlyStoppingHook', monitor='mine/beauty'))
    assert HOOKS.build(dict(type='EarlyStoppingHook', monitor='mine/beauty', rule='greater')).rule == 'greater'
