"""Checkpoint files are whole, whatever happens to the process that writes them."""

import io
import os
import re
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from torch import nn

from mmpose_lite.checkpoints import writing
from mmpose_lite.checkpoints.plain import from_plain
from mmpose_lite.checkpoints.reading import load_checkpoint_file
from mmpose_lite.checkpoints.writing import save_checkpoint_atomic

NOBODY = 99_999_999  # no process has such an id
posix = pytest.mark.skipif(os.name != 'posix', reason='needs fork, kill and resource limits')


def test_what_is_written_is_read_back_by_plain_torch(tmp_path: Path) -> None:
    path = tmp_path / 'new' / 'epoch_1.pth'
    save_checkpoint_atomic({'epoch': np.int64(3), 'log': HistoryBuffer([1.0], [1]), 'w': nn.Parameter(torch.ones(2))}, path)
    assert [file.name for file in path.parent.iterdir()] == ['epoch_1.pth']
    loaded = torch.load(path, weights_only=True)  # no allow-list: nothing but plain types is inside
    assert loaded['epoch'] == 3
    assert from_plain(load_checkpoint_file(path))['log'].current() == 1.0


def test_refused_state_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / 'last.pth'
    save_checkpoint_atomic({'epoch': 1}, path)
    with pytest.raises(TypeError, match='`epoch`'):
        save_checkpoint_atomic({'epoch': object()}, path)
    assert load_checkpoint_file(path) == {'epoch': 1}


@posix
def test_a_kill_at_any_moment_leaves_a_whole_file(tmp_path: Path) -> None:
    script = """
        import os, pathlib, random, signal, sys, time
        import torch
        from mmpose_lite.checkpoints.reading import load_checkpoint_file
        from mmpose_lite.checkpoints.writing import save_checkpoint_atomic

        path = pathlib.Path(sys.argv[1])
        random.seed(0)
        step, left_behind = 0, 0
        save_checkpoint_atomic({'step': 0, 'w': torch.zeros(50_000)}, path)
        for _ in range(25):
            before = path.stat().st_mtime_ns
            pid = os.fork()
            if pid == 0:
                while True:
                    step += 1
                    save_checkpoint_atomic({'step': step, 'w': torch.full((50_000,), float(step))}, path)
            while path.stat().st_mtime_ns == before:  # on a busy machine the process may begin late
                time.sleep(0.001)
            time.sleep(random.uniform(0.0, 0.06))
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            left_behind += len(list(path.parent.glob('.*.writing')))
            loaded = load_checkpoint_file(path)
            assert loaded['step'] >= step, (loaded['step'], step)
            step = loaded['step']
            assert (loaded['w'] == step).all()
        assert step > 0 and left_behind > 0, (step, left_behind)  # kills did fall into writes
        save_checkpoint_atomic({'step': -1}, path)
        assert [file.name for file in path.parent.iterdir()] == [path.name], 'stale temporaries'
    """
    command = [sys.executable, '-c', textwrap.dedent(script), str(tmp_path / 'last.pth')]
    env = {**os.environ, 'OMP_NUM_THREADS': '1'}  # threads do not survive a fork
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def test_temporaries_of_running_processes_are_kept(tmp_path: Path) -> None:
    here = re.sub(r'\W', '_', socket.gethostname())
    theirs = tmp_path / f'.epoch_9.pth.{here}.{os.getppid()}.writing'
    elsewhere = tmp_path / f'.epoch_9.pth.another_machine.{NOBODY}.writing'  # whether that process runs cannot be known here
    killed = tmp_path / f'.epoch_9.pth.{here}.{NOBODY}.writing'
    for file in (theirs, elsewhere, killed):
        file.touch()
    unrelated = tmp_path / '.notes.writing'
    unrelated.touch()
    save_checkpoint_atomic({'epoch': 1}, tmp_path / 'epoch_1.pth')
    assert theirs.exists()
    assert elsewhere.exists()
    assert unrelated.exists()
    assert killed.exists() == (os.name != 'posix')


@posix
def test_a_full_disk_leaves_the_old_file_and_says_so(tmp_path: Path) -> None:
    import resource
    import signal

    path = tmp_path / 'last.pth'
    save_checkpoint_atomic({'epoch': 1}, path)
    old_limits, old_handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, old_limits[1]))  # the kernel refuses bytes beyond, as a full disk does
    try:
        with pytest.raises(RuntimeError, match=r'last\.pth could not be written.* MB are free in .*untouched') as caught:
            save_checkpoint_atomic({'w': torch.zeros(100_000)}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old_limits)
        signal.signal(signal.SIGXFSZ, old_handler)
    assert isinstance(caught.value.__cause__, OSError | RuntimeError)
    assert [file.name for file in tmp_path.iterdir()] == ['last.pth']
    assert load_checkpoint_file(path) == {'epoch': 1}


def test_an_interrupt_removes_the_temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(state: object, file: io.BufferedWriter) -> None:
        file.write(b'half')
        raise KeyboardInterrupt

    monkeypatch.setattr(writing.torch, 'save', interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint_atomic({'epoch': 1}, tmp_path / 'last.pth')
    assert list(tmp_path.iterdir()) == []
