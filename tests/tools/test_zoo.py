"""tools/zoo.py as a user calls it, and names of the zoo in the other commands."""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmpose_lite.apis.cli import run_command
from tests import tiny
from tests.checkpoints.file_server import FileServer

Zoo = Callable[..., int]


@pytest.fixture
def zoo(repo: Path) -> Zoo:
    """The command, in this process."""
    spec = importlib.util.spec_from_file_location('tool_zoo', repo / 'tools/zoo.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return lambda *args: run_command(module.main, [*map(str, args)])


def rows(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split('|')[1:-1]] for line in table.splitlines() if line.startswith('|')][1:]


def test_list(zoo: Zoo, capsys: pytest.CaptureFixture) -> None:
    assert zoo('list') == 0
    everything = rows(capsys.readouterr().out)
    assert zoo('list', 'HRNet', '384') == 0
    found = rows(capsys.readouterr().out)
    assert 4 < len(found) < len(everything)
    assert ['hrnet_w32_coco_384x288', 'coco/AP', '0.76', 'shapes', ''] in found
    assert all('hrnet' in row[0] and '384' in row[0] for row in found)
    assert zoo('list', 'hrnet', 'nothing') == 2
    assert "no name of the zoo contains 'hrnet' and 'nothing'" in capsys.readouterr().err


def test_show(zoo: Zoo, capsys: pytest.CaptureFixture) -> None:
    assert zoo('show', 'hrnet_w32_coco_256x192', 'rtmpose_m_coco_256x192') == 0
    out = capsys.readouterr().out
    for text in (
        'coco/AP 0.746',
        '81c58e40',
        'Apache-2.0',
        'td-hm_hrnet-w32_8xb64',
        'hrnet_w32_coco_256x192.py',
        'rtmposev1/',
        'note:',
    ):
        assert text in out
    assert zoo('show', 'hrnet_w32_coco_256x129') == 2
    assert 'Near names: hrnet_w32_coco_256x192' in capsys.readouterr().err


def test_download(zoo: Zoo, thin_zoo: FileServer, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert zoo('download', 'tiny', '--offline') == 1
    err = capsys.readouterr().err
    assert f'is not in {tmp_path}/cache' in err
    assert thin_zoo.url('status/') in err
    assert zoo('download', 'tiny', 'tinny') == 2  # before anything is fetched
    assert thin_zoo.requests == []

    assert zoo('download', 'tiny') == 0
    path = Path(capsys.readouterr().out.splitlines()[-1])
    assert path.read_bytes() == thin_zoo.content
    assert zoo('download', 'tiny', '--offline') == 0
    assert zoo('list') == 0
    assert ['tiny', 'pck/PCK@0.3', '0.5', 'shapes', 'yes'] in rows(capsys.readouterr().out)

    path.write_bytes(b'damaged')
    assert zoo('download', 'tiny', '--offline') == 1
    assert 'is damaged' in capsys.readouterr().err


def test_a_download_that_fails(zoo: Zoo, thin_zoo: FileServer, capsys: pytest.CaptureFixture) -> None:
    thin_zoo.content = thin_zoo.content[::-1]
    assert zoo('download', 'tiny') == 1
    err = capsys.readouterr().err
    assert 'HTTP status 503' in err
    assert 'it sent another file' in err


def test_names_in_other_commands(thin_zoo: FileServer, tmp_path: Path) -> None:
    out = tmp_path / 'metrics.json'
    assert tiny.call('test', 'tiny', 'tiny', '--out', out, '--work-dir', tmp_path / 'test') == 0
    content = json.loads(out.read_text())
    assert (content['config'], content['checkpoint']) == ('tiny', 'tiny')
    assert 0 <= content['metrics']['pck/PCK@0.3'] <= 1
    assert 'names converted from those of mmpose 0.x' in next((tmp_path / 'test').rglob('*.log')).read_text()

    assert tiny.train('tiny', tmp_path / 'train', load_from='tiny', train_cfg__max_epochs=1) == 0
    assert 'loaded ' in next((tmp_path / 'train').rglob('*.log')).read_text()

    image = tmp_path / 'image.jpg'
    cv2.imwrite(str(image), np.zeros((80, 60, 3), np.uint8))
    assert tiny.call('infer', 'tiny', 'tiny_again', image, '--out', tmp_path / 'infer') == 0
    assert tiny.call('print_config', 'tiny_again') == 0


@pytest.mark.parametrize('args', [('tinny', 'tiny'), ('tiny', 'tinny')])
def test_wrong_names_in_other_commands(
    thin_zoo: FileServer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    args: tuple[str, str],
) -> None:
    assert tiny.call('test', *args, '--work-dir', tmp_path) == 2
    assert 'Near names: tiny' in capsys.readouterr().err
    assert tiny.call('infer', *args, tmp_path, '--out', tmp_path) == 2
