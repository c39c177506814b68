"""What is written is made of tensors and plain types only."""

import enum
import os
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from torch import nn

from mmpose_lite.checkpoints.plain import from_plain, to_plain


class Colour(str, enum.Enum):
    RED = 'red'


def test_to_plain_converts_every_known_kind() -> None:
    plain = to_plain(
        OrderedDict(
            scalar=np.float64(0.5),
            flag=np.bool_(True),
            name=np.str_('x'),
            colour=Colour.RED,
            path=Path('a', 'b'),
            shape=torch.Size([2, 3]),
            reverse=np.arange(4)[::-1],
            big_endian=np.array(1.5, dtype='>f4'),
            words=np.array(['a', 'bc']),
            parameter=nn.Parameter(torch.ones(2)),
            nested=[{1: (None, True, 2, 'y')}],
        )
    )
    assert type(plain) is dict
    assert (plain['scalar'], plain['flag'], plain['name'], plain['colour']) == (0.5, True, 'x', 'red')
    assert [type(plain[key]) for key in ('scalar', 'flag', 'name', 'colour', 'path', 'shape')] == [
        float,
        bool,
        str,
        str,
        str,
        tuple,
    ]
    assert plain['path'] == os.path.join('a', 'b')
    assert plain['reverse'].tolist() == [3, 2, 1, 0]
    assert plain['big_endian'].shape == ()
    assert plain['big_endian'].item() == 1.5
    assert plain['words'] == ['a', 'bc']
    assert type(plain['parameter']) is torch.Tensor
    assert plain['nested'] == [{1: (None, True, 2, 'y')}]


def test_history_buffer_survives_the_way_to_plain_and_back() -> None:
    buffer = HistoryBuffer([1.0, 2.0, 6.0], [1, 1, 2], max_length=10)
    plain = to_plain({'log_scalars': {'train/loss': buffer}})
    assert set(plain['log_scalars']['train/loss']) == {'log_history', 'count_history', 'max_length'}
    back = from_plain(plain)['log_scalars']['train/loss']
    assert isinstance(back, HistoryBuffer)
    assert back.mean() == 9 / 4
    assert back.max_length == 10
    back.update(3.0)
    assert plain['log_scalars']['train/loss']['log_history'].tolist() == [1, 2, 6]  # not the same memory


@pytest.mark.parametrize(
    ('state', 'path'),
    [
        ({'message_hub': {'log_scalars': {'train/loss': object()}}}, r'`message_hub\.log_scalars\.train/loss`.*builtins\.object'),
        ({'param_schedulers': [{}, {'anneal_func': len}]}, r'`param_schedulers\[1\]\.anneal_func`'),
        ({'a': np.array([None])}, r'`a`.*numpy\.ndarray'),
        ({'a': np.complex64(1j)}, r'`a`.*complex'),
        ({'a': {(1, b'x'): 0}}, 'bytes'),
        (object(), 'the checkpoint itself'),
    ],
)
def test_to_plain_names_the_key_path_of_what_it_refuses(state: object, path: str) -> None:
    with pytest.raises(TypeError, match=path):
        to_plain(state)
