"""Writing a checkpoint: whole or not at all."""

import os
import re
import shutil
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from mmpose_lite.checkpoints.plain import to_plain
from mmpose_lite.errors import RunError

HOST = re.sub(r'\W', '_', socket.gethostname())  # a process id means nothing on the other machines that see the folder
_TEMPORARY = re.compile(rf'\..+\.{HOST}\.(\d+)\.writing')  # .epoch_3.pth.<machine>.<process id>.writing


def save_checkpoint_atomic(state: Mapping[str, Any], path: str | Path) -> None:
    """Write `to_plain(state)` to `path` so that a kill or a power cut at any moment leaves the old file or the new one, whole.

    The bytes go to a temporary file in the same folder, reach the disk, and then take the name. Temporary files that killed
    processes of this machine left in the folder are removed first.

    Raises:
        TypeError: `state` holds something that is not plain (see `to_plain`); nothing is written.
        RunError: the file cannot be written, e.g. because the disk is full; a file already at `path` is untouched.
    """
    path = Path(path)
    plain = to_plain(state)
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_stale_temporaries(path.parent)
    temporary = path.parent / f'.{path.name}.{HOST}.{os.getpid()}.writing'
    try:
        with temporary.open('wb') as file:
            torch.save(plain, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:  # torch wraps some failed writes into a RuntimeError
        written = temporary.stat().st_size if temporary.exists() else 0
        temporary.unlink(missing_ok=True)
        free = shutil.disk_usage(path.parent).free
        raise RunError(
            f'The checkpoint {path} could not be written: {_reason(error)}. {written / 1e6:.1f} MB of it were written and are '
            f'removed again; {free / 1e6:.1f} MB are free in {path.parent}. An older file of that name is untouched.'
        ) from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if os.name == 'posix':  # elsewhere a folder cannot be opened; the file itself is on the disk already
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _reason(error: BaseException) -> str:
    """Return the words of the operating system, where torch's own hide them."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__context__
    return str(cause or error)


def _remove_stale_temporaries(folder: Path) -> None:
    for file in folder.glob('.*.writing'):
        match = _TEMPORARY.fullmatch(file.name)
        if match and not _is_running(int(match[1])):
            file.unlink(missing_ok=True)


def _is_running(pid: int) -> bool:
    if os.name != 'posix':  # os.kill(pid, 0) would end the process on Windows
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
