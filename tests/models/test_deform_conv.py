"""Deformable convolution: against a loop over cells and taps, and where it is a plain convolution."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from mmpose_lite.models.layers.deform_conv import DeformConv2d
from mmpose_lite.registry import BACKBONES, LAYERS


def read(channel: Tensor, y: float, x: float) -> float:
    """Return the bilinear value of (H, W) at cell coordinates; 0 outside."""
    H, W = channel.shape
    total = 0.0
    for row in (math.floor(y), math.floor(y) + 1):
        for column in (math.floor(x), math.floor(x) + 1):
            if 0 <= row < H and 0 <= column < W:
                total += (1 - abs(y - row)) * (1 - abs(x - column)) * channel[row, column].item()
    return total


def slow(x: Tensor, offset: Tensor, mask: Tensor, layer: DeformConv2d) -> Tensor:
    """Dai et al., Eq. 2, and Zhu et al., Eq. 1."""
    out_channels, per_group, k, _ = layer.weight.shape
    B, C, _, _ = x.shape
    _, _, h, w = offset.shape
    stride, dilation = layer.stride[0], layer.dilation[0]
    out = torch.zeros(B, out_channels, h, w, dtype=x.dtype)
    for b, o, i, j in torch.cartesian_prod(*(torch.arange(n) for n in out.shape)).tolist():
        first = o // (out_channels // (C // per_group)) * per_group
        for c in range(first, first + per_group):
            group = c // (C // layer.deform_groups)
            for tap in range(k * k):
                at = group * k * k + tap
                dy, dx = offset[b, 2 * at : 2 * at + 2, i, j].tolist()
                y = i * stride + (tap // k - k // 2) * dilation + dy
                z = j * stride + (tap % k - k // 2) * dilation + dx
                weight = layer.weight[o, c - first, tap // k, tap % k]
                out[b, o, i, j] += weight * mask[b, at, i, j] * read(x[b, c], y, z)
    return out


@pytest.mark.parametrize(
    ('stride', 'dilation', 'groups', 'deform_groups'), [(1, 1, 1, 1), (2, 1, 2, 1), (1, 2, 1, 2), (2, 2, 2, 4)]
)
@pytest.mark.parametrize('kind', ['DCN', 'DCNv2'])
def test_a_loop_over_cells_and_taps(kind: str, stride: int, dilation: int, groups: int, deform_groups: int) -> None:
    args = dict(stride=stride, dilation=dilation, groups=groups, deform_groups=deform_groups)
    layer = LAYERS.build(dict(type=kind, in_channels=4, out_channels=2, **args)).double()
    nn.init.normal_(layer.conv_offset.weight, std=0.3)  # cells: well over one, also out of the map
    nn.init.normal_(layer.conv_offset.bias)
    x = torch.randn(1, 4, 5, 4, dtype=torch.double)
    maps = functional.conv2d(
        x, layer.conv_offset.weight, layer.conv_offset.bias, stride=stride, padding=dilation, dilation=dilation
    )
    num = deform_groups * 9
    assert maps.shape[1] == num * (3 if kind == 'DCNv2' else 2)
    mask = maps[:, 2 * num :].sigmoid() if kind == 'DCNv2' else torch.ones(1, num, *maps.shape[2:])
    with torch.no_grad():
        torch.testing.assert_close(layer(x), slow(x, maps[:, : 2 * num], mask, layer))


@pytest.mark.parametrize(('kind', 'factor'), [('DCN', 1.0), ('DCNv2', 0.5)])
def test_it_starts_as_a_plain_convolution(kind: str, factor: float) -> None:
    layer = LAYERS.build(dict(type=kind, in_channels=6, out_channels=4, stride=2, dilation=2, groups=2, bias=True))
    nn.init.normal_(layer.bias)
    x = torch.randn(2, 6, 9, 7)
    plain = functional.conv2d(x, layer.weight, None, stride=2, padding=2, dilation=2, groups=2)
    torch.testing.assert_close(layer(x), factor * plain + layer.bias.view(-1, 1, 1))  # sigmoid(0) is a half


def test_a_whole_offset_shifts_the_map() -> None:
    layer = DeformConv2d(3, 2)
    x = torch.randn(1, 3, 6, 6)
    offset = torch.zeros(1, 18, 6, 6)
    offset[:, 1::2] = 1.0  # one cell to the right
    plain = functional.conv2d(x, layer.weight, padding=1)
    torch.testing.assert_close(layer(x, offset)[..., :-2], plain[..., 1:-1])


@pytest.mark.parametrize('kind', ['DCN', 'DCNv2'])
def test_every_parameter_learns(kind: str) -> None:
    layer = LAYERS.build(dict(type=kind, in_channels=4, out_channels=4, bias=True))
    layer(torch.randn(1, 4, 6, 6)).square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in layer.parameters())


def test_lower_precision_around_it() -> None:
    layer = LAYERS.build(dict(type='DCNv2', in_channels=4, out_channels=4))
    x = torch.randn(1, 4, 6, 6)
    exact = layer(x)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        out = layer(x.bfloat16())
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), exact, atol=0.05, rtol=0.05)  # bfloat16 has 8 bits


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (dict(kernel_size=2), 'DCN: `kernel_size` must be odd, got 2'),
        (dict(groups=3), 'DCN: `groups` must divide the channels, got 3 for 4 in and 6 out'),
        (dict(deform_groups=3), 'DCN: `deform_groups` must divide the channels, got 3'),
    ],
)
def test_wrong_arguments(args: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LAYERS.build(dict(type='DCN', in_channels=4, out_channels=6, **args))


def deformed(**args: object) -> nn.Module:
    cfg = dict(type='ResNet', depth=50, stem_channels=8, base_channels=8, out_indices=(0, 1, 2, 3))
    return BACKBONES.build(cfg | dict(dcn=dict(type='DCNv2', deform_groups=1), stage_with_dcn=(False, True, True, False)) | args)


def kinds(model: nn.Module) -> list[list[str]]:
    return [[type(block.conv2).__name__ for block in stage[:2]] for stage in model.stages]


def test_stages_of_a_resnet() -> None:
    model = deformed()
    assert kinds(model) == [['Conv2d'] * 2, ['DCNv2'] * 2, ['DCNv2'] * 2, ['Conv2d'] * 2]
    assert model.layer2[0].conv2.stride == (2, 2)
    model = deformed(groups=4, width_per_group=4, dcn=dict(type='DCN', fallback_on_stride=True))
    assert kinds(model) == [['Conv2d'] * 2, ['Conv2d', 'DCN'], ['Conv2d', 'DCN'], ['Conv2d'] * 2]
    assert model.layer2[1].conv2.weight.shape == (32, 8, 3, 3)  # 4 groups of 8


def test_a_resnet_starts_undeformed() -> None:
    model, plain = (
        deformed(norm_cfg=dict(type='GN', num_groups=4)),
        deformed(norm_cfg=dict(type='GN', num_groups=4), dcn=None, stage_with_dcn=(False,) * 4),
    )
    model.init_weights()
    assert model.layer2[1].conv2.weight.std().item() == pytest.approx((2 / (16 * 9)) ** 0.5, rel=0.1)  # He, fan out
    assert not model.layer2[1].conv2.conv_offset.weight.any()
    assert (model.layer2[1].gn3.weight == 0).all()  # each block starts as its shortcut
    nn.init.normal_(model.layer2[1].gn3.weight)
    plain.load_state_dict(model.state_dict(), strict=False)
    for layer in model.modules():
        if type(layer).__name__ == 'DCNv2':
            layer.weight.data *= 2  # makes up for masks of a half
    x = torch.randn(1, 3, 64, 64)
    for ours, expected in zip(model(x), plain(x), strict=True):
        torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (dict(stage_with_dcn=(False,) * 4), 'with a True if and only if `dcn` is set'),
        (dict(dcn=None), 'with a True if and only if `dcn` is set'),
        (dict(stage_with_dcn=(True,)), r'must be one bool per stage \(4\)'),
        (dict(depth=18), '`dcn` needs the Bottlenecks of depth 50 and more, got depth 18'),
        (
            dict(plugins=[dict(cfg=dict(type='BoTAttention'), stages=(False, False, True, True), position='conv2')]),
            "`dcn` and a plugin at 'conv2' stand in each other's place",
        ),
    ],
)
def test_a_resnet_with_wrong_arguments(args: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        deformed(**args)
