"""Several processes: on this machine through `--gpus N`, and as torchrun, Slurm and MPI describe them."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import torch

from mmpose_lite.engine.launch import LaunchError, init_distributed, launch_workers
from tests import tiny
from tests.conftest import REPO
from tests.tiny import rows, start, weights, write_config

RANK = ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'MASTER_ADDR', 'MASTER_PORT')
SLURM = {'SLURM_PROCID': '5', 'SLURM_NTASKS': '8', 'SLURM_LOCALID': '1'}
MPI = {'OMPI_COMM_WORLD_RANK': '5', 'OMPI_COMM_WORLD_SIZE': '8', 'OMPI_COMM_WORLD_LOCAL_RANK': '1'}


@pytest.fixture(scope='module')
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    text = "test_evaluator = [dict(type='PCKAccuracy', thr=[0.1, 0.3]), dict(type='EPE')]"
    return write_config(tmp_path_factory.mktemp('two'), text)


@pytest.fixture(scope='module')
def two(config: Path) -> Path:
    """Return the work dir of a training in two processes, whose SyncBN the CPU does not have."""
    work_dir = config.parent / 'two'
    done = start('train', config, '--gpus', 2, '--device', 'cpu', '--work-dir', work_dir, '--cfg-options', "sync_bn='torch'")
    assert done.returncode == 0, done.stderr
    return work_dir


def test_two_processes_train(two: Path) -> None:
    """Each epoch has two steps of 2 x 2 samples; one process writes the log and the checkpoint."""
    assert [(row['epoch'], row['iter']) for row in rows(two)] == [(1, 1), (1, 2), (2, 3), (2, 4)]
    assert len(rows(two, 'val')) == 2
    checkpoint = torch.load(two / 'epoch_2.pth', weights_only=True)
    assert checkpoint['meta']['world_size'] == 2
    assert not any(name.startswith('module.') for name in checkpoint['state_dict'])


def test_two_processes_give_the_metrics_of_one(config: Path, two: Path, tmp_path: Path) -> None:
    """5 samples in 2 processes: the one that fills up is not counted twice."""
    arguments = (config, two / 'epoch_2.pth', '--device', 'cpu', '--work-dir', tmp_path)
    done = start('test', *arguments, '--gpus', 2, '--out', tmp_path / 'two.json')
    assert done.returncode == 0, done.stderr
    assert tiny.call('test', *arguments, '--out', tmp_path / 'one.json') == 0
    one, both = (json.loads((tmp_path / f'{name}.json').read_text())['metrics'] for name in ('one', 'two'))
    assert set(one) == {'pck/PCK@0.1', 'pck/PCK@0.3', 'epe/EPE'}
    assert both == pytest.approx(one, rel=1e-6)
    assert len(rows(tmp_path, 'test')) == 2  # a row of each call, not of each process


def test_a_resumed_run_may_have_another_number_of_processes(
    config: Path, two: Path, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    assert tiny.train(config, tmp_path, '--resume', two / 'epoch_2.pth', train_cfg__max_epochs=3) == 0
    assert 'the run had 2 processes and has 1 now' in ''.join(capfd.readouterr())


def test_when_one_process_fails_all_end(config: Path, tmp_path: Path) -> None:
    """With the traceback of the one, and exit code 1, long before the half hour that a process waits for another."""
    hooks = [dict(type='EndingHook', before=2, how='raise', rank=1)]
    arguments = ('--gpus', 2, '--device', 'cpu', '--work-dir', tmp_path, *tiny.options({'custom_hooks': hooks}))
    done = start('train', config, *arguments)
    assert done.returncode == 1, done.stderr
    assert 'LookupError: process 1 has had enough' in done.stderr
    # Process 0 notices at once that its partner is gone; whichever end is seen first is named.
    assert re.search('error: process [01] of 2 failed with exit code 1; all were ended.', done.stderr)


def test_a_loss_that_is_no_number_in_one_process(tmp_path: Path) -> None:
    """In the last step of an epoch: the other process, whose loss is fine, does not write the spoilt weights either."""
    config = write_config(tmp_path, "model['head']['loss'] = dict(type='BreakingLoss', at=4, rank=1)")
    done = start('train', config, '--gpus', 2, '--device', 'cpu', '--work-dir', tmp_path / 'run')
    assert done.returncode == 1, done.stderr
    assert 'is not finite in iteration 4 (epoch 2' in done.stderr
    report = json.loads((tmp_path / 'run' / 'non_finite_rank1.json').read_text())
    assert (report['rank'], report['iteration']) == (1, 4)
    assert [path.name for path in (tmp_path / 'run').glob('*.pth')] == ['epoch_1.pth']
    assert all(value.isfinite().all() for value in weights(tmp_path / 'run' / 'epoch_1.pth').values())


# ------------------------------------------------------------------------------------- errors that all processes have
TOGETHER = """
import sys
from mmengine.evaluator import BaseMetric
from mmengine.dist import get_rank
from mmpose_lite.apis.cli import run_command
from mmpose_lite.apis.train import DataError
from mmpose_lite.engine.evaluator import Evaluator
from mmpose_lite.engine.launch import init_distributed, raise_together, sum_over_processes

class Failing(BaseMetric):
    def process(self, data_batch, data_samples):
        self.results.append(1)

    def compute_metrics(self, results):
        assert get_rank() == 0 and len(results) == 2
        raise LookupError('no such keypoint')

def main(argv):
    init_distributed('pytorch', 'cpu')
    assert sum_over_processes([get_rank() + 1, 10]) == [3, 20]
    raise_together(None)
    if argv[0] == 'data':
        raise_together(DataError('bad boxes') if get_rank() == 1 else None)
    evaluator = Evaluator([Failing()])
    evaluator.process([], [])
    evaluator.evaluate(2)

sys.exit(run_command(main, sys.argv[1:]))
"""


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(('localhost', 0))
        return str(probe.getsockname()[1])


@pytest.mark.parametrize(('case', 'told'), [('data', 'error: bad boxes\n'), ('metric', 'LookupError: no such keypoint\n')])
def test_all_processes_end_with_the_error_of_one(case: str, told: str) -> None:
    """With exit code 1; the first one tells it, whoever had it, and none waits to be ended."""
    env = {**os.environ, 'MASTER_ADDR': 'localhost', 'MASTER_PORT': free_port(), 'WORLD_SIZE': '2', 'OMP_NUM_THREADS': '1'}
    command = [sys.executable, '-c', TOGETHER, case]
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=REPO)
    both = [subprocess.Popen(command, env={**env, 'RANK': rank, 'LOCAL_RANK': rank}, **pipes) for rank in '01']
    (_, first), (_, second) = [process.communicate(timeout=200) for process in both]
    assert [process.returncode for process in both] == [1, 1], (first, second)
    assert first.endswith(told)
    assert ('Traceback' in first) == (case == 'metric')  # of what is not expected
    assert told not in second


# ------------------------------------------------------------------------------------------------------- wrong calls
@pytest.mark.skipif(torch.cuda.is_available(), reason='needs a machine without a GPU')
def test_more_gpus_than_there_are(config: Path, tmp_path: Path) -> None:
    done = start('train', config, '--gpus', 2, '--work-dir', tmp_path)
    assert done.returncode == 2
    assert done.stderr == 'error: --gpus 2: torch sees no GPU here; add --device cpu to run that many on the CPU.\n'


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (('--launcher', 'pytorch'), 'the environment lacks RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT'),
        (('--launcher', 'slurm'), 'the environment has no SLURM_PROCID; was the command started by slurm?'),
        (('--launcher', 'mpi'), 'the environment has no OMPI_COMM_WORLD_RANK'),
    ],
)
def test_wrong_calls(
    config: Path,
    tmp_path: Path,
    arguments: tuple[str, ...],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    for name in (*RANK, *SLURM, *MPI):
        monkeypatch.delenv(name, raising=False)
    assert tiny.train(config, tmp_path, *arguments) == 2
    assert message in capsys.readouterr().err


def test_a_wrong_config_stays_a_wrong_config() -> None:
    assert LaunchError('', 2).exit_code == 2
    assert [LaunchError('', code).exit_code for code in (1, 3, -9)] == [1, 1, 1]


def test_workers_get_their_environment(tmp_path: Path) -> None:
    script = tmp_path / 'script.py'
    script.write_text(
        "import os, sys\nopen(os.path.join(sys.argv[1], os.environ['RANK']), 'w').write(os.environ['WORLD_SIZE'])\n"
        "sys.exit(int(os.environ['RANK']) * int(sys.argv[2]))"
    )
    before = signal.getsignal(signal.SIGTERM)
    launch_workers([str(script), str(tmp_path), '0'], 2)
    assert signal.getsignal(signal.SIGTERM) is before  # the elastic launcher leaves its own
    assert [(tmp_path / rank).read_text() for rank in '01'] == ['2', '2']
    with pytest.raises(LaunchError, match='process 1 of 2 failed with exit code 2') as caught:
        launch_workers([str(script), str(tmp_path), '2'], 2)
    assert caught.value.exit_code == 2


def test_ctrl_c_ends_all(tmp_path: Path) -> None:
    script = tmp_path / 'script.py'
    script.write_text(
        'import os, signal, sys, time\n'
        "open(os.path.join(sys.argv[1], os.environ['RANK']), 'w').write(str(os.getpid()))\n"
        "while not all(os.path.exists(os.path.join(sys.argv[1], rank)) for rank in '01'):\n    time.sleep(0.05)\n"
        "if os.environ['RANK'] == '1':\n    os.kill(os.getppid(), signal.SIGINT)\n"
        'time.sleep(100)'
    )
    with pytest.raises(KeyboardInterrupt, match='got signal'):
        launch_workers([str(script), str(tmp_path)], 2)
    for rank in '01':
        with pytest.raises(ProcessLookupError):
            os.kill(int((tmp_path / rank).read_text()), 0)


# ------------------------------------------------------------------------------------------------- other launchers
@pytest.fixture
def joined(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, timedelta]]:
    """Return the list of the groups that are joined, in a clean environment."""
    calls: list[tuple[str, timedelta]] = []
    monkeypatch.setattr('torch.distributed.init_process_group', lambda backend, timeout: calls.append((backend, timeout)))
    for name in RANK:
        monkeypatch.setenv(name, '')  # so that the change is undone after the test
        monkeypatch.delenv(name)
    return calls


@pytest.mark.parametrize(('launcher', 'variables'), [('slurm', SLURM), ('mpi', MPI)])
def test_the_variables_of_schedulers(
    launcher: str, variables: dict[str, str], joined: list[tuple[str, timedelta]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**variables, 'MASTER_ADDR': 'first'}.items():
        monkeypatch.setenv(name, value)
    init_distributed(launcher, 'cpu', timeout=timedelta(minutes=1))
    assert joined == [('gloo', timedelta(minutes=1))]
    assert [os.environ[name] for name in RANK] == ['5', '8', '1', 'first', '29500']


def test_slurm_names_the_first_machine(
    joined: list[tuple[str, timedelta]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Through scontrol, here one that answers."""
    for name, value in {**SLURM, 'SLURM_NODELIST': 'node[07-08]'}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv('PATH', str(tmp_path))
    with pytest.raises(RuntimeError, match=r'scontrol could not tell the first machine of node\[07-08\]'):
        init_distributed('slurm', 'cpu')
    scontrol = tmp_path / 'scontrol'
    scontrol.write_text('#!/bin/sh\necho node07\necho node08\n')
    scontrol.chmod(0o755)
    init_distributed('slurm', 'cpu')
    assert os.environ['MASTER_ADDR'] == 'node07'
    assert len(joined) == 1


def test_mpi_needs_the_first_machine(joined: list[tuple[str, timedelta]], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in MPI.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(RuntimeError, match='--launcher mpi: set MASTER_ADDR to the first machine'):
        init_distributed('mpi', 'cpu')
    assert not joined
