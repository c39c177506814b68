"""Reading a checkpoint without running what it says.

Configs are code; checkpoints are not. A checkpoint that comes from elsewhere may be opened without fear: `load_checkpoint_file`
never imports or calls what a pickle names. The few names that published OpenMMLab files need beyond torch's own (NumPy arrays
and scalars, mmengine's HistoryBuffer) lead to the stand-ins of `unpickle.py`. mmengine's ConfigDict is not among them:
OpenMMLab stores the config as text. How weights enter a model: `weights.py`.
"""

import difflib
import pickle
import re
import struct
import tarfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmpose_lite.checkpoints.download import download, is_page
from mmpose_lite.checkpoints.unpickle import resolve, stand_ins_allowed
from mmpose_lite.errors import RunError

_ZIP_MAGIC = b'PK\x03\x04'  # torch >= 1.6
_LEGACY_MAGIC = b'\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.'  # torch < 1.6: torch.serialization.MAGIC_NUMBER, pickled

# What torch.load raises on a file that is cut off or garbled.
_DAMAGE = (RuntimeError, EOFError, OSError, LookupError, ValueError, TypeError, AttributeError, AssertionError, struct.error)


class UntrustedCheckpointError(RunError):
    """The file asks for a class or function that is not known to be harmless; nothing of it was run."""

    exit_code = 2


def load_checkpoint_file(path: str | Path, *, map_location: str | torch.device = 'cpu', trust: bool = False) -> Any:
    """Read a checkpoint: .pth of torch.save (any age) or .safetensors.

    Args:
        path: a file; an http(s) address, downloaded once (see `download`); or `torchvision://` with a model name (its first
            ImageNet weights) or `model.version` (`torchvision://resnet50.imagenet1k_v2`).
        map_location: device of the tensors.
        trust: read a file that asks for unknown classes by running what it says. It can then do anything that you can do.

    Returns:
        the tree that was saved; NumPy arrays come as tensors, NumPy scalars as Python's, HistoryBuffers as the dicts of
        `to_plain` (see `from_plain`). Only what `trust` was needed for comes as it was.

    Raises:
        UntrustedCheckpointError: the file asks for unknown classes and `trust` is off.
        FileNotFoundError: no such file.
        DownloadError: the file cannot be downloaded.
        ValueError: `path` begins with another scheme, torchvision has no such weights, or the file is no checkpoint or damaged.
    """
    name = str(path)
    if torch.device(map_location).type == 'cuda' and not torch.cuda.is_available():
        raise ValueError(f'load_checkpoint_file: `map_location` is {str(map_location)!r}, but torch sees no GPU; use "cpu".')
    file = _local_file(name)
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


def _local_file(name: str) -> Path:
    scheme, separator, rest = name.partition('://')
    if not separator:
        return Path(name)
    if scheme == 'torchvision':
        url = torchvision_url(rest)
        theirs = Path(torch.hub.get_dir(), 'checkpoints', url.rpartition('/')[2])  # where torchvision itself keeps them
        return theirs if theirs.is_file() else download(url)
    if scheme not in ('http', 'https'):
        raise ValueError(
            f'load_checkpoint_file: `path` must be a file or start with torchvision://, http:// or https://, got {name!r}.'
        )
    return download(name)


def torchvision_url(name: str) -> str:
    """Return where torchvision keeps weights: 'resnet50' (its first ones) or 'resnet50.imagenet1k_v2'.

    Raises:
        ValueError: torchvision has no weights of that name.
    """
    from torchvision import models  # here, because only who asks for its weights needs it

    model, _, version = name.partition('.')
    version = version.upper() or 'IMAGENET1K_V1'
    choices = models.get_model_weights(model).__members__ if model in models.list_models() else {}
    if version not in choices:
        known = [f'{model}.{key.lower()}' for key in choices] or difflib.get_close_matches(model, models.list_models(), n=3)
        raise ValueError(f'torchvision has no weights called {name!r}; it has {", ".join(known) or "none with a name like it"}.')
    return choices[version].url


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
    if is_page(start):
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
        'made it, `trust=True` reads it (`--trust` on a command line, `--cfg-options trust_checkpoints=True` in training); it '
        'can then run any code as you.'
    )
