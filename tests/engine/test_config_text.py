"""Configs as text: what is written can be read again, and is laid out for people."""

import copy
from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config

from mmpose_lite.engine.config import load_config
from mmpose_lite.engine.config_text import ReadableConfig

VALUES = dict(
    type='X',
    numbers=list(range(60)),
    nested=dict(b=(1,), a=((), [], {}), c=[dict(x=None, y=True)] * 12),
    other={'a-b': 1, 'if': 2, 3: 'three', '': "it's"},
    words='line\nline "quoted" ' * 9,
    limits=(float('inf'), -float('inf'), 1e-8),
)


def read(text: str) -> dict[str, Any]:
    return Config.fromstring(text, '.py').to_dict()


def test_what_is_written_reads_as_it_was() -> None:
    assert read(ReadableConfig(VALUES).pretty_text) == VALUES


@pytest.mark.parametrize(
    'name',
    [
        'quickstart',
        'pose/topdown/hrnet_w32_wholebody_256x192',
        'detection/htc_resnet50_fpn_coco',
        'segmentation/unet_s5_d16_cityscapes',
    ],
)
def test_whole_configs(repo: Path, name: str) -> None:
    cfg = load_config(repo / 'configs' / f'{name}.py')
    assert read(cfg.pretty_text) == cfg.to_dict()
    assert max(map(len, cfg.pretty_text.splitlines())) < 130


def test_the_layout() -> None:
    text = ReadableConfig(
        dict(size=(192, 256), model=dict(type='Net', head=dict(sizes=[[1234567] * 3] * 4, flip=True)))
    ).pretty_text
    assert text == (
        'size = (192, 256)\n'
        'model = dict(\n'
        "    type='Net',\n"
        '    head=dict(\n'
        '        sizes=[\n'
        '            [1234567, 1234567, 1234567],\n'
        '            [1234567, 1234567, 1234567],\n'
        '            [1234567, 1234567, 1234567],\n'
        '            [1234567, 1234567, 1234567],\n'
        '        ],\n'
        '        flip=True,\n'
        '    ),\n'
        ')\n'
    )


def test_copies_and_dumps_keep_the_text(tmp_path: Path) -> None:
    (tmp_path / 'x.py').write_text('a = dict(b=1)\n')
    cfg = copy.deepcopy(load_config(tmp_path / 'x.py', {'a.c': [1, 2]}))
    assert cfg.filename == str(tmp_path / 'x.py')
    cfg.dump(tmp_path / 'y.py')
    assert (tmp_path / 'y.py').read_text() == cfg.pretty_text == 'a = dict(b=1, c=[1, 2])\n'
