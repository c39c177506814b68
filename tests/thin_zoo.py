"""A zoo of one thin network, whose weights a server on this machine has, under the names of mmpose 0.x."""

import hashlib
import io
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from mmpose_lite.engine.config import load_config
from mmpose_lite.registry import MODELS
from mmpose_lite.zoo import index, names
from tests.checkpoints.file_server import FileServer, serve
from tests.tiny import write_config

CONVOLUTION = "model['head'].update(conv_out_channels=(8,), conv_kernel_sizes=(1,))"


def old_weights(config: Path) -> dict[str, torch.Tensor]:
    """Return weights of the network under the names of mmpose 0.x, where the convolutions of a head are one sequence."""
    torch.manual_seed(1)
    old = {
        'head.conv_layers.': 'keypoint_head.final_layer.',
        'head.final_layer.': 'keypoint_head.final_layer.3.',
        'head.': 'keypoint_head.',
    }
    weights = {}
    for name, value in MODELS.build(load_config(config).model).state_dict().items():
        start = next((start for start in old if name.startswith(start)), '')
        weights[old.get(start, '') + name.removeprefix(start)] = value
    return weights


@contextmanager
def open_thin_zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    """Make `tiny` and `tiny_again` the only weights, of one file that is not in the cache folder; yield the server.

    Both fit the config `tiny`. `other` is a config without weights.
    """
    folder = tmp_path / 'configs' / 'pose'
    config = write_config(folder, CONVOLUTION)
    (folder / '_base_').mkdir()
    for copy in ('other.py', '_base_/people.py'):
        shutil.copyfile(config, folder / copy)
    file = io.BytesIO()
    torch.save({'state_dict': old_weights(config), 'meta': {}}, file)
    digits = hashlib.sha256(file.getvalue()).hexdigest()[:8]
    monkeypatch.delenv('MMPOSE_LITE_OFFLINE')
    monkeypatch.setenv('MMPOSE_LITE_CACHE', str(tmp_path / 'cache'))
    with serve(file.getvalue()) as server:
        fields = dict(
            config='pose/tiny.py',
            published_as='td-hm_tiny',
            urls=[server.url(f'{kind}/tiny-{digits}_20220920.pth') for kind in ('status', 'good')],
            sha256=digits,
            metrics={'pck/PCK@0.3': 0.5},
            licence='Apache-2.0',
            keys='shapes',
        )
        (tmp_path / 'index.json').write_text(json.dumps(dict(tiny=fields, tiny_again=fields)))
        monkeypatch.setattr(index, 'INDEX', tmp_path / 'index.json')
        monkeypatch.setattr(names, 'PACKAGE', tmp_path)
        for cached in (index.entries, names.shipped_configs):
            cached.cache_clear()
        yield server
        for cached in (index.entries, names.shipped_configs):
            cached.cache_clear()
