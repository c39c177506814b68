"""Fixtures of the whole suite."""

import gc
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

if TYPE_CHECKING:
    from tests.checkpoints.file_server import FileServer

REPO = Path(__file__).resolve().parents[1]

# Files that take minutes; they begin first, so that no process is left alone with one at the end.
LONG = ('test_readme_commands.py', 'test_overfit.py', 'test_configs.py', 'test_detection_configs.py')


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort long files to the front, and keep what is imported by now out of garbage collections.

    mmengine collects garbage in full for each dataset it makes; through all of torch, that takes longer than most tests do.
    """
    items.sort(key=lambda item: LONG.index(item.path.name) if item.path.name in LONG else len(LONG))
    gc.collect()
    gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Keep the tests of a file in one process, but only the blocks of one page of documentation: pages share nothing."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduler(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return nodeid.rpartition(':')[0] if 'test_readme_commands.py::test_block' in nodeid else super()._split_scope(nodeid)

    return Scheduler(config, log)


def copy_checkout(to: Path) -> Path:
    """Copy the checkout, without what git ignores, to the new folder `to`, so that a test may write into it."""
    ignored = [line.strip('/') for line in (REPO / '.gitignore').read_text().splitlines()]
    return Path(shutil.copytree(REPO, to, ignore=shutil.ignore_patterns('.git', *ignored)))


@pytest.fixture
def repo() -> Path:
    """The root of the checkout."""
    return REPO


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the checkout that a test may write into."""
    return copy_checkout(tmp_path / 'checkout')


def _stamps(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of change of every file below a folder."""
    return {str(p): (p.stat().st_size, p.stat().st_mtime_ns) for p in folder.rglob('*') if p.is_file()}


@pytest.fixture(scope='session')
def shared() -> Iterator[Path]:
    """The folder of reference numbers and real data; tests that need it are skipped where it is absent.

    It is to be read, never written, not even through a link: the suite fails when a file in it has changed.
    """
    folder = Path(os.environ.get('MMPOSE_LITE_SHARED', REPO.parent / 'shared'))
    if not (folder / 'parity').is_dir():
        pytest.skip(f'reference numbers and real data are not at {folder} (set MMPOSE_LITE_SHARED)')
    before = _stamps(folder)
    yield folder
    changed = sorted(set(before.items()) ^ set(_stamps(folder).items()))
    assert not changed, f'a test wrote into {folder}: {changed[:4]}'


@pytest.fixture
def torchvision_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, dict[str, torch.Tensor]], None]:
    """Call it with a file name and a state dict: weights of torchvision that are downloaded already."""
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch_home'))

    def write(name: str, state_dict: dict[str, torch.Tensor]) -> None:
        folder = Path(torch.hub.get_dir(), 'checkpoints')
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(state_dict, folder / name)

    return write


@pytest.fixture
def thin_zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator['FileServer']:
    """A zoo of one thin network, and the server of its weights; see `open_thin_zoo`."""
    from tests.thin_zoo import open_thin_zoo

    with open_thin_zoo(tmp_path, monkeypatch) as server:
        yield server


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reaches for the network by mistake; those of the download itself allow it."""
    monkeypatch.setenv('MMPOSE_LITE_OFFLINE', '1')


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    """A test may set torch's threads; the next one has all of them again, on whose number the order of sums depends."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def _seed() -> None:
    """Every test starts from the same random state."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002  libraries draw from the global state
    torch.manual_seed(0)
