"""The hooks that keep checkpoints and follow a metric."""

from pathlib import Path
from typing import Any

import pytest
import torch

from mmpose_lite.engine.hooks.checkpoint import rule_of
from mmpose_lite.engine.runner import Runner
from mmpose_lite.errors import ConfigError
from mmpose_lite.registry import HOOKS
from tests.tiny import make_runner, rows, train, weights, write_config

SCORED = """
train_dataloader['dataset']['indices'] = 2
val_dataloader['dataset']['indices'] = 1
param_scheduler = []
"""


@pytest.fixture(scope='module')
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_config(tmp_path_factory.mktemp('kept'), SCORED)


def files(work_dir: Path) -> list[str]:
    return sorted(path.name for path in work_dir.glob('*.pth'))


def scripted(values: list[float] | dict[int, float], *hooks: dict[str, Any]) -> dict[str, Any]:
    return dict(custom_hooks=[dict(type='ScriptedScoresHook', values=values), *hooks])


def run(config: Path, work_dir: Path, values: list[float], *args: str, **options: Any) -> list[str]:
    """Train one epoch per score, and return the names of the checkpoints."""
    options = {**scripted(values), **options}
    assert train(config, work_dir, *args, train_cfg__max_epochs=len(values), **options) == 0
    return files(work_dir)


# --------------------------------------------------------------------------------------------------- which way is better
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
    assert rule_of(metric) == rule
    assert HOOKS.build(dict(type='CheckpointHook', save_best=metric)).rules == {metric: rule}
    assert HOOKS.build(dict(type='EarlyStoppingHook', monitor=metric)).rule == rule


def test_an_unknown_metric_needs_one() -> None:
    for cfg in (dict(type='EarlyStoppingHook', monitor='mine/beauty'), dict(type='CheckpointHook', save_best='mine/beauty')):
        with pytest.raises(ValueError, match='rule'):
            HOOKS.build(cfg)
        hook = HOOKS.build({**cfg, 'rule': 'greater'})
        assert getattr(hook, 'rule', 'greater') == 'greater'


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(interval=0), '`interval` must be positive or -1, got 0'),
        (dict(max_keep_ckpts=-2), '`max_keep_ckpts` must be positive or -1, got -2'),
        (dict(save_best='coco/AP', rule='more'), r"`rule` must be one of \('greater', 'less'\)"),
        (dict(save_best=['a', 'b'], rule=['less']), 'or one for each of'),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        HOOKS.build(dict(type='CheckpointHook', **arguments))


# -------------------------------------------------------------------------------------------------------- what is kept
def test_the_best_and_the_newest_are_kept(config: Path, tmp_path: Path) -> None:
    options = dict(default_hooks__checkpoint=dict(max_keep_ckpts=1, save_best='scripted/score', rule='greater'))
    assert run(config, tmp_path, [0.3, 0.5, 0.5, 0.4], **options) == ['best_scripted_score_epoch_2.pth', 'epoch_4.pth']
    best = torch.load(tmp_path / 'best_scripted_score_epoch_2.pth', weights_only=True)
    assert (best['meta']['epoch'], best['meta']['iter']) == (2, 2)
    assert 'optimizer' not in best
    assert (tmp_path / 'last_checkpoint').read_text() == str(tmp_path / 'epoch_4.pth')


def test_two_metrics_and_auto(config: Path, tmp_path: Path) -> None:
    both = dict(default_hooks__checkpoint=dict(save_best=['scripted/score', 'scripted/distance'], rule=['greater', 'less']))
    names = run(config, tmp_path / 'both', [0.3, 0.5], **both)
    assert [name for name in names if name.startswith('best')] == [
        'best_scripted_distance_epoch_1.pth',
        'best_scripted_score_epoch_2.pth',
    ]
    auto = dict(default_hooks__checkpoint=dict(save_best='auto', rule='less', interval=-1))
    assert run(config, tmp_path / 'auto', [0.5, 0.3, 0.4], **auto) == ['best_scripted_score_epoch_2.pth', 'epoch_3.pth']


def test_a_metric_that_is_not_there(config: Path, tmp_path: Path) -> None:
    options = dict(scripted([1.0]), train_cfg__max_epochs=1, default_hooks__checkpoint=dict(save_best='coco/AP'))
    with pytest.raises(
        ConfigError, match=r"must be a metric of the evaluation \(scripted/score, scripted/distance\), got 'coco/AP'"
    ):
        make_runner(config, tmp_path, **options).train()


def test_iterations(config: Path, tmp_path: Path) -> None:
    options = dict(
        scripted({2: 0.2, 4: 0.9, 5: 0.1}),
        train_dataloader__sampler__type='InfiniteSampler',
        train_cfg=dict(_delete_=True, type='IterBasedTrainLoop', max_iters=5, val_interval=2),
        default_hooks__checkpoint=dict(by_epoch=False, interval=2, max_keep_ckpts=2, save_best='auto', rule='greater'),
    )
    assert train(config, tmp_path, **options) == 0
    assert files(tmp_path) == ['best_scripted_score_iter_4.pth', 'iter_4.pth', 'iter_5.pth']


@pytest.mark.parametrize('fails_at', ['epoch_2.pth', 'best_scripted_score_epoch_2.pth'])
def test_the_old_one_goes_when_the_new_one_is_whole(
    config: Path, tmp_path: Path, fails_at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is full at any checkpoint leaves the one before, and the note that names it."""
    runner = make_runner(
        config,
        tmp_path,
        **scripted([0.3, 0.5]),
        default_hooks__checkpoint=dict(max_keep_ckpts=1, save_best='scripted/score', rule='greater'),
    )
    save = Runner.save_checkpoint

    def failing(self: Runner, out_dir: str, filename: str, **kwargs: Any) -> None:
        if filename == fails_at:
            raise RuntimeError('the disk is full')
        save(self, out_dir, filename, **kwargs)

    monkeypatch.setattr(Runner, 'save_checkpoint', failing)
    with pytest.raises(RuntimeError, match='the disk is full'):
        runner.train()
    there = 'epoch_1.pth' if fails_at == 'epoch_2.pth' else 'epoch_2.pth'
    assert files(tmp_path) == ['best_scripted_score_epoch_1.pth', there]
    assert Path((tmp_path / 'last_checkpoint').read_text()).name == there


# ------------------------------------------------------------------------------------------------------------ resuming
def test_a_resumed_run_knows_the_score_of_its_last_evaluation(config: Path, tmp_path: Path) -> None:
    """The checkpoint of epoch 2 was written before its evaluation, whose 0.9 epoch 3 must not beat with 0.8."""
    options = dict(default_hooks__checkpoint=dict(max_keep_ckpts=1, save_best='scripted/score', rule='greater'))
    run(config, tmp_path, [0.5, 0.9], **options)
    names = run(config, tmp_path, [0.5, 0.9, 0.8], '--resume', **options)
    assert names == ['best_scripted_score_epoch_2.pth', 'epoch_3.pth']
    assert [(row['epoch'], row['scripted/score']) for row in rows(tmp_path, 'val')] == [(1, 0.5), (2, 0.9), (3, 0.8)]
    assert weights(tmp_path / 'epoch_3.pth', 'runtime')['best_score'] == 0.9


def test_the_patience_of_early_stopping_goes_on(config: Path, tmp_path: Path) -> None:
    """Two bad evaluations before the stop of the run, a third one after it."""
    scores = [0.9, 0.1, 0.2, 0.3, 0.4, 0.5]
    hooks = scripted(scores, dict(type='EarlyStoppingHook', monitor='scripted/score', rule='greater', patience=3))
    run(config, tmp_path / 'whole', scores, **hooks)
    assert len(rows(tmp_path / 'whole', 'val')) == 4
    run(config, tmp_path / 'halves', scores[:3], **hooks)
    run(config, tmp_path / 'halves', scores, '--resume', **hooks)
    assert rows(tmp_path / 'halves', 'val')[-1]['epoch'] == 4
    run(config, tmp_path / 'halves', scores, '--resume', **hooks)  # it has stopped, and stays so
    assert rows(tmp_path / 'halves', 'val')[-1]['epoch'] == 4
