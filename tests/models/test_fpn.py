"""The feature pyramid network."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from mmpose_lite.errors import ConfigError
from mmpose_lite.models.necks import FPN
from mmpose_lite.registry import NECKS
from tests.parity import Reference

CHANNELS = (3, 5, 7)
SHAPES = ((9, 6), (5, 3), (3, 2))  # odd ones, as images that are no multiple of 32 have


def build(**args: object) -> FPN:
    return NECKS.build(dict(type='FPN', **dict(dict(in_channels=CHANNELS, out_channels=4, num_outs=3), **args)))


def feats() -> list[Tensor]:
    return [torch.randn(2, c, *shape) for c, shape in zip(CHANNELS, SHAPES)]


def conv_of(fpn: FPN, i: int) -> tuple[Tensor, Tensor]:
    return fpn.fpn_convs[i].conv.weight, fpn.fpn_convs[i].conv.bias


def test_sums_step_by_step() -> None:
    fpn, maps = build(), feats()
    outs = fpn(maps)
    sums = [functional.conv2d(x, m.conv.weight, m.conv.bias) for x, m in zip(maps, fpn.lateral_convs)]
    for i in (1, 0):
        H, W = SHAPES[i]
        h, w = SHAPES[i + 1]
        enlarged = sums[i + 1][:, :, [y * h // H for y in range(H)]][..., [x * w // W for x in range(W)]]
        sums[i] = sums[i] + enlarged
    for i, out in enumerate(outs):
        torch.testing.assert_close(out, functional.conv2d(sums[i], *conv_of(fpn, i), padding=1))
    assert fpn.out_channels == (4, 4, 4)


@pytest.mark.parametrize(
    ('mode', 'relu', 'channels'), [(False, False, None), (True, True, 7), ('on_lateral', False, 4), ('on_output', True, 4)]
)
def test_coarser_maps(mode: bool | str, relu: bool, channels: int | None) -> None:
    fpn, maps = build(num_outs=5, add_extra_convs=mode, relu_before_extra_convs=relu), feats()
    outs = fpn(maps)
    assert [tuple(out.shape[2:]) for out in outs] == [*SHAPES, (2, 1), (1, 1)]
    if channels is None:
        torch.testing.assert_close(outs[3], outs[2][:, :, [0, 2]][..., [0]])
        return
    lateral = fpn.lateral_convs[2](maps[2])
    source = {True: maps[2], 'on_lateral': lateral, 'on_output': outs[2]}[mode]
    assert source.shape[1] == channels
    torch.testing.assert_close(outs[3], functional.conv2d(source, *conv_of(fpn, 3), stride=2, padding=1))
    following = outs[3].relu() if relu else outs[3]
    torch.testing.assert_close(outs[4], functional.conv2d(following, *conv_of(fpn, 4), stride=2, padding=1))


def test_the_last_level_by_its_number() -> None:
    fpn = build(end_level=2, num_outs=5)
    assert [tuple(out.shape[2:]) for out in fpn(feats())] == [*SHAPES, (2, 1), (1, 1)]


def test_levels_norms_and_initial_values() -> None:
    fpn = build(start_level=1, end_level=2, num_outs=2, norm_cfg=dict(type='GN', num_groups=2), no_norm_on_lateral=True)
    fpn.init_weights()
    outs = fpn(feats())
    assert [tuple(out.shape[2:]) for out in outs] == list(SHAPES[1:])
    assert fpn.lateral_convs[0].conv.bias is not None
    assert fpn.fpn_convs[0].gn.num_groups == 2
    limit = (6 / (4 * 9 + 4 * 9)) ** 0.5
    assert 0.8 * limit < fpn.fpn_convs[0].conv.weight.abs().max() <= limit
    sum(out.square().sum() for out in outs).backward()
    assert all(p.grad is not None for p in fpn.parameters())


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (dict(num_outs=2), '`num_outs` must be 3 or more'),
        (dict(end_level=1, num_outs=3), '`num_outs` must be 2, since `end_level` is not the last'),
        (dict(start_level=3), '`start_level` and `end_level`'),
        (dict(add_extra_convs='on_neck'), '`add_extra_convs`'),
        (dict(upsample='cubic'), '`upsample`'),
    ],
)
def test_errors(args: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(**args)
    with pytest.raises(ConfigError, match='the backbone gives 2 maps'):
        build()(feats()[:2])


@pytest.mark.parametrize(
    ('name', 'args'),
    [
        ('det_faster_rcnn_r50_fpn', dict(in_channels=(256, 512, 1024, 2048))),
        ('det_retinanet_r50_fpn', dict(in_channels=(256, 512, 1024, 2048), start_level=1, add_extra_convs='on_input')),
    ],
)
def test_keys_are_the_reference(shared: Path, name: str, args: dict[str, object]) -> None:
    reference = Reference.load(shared, name)
    model = torch.nn.ModuleDict(dict(neck=build(**args, out_channels=256, num_outs=5)))
    reference.check_keys(model, prefixes=('neck.',))
