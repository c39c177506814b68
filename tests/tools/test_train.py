"""tools/train.py as a user calls it; what runs do is in tests/engine."""

import re
from pathlib import Path

import pytest

from mmpose_lite.engine.config import load_config
from mmpose_lite.registry import DATASETS
from tests import tiny
from tests.tiny import rows, start, weights, write_config

OPTIONS = ('--gpus', '--device', '--work-dir', '--resume', '--amp', '--seed', '--cfg-options', '--launcher')


@pytest.fixture(scope='module')
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_config(tmp_path_factory.mktemp('train'))


def test_help_is_complete() -> None:
    done = start('train', '--help')
    assert done.returncode == 0
    assert all(option in done.stdout for option in OPTIONS)


def test_one_command_trains(config: Path, tmp_path: Path) -> None:
    """In a process of its own; the work dir holds what goes on from there."""
    done = start('train', config, '--device', 'cpu', '--work-dir', tmp_path / 'run', '--seed', 5)
    assert done.returncode == 0, done.stderr
    assert 'Traceback' not in done.stderr
    assert {'epoch_1.pth', 'epoch_2.pth', 'last_checkpoint', 'tiny.py', 'log.jsonl', 'log.csv'} <= {
        path.name for path in (tmp_path / 'run').iterdir()
    }
    assert weights(tmp_path / 'run' / 'epoch_2.pth', 'meta')['seed'] == 5
    assert load_config(tmp_path / 'run' / 'tiny.py').randomness.seed == 5  # the config as it was used


def test_the_seed_decides(config: Path, tmp_path: Path) -> None:
    """Workers or none, the same seed gives the same run, another one another."""
    for name, arguments, values in (
        ('one', ('--seed', 1), {}),
        ('same', ('--seed', 1), dict(train_dataloader__num_workers=1)),
        ('other', ('--seed', 2), {}),
    ):
        assert tiny.train(config, tmp_path / name, *arguments, train_cfg__max_epochs=1, **values) == 0
    one, same, other = (tiny.losses(tmp_path / name) for name in ('one', 'same', 'other'))
    assert one == same
    assert all(a[1] != b[1] for a, b in zip(one, other))


def test_the_default_work_dir_has_the_name_of_the_config(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert tiny.call('train', config, '--cfg-options', 'train_cfg.max_epochs=1') == 0
    assert len(rows(tmp_path / 'work_dirs' / 'tiny')) == 3


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (('nothing.py',), "config file 'nothing.py' does not exist"),
        (('CONFIG', '--cfg-options', 'modle.type=A'), 'has no key `modle`; did you mean model'),
        (('CONFIG', '--cfg-options', 'model.backbone.dept=18'), 'config key `model.backbone`: ResNet has no argument `dept`'),
        (('CONFIG', '--cfg-options', 'optim_wrapper=None'), 'training needs `optim_wrapper`'),
        (('CONFIG', '--amp', '--cfg-options', 'optim_wrapper=None'), 'training needs `optim_wrapper`'),
        (('CONFIG', '--cfg-options', 'load_from=no.pth'), 'no.pth does not exist'),
        (('CONFIG', '--resume', 'no.pth'), 'no.pth does not exist'),
        (('CONFIG', '--cfg-options', 'train_dataloader.dataset.num_train=0'), '`num_train`'),
        (
            ('CONFIG', '--cfg-options', 'optim_wrapper.optimizer.type=Adma'),
            'config key `optim_wrapper.optimizer`: no optimizer is called `Adma`; nearest names: `Adamax`',
        ),
        (('CONFIG', '--cfg-options', 'optim_wrapper.optimizer.lrr=1'), 'Adam has no argument `lrr`; did you mean `lr`'),
        (('CONFIG', '--cfg-options', 'train_cfg.max_epoch=1'), 'has no argument `max_epoch`; did you mean `max_epochs`'),
        (
            ('CONFIG', '--cfg-options', 'train_cfg.type=EpochTrainLoop'),
            'config key `train_cfg`: no loop is called `EpochTrainLoop`; nearest names: `EpochBasedTrainLoop`',
        ),
        (
            ('CONFIG', '--cfg-options', 'param_scheduler.0.type=LinearRL'),
            'config key `param_scheduler[0]`: no parameter scheduler is called `LinearRL`; nearest names: `LinearLR`',
        ),
        (
            ('CONFIG', '--cfg-options', 'model=5'),
            'config key `model`: must be a dict, got 5',
        ),
        (('CONFIG', '--cfg-options', 'default_hooks.logger=no'), '`default_hooks.logger`: hook: a part is configured by a dict'),
        (
            ('CONFIG', '--cfg-options', 'default_hooks.keeper.interval=3'),
            'config key `default_hooks.keeper`: a hook config needs the key `type`',
        ),
        (
            ('CONFIG', '--cfg-options', 'default_hooks.checkpoint.interval=0'),
            'config key `default_hooks.checkpoint`: CheckpointHook: `in',
        ),
        (
            ('CONFIG', '--cfg-options', "custom_hooks=[dict(type='EarlyStoppingHook',monitr='x')]"),
            '`custom_hooks[0]`: EarlyStoppingHook has no',
        ),
        (('CONFIG', '--cfg-options', 'model.head.in_channels=many'), 'HeatmapHead: `in_channels` must be an integer'),
        (
            ('CONFIG', '--cfg-options', 'train_cfg.max_epochs=1.5'),
            '`max_epochs` must be an integer, got 1.5',
        ),
        (('CONFIG', '--cfg-options', 'optim_wrapper.optimizer.lr=-1'), 'config key `optim_wrapper`: Invalid learning rate: -1'),
        (('CONFIG', '--cfg-options', 'optim_wrapper.optimizer.lr=fast'), 'config key `optim_wrapper`: '),
        (
            ('CONFIG', '--cfg-options', 'train_dataloader.batchsize=2'),
            'config key `train_dataloader`: DataLoader has no argument `batchsize`; did you mean `batch_size`',
        ),
        (
            ('CONFIG', '--cfg-options', 'train_dataloader.batch_size=two'),
            'config key `train_dataloader`: ',  # the rest is torch's, and differs between its versions
        ),
        (('CONFIG', '--cfg-options', 'train_dataloader.num_workers=-1'), 'config key `train_dataloader`: num_workers option'),
        (
            ('CONFIG', '--cfg-options', 'train_dataloader.drop_last=True', 'train_dataloader.batch_size=99'),
            'fill no batch, and `drop_last` leaves out what is not full; lower `batch_size`',
        ),
        (('CONFIG', '--cfg-options', 'val_cfg=None'), 'all must be given, or none; `val_cfg` is missing'),
        (('CONFIG', '--cfg-options', 'optim_wrapper.clip_grad=5'), 'config key `optim_wrapper`: If `clip_grad`'),
        (('CONFIG', '--cfg-options', 'model.head.in_channels=64'), 'HeatmapHead was built for 64 channels and is given 128'),
        (
            ('CONFIG', '--cfg-options', 'model.head.codec.sigma=big'),
            'config key `model.head.codec`: HeatmapCodec: ',
        ),
        (
            ('CONFIG', '--cfg-options', "custom_hooks=[dict(type='EMAHook',momentm=1)]"),
            '`custom_hooks[0]`: ExponentialMovingAverage has',
        ),
        (
            ('CONFIG', '--cfg-options', "custom_hooks=[dict(type='EMAHook',ema_type='A')]"),
            '`custom_hooks[0]`: no model is called `A`',
        ),
        (('CONFIG', '--cfg-options', 'train_dataloader.collate_fn=nose'), 'such as pose_collate, detection_collate, got'),
        (('CONFIG', '--cfg-options', 'train_dataloader.num_workers=two'), 'config key `train_dataloader`: '),
        (
            ('CONFIG', '--cfg-options', 'optim_wrapper.optimizer=5'),
            '`optim_wrapper.optimizer`: optimizer: a part is configured by',
        ),
        (('CONFIG', '--cfg-options', 'optim_wrapper.type=None'), '`type` must be a registered name or a class, got None'),
        (
            ('CONFIG', '--cfg-options', 'optim_wrapper.constructor=Foo'),
            '`optim_wrapper.constructor`: no optimizer wrapper constructor',
        ),
        (('CONFIG', '--cfg-options', 'optim_wrapper.paramwise_cfg=5'), '`optim_wrapper.paramwise_cfg`: must be a dict, got 5'),
        (
            ('CONFIG', '--cfg-options', 'param_scheduler=[5]'),
            '`param_scheduler[0]`: parameter scheduler: a part is configured by',
        ),
        (('CONFIG', '--cfg-options', 'visualizer.vis_backends=5'), '`visualizer.vis_backends[0]`: visualizer backend: a part is'),
        (
            ('CONFIG', '--cfg-options', 'log_processor.windw=3'),
            'config key `log_processor`: LogProcessor has no argument `windw`',
        ),
        (
            ('CONFIG', '--cfg-options', 'auto_scale_lr.enable=True'),
            '`base_batch_size` must be the batch size that the learning rate',
        ),
        (('CONFIG', '--cfg-options', 'env_cfg.cudnn_benchmrk=True'), 'nothing reads the key `cudnn_benchmrk`; did you mean'),
        (
            ('CONFIG', '--cfg-options', 'randomness.sed=1'),
            'config key `randomness`: nothing reads the key `sed`; did you mean `seed`',
        ),
        (('CONFIG', '--cfg-options', 'auto_scale_lr.enabled=True'), 'nothing reads the key `enabled`; did you mean `enable`'),
        (
            ('CONFIG', '--cfg-options', 'optim_wrapper.paramwise_cfg.norm_decay=0'),
            'config key `optim_wrapper.paramwise_cfg`: nothing reads the key `norm_decay`; did you mean `norm_decay_mult`',
        ),
        (
            ('CONFIG', '--cfg-options', 'default_hooks.timer.type=IterTimeHook'),
            'config key `default_hooks.timer`: no hook is called `IterTimeHook`; nearest names: `IterTimerHook`',
        ),
    ],
    ids=lambda value: value[-1] if isinstance(value, tuple) else None,
)
def test_wrong_calls_exit_2(
    config: Path, tmp_path: Path, arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture
) -> None:
    given = [str(config) if argument == 'CONFIG' else argument for argument in arguments]
    given += ['--cfg-options'] if '--cfg-options' not in given else []
    assert tiny.call('train', *given, 'log_level=ERROR', f'work_dir={tmp_path}') == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(('folder', 'reason'), [('a_file', 'File exists'), ('a_file/run', 'Not a directory')])
def test_a_work_dir_that_cannot_be(config: Path, tmp_path: Path, folder: str, reason: str, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / 'a_file').touch()
    assert tiny.train(config, tmp_path / folder) == 2
    assert f"{folder}' cannot be used: {reason}. Choose another one with --work-dir." in capsys.readouterr().err


@pytest.mark.parametrize('num_workers', [0, 1])
def test_a_broken_image_is_named(config: Path, tmp_path: Path, num_workers: int, capsys: pytest.CaptureFixture) -> None:
    """The fast check does not open images; the run that meets one ends with a line, from a data worker, too."""
    people = str(tmp_path / 'people')
    dataset = DATASETS.build(load_config(config, {'data_root': people}).train_dataloader.dataset)
    for path in Path(dataset.data_prefix['img']).iterdir():
        path.write_bytes(path.read_bytes()[:600])
    assert tiny.train(config, tmp_path / 'run', data_root=people, train_dataloader__num_workers=num_workers) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert re.fullmatch(r"error: image file '.*\.jpg' .*; it holds 600 bytes\. Copy or download it again\.", error)


def test_what_argparse_refuses_exits_2(config: Path) -> None:
    with pytest.raises(SystemExit) as caught:
        tiny.call('train', config, '--device', 'tpu')
    assert caught.value.code == 2


def test_a_fault_in_the_program_keeps_its_traceback(config: Path, tmp_path: Path) -> None:
    with pytest.raises(LookupError, match='process 0 has had enough'):
        tiny.train(config, tmp_path, custom_hooks=[dict(type='EndingHook', before=1, how='raise')])


def test_unreadable_annotations_exit_1(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / 'bad.json').write_text('{"images": ')
    dataset = dict(type='CocoKeypointDataset', ann_file='bad.json', data_root=str(tmp_path))
    cfg = tmp_path / 'bad.py'
    cfg.write_text(f'_base_ = {str(config)!r}\ntrain_dataloader = dict(dataset=dict(_delete_=True, **{dataset!r}))')
    assert tiny.train(cfg, tmp_path / 'run') == 1
    assert 'no valid JSON at line 1' in capsys.readouterr().err
