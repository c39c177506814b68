"""PAFPN, HRFPN, BFP, ASPP as a neck, necks in a row, and the non-local block: step by step, and against stored outputs."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from mmpose_lite.models.necks import build_neck
from mmpose_lite.registry import BACKBONES, LAYERS, NECKS
from tests.parity import Reference, weights_module

CHANNELS = (3, 5, 7)
SHAPES = ((9, 6), (5, 3), (3, 2))


def feats(channels: tuple[int, ...] = CHANNELS) -> list[Tensor]:
    return [torch.randn(2, c, *shape) for c, shape in zip(channels, SHAPES)]


def conv(x: Tensor, module: nn.Module, **args: int) -> Tensor:
    return functional.conv2d(x, module.conv.weight, module.conv.bias, **args)


def nearest(x: Tensor, H: int, W: int) -> Tensor:
    h, w = x.shape[2:]
    return x[:, :, [y * h // H for y in range(H)]][..., [z * w // W for z in range(W)]]


def test_pafpn_step_by_step() -> None:
    neck = NECKS.build(dict(type='PAFPN', in_channels=CHANNELS, out_channels=4, num_outs=4))
    maps = feats()
    outs = neck(maps)
    sums = [conv(x, lateral) for x, lateral in zip(maps, neck.lateral_convs)]
    for i in (1, 0):
        sums[i] = sums[i] + nearest(sums[i + 1], *SHAPES[i])
    up = [conv(x, m, padding=1) for x, m in zip(sums, neck.fpn_convs)]
    up[1] = up[1] + conv(up[0], neck.downsample_convs[0], stride=2, padding=1)
    up[2] = up[2] + conv(up[1], neck.downsample_convs[1], stride=2, padding=1)
    expected = [up[0], conv(up[1], neck.pafpn_convs[0], padding=1), conv(up[2], neck.pafpn_convs[1], padding=1)]
    for out, by_hand in zip(outs, [*expected, expected[2][:, :, ::2, ::2]], strict=True):
        torch.testing.assert_close(out, by_hand)
    assert neck.out_channels == (4,) * 4


def test_pafpn_from_a_later_level_with_norms_and_extra_convolutions() -> None:
    args = dict(start_level=1, add_extra_convs='on_output', norm_cfg=dict(type='GN', num_groups=2))
    neck = NECKS.build(dict(type='PAFPN', in_channels=CHANNELS, out_channels=4, num_outs=4, **args))
    outs = neck(feats())
    assert [tuple(out.shape[1:]) for out in outs] == [(4, 5, 3), (4, 3, 2), (4, 2, 1), (4, 1, 1)]
    assert len(neck.downsample_convs) == len(neck.pafpn_convs) == 1
    sum(out.square().sum() for out in outs).backward()
    assert all(p.grad.abs().sum() > 0 for name, p in neck.named_parameters() if not name.endswith('conv.bias'))


@pytest.mark.parametrize(('pooling', 'pool'), [('AVG', functional.avg_pool2d), ('MAX', functional.max_pool2d)])
def test_hrfpn_step_by_step(pooling: str, pool: Any) -> None:
    neck = NECKS.build(dict(type='HRFPN', in_channels=CHANNELS, out_channels=4, num_outs=3, pooling_type=pooling))
    maps = [torch.randn(2, c, 12 // 2**i, 8 // 2**i) for i, c in enumerate(CHANNELS)]
    grown = [functional.interpolate(x, scale_factor=2**i, mode='bilinear') for i, x in enumerate(maps)]
    joined = conv(torch.cat(grown, dim=1), neck.reduction_conv)
    sizes = (joined, pool(joined, 2), pool(joined, 4))
    for out, x, layer in zip(neck(maps), sizes, neck.fpn_convs, strict=True):
        torch.testing.assert_close(out, conv(x, layer, padding=1))


def test_hrfpn_recomputes_to_the_same_gradients() -> None:
    neck = NECKS.build(dict(type='HRFPN', in_channels=CHANNELS, out_channels=4, num_outs=3))
    maps = [x.requires_grad_() for x in feats()]
    grads = []
    for with_cp in (False, True):
        neck.with_cp = with_cp
        grads.append(torch.autograd.grad(sum(out.square().sum() for out in neck(maps)), [*maps, *neck.parameters()]))
    for plain, recomputed in zip(*grads, strict=True):
        torch.testing.assert_close(recomputed, plain)


@pytest.mark.parametrize('refine_level', [0, 1, 2])
def test_bfp_adds_the_mean_of_all_maps(refine_level: int) -> None:
    neck = NECKS.build(dict(type='BFP', in_channels=4, num_levels=3, refine_level=refine_level))
    maps = feats((4, 4, 4))

    def resized(x: Tensor, shape: tuple[int, int]) -> Tensor:
        (h, w), (H, W) = x.shape[2:], shape
        if h <= H:
            return nearest(x, H, W)
        spans = [[(i * n // N, -(-(i + 1) * n // N)) for i in range(N)] for n, N in ((h, H), (w, W))]
        return torch.stack([torch.stack([x[:, :, a:b, c:d].amax((2, 3)) for c, d in spans[1]], -1) for a, b in spans[0]], -2)

    mean = sum(resized(x, SHAPES[refine_level]) for x in maps) / 3
    for out, x, shape in zip(neck(maps), maps, SHAPES, strict=True):
        torch.testing.assert_close(out, x + resized(mean, shape))
    assert neck.out_channels == (4,) * 3


@pytest.mark.parametrize('use_scale', [False, True])
def test_non_local_block_by_a_loop(use_scale: bool) -> None:
    layer = LAYERS.build(dict(type='NonLocal2d', channels=6, reduction=2, use_scale=use_scale))
    x = torch.randn(2, 6, 3, 4)
    torch.testing.assert_close(layer(x), x)  # as it starts
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    theta, phi, g = (conv(x, m).flatten(2) for m in (layer.theta, layer.phi, layer.g))
    y = torch.zeros(2, 3, 12)
    for b in range(2):
        for i in range(12):
            products = torch.stack([theta[b, :, i] @ phi[b, :, j] for j in range(12)])
            weights = (products / 3**0.5 if use_scale else products).softmax(dim=0)
            y[b, :, i] = sum(weights[j] * g[b, :, j] for j in range(12))
    torch.testing.assert_close(layer(x), x + conv(y.view(2, 3, 3, 4), layer.conv_out), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize('refine_type', ['conv', 'non_local'])
def test_bfp_refines(refine_type: str) -> None:
    neck = NECKS.build(dict(type='BFP', in_channels=4, num_levels=3, refine_level=1, refine_type=refine_type))
    neck.init_weights()
    plain = NECKS.build(dict(type='BFP', in_channels=4, num_levels=3, refine_level=1))
    maps = feats((4, 4, 4))
    same = [torch.allclose(a, b) for a, b in zip(neck(maps), plain(maps), strict=True)]
    assert same == [refine_type == 'non_local'] * 3  # which starts as its input
    if refine_type == 'non_local':
        nn.init.normal_(neck.refine.conv_out.conv.weight)
        nn.init.normal_(neck.refine.theta.conv.bias)
    sum(out.square().sum() for out in neck(maps)).backward()
    # A bias on all keys changes no softmax.
    assert all(p.grad.abs().sum() > 0 for name, p in neck.named_parameters() if 'phi.conv.bias' not in name)


def test_aspp_takes_the_place_of_one_map() -> None:
    neck = NECKS.build(dict(type='ASPPNeck', in_channels=CHANNELS, out_channels=4, dilations=(1, 2), in_index=1)).eval()
    neck.init_weights()
    maps = feats()
    outs = neck(maps)
    assert outs[0] is maps[0]
    assert outs[2] is maps[2]
    assert neck.out_channels == (3, 4, 7)
    x = maps[1]
    scale = (1 + 1e-5) ** -0.5  # of a batch norm that has seen nothing
    branches = [conv(x, neck.aspp_modules[0]), conv(x, neck.aspp_modules[1], padding=2, dilation=2)]
    mean = conv(x.mean(dim=(2, 3), keepdim=True), neck.image_pool[1]).expand_as(branches[0])
    joined = torch.cat([(scale * y).relu() for y in (mean, *branches)], dim=1)
    torch.testing.assert_close(outs[1], (scale * conv(joined, neck.bottleneck, padding=1)).relu())


def test_necks_in_a_row() -> None:
    cfgs = [dict(type='FPN', in_channels=CHANNELS, out_channels=4, num_outs=3), dict(type='BFP', in_channels=4, num_levels=3)]
    neck = build_neck(cfgs)
    maps = feats()
    for out, expected in zip(neck(maps), neck[1](neck[0](maps)), strict=True):
        assert torch.equal(out, expected)
    assert neck.out_channels == (4,) * 3
    assert 'neck.0.lateral_convs.0.conv.weight' in nn.ModuleDict(dict(neck=neck)).state_dict()
    before = neck[0].lateral_convs[0].conv.weight.clone()
    neck.init_weights()
    assert not torch.equal(neck[0].lateral_convs[0].conv.weight, before)
    assert build_neck(None) is None
    assert type(build_neck(cfgs[0])).__name__ == 'FPN'
    with pytest.raises(ValueError, match='got an empty list'):
        build_neck([])


@pytest.mark.parametrize(
    ('cfg', 'message'),
    [
        (dict(type='HRFPN', in_channels=CHANNELS, out_channels=4, pooling_type='SUM'), r"HRFPN: `pooling_type` .*got 'SUM'"),
        (dict(type='HRFPN', in_channels=CHANNELS, out_channels=4, num_outs=0), 'HRFPN: `num_outs` must be 1 or more'),
        (dict(type='BFP', in_channels=4, num_levels=3, refine_level=3), 'BFP: `refine_level` must be one of the 3 maps'),
        (dict(type='BFP', in_channels=4, num_levels=3, refine_type='linear'), "BFP: `refine_type` .*got 'linear'"),
        (dict(type='ASPPNeck', in_channels=CHANNELS, out_channels=4, in_index=3), 'ASPPNeck: `in_index` must be one of the 3'),
        (dict(type='ASPPNeck', in_channels=CHANNELS, out_channels=4, dilations=()), 'ASPPNeck: `dilations` must be one or'),
        (dict(type='PAFPN', in_channels=CHANNELS, out_channels=4, num_outs=2), 'FPN: `num_outs` must be 3 or more'),
    ],
)
def test_wrong_arguments(cfg: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NECKS.build(cfg)


@pytest.mark.parametrize('kind', ['PAFPN', 'HRFPN', 'ASPPNeck'])
def test_a_missing_map_is_named(kind: str) -> None:
    args = dict(num_outs=3) if kind == 'PAFPN' else {}
    neck = NECKS.build(dict(type=kind, in_channels=CHANNELS, out_channels=4, **args))
    with pytest.raises(ValueError, match=f'{kind}: `in_channels` has 3 entries, the backbone gives 2 maps'):
        neck(feats()[:2])


def test_bfp_names_a_missing_map() -> None:
    neck = NECKS.build(dict(type='BFP', in_channels=4, num_levels=3))
    with pytest.raises(ValueError, match='BFP: `num_levels` must be the number of maps, 2, got 3'):
        neck(feats((4, 4, 4))[:2])


RESNET = dict(type='ResNet', depth=50, out_indices=(0, 1, 2, 3))
PYRAMID = dict(type='FPN', in_channels=(256, 512, 1024, 2048), out_channels=256, num_outs=5)
LIBRA = [PYRAMID, dict(type='BFP', in_channels=256, num_levels=5, refine_level=2, refine_type='non_local')]


def hrnet_w32() -> dict[str, Any]:
    def stage(number: int, modules: int, block: str, channels: tuple[int, ...]) -> dict[str, Any]:
        return dict(num_modules=modules, num_branches=number, block=block, num_blocks=(4,) * number, num_channels=channels)

    stages = [stage(1, 1, 'BOTTLENECK', (64,)), stage(2, 1, 'BASIC', (32, 64)), stage(3, 4, 'BASIC', (32, 64, 128))]
    stages.append(stage(4, 3, 'BASIC', (32, 64, 128, 256)))
    return dict(type='HRNet', multiscale_output=True, extra={f'stage{i}': s for i, s in enumerate(stages, start=1)})


@pytest.mark.parametrize(
    ('name', 'backbone', 'neck'),
    [
        ('det_libra_faster_rcnn_r50', RESNET, LIBRA),
        ('det_libra_faster_rcnn_x101', dict(RESNET, depth=101, groups=64, width_per_group=4), LIBRA),
        (
            'det_faster_rcnn_r50_mdconv',
            dict(RESNET, dcn=dict(type='DCNv2', deform_groups=1), stage_with_dcn=(False, True, True, True)),
            PYRAMID,
        ),
        ('det_faster_rcnn_hrnetv2p_w32', hrnet_w32(), dict(type='HRFPN', in_channels=(32, 64, 128, 256), out_channels=256)),
    ],
)  # fmt: skip
def test_backbone_and_neck_are_the_reference(shared: Path, name: str, backbone: dict, neck: Any) -> None:
    weights, reference = weights_module(shared), Reference.load(shared, name)
    with torch.device('cpu' if reference.outputs else 'meta'):  # keys and shapes need no memory
        model = nn.ModuleDict(dict(backbone=BACKBONES.build(backbone), neck=build_neck(neck)))
    reference.check_keys(model, prefixes=('backbone.', 'neck.'))
    if reference.outputs:
        weights.fill_(model)
        with torch.no_grad():
            for i, out in enumerate(model['neck'](model['backbone'](weights.inputs(reference.input_shape)))):
                reference.check_output(f'neck.{i}', out)
