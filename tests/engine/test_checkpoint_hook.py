"""The hooks that keep checkpoints and follow a metric."""

from pathlib import Path
from typing import Any

import pytest
import torch

from mmpose_lite.engine.evaluator import check_followed
from mmpose_lite.engine.hooks.checkpoint import rule_of
from mmpose_lite.engine.runner import Runner
from mmpose_lite.errors import ConfigError
from mmpose_lite.registry import HOOKS
from tests.tiny import make_runner, rows, train, weights, write_config

SCORED = """
train_dataloader['dataset']['indices'] = 2
val_dataloader['dataset']['indices'] = 1
val_evaluator = [dict(type='UntoldMetric')]  # which the scripted ones replace
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
        ('coco/bbox_mAP', 'greater'),
        ('coco/segm_AR@100', 'greater'),
        ('voc/mAP', 'greater'),
        ('seg/mIoU', 'greater'),
        ('seg/mFscore', 'greater'),
        ('seg/mBF', 'greater'),
        ('seg/BF.cat', 'greater'),
        ('epe/EPE', 'less'),
        ('nme/NME', 'less'),
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


def test_auto_needs_a_name_that_tells_its_rule(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    options = dict(train_cfg__max_epochs=1, default_hooks__checkpoint=dict(save_best='auto'))
    assert train(config, tmp_path, **options) == 2
    assert "error: CheckpointHook: `rule` must be given for the metric 'untold/beauty'" in capsys.readouterr().err


PCK = dict(type='PCKAccuracy', thr=[0.2, 0.3])
PLATEAU = dict(type='ReduceOnPlateauLR', by_epoch=True)


@pytest.mark.parametrize(
    ('metrics', 'options', 'message'),
    [
        (
            [PCK],
            dict(default_hooks__checkpoint=dict(save_best='pck/PCKK@0.3')),
            "CheckpointHook: `save_best` must be a value of the evaluation, got 'pck/PCKK@0.3'. Did you mean 'pck/PCK@0.3'? "
            'There are: pck/PCK@0.2, pck/PCK@0.3.',
        ),
        (
            [PCK, dict(type='EPE')],
            dict(default_hooks__checkpoint=dict(save_best=['pck/PCK@0.3', 'coco/AP'])),
            "`save_best` must be a value of the evaluation, got 'coco/AP'. There are: pck/PCK@0.2, pck/PCK@0.3, epe/EPE.",
        ),
        (
            [PCK],
            dict(custom_hooks=[dict(type='EarlyStoppingHook', monitor='PCK@0.3')]),
            '`monitor` must be a value of the evaluat',
        ),
        (
            [PCK],
            dict(param_scheduler=[dict(**PLATEAU, monitor='pck/PCK')]),
            'ReduceOnPlateauLR: `monitor` must be a value of the',
        ),
        ([PCK], dict(param_scheduler=[dict(**PLATEAU, monitor='pck/PCK@0.3')]), "`rule` must be 'greater' for 'pck/PCK@0.3'"),
        (
            [PCK, dict(type='PCKAccuracy', thr=0.3)],
            dict(default_hooks__checkpoint=dict(save_best='pck/PCK@0.3')),
            'two metrics of the evaluation give `pck/PCK@0.3`; give one of them another `prefix`, or leave it out',
        ),
    ],
    ids=['save_best', 'two', 'early stopping', 'plateau', 'rule', 'doubled'],
)
def test_what_no_evaluation_will_give_is_told_before_the_training(
    config: Path, tmp_path: Path, metrics: list[dict], options: dict[str, Any], message: str, capsys: pytest.CaptureFixture
) -> None:
    assert train(config, tmp_path, val_evaluator=metrics, **options) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / 'log.jsonl').exists()


def test_what_is_not_known_before_the_training_is_left_to_the_evaluation(config: Path, tmp_path: Path) -> None:
    """A metric of one's own, `auto`, and losses of the model."""
    for metrics, name in (([PCK, dict(type='UntoldMetric')], 'untold/beauty'), ([PCK], 'auto'), ([PCK], 'val_loss')):
        runner = make_runner(config, tmp_path, val_evaluator=metrics)
        check_followed(runner, [name], 'anything')
        with pytest.raises(ConfigError, match="anything must be a value of the evaluation, got 'coco/AP'"):
            check_followed(make_runner(config, tmp_path, val_evaluator=[PCK]), ['coco/AP'], 'anything')


def test_epochs_of_a_run_that_counts_iterations(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Such checkpoints would be written at its end alone, such schedulers never step."""
    options = dict(
        train_dataloader__sampler__type='InfiniteSampler',
        train_cfg=dict(_delete_=True, type='IterBasedTrainLoop', max_iters=2),
    )
    assert train(config, tmp_path, **options) == 2
    assert 'CheckpointHook: `by_epoch` must be False in a run that counts iterations' in capsys.readouterr().err
    options |= dict(default_hooks__checkpoint__by_epoch=False, param_scheduler=[dict(type='MultiStepLR', milestones=[1])])
    assert train(config, tmp_path, **options) == 2
    assert 'MultiStepLR: `by_epoch` must be False in a run that counts iterations' in capsys.readouterr().err


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


def test_a_run_that_is_stopped_keeps_its_last_weights(config: Path, tmp_path: Path) -> None:
    """Whatever the interval; a run that was not stopped writes nothing twice."""
    scores = [0.9, 0.1, 0.2, 0.3]
    hooks = scripted(scores, dict(type='EarlyStoppingHook', monitor='scripted/score', rule='greater', patience=2))
    names = run(config, tmp_path, scores, **hooks, default_hooks__checkpoint=dict(interval=-1))
    assert names == ['epoch_3.pth']
    checkpoint = torch.load(tmp_path / 'epoch_3.pth', weights_only=True)
    assert (checkpoint['meta']['epoch'], checkpoint['meta']['iter']) == (3, 3)
    before = (tmp_path / 'epoch_3.pth').stat()
    run(config, tmp_path, scores, '--resume', **hooks, default_hooks__checkpoint=dict(interval=-1))  # stays stopped
    assert (tmp_path / 'epoch_3.pth').stat() == before


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
