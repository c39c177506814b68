"""MobileNetV1 and MobileNetV2."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torchvision
from torch import nn

from mmpose_lite.checkpoints.reading import torchvision_url
from mmpose_lite.models.backbones import MobileNetV1, MobileNetV2
from mmpose_lite.registry import BACKBONES
from tests.tiny_training import assert_learns, topdown

# Lightweight OpenPose, Sec. 3.1: without the stride of conv4_2, with a dilation in conv5_1
DILATED = dict(block_strides=(1, 2, 1, 2, 1, 1, 1, 1, 1, 1, 1), block_dilations=(1, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1))


# ------------------------------------------------------------------------------------------------------------------------- V2
@pytest.mark.parametrize('widen_factor', [1.0, 0.35, 1.4])
def test_v2_weights_and_outputs_are_torchvisions(widen_factor: float, torchvision_file: Callable[..., None]) -> None:
    theirs = torchvision.models.mobilenet_v2(width_mult=widen_factor, num_classes=1)
    for name, value in theirs.state_dict().items():
        if 'running_mean' in name:
            nn.init.normal_(value, std=0.1)
        elif 'running_var' in name:
            nn.init.uniform_(value, 0.5, 2.0)
    theirs.eval()
    torchvision_file(torchvision_url('mobilenet_v2').rpartition('/')[2], theirs.state_dict())
    ours = MobileNetV2(widen_factor, init_cfg=dict(type='Pretrained', checkpoint='torchvision://mobilenet_v2'))
    ours.init_weights()
    with torch.no_grad():
        x = torch.randn(1, 3, 64, 96)
        torch.testing.assert_close(ours.eval()(x)[0], theirs.features(x))


def test_v2_has_openmmlabs_keys() -> None:
    """conv1, layer1 to layer7 of blocks `conv.i.conv`, `conv.i.bn`, conv2; a block of stage 1 does not expand."""
    keys = list(MobileNetV2().state_dict())
    assert keys[0] == 'conv1.conv.weight'
    assert {'layer1.0.conv.1.bn.weight', 'layer2.1.conv.2.conv.weight', 'layer7.0.conv.0.bn.running_var'} <= set(keys)
    assert 'layer1.0.conv.2.conv.weight' not in keys
    assert keys[-6] == 'conv2.conv.weight'


def test_v2_maps_have_the_stated_channels_and_strides() -> None:
    """Table 2 of the paper."""
    model = MobileNetV2(out_indices=(7, 0, 1, 2, 3, 4, 5, 6)).eval()
    assert model.out_channels == (16, 24, 32, 64, 96, 160, 320, 1280)
    assert model.strides == (2, 4, 8, 16, 16, 32, 32, 32)
    outs = model(torch.rand(1, 3, 65, 96))
    assert [tuple(o.shape) for o in outs] == [(1, c, -(-65 // s), 96 // s) for c, s in zip(model.out_channels, model.strides)]
    middle = MobileNetV2(out_indices=(2,))
    (out,) = middle(torch.rand(1, 3, 64, 64))
    assert (out.shape[1], middle.out_channels, middle.strides) == (32, (32,), (8,))
    out.sum().backward()
    assert all((p.grad is not None) == p.requires_grad for p in middle.parameters()), 'what is not read must not train'


def test_v2_recomputes_blocks_to_the_same_gradient() -> None:
    plain, frugal = MobileNetV2(0.35), MobileNetV2(0.35, with_cp=True)
    frugal.load_state_dict(plain.state_dict())
    x = torch.rand(2, 3, 64, 64)
    for model in (plain, frugal):
        model(x)[0].sum().backward()
    for (name, a), b in zip(plain.named_parameters(), frugal.parameters()):
        torch.testing.assert_close(a.grad, b.grad, msg=name)


# ------------------------------------------------------------------------------------------------------------------------- V1
def test_v1_maps_have_the_stated_channels_and_strides() -> None:
    """Table 1 of the paper."""
    model = MobileNetV1(out_indices=(0, 2, 4, 10, 12)).eval()
    assert model.out_channels == (64, 128, 256, 512, 1024)
    assert model.strides == (2, 4, 8, 16, 32)
    outs = model(torch.rand(1, 3, 64, 96))
    assert [tuple(o.shape) for o in outs] == [(1, c, 64 // s, 96 // s) for c, s in zip(model.out_channels, model.strides)]


def test_v1_without_the_last_strides() -> None:
    model = MobileNetV1(**DILATED).eval()
    assert (model.out_channels, model.strides) == ((512,), (8,))
    assert model(torch.rand(1, 3, 64, 96))[0].shape == (1, 512, 8, 12)
    assert [block.depthwise.conv.dilation[0] for block in model.blocks] == list(DILATED['block_dilations'])
    assert len(model.blocks) == 11


def test_v1_widens() -> None:
    assert MobileNetV1(widen_factor=0.25, out_indices=(0, 12)).out_channels == (16, 256)


# ----------------------------------------------------------------------------------------------------------------------- both
@pytest.mark.parametrize('kind', ['MobileNetV1', 'MobileNetV2'])
def test_frozen_stages_hold_after_train(kind: str) -> None:
    for frozen_stages in (-1, 0, 2):
        model = BACKBONES.build(dict(type=kind, widen_factor=0.25, frozen_stages=frozen_stages)).train()
        parts = [model.conv1, *(model.blocks if kind == 'MobileNetV1' else model.stages)]
        for number, part in enumerate(parts):
            frozen = number <= frozen_stages
            assert part.training != frozen
            assert all(p.requires_grad != frozen for p in part.parameters())


@pytest.mark.parametrize('kind', ['MobileNetV1', 'MobileNetV2'])
def test_norms_by_config_and_in_eval_mode(kind: str) -> None:
    model = BACKBONES.build(dict(type=kind, widen_factor=0.25, norm_eval=True)).train()
    before = model.conv1.bn.running_mean.clone()
    model(torch.rand(2, 3, 32, 32))
    assert torch.equal(model.conv1.bn.running_mean, before)
    grouped = BACKBONES.build(dict(type=kind, widen_factor=0.25, norm_cfg=dict(type='GN', num_groups=2)))
    assert isinstance(grouped.conv1.gn, nn.GroupNorm)


@pytest.mark.parametrize('kind', ['MobileNetV1', 'MobileNetV2'])
def test_initial_values(kind: str) -> None:
    model = BACKBONES.build(dict(type=kind))
    model.init_weights()
    assert model.conv1.conv.weight.std().item() == pytest.approx((2 / (32 * 9)) ** 0.5, rel=0.1)
    assert (model.conv1.bn.weight == 1).all()


@pytest.mark.parametrize('kind', ['MobileNetV1', 'MobileNetV2'])
def test_own_weights_are_not_renamed(kind: str, tmp_path: Path) -> None:
    source = BACKBONES.build(dict(type=kind, widen_factor=0.25))
    torch.save({f'backbone.{key}': value for key, value in source.state_dict().items()}, tmp_path / 'pose.pth')
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'pose.pth'), prefix='backbone.')
    model = BACKBONES.build(dict(type=kind, widen_factor=0.25, init_cfg=init_cfg))
    model.init_weights()
    for key, value in model.state_dict().items():
        assert torch.equal(value, source.state_dict()[key]), key


@pytest.mark.parametrize(('kind', 'channels'), [('MobileNetV1', 256), ('MobileNetV2', 1280)])
def test_they_learn(kind: str, channels: int) -> None:
    head = dict(in_channels=channels, deconv_out_channels=(16, 16, 16))
    assert_learns(topdown(dict(type=kind, widen_factor=0.25), head=head))


@pytest.mark.parametrize(
    ('cfg', 'message'),
    [
        (dict(type='MobileNetV2', widen_factor=0), '`widen_factor` must be positive, got 0'),
        (dict(type='MobileNetV2', out_indices=(8,)), r'`out_indices` must be 0 to 7, got \(8,\)'),
        (dict(type='MobileNetV2', frozen_stages=9), '`frozen_stages` must be -1 to 8, got 9'),
        (dict(type='MobileNetV1', block_strides=(3,)), '`block_strides` must be 1 to 13 entries of 1 or 2'),
        (dict(type='MobileNetV1', block_dilations=(1,)), r'`block_dilations` needs one entry per block \(13\)'),
        (dict(type='MobileNetV1', out_indices=(13,)), '`out_indices` must be blocks 0 to 12'),
        (dict(type='MobileNetV1', frozen_stages=14), '`frozen_stages` must be -1 to 13'),
        (dict(type='MobileNetV1', widen_factor=-1), '`widen_factor` must be positive'),
        (dict(type='MobileNetV1', init_cfg=dict(type='Xavier')), 'MobileNetV1: `init_cfg` must be'),
    ],
)
def test_wrong_arguments(cfg: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BACKBONES.build(cfg)
