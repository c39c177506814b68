"""Runs that are stopped and go on, checkpoints, and the switches of a config, on a network that trains in a second."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config

from mmpose_lite.apis import init_model
from mmpose_lite.apis.train import check_before_training, train
from mmpose_lite.engine.config import load_config
from mmpose_lite.engine.runner import Runner
from mmpose_lite.engine.work_dir import latest_checkpoint, resume_seed
from mmpose_lite.errors import ConfigError
from tests import tiny
from tests.parts import DtypeHook
from tests.tiny import assert_same_weights, losses, make_runner, rows, weights, write_config

DROPOUT_AND_EMA = """
model.update(neck=dict(type='DropoutNeck'))
custom_hooks = [dict(type='EMAHook', momentum=0.1)]
default_hooks.update(checkpoint=dict(save_best='pck/PCK@0.3', rule='greater', max_keep_ckpts=2))
param_scheduler = [dict(type='OneCycleLR', eta_max=0.01, total_steps=12, by_epoch=False)]
for loader in (train_dataloader, val_dataloader):
    loader.update(num_workers=2)
"""


@pytest.fixture(scope='module')
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_config(tmp_path_factory.mktemp('plain'))


@pytest.fixture(scope='module')
def first_run(config: Path) -> Path:
    """Return the work dir of two epochs."""
    work_dir = config.parent / 'first'
    assert tiny.train(config, work_dir) == 0
    return work_dir


# ------------------------------------------------------------------------------------------------------------- resume
# Dropout, EMA, the best checkpoint, OneCycleLR, two workers: four epochs at once, and in two halves.
@pytest.fixture(scope='module')
def resume_config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_config(tmp_path_factory.mktemp('resume'), DROPOUT_AND_EMA)


@pytest.fixture(scope='module')
def unbroken(resume_config: Path) -> Path:
    work_dir = resume_config.parent / 'unbroken'
    assert tiny.train(resume_config, work_dir, train_cfg__max_epochs=4) == 0
    return work_dir


@pytest.fixture(scope='module')
def halves(resume_config: Path) -> Path:
    work_dir = resume_config.parent / 'halves'
    assert tiny.train(resume_config, work_dir) == 0
    assert [iteration for iteration, *_ in losses(work_dir)] == [1, 2, 3, 4, 5, 6]
    assert tiny.train(resume_config, work_dir, '--resume', train_cfg__max_epochs=4) == 0
    return work_dir


def test_two_halves_are_a_whole(unbroken: Path, halves: Path) -> None:
    """All losses and learning rates, the weights, their averages, and the optimizer are equal to the last bit."""
    assert len(losses(unbroken)) == 12
    assert len({loss for _, loss, _ in losses(unbroken)}) == 12
    assert losses(halves) == losses(unbroken)
    assert_same_weights(unbroken / 'epoch_4.pth', halves / 'epoch_4.pth', ('state_dict', 'ema_state_dict'))
    ours, theirs = weights(unbroken / 'epoch_4.pth', 'optimizer'), weights(halves / 'epoch_4.pth', 'optimizer')
    assert all(torch.equal(ours['state'][i]['exp_avg'], theirs['state'][i]['exp_avg']) for i in ours['state'])
    scores = [[row['pck/PCK@0.3'] for row in rows(run, 'val')] for run in (unbroken, halves)]
    assert scores[0] == scores[1]
    assert len(scores[0]) == 4


def test_dropout_was_at_work(resume_config: Path, unbroken: Path) -> None:
    """Otherwise the comparison shows nothing about random numbers."""
    runner = make_runner(resume_config, resume_config.parent / 'built')
    assert runner.model.neck.dropout.p == 0.5
    ema = weights(unbroken / 'epoch_4.pth', 'ema_state_dict')
    averaged = weights(unbroken / 'epoch_4.pth')['head.final_layer.weight']
    assert not torch.equal(ema['module.head.final_layer.weight'], averaged)


def test_best_score_and_old_checkpoints_survive(unbroken: Path, halves: Path) -> None:
    """A resumed run does not take a worse score for the best, and goes on deleting old checkpoints."""
    names = [sorted(path.name for path in run.glob('*.pth')) for run in (unbroken, halves)]
    assert names[0] == names[1]
    assert [name for name in names[0] if name.startswith('epoch')] == ['epoch_3.pth', 'epoch_4.pth']
    best = [torch.load(run / 'epoch_4.pth', weights_only=True)['runtime'] for run in (unbroken, halves)]
    before = [row['pck/PCK@0.3'] for row in rows(unbroken, 'val')][:-1]  # a checkpoint is written before its evaluation
    assert best[0]['best_score'] == best[1]['best_score'] == max(before)


def test_killed_and_resumed(resume_config: Path, unbroken: Path) -> None:
    """kill -9 in the middle of epoch 3, with half a line in the log and half a note of the last checkpoint."""
    work_dir = resume_config.parent / 'killed'
    code = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(Path.cwd())!r})
from tests import tiny
hooks = [dict(type='EMAHook', momentum=0.1), dict(type='EndingHook', before=9)]
tiny.train(Path({str(resume_config)!r}), Path({str(work_dir)!r}), custom_hooks=hooks, train_cfg__max_epochs=4)
"""
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=120)
    assert done.returncode == -9, done.stderr
    assert [iteration for iteration, *_ in losses(work_dir)] == [1, 2, 3, 4, 5, 6, 7, 8]
    with (work_dir / 'log.jsonl').open('a') as file:
        file.write('{"split": "train", "epo')
    note = work_dir / 'last_checkpoint'
    note.write_text(note.read_text()[:-7])
    assert tiny.train(resume_config, work_dir, '--resume', train_cfg__max_epochs=4) == 0
    assert losses(work_dir) == losses(unbroken)
    assert_same_weights(unbroken / 'epoch_4.pth', work_dir / 'epoch_4.pth', ('state_dict', 'ema_state_dict'))
    columns = (work_dir / 'log.csv').read_text().splitlines()
    assert len(columns) == 1 + 12 + 4


def test_a_finished_run_resumes_to_nothing(halves: Path, resume_config: Path) -> None:
    before = losses(halves)
    assert tiny.train(resume_config, halves, '--resume', train_cfg__max_epochs=4) == 0
    assert losses(halves) == before


def test_resume_by_iterations_reads_no_past_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """4 + 4 iterations equal 8, and the second half reads its own samples only; two workers read ahead, by a little."""
    config = write_config(
        tmp_path,
        """
model.update(neck=dict(type='DropoutNeck'))
train_dataloader.update(num_workers=2, prefetch_factor=1, sampler=dict(type='InfiniteSampler'))
train_dataloader['dataset'].update(type='CountedPeopleDataset')
train_cfg = dict(type='IterBasedTrainLoop', max_iters=8, val_interval=4)
default_hooks.update(checkpoint=dict(by_epoch=False, interval=4))
param_scheduler = []
""",
    )

    def run(work_dir: str, *args: str, **values: Any) -> list[int]:
        counts = tmp_path / f'{len(list(tmp_path.glob("*.reads")))}.reads'
        monkeypatch.setenv('COUNTED_PEOPLE', str(counts))
        assert tiny.train(config, tmp_path / work_dir, *args, **values) == 0
        return [int(line) for line in counts.read_text().splitlines()]

    reads = run('unbroken')
    assert 16 <= len(reads) <= 16 + 4  # 8 batches of 2, and one batch that each worker has ready
    run('halves', train_cfg__max_iters=4)
    again = run('halves', '--resume')
    assert 8 <= len(again) <= 8 + 4
    assert losses(tmp_path / 'halves') == losses(tmp_path / 'unbroken')
    assert_same_weights(tmp_path / 'unbroken' / 'iter_8.pth', tmp_path / 'halves' / 'iter_8.pth')
    assert [row['iter'] for row in rows(tmp_path / 'halves', 'val')] == [4, 8]


@pytest.mark.parametrize('sampler', ['DefaultSampler', 'PlainSampler'])
def test_resume_inside_an_epoch(sampler: str, tmp_path: Path) -> None:
    """From a checkpoint after 1 of 3 batches, of which the first is not seen again, and from one after all 3."""
    config = write_config(
        tmp_path,
        f"""
model.update(neck=dict(type='DropoutNeck'))
train_dataloader.update(num_workers=1, sampler=dict(type={sampler!r}))
default_hooks.update(checkpoint=dict(by_epoch=False, interval=2))
""",
    )
    assert tiny.train(config, tmp_path / 'whole') == 0
    for start in (4, 6):
        work_dir = tmp_path / f'from_{start}'
        assert tiny.train(config, work_dir, '--resume', tmp_path / 'whole' / f'iter_{start}.pth') == 0
        assert (losses(work_dir) if start < 6 else []) == losses(tmp_path / 'whole')[start:]
        assert [row['iter'] for row in rows(work_dir, 'val')] == [6]
        assert rows(work_dir, 'val')[0]['pck/PCK@0.3'] == rows(tmp_path / 'whole', 'val')[1]['pck/PCK@0.3']
    assert_same_weights(tmp_path / 'whole' / 'iter_6.pth', tmp_path / 'from_4' / 'iter_6.pth')


def test_resume_without_a_checkpoint_begins(config: Path, capfd: pytest.CaptureFixture) -> None:
    assert tiny.train(config, config.parent / 'nothing', '--resume', train_cfg__max_epochs=1) == 0
    assert 'no checkpoint in' in ''.join(capfd.readouterr())


def test_resume_without_a_checkpoint_begins_from_load_from(config: Path, first_run: Path, tmp_path: Path) -> None:
    """A job that always says --resume starts from the config's weights, and goes on from its own when it starts again."""
    options = dict(load_from=str(first_run / 'epoch_2.pth'), optim_wrapper__optimizer__lr=0.0)
    name = 'backbone.layer1.0.conv1.weight'
    for epochs in (1, 2):
        assert tiny.train(config, tmp_path, '--resume', train_cfg__max_epochs=epochs, **options) == 0
        assert torch.equal(weights(tmp_path / f'epoch_{epochs}.pth')[name], weights(first_run / 'epoch_2.pth')[name])
    assert [row['epoch'] for row in rows(tmp_path)] == [1, 1, 1, 2, 2, 2]


def test_resume_says_which_options_of_the_config_are_not_used(
    config: Path, first_run: Path, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    optimizer = dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=5e-4, weight_decay=0.1))
    resumed = (config, tmp_path, '--resume', first_run / 'epoch_2.pth')
    assert tiny.train(*resumed, optim_wrapper=optimizer, param_scheduler=[], train_cfg__max_epochs=3) == 0
    said = ''.join(capfd.readouterr())
    assert 'goes on with weight_decay=0 of the checkpoint, not 0.1 of the config' in said
    assert 'the run had 2 parameter schedulers and has 0 now' in said
    assert tiny.train(*resumed, optim_wrapper__optimizer__lr=5e-4, train_cfg__max_epochs=3) == 0
    said = ''.join(capfd.readouterr())
    assert 'goes on with lr=0.001 of the checkpoint, not 0.0005 of the config' in said
    assert 'the batch size was' not in said
    assert tiny.train(*resumed, train_dataloader__batch_size=3, train_cfg__max_epochs=3) == 0
    said = ''.join(capfd.readouterr())
    assert 'the batch size was 2 and is 3 now' in said
    assert 'goes on with' not in said
    sgd = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=1e-3))
    assert tiny.train(*resumed, optim_wrapper=dict(_delete_=True, **sgd), train_cfg__max_epochs=3) == 2
    assert '--resume: the checkpoint is of another optimizer than the config, one without momentum' in ''.join(capfd.readouterr())
    groups = dict(custom_keys={'head': dict(lr_mult=2.0)})
    assert tiny.train(*resumed, optim_wrapper__paramwise_cfg=groups, train_cfg__max_epochs=3) == 2
    assert '--resume: the optimizer of the checkpoint does not fit that of the config' in ''.join(capfd.readouterr())


def test_parts_of_names_that_no_parameter_has_are_told(config: Path, tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    keys = {'backbone': dict(lr_mult=0.1), 'bakcbone.layer1': dict(lr_mult=0.1)}
    runner = make_runner(config, tmp_path, optim_wrapper__paramwise_cfg=dict(custom_keys=keys))
    runner.build_optim_wrapper(runner.optim_wrapper)
    said = [line for line in ''.join(capfd.readouterr()).splitlines() if 'changes nothing' in line]
    assert len(said) == 1
    assert '`bakcbone.layer1` is part of no name of a parameter' in said[0]


def test_resume_from_weights_alone_is_refused(
    config: Path, first_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    torch.save(dict(state_dict=weights(first_run / 'epoch_2.pth')), tmp_path / 'weights.pth')
    assert tiny.train(config, tmp_path / 'run', '--resume', tmp_path / 'weights.pth') == 2
    assert 'has no meta and no optimizer, so training cannot go on from it' in capsys.readouterr().err


def test_resume_takes_over_the_seed(config: Path, first_run: Path, tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    """A run whose config has no seed draws one; resumed, it goes on with the same, or tells that it does not."""
    assert tiny.train(config, tmp_path / 'run', randomness={}, train_cfg__max_epochs=1) == 0
    seed = resume_seed(tmp_path / 'run' / 'epoch_1.pth')
    assert seed is not None
    assert tiny.train(config, tmp_path / 'run', '--resume', randomness={}) == 0
    assert resume_seed(tmp_path / 'run' / 'epoch_2.pth') == seed
    assert 'the seed was' not in ''.join(capfd.readouterr())
    assert tiny.train(config, tmp_path / 'run', '--resume', '--seed', 12345) == 0
    assert f'the seed was {seed} and is 12345 now' in ''.join(capfd.readouterr())
    assert resume_seed(first_run / 'epoch_2.pth') == 3


@pytest.mark.parametrize('note', [None, b'', b'\0\0\0\0', b'/nowhere/epoch', b'\xff\xfe', b'/moved/epoch_2.pth'])
def test_latest_checkpoint_whatever_the_note_says(tmp_path: Path, note: bytes | None) -> None:
    for name in ('epoch_2.pth', 'epoch_10.pth', 'best_pck_epoch_99.pth', 'epoch_latest.pth'):
        (tmp_path / name).touch()
    if note is not None:
        (tmp_path / 'last_checkpoint').write_bytes(note)
    expected = 'epoch_2.pth' if note == b'/moved/epoch_2.pth' else 'epoch_10.pth'
    assert latest_checkpoint(tmp_path) == tmp_path / expected


def test_no_checkpoint_at_all(tmp_path: Path) -> None:
    assert latest_checkpoint(tmp_path) is None


# -------------------------------------------------------------------------------------------------------- checkpoints
def test_a_checkpoint_holds_tensors_and_plain_types(first_run: Path) -> None:
    """torch's own safe reader takes it, and what it holds is counted right."""
    checkpoint = torch.load(first_run / 'epoch_2.pth', weights_only=True)

    def kinds(value: Any) -> set[type]:
        if isinstance(value, dict):
            return {dict}.union(*(kinds(item) for item in (*value, *value.values())))
        if isinstance(value, list | tuple):
            return {type(value)}.union(*(kinds(item) for item in value))
        return {type(value)}

    assert kinds(checkpoint) <= {dict, list, tuple, str, int, float, bool, type(None), torch.Tensor}
    meta = checkpoint['meta']
    assert (meta['epoch'], meta['iter'], meta['seed'], meta['world_size']) == (2, 6, 3, 1)
    assert meta['keypoint_meta']['name'] == 'coco17'
    assert Config.fromstring(meta['cfg'], '.py').train_cfg.max_epochs == 2
    assert not list(first_run.glob('.*.writing'))


def test_another_number_of_keypoints(config: Path, first_run: Path, tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    """The head's last layer begins anew, and one line says so."""
    runner = make_runner(config, tmp_path, meta='lsp14', load_from=str(first_run / 'epoch_2.pth'))
    before = runner.model.head.final_layer.weight.clone()
    runner.load_or_resume()
    lines = [line for line in ''.join(capfd.readouterr()).splitlines() if 'loaded' in line]
    assert len(lines) == 1
    assert 'head 18/20: 14 != 17 keypoints, final_layer re-initialised' in lines[0]
    assert torch.equal(runner.model.head.final_layer.weight, before)
    ours = weights(first_run / 'epoch_2.pth')['backbone.conv1.weight']
    assert torch.equal(runner.model.backbone.conv1.weight, ours)


def test_too_little_in_common(config: Path, first_run: Path, tmp_path: Path) -> None:
    torch.save({'backbone.conv1.weight': weights(first_run / 'epoch_2.pth')['backbone.conv1.weight']}, tmp_path / 'one.pth')
    runner = make_runner(config, tmp_path, load_from=str(tmp_path / 'one.pth'))
    with pytest.raises(ConfigError, match=r'only 1 of \d+ tensors of the model are in the checkpoint'):
        runner.load_or_resume()
    make_runner(config, tmp_path, load_from=str(tmp_path / 'one.pth'), load_min_match=0.001).load_or_resume()


def test_names_of_a_checkpoint_may_be_revised(config: Path, first_run: Path, tmp_path: Path) -> None:
    """As the error asks for; a run that is resumed reads its own checkpoint, whose names are right."""
    path, options = tmp_path / 'wrapped.pth', dict(train_cfg__max_epochs=1)
    torch.save({f'net.{name}': value for name, value in weights(first_run / 'epoch_2.pth').items()}, path)
    with pytest.raises(ConfigError, match=r"without the prefix `net\.`: load_revise_keys=\[\('\^net"):
        make_runner(config, tmp_path / 'no', load_from=str(path)).load_or_resume()
    options |= dict(load_from=str(path), load_revise_keys=[(r'^net\.', '')], optim_wrapper__optimizer__lr=0.0)
    assert tiny.train(config, tmp_path / 'run', **options) == 0
    assert tiny.train(config, tmp_path / 'run', '--resume', **options | dict(train_cfg__max_epochs=2)) == 0
    ours = weights(tmp_path / 'run' / 'epoch_2.pth')['backbone.conv1.weight']
    assert torch.equal(ours, weights(first_run / 'epoch_2.pth')['backbone.conv1.weight'])
    model = init_model(load_config(config, {'load_revise_keys': [(r'^net\.', '')]}), path)
    assert torch.equal(model.backbone.conv1.weight, ours)


def test_two_runs_of_one_second_share_nothing(config: Path, tmp_path: Path) -> None:
    """mmengine keeps scalars under a name that holds the time in seconds."""
    first, second = (make_runner(config, tmp_path / str(i)) for i in range(2))
    first.message_hub.update_info('best_score', 1.0)
    assert 'best_score' not in second.message_hub.runtime_info
    assert first.logger is not second.logger


# ----------------------------------------------------------------------------------------------------------- switches
def test_many_switches_at_once(config: Path, tmp_path: Path) -> None:
    """Gradient clipping, accumulation, validation loss, TensorBoard, plain memory format, workers that do not stay."""
    pytest.importorskip('tensorboard')
    values: dict[str, Any] = dict(
        optim_wrapper__clip_grad=dict(max_norm=0.01),
        optim_wrapper__accumulative_counts=2,
        model__test_cfg=dict(with_loss=True),
        visualizer__vis_backends=[dict(type='TensorboardVisBackend')],
        channels_last=False,
        train_dataloader__num_workers=1,
        train_dataloader__persistent_workers=False,
    )
    assert tiny.train(config, tmp_path / 'run', **values) == 0
    train_rows, val_rows = rows(tmp_path / 'run'), rows(tmp_path / 'run', 'val')
    assert all(row['grad_norm'] > 0.01 for row in train_rows[1:])  # before clipping; the first step only gathers
    assert 'grad_norm' not in train_rows[0]
    assert all(0 < row['loss_kpt'] == row['val_loss'] < 1 for row in val_rows), val_rows
    assert list((tmp_path / 'run').rglob('events.out.tfevents.*'))


def test_clipped_gradients_are_what_the_optimizer_gets(config: Path, tmp_path: Path) -> None:
    """With SGD and lr 1, the step is as long as the clip allows."""
    values = dict(optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=1.0), clip_grad=dict(max_norm=0.001)))
    runner = make_runner(config, tmp_path, **values, param_scheduler=None)
    wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    runner.model.train()
    before = [p.detach().clone() for p in runner.model.parameters()]
    runner.model.train_step(next(iter(runner.train_dataloader)), wrapper)
    step = torch.stack([(p - q).norm() for p, q in zip(runner.model.parameters(), before)]).norm()
    assert step.item() == pytest.approx(0.001, rel=1e-3)
    assert wrapper.grad_norm > 0.001


def test_channels_last_is_the_default(config: Path, tmp_path: Path) -> None:
    default, plain = (make_runner(config, tmp_path, channels_last=value) for value in (True, False))
    weight = default.model.backbone.layer1[0].conv1.weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert plain.model.backbone.layer1[0].conv1.weight.is_contiguous()
    batch = next(iter(default.train_dataloader))
    assert default.model.data_preprocessor(batch)['inputs'].is_contiguous(memory_format=torch.channels_last)
    assert plain.model.data_preprocessor(batch)['inputs'].is_contiguous()


def test_sync_bn_is_reverted_where_there_is_one_process(config: Path, tmp_path: Path) -> None:
    runner = make_runner(config, tmp_path, sync_bn='torch')
    assert not any(isinstance(module, torch.nn.SyncBatchNorm) for module in runner.model.modules())


def test_early_stopping(config: Path, tmp_path: Path) -> None:
    stop = dict(type='EarlyStoppingHook', monitor='pck/PCK@0.3', rule='greater', patience=1, min_delta=2)
    assert tiny.train(config, tmp_path, custom_hooks=[stop], train_cfg__max_epochs=9) == 0
    assert [row['epoch'] for row in rows(tmp_path, 'val')] == [1, 2]


def test_warm_up_and_cosine(first_run: Path) -> None:
    """Linear from a tenth over 4 iterations, times a cosine over 12."""
    got = [lr for *_, lr in losses(first_run)]
    cosine = [(1 + torch.cos(torch.tensor(torch.pi * i / 12)).item()) / 2 for i in range(6)]
    warm_up = [0.1, 0.4, 0.7, 1.0, 1.0, 1.0]
    assert got == pytest.approx([1e-3 * a * b for a, b in zip(warm_up, cosine)], rel=0.03)


def test_amp(config: Path, first_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Training and evaluation compute in bfloat16, weights stay float32, and the losses are those of float32 but for rounding."""
    monkeypatch.setattr('mmpose_lite.engine.optim.computes_bfloat16', lambda device: True)  # whatever this machine has
    assert tiny.train(config, tmp_path, '--amp', custom_hooks=[dict(type='DtypeHook')]) == 0
    assert DtypeHook.seen == {('train', torch.bfloat16), ('eval', torch.bfloat16)}
    tensors = weights(tmp_path / 'epoch_2.pth').values()
    assert {tensor.dtype for tensor in tensors if tensor.is_floating_point()} == {torch.float32}
    ours, theirs = ([loss for _, loss, _ in losses(run)] for run in (tmp_path, first_run))
    assert ours == pytest.approx(theirs, rel=0.05)
    assert ours != theirs


# ------------------------------------------------------------------------------------------------- what goes wrong
def test_defective_annotations_stop_before_the_first_epoch(config: Path, first_run: Path, tmp_path: Path) -> None:
    """The table says what is wrong."""
    people = config.parent / 'people'
    values = dict(type='CocoKeypointDataset', ann_file='bad.json', data_root=str(people), data_prefix=dict(img='images/train'))
    text = (people / 'annotations' / 'person_keypoints_train.json').read_text()
    (people / 'bad.json').write_text(text.replace('"bbox": [', '"bbox": [-9000, ', 1))
    arguments = ['--device', 'cpu', '--work-dir', tmp_path, *tiny.options({'train_dataloader.dataset': values})]
    done = tiny.start('train', config, *arguments)
    assert done.returncode == 1, done.stderr
    assert 'has defects' in done.stderr
    assert 'bad-bbox' in done.stderr
    assert 'Traceback' not in done.stderr
    assert not list(tmp_path.glob('*.pth'))


def test_wrong_values_name_their_key(config: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r'config key `model`: .*`sigma` .*heatmap'):
        make_runner(config, tmp_path, model__head__codec__sigma=-1)
    cfg = load_config(config)
    cfg.work_dir = str(tmp_path)
    cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=2)
    with pytest.raises(ConfigError, match=r'`train_dataloader\.sampler` must be of type InfiniteSampler'):
        train(cfg)
    cfg.pop('optim_wrapper')
    with pytest.raises(ConfigError, match='training needs `optim_wrapper`'):
        train(cfg)


def test_clean_data_pass_the_check(config: Path) -> None:
    check_before_training(load_config(config))


def test_a_runner_for_tests_has_no_epoch(config: Path, first_run: Path, tmp_path: Path) -> None:
    cfg = load_config(config)
    for key in ('train_dataloader', 'train_cfg', 'optim_wrapper', 'param_scheduler'):
        cfg.pop(key)
    cfg.work_dir, cfg.load_from = str(tmp_path), str(first_run / 'epoch_2.pth')
    runner = Runner.from_cfg(cfg)
    assert not runner.training
    assert runner.test() == runner.val()
    assert (rows(tmp_path, 'test')[0]['epoch'], rows(tmp_path, 'test')[0]['iter']) == (0, 0)
