"""Parts that were built for other channels than they are given, each named by its key of the config."""

import re
from typing import Any

import pytest
import torch

from mmpose_lite.errors import ConfigError
from mmpose_lite.registry import MODELS
from tests.models.test_two_stage import batch
from tests.models.test_two_stage import config as two_stage
from tests.tiny_training import topdown

BACKBONE = dict(type='ResNet', depth=18, stem_channels=8, base_channels=8, out_indices=(0, 1, 2, 3))
LAST = BACKBONE | dict(out_indices=(3,))


def fpn(**args: Any) -> dict[str, Any]:
    return dict(type='FPN', **{'in_channels': (8, 16, 32, 64), 'out_channels': 8, 'num_outs': 4} | args)


def segmentor(in_channels: int) -> dict[str, Any]:
    """Return one whose neck does not say what it gives: others are checked when they are built."""
    head = dict(type='FCNHead', in_channels=in_channels, channels=8, num_convs=1, concat_input=False)
    neck = dict(type='FeatureMapProcessor', concat=True)
    return dict(type='EncoderDecoder', meta=dict(classes=2), backbone=BACKBONE, neck=neck, decode_head=head)


@pytest.mark.parametrize(
    ('cfg', 'said'),
    [
        (
            topdown(LAST, head=dict(in_channels=32)),
            'config key `model.head.in_channels`: HeatmapHead was built for 32 channels and is given 64 (its layer '
            '`deconv_layers.0`, input (1, 64, 2, 2)). The maps of `model.backbone` (ResNet) have (64,) channels. '
            'Set `in_channels` to fit.',
        ),
        (
            topdown(BACKBONE, head=dict(in_channels=8)) | dict(neck=fpn(in_channels=(8, 16, 32, 32))),
            'config key `model.neck.in_channels`: FPN was built for 32 channels and is given 64',
        ),
        (
            topdown(BACKBONE, head=dict(in_channels=64)) | dict(neck=fpn()),
            'The maps of `model.neck` (FPN) have (8, 8, 8, 8) channels.',
        ),
        (segmentor(100), 'config key `model.decode_head.in_channels`: FCNHead was built for 100 channels and is given 120'),
        (
            two_stage() | dict(neck=[fpn(), dict(type='BFP', in_channels=4, num_levels=4, refine_type='conv')]),
            'config key `model.neck.1.in_channels`: BFP was built for 4 channels and is given 8',
        ),
    ],
    ids=['head', 'neck', 'head-behind-a-neck', 'decode-head', 'second-neck'],
)
def test_channels_that_do_not_fit(cfg: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        MODELS.build(cfg).eval()(torch.zeros(1, 3, 64, 64))


def test_a_row_of_numbers_that_does_not_fit() -> None:
    """A linear layer on whole maps depends on their size, too."""
    cfg = two_stage()
    cfg['roi_head']['bbox_head']['roi_feat_size'] = 2
    said = 'config key `model.roi_head.bbox_head`: Shared2FCBBoxHead was built for 32 numbers and is given 72'
    with pytest.raises(ConfigError, match=re.escape(said)):
        MODELS.build(cfg)(torch.zeros(2, 3, 64, 64), batch(), mode='loss')


@pytest.mark.parametrize(('head', 'layer'), [('PSPHead', 'psp_modules.0.1.bn'), ('ASPPHead', 'image_pool.1.bn')])
def test_a_batch_of_one_image(head: str, layer: str) -> None:
    """The mean of a map is one value per channel."""
    decode_head = dict(type=head, in_channels=64, channels=8)
    cfg = dict(type='EncoderDecoder', meta=dict(classes=2), backbone=BACKBONE, decode_head=decode_head)
    said = f'`model.decode_head`: the layer `{layer}` (BatchNorm2d) of {head} is given one value per channel, (1, 8, 1, 1), of'
    model = MODELS.build(cfg)
    with pytest.raises(ConfigError, match=re.escape(said)):
        model(torch.zeros(1, 3, 64, 64))
    model(torch.zeros(2, 3, 64, 64))
    model.eval()(torch.zeros(1, 3, 64, 64))


def test_another_error_stays_as_it_is() -> None:
    model = MODELS.build(topdown(LAST, head=dict(in_channels=64)))
    with pytest.raises(RuntimeError, match=r'Half|dtype') as caught:
        model(torch.zeros(1, 3, 64, 64, dtype=torch.float16))
    assert not isinstance(caught.value, ConfigError)
    with pytest.raises(ValueError, match='`mode` must be one of') as refused:
        model(torch.zeros(1, 3, 64, 64), mode='train')
    assert not isinstance(refused.value, ConfigError)
