"""The two commands of a fresh machine, without the installation: what they would run, and what they say when they cannot."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(shutil.which('make') is None, reason='make is not installed')


def make(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    # What the make that runs this suite was given is not for this one.
    given = ('PYTEST_ARGS', 'PYTHON', 'VENV')
    env = {key: value for key, value in os.environ.items() if not key.startswith('MAKE') and key not in given}
    return subprocess.run(['make', *args], cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False)


def interpreter(path: Path, script: str) -> Path:
    path.write_text(f'#!/bin/sh\n{script}\n')
    path.chmod(0o755)
    return path


def test_quickstart_installs_and_trains(checkout: Path) -> None:
    lines = make(checkout, '-n', 'quickstart', 'PYTHON=python3').stdout.splitlines()
    assert any('-m venv' in line for line in lines)
    assert any(line.endswith('-e .') for line in lines)
    assert lines[-1] == '.venv/bin/python tools/train.py configs/quickstart.py'


def test_test_installs_the_tests_and_runs_them(checkout: Path) -> None:
    lines = make(checkout, '-n', 'test').stdout.splitlines()
    assert any("-e '.[tests]'" in line for line in lines)
    assert '-m pytest' in lines[-1]


def test_ci_without_make_runs_the_same_tools(checkout: Path) -> None:
    lines = make(checkout, '-n', 'check').stdout.splitlines()
    commands = {line.split('.venv/bin/')[-1] for line in lines if '.venv/bin/' in line and '-m pip' not in line}
    ci = (checkout / '.ci' / 'run').read_text()
    by_hand = {line.split('.venv/bin/')[-1].strip() for line in ci.splitlines() if '.venv/bin/' in line and '-m pip' not in line}
    assert by_hand == commands - {'python -m pytest -q tests/test_layering.py'}  # the suite runs that one too
    assert os.access(checkout / '.ci' / 'run', os.X_OK)


def test_nothing_is_installed_twice(checkout: Path) -> None:
    binaries = checkout / '.venv' / 'bin'
    binaries.mkdir(parents=True)
    interpreter(binaries / 'python', 'exit 0')
    first = make(checkout, 'quickstart')
    assert '-m pip install' in first.stdout
    assert '-m pip install' not in make(checkout, 'quickstart').stdout
    changed = checkout / 'requirements' / 'runtime.txt'
    stamp = (checkout / '.venv' / '.installed').stat().st_mtime
    os.utime(changed, (stamp + 10, stamp + 10))
    assert '-m pip install' in make(checkout, 'quickstart').stdout


@pytest.mark.parametrize(
    ('script', 'message'),
    [
        ('[ "$1" = -V ] && { echo Python 3.8.1; exit 0; }; exit 1', 'needs Python 3.10 or newer, .* is Python 3.8.1'),
        ('[ "$1" = -m ] && exit 1; exit 0', '-m venv` failed; on Debian and Ubuntu: apt install python3-venv'),
        (None, 'no `.*` on this machine'),
    ],
)
def test_a_machine_that_cannot_is_told_why(checkout: Path, tmp_path: Path, script: str | None, message: str) -> None:
    python = tmp_path / 'python'
    if script is not None:
        interpreter(python, script)
    done = make(checkout, 'test', f'PYTHON={python}')
    assert done.returncode != 0
    assert re.search(message, done.stderr), done.stderr
    assert not (checkout / '.venv').exists()
