"""What the command lines share: values, exit codes, devices, processes."""

import argparse
import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mmpose_lite.apis.cli import (
    CallError,
    add_cfg_options,
    add_device,
    add_launcher,
    choose_device,
    launched,
    output_file,
    output_folder,
    parse_value,
    run_command,
    whole_number,
)
from mmpose_lite.errors import ConfigError, ImageError, RunError
from mmpose_lite.registry import ArgumentError, UnknownTypeError


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser()
    add_cfg_options(made)
    add_device(made)
    add_launcher(made)
    return made


@pytest.mark.parametrize(
    ('text', 'value'),
    [
        ('5', 5),
        ('-1', -1),
        ('5e-4', 5e-4),
        ('True', True),
        ('true', True),
        ('FALSE', False),
        ('None', None),
        ('none', None),
        ('data/coco', 'data/coco'),
        ('', ''),
        ("'5'", '5'),
        ('[1, 2]', [1, 2]),
        ('(3,)', (3,)),
        ('1,2', (1, 2)),
        ('a,b', ['a', 'b']),
        ('a,2,true', ['a', 2, True]),
        ("dict(type='Adam', lr=1)", {'type': 'Adam', 'lr': 1}),
        ("[dict(type='A', inner=dict(b=[1, 2])), {'c': dict()}]", [{'type': 'A', 'inner': {'b': [1, 2]}}, {'c': {}}]),
        ('dict([(1, 2)])', 'dict([(1, 2)])'),
        ('dict(**{})', 'dict(**{})'),
        ('dict(a=open)', 'dict(a=open)'),
        ('open(1)', 'open(1)'),
        ("{'type': 'Adam', 'lr': 1e-3}", {'type': 'Adam', 'lr': 1e-3}),
        ('[a,b]', '[a,b]'),
        ('01', '01'),
        ('{[]: 1}', '{[]: 1}'),  # a literal that Python cannot make
        ('((', '(('),
    ],
)
def test_values_of_options(text: str, value: object) -> None:
    parsed = parse_value(text)
    assert parsed == value
    assert type(parsed) is type(value)


def test_options() -> None:
    made = parser()
    assert made.parse_args([]).cfg_options == {}
    args = made.parse_args(['--cfg-options', 'a.b=1', 'c=x=y', '--cfg-options', 'd=[1]', 'a.b=2'])
    assert args.cfg_options == {'a.b': 2, 'c': 'x=y', 'd': [1]}
    assert made.parse_args([]).cfg_options == {}  # the default is not shared


@pytest.mark.parametrize('pair', ['novalue', '=5'])
def test_options_without_key_or_value(pair: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parser().parse_args(['--cfg-options', pair])
    assert caught.value.code == 2
    assert f"expected KEY=VALUE, got '{pair}'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ('error', 'code', 'said'),
    [
        (None, 0, ''),
        (CallError('--gpus must be 1.'), 2, 'error: --gpus must be 1.\n'),
        (ConfigError('no such file.'), 2, 'error: no such file.\n'),
        (UnknownTypeError('no backbone is called `X`.'), 2, 'error: no backbone is called `X`.\n'),
        (ArgumentError('X has no argument `y`.'), 2, 'error: X has no argument `y`.\n'),
        (RunError('the loss is no number.'), 1, 'error: the loss is no number.\n'),
        (
            OSError(errno.ENOSPC, 'No space left on device', '/run/log.csv'),
            1,
            "error: [Errno 28] No space left on device: '/run/log.csv'\n",
        ),
        (FileNotFoundError('image file a.jpg does not exist.'), 1, 'error: image file a.jpg does not exist.\n'),
        (
            ImageError('Caught ImageError in a worker.\nOriginal Traceback:\nmmpose_lite.errors.ImageError: cut off.\n'),
            1,
            'error: cut off.\n',
        ),
        (
            torch.OutOfMemoryError('CUDA out of memory.'),
            1,
            'error: CUDA out of memory.\nA smaller batch (`train_dataloader.batch_size`, --batch-size), smaller inputs or --amp '
            'take less.\n',
        ),
        (KeyboardInterrupt(), 1, 'interrupted\n'),
    ],
)
def test_exit_codes(error: BaseException | None, code: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    def main(argv: list[str] | None) -> int | None:
        if error is not None:
            raise error
        return None

    assert run_command(main) == code
    assert capsys.readouterr().err == said


def test_where_a_command_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Told before the work, and nothing is made."""
    made = argparse.ArgumentParser()
    made.add_argument('--out', type=output_folder)
    made.add_argument('--json', type=output_file)
    (tmp_path / 'notes.txt').write_text('')
    monkeypatch.chdir(tmp_path)
    args = made.parse_args(['--out', 'new/folder', '--json', 'new/a.json'])
    assert (args.out, args.json) == ('new/folder', 'new/a.json')
    assert made.parse_args(['--json', 'notes.txt']).json == 'notes.txt'
    assert [path.name for path in tmp_path.iterdir()] == ['notes.txt']
    monkeypatch.setattr(os, 'access', lambda path, mode: 'locked' not in str(path))  # the tests may run as root
    (tmp_path / 'locked').mkdir()
    for option, value, said in (
        ('--out', 'notes.txt', "'notes.txt' is a file, no folder can be made there"),
        ('--out', 'notes.txt/deep', "'{}/notes.txt' is a file, no folder can be made there"),
        ('--out', 'locked/deep', "the folder '{}/locked' may not be written"),
        ('--json', 'locked/a.json', "the folder 'locked' may not be written"),
        ('--json', 'locked', "'locked' is a folder, give it the name of a file in it"),
    ):
        with pytest.raises(SystemExit) as caught:
            made.parse_args([option, value])
        assert caught.value.code == 2
        assert f'argument {option}: {said.format(tmp_path)}' in capsys.readouterr().err


def test_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    made = argparse.ArgumentParser()
    made.add_argument('--num', type=whole_number(1))
    assert made.parse_args(['--num', '3']).num == 3
    for text in ('0', '-2', 'abc', '1.5', ''):
        with pytest.raises(SystemExit) as caught:
            made.parse_args(['--num', text])
        assert caught.value.code == 2
        assert f'argument --num: must be a whole number, 1 or more, got {text}' in capsys.readouterr().err


def test_the_code_and_the_arguments_of_a_command_pass_through() -> None:
    assert run_command(lambda argv: len(argv), ['a', 'b', 'c']) == 3


def test_an_unexpected_error_keeps_its_traceback() -> None:
    def main(argv: list[str] | None) -> None:
        raise ZeroDivisionError('in the program')

    with pytest.raises(ZeroDivisionError, match='in the program'):
        run_command(main)


def test_choose_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '0,1')
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    assert choose_device(None) == choose_device('cuda') == 'cuda'
    assert os.environ['CUDA_VISIBLE_DEVICES'] == '0,1'
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    assert choose_device(None) == 'cpu'
    with pytest.raises(CallError, match='--device cuda: torch sees no GPU here; use --device cpu'):
        choose_device('cuda')
    assert choose_device('cpu') == 'cpu'
    assert os.environ['CUDA_VISIBLE_DEVICES'] == ''  # mmengine looks there


@pytest.mark.parametrize(
    ('argv', 'num_gpus', 'message'),
    [
        (['--gpus', '2'], 0, '--gpus 2: torch sees no GPU here; add --device cpu to run that many on the CPU'),
        (['--gpus', '2', '--device', 'cuda'], 0, '--device cuda: torch sees no GPU here'),
        (['--gpus', '4'], 2, '--gpus 4: this machine has 2. Ask for fewer, or use --device cpu'),
    ],
)
def test_more_gpus_than_there_are(argv: list[str], num_gpus: int, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: num_gpus > 0)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: num_gpus)
    with pytest.raises(CallError, match=message):
        launched(parser().parse_args(argv), 'train.py', argv)


def test_one_process_does_the_work_itself_and_several_are_started(monkeypatch: pytest.MonkeyPatch) -> None:
    from mmpose_lite.engine import launch

    started = []
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')
    monkeypatch.setattr(launch, 'launch_workers', lambda *args: started.append(args))
    assert not launched(parser().parse_args(['--device', 'cpu']), 'train.py', [])
    assert started == []
    argv = ['--gpus', '2', '--device', 'cpu']
    assert launched(parser().parse_args(argv), 'train.py', argv)
    assert started == [(['train.py', *argv, '--launcher', 'pytorch'], 2)]


def test_a_launchers_process_joins_its_group(monkeypatch: pytest.MonkeyPatch) -> None:
    from mmpose_lite.engine import launch

    joined = []
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')
    monkeypatch.setattr(launch, 'init_distributed', lambda *args: joined.append(args))
    args = parser().parse_args(['--device', 'cpu', '--launcher', 'pytorch', '--gpus', '2'])
    assert not launched(args, 'train.py', [])
    assert joined == [('pytorch', 'cpu')]

    def fail(*args: object) -> None:
        raise RuntimeError('RANK is not set.')

    monkeypatch.setattr(launch, 'init_distributed', fail)
    with pytest.raises(CallError, match='RANK is not set'):
        launched(args, 'train.py', [])


def test_help_and_wrong_calls_need_no_torch(repo: Path) -> None:
    code = 'import sys, mmpose_lite.apis.cli; print([m for m in ("torch", "numpy", "mmengine") if m in sys.modules])'
    out = subprocess.run([sys.executable, '-c', code], cwd=repo, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == '[]'
