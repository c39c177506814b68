"""Checkpoint files: written whole or not at all, made of tensors and plain types, read without running what they say.

Configs are code; checkpoints are not. A checkpoint that comes from elsewhere may be opened without fear: `load_checkpoint_file`
never imports or calls what a pickle names. The few names that published OpenMMLab files need beyond torch's own (NumPy arrays
and scalars, mmengine's HistoryBuffer) lead to the stand-ins of `unpickle.py`. mmengine's ConfigDict is not among them:
OpenMMLab stores the config as text. How weights enter a model: `weights.py`.
"""

import os
import pickle
import random
import re
import shutil
import struct
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from torch import Tensor

from mmpose_lite.engine.errors import RunError
from mmpose_lite.engine.unpickle import array_to_plain, history_to_plain, resolve, stand_ins_allowed
from mmpose_lite.engine.weights import LoadReport, ShapeMismatch, extract_state_dict, load_state

__all__ = [
    'LoadReport',
    'ShapeMismatch',
    'UntrustedCheckpointError',
    'capture_rng_state',
    'extract_state_dict',
    'from_plain',
    'load_checkpoint_file',
    'load_state',
    'restore_rng_state',
    'save_checkpoint_atomic',
    'to_plain',
]

_HISTORY_KEYS = {'log_history', 'count_history', 'max_length'}
_TEMPORARY = re.compile(r'\..+\.(\d+)\.writing')  # .epoch_3.pth.<process id>.writing
_ZIP_MAGIC = b'PK\x03\x04'  # torch >= 1.6
_LEGACY_MAGIC = b'\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.'  # torch < 1.6: torch.serialization.MAGIC_NUMBER, pickled

# What torch.load raises on a file that is cut off or garbled.
_DAMAGE = (RuntimeError, EOFError, OSError, LookupError, ValueError, TypeError, AttributeError, AssertionError, struct.error)


class UntrustedCheckpointError(RunError):
    """The file asks for a class or function that is not known to be harmless; nothing of it was run."""

    exit_code = 2


# ---------------------------------------------------------------------------------------------------------- plain types
def to_plain(state: Any) -> Any:
    """Return a copy of the tree `state` that holds tensors (on the CPU) and dict, list, tuple, str, int, float, bool, None only.

    NumPy scalars become Python's, NumPy arrays tensors (of text: lists), paths text, enum members of text or numbers their
    value, mappings dicts, parameters tensors. A HistoryBuffer becomes a dict that `from_plain` turns back. CPU tensors are not
    copied. The `_metadata` of a state dict (layer versions) is lost; no layer of this project reads it.

    Raises:
        TypeError: anything else; the message gives the key path, e.g. `message_hub.log_scalars.train/loss`.
    """
    return _to_plain(state, '')


def from_plain(state: Any) -> Any:
    """Return a copy of the tree `state` where the dicts that `to_plain` made of HistoryBuffers are HistoryBuffers again."""
    if isinstance(state, Mapping):
        if set(state) == _HISTORY_KEYS:
            return HistoryBuffer(state['log_history'].numpy(), state['count_history'].numpy(), state['max_length'])
        return {key: from_plain(value) for key, value in state.items()}
    if type(state) in (list, tuple):
        return type(state)(from_plain(value) for value in state)
    return state


def _to_plain(value: Any, path: str) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Tensor):
        return value.detach().cpu()
    for kind in (int, float):
        if isinstance(value, kind):
            return kind(value)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {_plain_key(key, path): _to_plain(item, f'{path}.{key}' if path else str(key)) for key, item in value.items()}
    if isinstance(value, list | tuple):
        items = [_to_plain(item, f'{path}[{index}]') for index, item in enumerate(value)]
        return items if isinstance(value, list) else tuple(items)
    if isinstance(value, np.ndarray) and value.dtype.kind in 'biufcUS':
        return array_to_plain(value)
    if isinstance(value, HistoryBuffer):
        log, count = value.data
        return history_to_plain(log, count, value.max_length)
    raise TypeError(
        f'to_plain: `{path or "the checkpoint itself"}` must be a tensor or made of plain types, got {type(value).__module__}.'
        f'{type(value).__qualname__}; store its numbers or its name instead.'
    )


def _plain_key(key: Any, path: str) -> Any:
    plain = _to_plain(key, f'{path}.{key}' if path else str(key))
    if not isinstance(plain, str | int | float | tuple | None):
        raise TypeError(f'to_plain: the keys of `{path or "the checkpoint itself"}` must be text or numbers, got {key!r}.')
    return plain


# --------------------------------------------------------------------------------------------------------------- writing
def save_checkpoint_atomic(state: Mapping[str, Any], path: str | Path) -> None:
    """Write `to_plain(state)` to `path` so that a kill or a power cut at any moment leaves the old file or the new one, whole.

    The bytes go to a temporary file in the same folder, reach the disk, and then take the name. Temporary files that killed
    processes of this machine left in the folder are removed first.

    Raises:
        TypeError: `state` holds something that is not plain (see `to_plain`); nothing is written.
        RuntimeError: the file cannot be written, e.g. because the disk is full; a file already at `path` is untouched.
    """
    path = Path(path)
    plain = to_plain(state)
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_stale_temporaries(path.parent)
    temporary = path.parent / f'.{path.name}.{os.getpid()}.writing'
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
        raise RuntimeError(
            f'The checkpoint {path} could not be written: {error}. {written / 1e6:.1f} MB of it were written and are removed '
            f'again; {free / 1e6:.1f} MB are free in {path.parent}. An older file of that name is untouched.'
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


# --------------------------------------------------------------------------------------------------------------- reading
def load_checkpoint_file(path: str | Path, *, map_location: str | torch.device = 'cpu', trust: bool = False) -> Any:
    """Read a checkpoint: .pth of torch.save (any age), .safetensors, or `torchvision://resnet50`.

    Args:
        path: a local file, or `torchvision://` with a model name (its first ImageNet weights) or `model.version`
            (`torchvision://resnet50.imagenet1k_v2`); those are downloaded once into torch's hub folder.
        map_location: device of the tensors.
        trust: read a file that asks for unknown classes by running what it says. It can then do anything that you can do.

    Returns:
        the tree that was saved; NumPy arrays come as tensors, NumPy scalars as Python's, HistoryBuffers as the dicts of
        `to_plain` (see `from_plain`). Only what `trust` was needed for comes as it was.

    Raises:
        UntrustedCheckpointError: the file asks for unknown classes and `trust` is off.
        FileNotFoundError: no such file.
        ValueError: `path` is a web address, or the file is no checkpoint or is damaged.
    """
    name = str(path)
    if re.match(r'https?://', name):
        raise ValueError(
            f'load_checkpoint_file: `path` must be a local file, got {name}; name a model of the zoo to have it downloaded, '
            'or download the file yourself and give its path.'
        )
    if torch.device(map_location).type == 'cuda' and not torch.cuda.is_available():
        raise ValueError(f'load_checkpoint_file: `map_location` is {str(map_location)!r}, but torch sees no GPU; use "cpu".')
    file = _fetch_torchvision(name.removeprefix('torchvision://')) if name.startswith('torchvision://') else Path(path)
    if not file.is_file():
        what = 'is a folder' if file.is_dir() else 'does not exist'
        raise FileNotFoundError(f'load_checkpoint_file: {file} {what}; `path` must be a checkpoint file.')
    if file.suffix == '.safetensors':
        return _read_safetensors(file, map_location)
    _check_format(file)
    try:
        return _read_safely(file, map_location)
    except UntrustedCheckpointError:
        if not trust:
            raise
        return torch.load(file, map_location=map_location, weights_only=False)


def _fetch_torchvision(name: str) -> Path:
    from torchvision import models  # here, because only who asks for its weights needs it

    model, _, version = name.partition('.')
    version = version.upper() or 'IMAGENET1K_V1'
    choices = models.get_model_weights(model).__members__ if model in models.list_models() else {}
    if version not in choices:
        known = [f'{model}.{key.lower()}' for key in choices]
        raise ValueError(f'load_checkpoint_file: torchvision has no weights called {name!r}; for {model!r} it has {known}.')
    weights = choices[version]
    file = Path(torch.hub.get_dir(), 'checkpoints', weights.url.rpartition('/')[2])
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(weights.url, str(file), hash_prefix=file.stem.rpartition('-')[2], progress=False)
        except OSError as error:
            raise RuntimeError(
                f'The weights torchvision://{name} could not be downloaded from {weights.url}: {error}. '
                f'On a machine without network, put that file at {file}.'
            ) from error
    return file


def _read_safetensors(file: Path, map_location: str | torch.device) -> dict[str, Tensor]:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError as error:
        raise ImportError(f'{file}: reading .safetensors needs the package safetensors: pip install safetensors.') from error
    try:
        return load_file(file, device=str(map_location))
    except SafetensorError as error:
        raise _damaged(file, str(error)) from error


def _damaged(file: Path, reason: str) -> ValueError:
    size = file.stat().st_size
    return ValueError(f'{file} ({size:,} bytes) is not a whole checkpoint: {reason}. Download or save it again.')


def _check_format(file: Path) -> None:
    """Raise ValueError unless the file begins as torch.save's two formats do."""
    with file.open('rb') as stream:
        start = stream.read(64)
    if not start:
        raise _damaged(file, 'it is empty')
    if start.startswith(_ZIP_MAGIC):
        return
    if start.startswith(_LEGACY_MAGIC) and not tarfile.is_tarfile(file):  # torch < 2.6 runs the pickles inside a tar unchecked
        return
    if re.match(rb'\s*<(!doctype|html|\?xml)', start, re.IGNORECASE):
        raise _damaged(file, 'it is a web page; the download went to an error or a login page')
    if start.startswith(b'version https://git-lfs'):
        raise _damaged(file, 'it is a Git LFS pointer; run `git lfs pull`')
    if start.startswith(b'\x80'):
        raise _damaged(file, 'it is a pickle that torch.save did not write, and such files are never opened')
    raise _damaged(file, f'it begins with {start[:12]!r}, which torch.save does not write')


def _read_safely(file: Path, map_location: str | torch.device) -> Any:
    try:
        with stand_ins_allowed():
            return resolve(torch.load(file, map_location=map_location, weights_only=True))
    except pickle.UnpicklingError as error:
        raise _refused(file, str(error)) from error
    except torch.cuda.OutOfMemoryError:
        raise
    except _DAMAGE as error:
        raise _damaged(file, f'torch cannot read it ({(str(error).splitlines() or ["it ends early"])[0]})') from error


def _refused(file: Path, message: str) -> Exception:
    name = re.search(r'GLOBAL (\S+)', message)
    if not name and re.search('EOF|corrupt', message):  # torch 2.4 reports a legacy file that ends early like this
        return _damaged(file, f'torch cannot read it ({message.splitlines()[0]})')
    reason = re.search(r'WeightsUnpickler error: (.+)', message)
    if name:
        why = f'asks for `{name[1]}`, which is not on the list of harmless names'
    else:
        why = f'was refused by the safe reader ({reason[1] if reason else message})'
    return UntrustedCheckpointError(
        f'{file} is more than weights: it {why}. It was not read, and nothing in it was run. If, and only if, you trust whoever '
        'made it, `trust=True` reads it; it can then run any code as you.'
    )


# ---------------------------------------------------------------------------------------------------------- random state
def capture_rng_state() -> dict[str, Any]:
    """Return the state of Python's, NumPy's global and torch's generators, in plain types and tensors.

    GPUs are included once this process has used one.
    """
    name, keys, position, has_gauss, cached_gaussian = np.random.get_state()  # noqa: NPY002  the global one is what libraries use
    return dict(
        python=random.getstate(),
        numpy=(name, torch.from_numpy(keys.astype(np.int64)), int(position), int(has_gauss), float(cached_gaussian)),
        torch=torch.get_rng_state(),
        cuda=torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
    )


def restore_rng_state(state: Mapping[str, Any]) -> None:
    """Put back what `capture_rng_state` returned; the states of GPUs that this machine does not have are left out."""
    random.setstate(state['python'])
    name, keys, *rest = state['numpy']
    np.random.set_state((name, keys.cpu().numpy().astype(np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(state['torch'].cpu())
    if torch.cuda.is_available():
        for index, cuda_state in enumerate(state['cuda'][: torch.cuda.device_count()]):
            torch.cuda.set_rng_state(cuda_state.cpu(), index)
