"""tools/print_config.py as a user calls it."""

from pathlib import Path

import pytest
from mmengine.config import Config

from tests import tiny
from tests.conftest import REPO
from tests.tiny import start

QUICKSTART = REPO / 'configs' / 'quickstart.py'


def test_help_is_complete() -> None:
    done = start('print_config', '--help')
    assert done.returncode == 0
    assert '--cfg-options' in done.stdout


def test_it_prints_a_config_that_can_be_used(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """With bases, options and inherited values filled in."""
    options = ('data_root=/data', 'optim_wrapper.optimizer.lr=0.5', 'model.head.deconv_out_channels=16,16,8', 'resume=True')
    assert tiny.call('print_config', QUICKSTART, '--cfg-options', *options) == 0
    (tmp_path / 'printed.py').write_text(capsys.readouterr().out)
    cfg = Config.fromfile(tmp_path / 'printed.py')
    assert cfg.train_dataloader.dataset.data_root == '/data'
    assert cfg.val_evaluator[0].data_root == '/data'
    assert cfg.model.meta == 'coco17'
    assert cfg.optim_wrapper.optimizer.lr == 0.5
    assert cfg.model.head.deconv_out_channels == (16, 16, 8)
    assert cfg.resume is True
    assert cfg.default_hooks.runtime_info.type == 'MonitorHook'


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (('configs/quikstart.py',), 'Near names in configs: quickstart.py'),
        ((QUICKSTART, '--cfg-options', 'optim_wraper.lr=1'), 'has no key `optim_wraper`; did you mean optim_wrapper'),
        ((QUICKSTART, '--cfg-options', 'val_evaluator.9.type=A'), "--cfg-options val_evaluator.9.type='A' does not fit"),
    ],
)
def test_wrong_calls_exit_2(
    arguments: tuple[object, ...], message: str, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(REPO)
    assert tiny.call('print_config', *arguments) == 2
    assert message in capsys.readouterr().err


def test_an_option_without_a_value_exits_2(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as caught:
        tiny.call('print_config', QUICKSTART, '--cfg-options', 'lr')
    assert caught.value.code == 2
    assert "expected KEY=VALUE, got 'lr'" in capsys.readouterr().err


def test_a_config_that_cannot_be_read_exits_2(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / 'broken.py').write_text('model = dict(\n')
    assert tiny.call('print_config', tmp_path / 'broken.py') == 2
    assert 'cannot be read: SyntaxError' in capsys.readouterr().err
