"""MonitorHook: what it records, that it waits for nothing, and the stop at a loss that is no number."""

import json
from collections import Counter
from pathlib import Path

import pytest
import torch

from mmpose_lite.engine.hooks import NonFiniteLossError
from mmpose_lite.engine.hooks.monitor import HISTORY
from tests import tiny
from tests.tiny import make_runner, rows, write_config


@pytest.fixture(scope='module')
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_config(tmp_path_factory.mktemp('monitor'))


def test_no_value_is_fetched_between_log_lines(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step may copy its scalars once; it may not ask for one of them.

    `tolist` on the packed scalars is the one fetch that is left; on a GPU it reads memory of the host.
    """
    runner = make_runner(config, tmp_path, default_hooks__logger__interval=1000, optim_wrapper__clip_grad=dict(max_norm=1.0))
    fetched: Counter[str] = Counter()

    def watch(name: str) -> None:
        original = getattr(torch.Tensor, name)

        def method(self: torch.Tensor, *args: object) -> object:
            if recording:
                fetched[name] += 1
            return original(self, *args)

        monkeypatch.setattr(torch.Tensor, name, method)

    recording = False
    for name in ('item', 'cpu', 'tolist', '__float__', '__bool__', '__int__'):
        watch(name)
    call_hook = runner.call_hook

    def call(fn_name: str, **kwargs: object) -> None:
        nonlocal recording
        # From the moment a step begins until its hooks are done, but for the optimizer, which counts its steps on the CPU.
        recording = fn_name in ('before_train_iter', 'after_train_iter')
        call_hook(fn_name, **kwargs)
        recording = fn_name == 'before_train_iter'

    monkeypatch.setattr(runner, 'call_hook', call)
    monkeypatch.setattr(torch.optim.Adam, 'step', lambda self, closure=None: None)
    runner.log_processor.get_log_after_iter = lambda *args: ({}, '')
    runner.train()
    assert fetched == {'tolist': 6}  # once in each of the 6 iterations


def test_what_is_recorded_is_what_the_step_gave(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = make_runner(config, tmp_path)
    given: list[float] = []
    step = type(runner.model).train_step

    def train_step(self: object, *args: object, **kwargs: object) -> dict[str, torch.Tensor]:
        outputs = step(self, *args, **kwargs)
        given.append(float(outputs['loss']))
        return outputs

    monkeypatch.setattr(type(runner.model), 'train_step', train_step)
    runner.train()
    history = runner.message_hub.get_scalar('train/loss')
    assert history.data[0].tolist() == pytest.approx(given, rel=1e-7)
    assert history.max_length == HISTORY
    assert {name for name in runner.message_hub.log_scalars if name.startswith('train/')} >= {
        f'train/{name}' for name in ('loss', 'loss_kpt', 'acc_pose', 'grad_norm', 'lr', 'time', 'data_time')
    }
    assert rows(tmp_path)[-1]['loss'] == pytest.approx(sum(given) / 6)  # the mean over the log's window


def test_a_loss_that_is_no_number_stops_the_run(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """At that iteration, with exit code 1 and a report; the checkpoint of the epoch before stays the last."""
    config = write_config(tmp_path, "model['head']['loss'] = dict(type='BreakingLoss', at=5)")
    assert tiny.train(config, tmp_path / 'run') == 1
    error = capsys.readouterr().err
    assert 'error: loss, loss_kpt is not finite in iteration 5 (epoch 2' in error
    assert 'Traceback' not in error
    assert [row['iter'] for row in rows(tmp_path / 'run')] == [1, 2, 3, 4]
    assert [path.name for path in (tmp_path / 'run').glob('*.pth')] == ['epoch_1.pth']
    saved = tiny.weights(tmp_path / 'run' / 'epoch_1.pth')
    assert all(torch.isfinite(value).all() for value in saved.values())

    report = json.loads((tmp_path / 'run' / 'non_finite_rank0.json').read_text())
    assert (report['iteration'], report['epoch'], report['rank']) == (5, 2, 0)
    assert report['non_finite'] == ['loss', 'loss_kpt']
    assert report['scalars']['loss'] == report['gradient_norm'] == 'nan'
    assert report['lr']['lr'] == [pytest.approx(rows(tmp_path / 'run')[-1]['lr'], rel=0.5)]
    assert 'head.final_layer.weight' in report['non_finite_parameters']
    assert len(report['images']) == 2  # the batch
    people = json.loads((tmp_path / 'people' / 'annotations' / 'person_keypoints_train.json').read_text())
    by_id = {annotation['id']: annotation for annotation in people['annotations']}
    last = people['images'][0]['width'] - 1
    for image in report['images']:
        annotation = by_id[image['ann_id']]
        assert image['img_id'] == annotation['image_id']
        x, y, w, h = annotation['bbox']
        left, right = (last - x - w, last - x) if image['flip'] else (x, x + w)
        assert image['bboxes'] == [pytest.approx([left, y, right, y + h])]


def test_it_can_go_on_too(tmp_path: Path) -> None:
    config = write_config(tmp_path, "model['head']['loss'] = dict(type='BreakingLoss', at=6)")
    assert tiny.train(config, tmp_path / 'run', default_hooks__runtime_info__stop_on_non_finite=False) == 0
    assert rows(tmp_path / 'run')[-1]['loss'] is None  # JSON has no NaN


def test_the_error_is_a_failed_run() -> None:
    assert NonFiniteLossError.exit_code == 1
