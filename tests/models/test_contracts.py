"""What every backbone and every neck promises (docs/design.md), and what those with stages, frozen parts or `with_cp` share."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mmpose_lite.registry import BACKBONES, NECKS
from tests.memory_format import channels_last_throughout


def _stage(number: int) -> dict[str, Any]:
    channels = (16,) if number == 1 else tuple(16 * 2**i for i in range(number))
    block = 'BOTTLENECK' if number == 1 else 'BASIC'
    return dict(num_modules=1, num_branches=number, block=block, num_blocks=(1,) * number, num_channels=channels)


RESNET: dict[str, Any] = dict(depth=18, stem_channels=16, base_channels=16)
HRNET: dict[str, Any] = dict(extra={f'stage{i}': _stage(i) for i in (1, 2, 3, 4)})
THIN: dict[str, dict[str, Any]] = {
    'CPM': dict(out_channels=5, stem_channels=16, feat_channels=16, num_stages=2),
    'CSPNeXt': dict(deepen_factor=0.2, widen_factor=0.25),
    'HRNet': HRNET | dict(multiscale_output=True),
    'HourglassNet': dict(
        downsample_times=2, stage_channels=(16, 16, 24), stage_blocks=(1, 1, 1), feat_channel=16, stem_channels=16
    ),
    'MSPN': dict(unit_channels=16, num_stages=2, num_units=2, num_blocks=(1, 1), res_top_channels=16),
    'MobileNetV1': dict(widen_factor=0.25),
    'MobileNetV2': dict(widen_factor=0.35),
    'OpenPoseVGG': dict(depth=11, base_channels=16, cpm_channels=(32, 16)),
    'PreActResNet': RESNET,
    'ResNet': RESNET,
    'ResNetV1d': RESNET,
    'SEResNet': RESNET,
    'UNet': dict(base_channels=16, num_stages=3, strides=(1,) * 3, enc_num_convs=(1,) * 3, enc_dilations=(1,) * 3)
    | dict(dec_num_convs=(1, 1), downsamples=(True, True), dec_dilations=(1, 1)),
    'UNetPlusPlus': dict(base_channels=16, num_stages=3, num_convs=1),
    'VGG': dict(depth=11, base_channels=16),
    'VisionTransformer': dict(arch=dict(embed_dims=24, num_layers=1, num_heads=3), img_size=(64, 64)),
}
# Those with `out_indices` -> the number of maps to choose from.
CHOICES = {
    'CSPNeXt': 5,
    'MobileNetV1': 13,
    'MobileNetV2': 8,
    'PreActResNet': 4,
    'ResNet': 4,
    'ResNetV1d': 4,
    'SEResNet': 4,
    'VGG': 5,
}
FROZEN = (
    'CSPNeXt',
    'HRNet',
    'MobileNetV1',
    'MobileNetV2',
    'OpenPoseVGG',
    'PreActResNet',
    'ResNet',
    'ResNetV1d',
    'SEResNet',
    'VGG',
)
WITH_CP = ('HRNet', 'MobileNetV2', 'PreActResNet', 'ResNet', 'ResNetV1d', 'SEResNet', 'UNet', 'UNetPlusPlus')
MAPS = ((16, 16), (24, 8), (32, 4))  # C and side of what necks are given
NECK_ARGS: dict[str, dict[str, Any]] = {
    'ASPPNeck': dict(in_channels=(16, 24, 32), out_channels=8, dilations=(1, 2)),
    'BFP': dict(in_channels=16, num_levels=3, refine_type='conv'),
    'CPNGlobalNet': dict(in_channels=(16, 24, 32), out_channels=8),
    'CTResNetNeck': dict(in_channels=32, num_deconv_filters=(8,), num_deconv_kernels=(4,)),
    'FPN': dict(in_channels=(16, 24, 32), out_channels=8, num_outs=4),
    'FeatureMapProcessor': dict(in_channels=(16, 24, 32), concat=True),
    'HRFPN': dict(in_channels=(16, 24, 32), out_channels=8, num_outs=4),
    'LightweightCPM': dict(in_channels=32, out_channels=8),
    'PAFPN': dict(in_channels=(16, 24, 32), out_channels=8, num_outs=4),
}


def build(name: str, **args: Any) -> nn.Module:
    return BACKBONES.build(dict(type=name, **{**THIN[name], **args}))


def test_every_backbone_and_neck_is_looked_at() -> None:
    ours = {name for name in BACKBONES.names() if BACKBONES.find(name).__module__.startswith('mmpose_lite.')}
    assert ours == {*THIN, 'TimmBackbone'}, 'test_timm_backbone.py has the last one'
    necks = {name for name in NECKS.names() if NECKS.find(name).__module__.startswith('mmpose_lite.')}
    assert necks == {*NECK_ARGS}


@pytest.mark.parametrize('name', THIN)
def test_maps_are_what_a_backbone_says(name: str) -> None:
    """Also in channels-last memory, in bfloat16, and of a copy, as averaged weights are."""
    model = build(name).eval().to(memory_format=torch.channels_last)
    images = torch.rand(2, 3, 64, 96).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        maps, again = model(images), copy.deepcopy(model)(images)
        with torch.autocast('cpu', torch.bfloat16):
            half = model(images)
    assert isinstance(maps, tuple)
    assert [tuple(m.shape) for m in maps] == [
        (2, c, 64 // s, 96 // s) for c, s in zip(model.out_channels, model.strides, strict=True)
    ]
    for whole, same, rough in zip(maps, again, half, strict=True):
        assert whole.is_contiguous(memory_format=torch.channels_last), 'the memory format is kept'
        assert torch.equal(whole, same)
        torch.testing.assert_close(rough.float(), whole, atol=0.05 * whole.abs().max().item(), rtol=0.1)


@pytest.mark.parametrize('name', NECK_ARGS)
def test_maps_are_what_a_neck_says(name: str) -> None:
    neck = NECKS.build(dict(type=name, **NECK_ARGS[name])).eval()
    feats = tuple(torch.rand(2, 16 if name == 'BFP' else c, side, side) for c, side in MAPS)
    maps = neck(feats)
    assert isinstance(maps, tuple)
    assert neck.out_channels == tuple(m.shape[1] for m in maps)
    sides = [m.shape[-1] for m in maps]
    assert sides == sorted(sides, reverse=True), 'finest first'


@pytest.mark.parametrize('name', [name for name in NECK_ARGS if name != 'FeatureMapProcessor'])
def test_necks_keep_the_memory_format(name: str) -> None:
    neck = NECKS.build(dict(type=name, **NECK_ARGS[name])).eval().to(memory_format=torch.channels_last)
    feats = (torch.rand(2, 16 if name == 'BFP' else c, side, side) for c, side in MAPS)
    with channels_last_throughout(neck):
        neck([x.contiguous(memory_format=torch.channels_last) for x in feats])


@pytest.mark.parametrize('name', CHOICES)
def test_out_indices_in_any_order(name: str) -> None:
    model, rising = build(name, out_indices=(2, 0)).eval(), build(name, out_indices=(0, 2)).eval()
    rising.load_state_dict(model.state_dict())
    images = torch.rand(1, 3, 64, 64)
    maps = model(images)
    assert model.out_channels == tuple(m.shape[1] for m in maps)
    assert [tuple(m.shape[2:]) for m in maps] == [(64 // s, 64 // s) for s in model.strides]
    for ours, theirs in zip(maps, rising(images), strict=True):
        assert torch.equal(ours, theirs)
    last = CHOICES[name] - 1
    build(name, out_indices=(last,))
    with pytest.raises(ValueError, match=rf'{_owner(name)}: `out_indices` must be .* to {last}, got \({last + 1},\)'):
        build(name, out_indices=(last + 1,))
    with pytest.raises(ValueError, match=rf'{_owner(name)}: `out_indices` must be different ones, got \(1, 1\)'):
        build(name, out_indices=(1, 1))


def _owner(name: str) -> str:
    return 'ResNet' if name in ('SEResNet', 'ResNetV1d') else name


@pytest.mark.parametrize('name', CHOICES)
def test_what_is_behind_the_last_map_is_neither_run_nor_trained(name: str) -> None:
    """Its parameters would be waited for on several processes; the keys are those of the whole network."""
    model = build(name, out_indices=(1,))
    assert model.state_dict().keys() == build(name).state_dict().keys() or name == 'PreActResNet'
    run: list[str] = []
    for key, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda *_, key=key: run.append(key))
    model.train()(torch.rand(2, 3, 64, 64))[0].square().sum().backward()
    for key, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, key
    trained = {key.rpartition('.')[0] for key, p in model.named_parameters() if p.requires_grad}
    assert {*run} <= trained
    assert any(not p.requires_grad for p in model.parameters())


@pytest.mark.parametrize('name', FROZEN)
def test_frozen_parts_do_not_move_before_train_is_called(name: str) -> None:
    """A model is in training mode when it is built."""
    model = build(name, frozen_stages=1)
    before = copy.deepcopy(model.state_dict())
    model(torch.rand(2, 3, 64, 64))
    frozen = {key for key, p in model.named_parameters() if not p.requires_grad}
    assert frozen
    places = {key.rpartition('.')[0] for key in frozen}
    for key, value in model.state_dict().items():
        if key.rpartition('.')[0] in places:
            assert torch.equal(value, before[key]), key


@pytest.mark.parametrize('name', WITH_CP)
def test_the_first_block_is_recomputed_too(name: str) -> None:
    """The image needs no gradient, and neither does what a frozen stem gives; there the maps are the largest."""
    args = {} if name.startswith('UNet') else dict(frozen_stages=0)
    plain, saving = build(name, **args), build(name, **args, with_cp=True)
    saving.load_state_dict(plain.state_dict())
    first = next(m for key, m in saving.named_modules() if isinstance(m, nn.Conv2d) and _is_in_first_block(key))
    runs: list[Tensor] = []
    first.register_forward_hook(lambda module, given, out: runs.append(out))
    images = torch.rand(2, 3, 32, 32)
    for model in (plain, saving):
        sum(m.square().mean() for m in model.train()(images)).backward()
    assert len(runs) == 2, 'forwards, and again backwards'
    for (key, ours), theirs in zip(saving.named_parameters(), plain.parameters(), strict=True):
        if theirs.grad is not None:
            torch.testing.assert_close(ours.grad, theirs.grad, msg=key)
    with torch.no_grad():
        saving(images)
    assert len(runs) == 3


def _is_in_first_block(key: str) -> bool:
    return key.startswith(('layer1.0.', 'encoder.0.'))
