"""Processes: one per GPU on this machine, or what torchrun, Slurm or MPI started."""

import atexit
import os
import signal
import sys
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist

from mmpose_lite.errors import RunError

LAUNCHERS = ('none', 'pytorch', 'slurm', 'mpi')
TIMEOUT = timedelta(minutes=30)


class LaunchError(RunError):
    """A worker process failed; what it said stands above."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = 2 if exit_code == 2 else 1  # a wrong config stays one


def launch_workers(command: Sequence[str], num_workers: int) -> None:
    """Run `python command...` in `num_workers` processes of this machine, through torch's elastic launcher.

    The launcher finds a free port, sets RANK, LOCAL_RANK, WORLD_SIZE and the like, shows the output of every process, and ends
    all when one dies.

    Raises:
        LaunchError: a process failed.
        KeyboardInterrupt: the launcher was asked to end, by Ctrl-C or otherwise, and has ended all.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    os.environ.setdefault('OMP_NUM_THREADS', str(max((os.cpu_count() or 1) // num_workers, 1)))
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=num_workers,
        run_id=uuid.uuid4().hex,
        rdzv_backend='c10d',
        rdzv_endpoint='localhost:0',
        max_restarts=0,
        monitor_interval=0.2,
    )
    try:
        with _own_signal_handlers():
            elastic_launch(config, sys.executable)('-u', *command)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        message = f'process {rank} of {num_workers} failed with exit code {failure.exitcode}; all were ended.'
        raise LaunchError(message, failure.exitcode) from None
    except SignalException as error:
        raise KeyboardInterrupt(str(error)) from None


@contextmanager
def _own_signal_handlers() -> Iterator[None]:
    """Put back the handlers of this process that the elastic launcher replaces and leaves replaced."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [getattr(signal, name) for name in ('SIGTERM', 'SIGINT', 'SIGHUP', 'SIGQUIT') if hasattr(signal, name)]
    handlers = [signal.getsignal(number) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, handlers):
            signal.signal(number, handler)


def init_distributed(launcher: str, device: str, *, timeout: timedelta = TIMEOUT) -> None:
    """Join the process group that `launcher` describes in the environment: NCCL on GPUs, gloo on the CPU.

    Raises:
        RuntimeError: the environment holds no such description.
    """
    if launcher == 'none' or dist.is_initialized():
        return
    if launcher == 'slurm':
        _take_environment('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_LOCALID', launcher)
    elif launcher == 'mpi':
        _take_environment('OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_SIZE', 'OMPI_COMM_WORLD_LOCAL_RANK', launcher)
    missing = [name for name in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'MASTER_ADDR', 'MASTER_PORT') if name not in os.environ]
    if missing:
        raise RuntimeError(f'--launcher {launcher}: the environment lacks {", ".join(missing)}; start the command with torchrun.')
    if device == 'cuda':
        torch.cuda.set_device(int(os.environ['LOCAL_RANK']))
    dist.init_process_group('nccl' if device == 'cuda' else 'gloo', timeout=timeout)


def _take_environment(rank: str, world_size: str, local_rank: str, launcher: str) -> None:
    """Copy a scheduler's variables to the names that torch reads."""
    for source, target in ((rank, 'RANK'), (world_size, 'WORLD_SIZE'), (local_rank, 'LOCAL_RANK')):
        if source not in os.environ:
            raise RuntimeError(f'--launcher {launcher}: the environment has no {source}; was the command started by {launcher}?')
        os.environ[target] = os.environ[source]
    os.environ.setdefault('MASTER_PORT', '29500')
    if 'MASTER_ADDR' not in os.environ:
        nodes = os.environ.get('SLURM_NODELIST')
        if nodes is None:
            raise RuntimeError(f'--launcher {launcher}: set MASTER_ADDR to the first machine.')
        import subprocess

        try:
            names = subprocess.run(['scontrol', 'show', 'hostnames', nodes], capture_output=True, text=True, check=True).stdout
        except (OSError, subprocess.CalledProcessError) as error:
            raise RuntimeError(
                f'--launcher {launcher}: scontrol could not tell the first machine of {nodes}; set MASTER_ADDR.'
            ) from error
        os.environ['MASTER_ADDR'] = names.split()[0]


def sum_over_processes(values: Sequence[float]) -> list[float]:
    """Return the sums of numbers over all processes, in each of them."""
    if not dist.is_initialized():
        return list(values)
    total = torch.tensor(values, dtype=torch.float64, device='cuda' if dist.get_backend() == 'nccl' else 'cpu')
    dist.all_reduce(total)
    return total.tolist()


def raise_together(error: Exception | None) -> None:
    """Raise in every process what any of them has to raise, that of the lowest rank; return where there is nothing.

    Every process has to call it.
    """
    errors = [error]
    if dist.is_initialized():
        errors = [None] * dist.get_world_size()
        dist.all_gather_object(errors, error)
    for first in errors:
        if first is not None:
            raise in_every_process(first)


def in_every_process(error: Exception) -> Exception:
    """Mark an error that all processes raise at the same place; see `tells_it`."""
    error.in_every_process = True  # type: ignore[attr-defined]
    return error


def tells_it(error: BaseException) -> bool:
    """Return whether this process is the one to print an error: rank 0 where all have the same one, otherwise each."""
    return not (getattr(error, 'in_every_process', False) and dist.is_initialized() and dist.get_rank() > 0)


def end_process(code: int) -> None:
    """End a process of a group, all ranks together; return where there is no group.

    Nothing of gloo is taken down: one rank's threads can abort when another has gone, and `destroy_process_group` of torch 2.4
    can wait for ever.

    Args:
        code: the exit code.
    """
    if dist.is_initialized():
        dist.barrier()
        atexit._run_exitfuncs()  # all that an exit does but the destructors
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
