from pathlib import Path

import pytest
import torch
import torchvision
from torch import nn

from mmpose_lite.engine.config import load_config
from mmpose_lite.models.backbones.resnet import ResNet
from mmpose_lite.models.backbones.resnet_variants import PreActBlock, PreActBottleneck, PreActResNet, ResNetV1d
from mmpose_lite.models.layers import CBAM, BoTAttention, SELayer
from mmpose_lite.models.pretrained import load_matching
from mmpose_lite.registry import BACKBONES, LAYERS, MODELS, UnknownTypeError
from tests.conftest import REPO
from tests.parity import Reference, weights_module
from tests.tiny_training import assert_learns, topdown

ALL_STAGES = (True, True, True, True)


def thin(kind: str = 'ResNet', depth: int = 18, **args: object) -> nn.Module:
    return BACKBONES.build(dict(type=kind, depth=depth, stem_channels=16, base_channels=16, **args))


def plugin(kind: str, *, position: str = 'end', stages: tuple[bool, ...] = ALL_STAGES, **args: object) -> dict:
    return dict(plugins=[dict(cfg=dict(type=kind, **args), stages=stages, position=position)])


def test_the_config_of_seresnet50_has_the_keys_of_the_reference(shared: Path) -> None:
    weights, reference = weights_module(shared), Reference.load(shared, 'pose_seresnet50_256x192')
    cfg = load_config(REPO / 'configs/pose/topdown/seresnet50_coco_256x192.py')
    model = weights.fill_(MODELS.build(cfg.model, meta=cfg.meta))
    reference.check_keys(model)
    with torch.no_grad():
        assert model(weights.inputs([1, 3, 64, 64])).shape == (1, 17, 16, 16)


def test_seresnet_scales_the_branch_before_the_sum() -> None:
    block = thin('SEResNet', 50).eval().layer1[1]
    x = torch.randn(2, 64, 8, 8)
    branch = block.branch(x)
    scale = block.se_layer.conv2.conv(block.se_layer.conv1.conv(branch.mean(dim=(2, 3), keepdim=True)).relu()).sigmoid()
    torch.testing.assert_close(block(x), (branch * scale + x).relu())


def test_seresnet_with_a_plugin_of_its_own() -> None:
    model = thin('SEResNet', **plugin('SELayer', ratio=4, stages=(False, False, False, True)))
    assert model.layer4[0].se_layer.conv1.conv.out_channels == 128 // 4
    assert model.layer3[0].se_layer.conv1.conv.out_channels == 64 // 16


def test_resnext_is_torchvisions() -> None:
    theirs = torchvision.models.resnext50_32x4d().eval()
    ours = BACKBONES.build(dict(type='ResNet', depth=50, groups=32, width_per_group=4)).eval()
    load_matching(ours, theirs.state_dict(), source='torchvision')
    x = torch.randn(1, 3, 48, 40)
    with torch.no_grad():
        y = theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(x))))
        y = theirs.layer4(theirs.layer3(theirs.layer2(theirs.layer1(y))))
        torch.testing.assert_close(ours(x)[0], y)


def test_resnext_backbone_of_a_detector(shared: Path) -> None:
    """ResNeXt-101 64x4d; the reference replaces nothing in its blocks."""
    backbone = ResNet(101, groups=64, width_per_group=4)
    part = nn.Module()
    part.backbone = backbone
    Reference.load(shared, 'det_libra_faster_rcnn_x101').check_keys(part, prefixes=('backbone.',))


def test_v1d_is_the_same_network_in_other_keys() -> None:
    ours, theirs = thin('ResNetV1d', 50).eval(), thin('ResNet', 50, deep_stem=True, avg_down=True).eval()
    keys = list(ours.state_dict())
    assert {'stem.0.conv.weight', 'stem.2.bn.weight', 'layer1.0.downsample.0.weight', 'layer2.0.downsample.1.weight'} <= set(keys)
    ours.load_state_dict(dict(zip(keys, theirs.state_dict().values(), strict=True)))
    x = torch.rand(1, 3, 64, 48)
    torch.testing.assert_close(ours(x)[0], theirs(x)[0])
    assert (ours.out_channels, ours.strides) == (theirs.out_channels, theirs.strides)


def test_v1d_freezes_its_stem() -> None:
    model = ResNetV1d(18, stem_channels=8, base_channels=8, frozen_stages=1).train()
    assert {name.split('.')[0] for name, p in model.named_parameters() if not p.requires_grad} == {'stem', 'layer1'}
    assert not model.stem[0].training
    assert model.layer2.training


@pytest.mark.parametrize(('depth', 'expansion'), [(18, 1), (50, 4)])
def test_maps_of_the_preactivation_resnet(depth: int, expansion: int) -> None:
    model = thin('PreActResNet', depth, out_indices=(1, 3)).eval()
    assert model.out_channels == (32 * expansion, 128 * expansion)
    assert model.strides == (8, 32)
    outs = model(torch.rand(1, 3, 65, 32))
    assert [tuple(o.shape) for o in outs] == [(1, 32 * expansion, 9, 4), (1, 128 * expansion, 3, 1)]
    assert all((out >= 0).all() for out in outs)


def test_a_preactivation_block_by_hand() -> None:
    block = PreActBottleneck(8, 16, stride=2, downsample=nn.Sequential(nn.Conv2d(8, 16, 1, stride=2), nn.BatchNorm2d(16))).eval()
    x = torch.randn(2, 8, 6, 6)
    y = block.bn1(x).relu()
    shortcut = block.downsample(y)
    y = block.conv3(block.bn3(block.conv2(block.bn2(block.conv1(y)).relu())).relu())
    torch.testing.assert_close(block(x), y + shortcut)
    assert list(block.downsample.state_dict()) == ['0.weight', '0.bias']


def test_a_preactivation_block_passes_its_input_on_unchanged() -> None:
    block = PreActBlock(4, 4)
    nn.init.zeros_(block.conv2.weight)
    x = torch.randn(2, 4, 5, 5)
    assert torch.equal(block(x), x)  # negative values too


def test_preactivation_with_cp_and_frozen_stages() -> None:
    plain, recomputed = thin('PreActResNet', 50), thin('PreActResNet', 50, with_cp=True)
    recomputed.load_state_dict(plain.state_dict())
    x = torch.rand(2, 3, 64, 64)
    for model in (plain, recomputed):
        model.train()(x)[0].square().sum().backward()
    for a, b in zip(plain.parameters(), recomputed.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)
    frozen = thin('PreActResNet', frozen_stages=2).train()
    assert {n.split('.')[0] for n, p in frozen.named_parameters() if not p.requires_grad} == {'conv1', 'bn1', 'layer1', 'layer2'}
    assert [frozen.bn1.training, frozen.layer2.training, frozen.layer3.training] == [False, False, True]
    still = thin('PreActResNet', norm_eval=True).train()
    assert not still.out_norms[0].training


@pytest.mark.parametrize('depth', [18, 50])
def test_plugins_stand_in_the_stages_and_places_of_the_config(depth: int) -> None:
    attention = dict(cfg=dict(type='CBAM', parts='spatial'), stages=(False, True, True, False), position='end')
    bot = dict(cfg=dict(type='BoTAttention', max_size=(4, 4)), stages=(False, False, False, True), position='conv2')
    model = thin(depth=depth, plugins=[attention, bot])
    assert [isinstance(getattr(stage[-1], 'cbam', None), CBAM) for stage in model.stages] == [False, True, True, False]
    assert [isinstance(stage[-1].conv2, BoTAttention) for stage in model.stages] == [False, False, False, True]
    assert model(torch.rand(2, 3, 64, 64))[0].shape == (2, *model.out_channels, 2, 2)


def test_a_non_local_block_starts_as_its_input() -> None:
    """Its last convolution is 0 then; He's initial values are those of the convolutions beside it."""
    model = thin(zero_init_residual=False, **plugin('NonLocal2d', stages=(False, True, False, False)))
    model.init_weights()
    layer = model.layer2[0].non_local_block
    x = torch.randn(2, 32, 4, 4)
    assert torch.equal(layer(x), x)
    assert layer.theta.conv.weight.std().item() == pytest.approx(0.01, rel=0.1)
    assert model.layer2[0].conv1.weight.std().item() == pytest.approx((2 / (32 * 9)) ** 0.5, rel=0.1)


def test_weights_of_the_plain_network_load_beside_plugins() -> None:
    plain, attended = thin(), thin(**plugin('CBAM'))
    load_matching(attended, plain.state_dict(), source='plain')
    assert torch.equal(attended.layer4[0].conv2.weight, plain.layer4[0].conv2.weight)


def test_a_layer_of_ones_own_plugs_in() -> None:
    @LAYERS.register_module(force=True)
    class HalfOfTheChannels(nn.Module):
        def __init__(self, channels: int) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(channels))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * self.weight[:, None, None]

    block = thin(**plugin('HalfOfTheChannels')).eval().layer1[0]
    x = torch.rand(1, 16, 4, 4)
    assert torch.equal(block(x), x)
    assert 'attention.weight' in block.state_dict()


@pytest.mark.parametrize(
    'backbone',
    [
        dict(type='SEResNet', depth=18),
        dict(type='ResNetV1d', depth=18),
        dict(type='PreActResNet', depth=18),
        dict(type='ResNet', depth=50, groups=4, width_per_group=4),
        dict(type='ResNet', depth=18, **plugin('CBAM')),
        dict(type='ResNet', depth=18, **plugin('SeparableConv2d', position='conv2')),
        dict(
            type='ResNet',
            depth=50,
            **plugin('BoTAttention', position='conv2', max_size=(4, 4), stages=(False, False, False, True)),
        ),
    ],
    ids=['se', 'v1d', 'preact', 'resnext', 'cbam', 'separable', 'bot'],
)
def test_it_learns(backbone: dict) -> None:
    channels = 128 if backbone['depth'] == 18 else 512
    cfg = topdown(
        {**backbone, 'stem_channels': 16, 'base_channels': 16}, head=dict(in_channels=channels, deconv_out_channels=(16, 16, 16))
    )
    assert_learns(cfg)


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (dict(groups=32), '`groups` above 1 needs `width_per_group` and a depth from 50 on, got groups 32, width_per_group None'),
        (dict(width_per_group=4), '`groups` above 1 needs `width_per_group`'),
        (dict(depth=18, groups=32, width_per_group=4), 'a depth from 50 on, got .* depth 18'),
        (dict(plugins=[dict(type='CBAM')]), 'each of `plugins` must have the keys cfg, stages and position'),
        (plugin('CBAM', position='after_conv3'), r"`plugins` stand at one of \('conv2', 'end'\), got 'after_conv3'"),
        (plugin('CBAM', stages=(True,)), r'`stages` of a plugin must be one bool per stage \(4\), got \(True,\)'),
        (plugin('CBAM', stages=(0, 1, 2, 3)), 'must be one bool per stage'),
        (dict(plugins=plugin('CBAM')['plugins'] * 2), 'at most one per stage and position'),
    ],
)
def test_wrong_arguments_of_resnet(args: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ResNet(**{'depth': 50, **args})


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (dict(depth=20), '`depth` must be one of'),
        (dict(strides=(1, 2)), 'need 4 entries'),
        (dict(out_indices=(4,)), '`out_indices` must be stages 0 to 3'),
        (dict(frozen_stages=5), '`frozen_stages` must be -1 to 4'),
    ],
)
def test_wrong_arguments_of_preactresnet(args: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PreActResNet(**{'depth': 18, **args})


def test_an_unknown_plugin_is_named() -> None:
    with pytest.raises(UnknownTypeError, match='no layer is called `SELayers`; nearest names: `SELayer`'):
        thin(**plugin('SELayers'))
    assert LAYERS.build(dict(type='SELayer'), channels=32).conv1.conv.out_channels == 2
    assert SELayer.key == 'se_layer'
