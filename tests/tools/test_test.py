"""tools/test.py as a user calls it; two processes are in tests/engine/test_launch.py."""

import json
import pickle
from pathlib import Path

import pytest
import torch

from mmpose_lite.engine.config import load_config
from mmpose_lite.registry import MODELS
from tests import tiny
from tests.parts import DtypeHook
from tests.tiny import start, write_config


@pytest.fixture(scope='module')
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_config(tmp_path_factory.mktemp('test'))


@pytest.fixture(scope='module')
def checkpoint(config: Path) -> Path:
    """Return a checkpoint of weights alone, without a training."""
    torch.manual_seed(0)
    path = config.parent / 'weights.pth'
    torch.save(MODELS.build(load_config(config).model).state_dict(), path)
    return path


def test_help_is_complete() -> None:
    done = start('test', '--help')
    assert done.returncode == 0
    for option in ('config', 'checkpoint', '--gpus', '--device', '--out', '--cfg-options', '--launcher', '--work-dir', '--trust'):
        assert option in done.stdout


def test_metrics_go_to_a_file(config: Path, checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / 'deep' / 'metrics.json'
    assert tiny.call('test', config, checkpoint, '--out', out, '--work-dir', tmp_path) == 0
    content = json.loads(out.read_text())
    assert set(content) == {'config', 'checkpoint', 'metrics'}
    assert content['checkpoint'] == str(checkpoint)
    assert 0 <= content['metrics']['pck/PCK@0.3'] <= 1
    assert tiny.rows(tmp_path, 'test')[0]['pck/PCK@0.3'] == content['metrics']['pck/PCK@0.3']


def test_twice_the_same(config: Path, checkpoint: Path, tmp_path: Path) -> None:
    """With other batches, with workers, with the hook that averages weights, and with losses: the metrics do not change."""
    values = [
        {},
        {'test_dataloader.batch_size': 5, 'test_dataloader.num_workers': 1, 'model.test_cfg': dict(with_loss=True)},
        {'custom_hooks': [dict(type='EMAHook'), dict(type='EarlyStoppingHook', monitor='pck/PCK@0.3')]},
    ]
    metrics = []
    for number, value in enumerate(values):
        out = tmp_path / f'{number}.json'
        arguments = (config, checkpoint, '--out', out, '--work-dir', tmp_path)
        assert tiny.call('test', *arguments, *tiny.options(value)) == 0
        metrics.append(json.loads(out.read_text())['metrics'])
    assert metrics[1].pop('loss_kpt') > 0
    assert metrics[1].pop('test_loss') > 0
    assert metrics[0] == metrics[1] == metrics[2]


def test_amp(config: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The network computes in bfloat16 when it is asked to, and in float32 otherwise."""
    monkeypatch.setattr('mmpose_lite.engine.optim.computes_bfloat16', lambda device: True)  # whatever this machine has
    for arguments, dtype in (((), torch.float32), (('--amp',), torch.bfloat16)):
        hooks = tiny.options({'custom_hooks': [dict(type='DtypeHook')]})
        assert tiny.call('test', config, checkpoint, *arguments, '--work-dir', tmp_path, *hooks) == 0
        assert DtypeHook.seen == {('eval', dtype)}


def test_wrong_calls_exit_2(config: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    class Evil:
        def __reduce__(self) -> tuple:
            return (print, ('this ran',))

    evil, other, text, part = (tmp_path / f'{name}.pth' for name in ('evil', 'other', 'text', 'part'))
    whole = torch.load(checkpoint, weights_only=True)
    torch.save({name: value for name, value in whole.items() if name != 'head.final_layer.bias'}, part)
    torch.save(dict(state_dict=Evil()), evil, pickle_module=pickle)
    torch.save({'backbone.conv1.weight': torch.zeros(1)}, other)
    text.write_text('hello')
    for arguments, message in (
        ((config, tmp_path / 'no.pth'), 'no.pth does not exist'),
        ((tmp_path / 'no.py', checkpoint), "no.py' does not exist"),
        ((config, other), 'other.pth cannot be loaded: load_state: only 0 of'),
        ((config, part), 'head 19/20: 1 missing (head.final_layer.bias)'),  # figures of a half-trained network are of no use
        ((config, text), 'text.pth (5 bytes) is not a whole checkpoint'),
        ((config, evil), 'evil.pth is more than weights'),
        ((config, evil, '--trust'), 'evil.pth cannot be loaded: extract_state_dict'),
        ((config, evil, '--cfg-options', 'trust_checkpoints=True'), 'evil.pth cannot be loaded: extract_state_dict'),
        ((config, checkpoint, '--cfg-options', 'test_evaluator=None'), 'testing needs `test_evaluator`'),
        (
            (config, checkpoint, '--cfg-options', 'test_evaluator.0.type=PCK'),
            'config key `test_evaluator[0]`: no metric is called',
        ),
    ):
        assert tiny.call('test', *arguments, '--work-dir', tmp_path / 'run') == 2, message
        captured = capsys.readouterr()
        assert message in captured.err
        assert ('this ran' in captured.out) == any('trust' in str(argument) for argument in arguments)
