"""U-Net, UNet++ and the layers that double a map."""

import copy
import itertools

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from mmpose_lite.models.backbones.unet import UNetPlusPlus
from mmpose_lite.registry import BACKBONES, LAYERS


def unet(**args: object) -> nn.Module:
    return BACKBONES.build(dict(type='UNet', base_channels=4, **args))


def unetpp(**args: object) -> UNetPlusPlus:
    return BACKBONES.build(dict(type='UNetPlusPlus', base_channels=4, num_stages=4, **args))


@pytest.mark.parametrize('upsample', ['InterpConv', 'DeconvModule'])
@pytest.mark.parametrize('size', [(32, 48), (33, 47), (17, 16)])
def test_maps_of_any_input(size: tuple[int, int], upsample: str) -> None:
    model = unet(upsample_cfg=dict(type=upsample)).eval()
    maps = model(torch.rand(1, 3, *size))
    assert model.out_channels == tuple(m.shape[1] for m in maps) == (4, 8, 16, 32, 64)
    assert model.strides == (1, 2, 4, 8, 16)
    assert [tuple(m.shape[2:]) for m in maps] == [tuple(side // s for side in size) for s in model.strides]


def test_stages_that_do_not_halve() -> None:
    model = unet(downsamples=(True, True, False, False), strides=(1, 1, 2, 1, 1), enc_dilations=(1, 1, 1, 2, 2)).eval()
    assert model.strides == (1, 2, 4, 4, 4)
    assert [m.shape[-1] for m in model(torch.rand(1, 3, 32, 32))] == [32, 16, 8, 8, 8]


def test_skips_carry_the_fine_detail() -> None:
    """A pixel moves the finest map near it by itself, not only through the bottom of the U."""
    model = unet().eval()
    x = torch.rand(1, 3, 64, 64)
    y = x.clone()
    y[0, :, 10, 10] += 1
    change = (model(y)[0] - model(x)[0]).abs().sum(dim=1)[0]
    assert change[10, 10] > 10 * change[40, 40]


@pytest.mark.parametrize('build', [unet, unetpp])
def test_recomputing_blocks_changes_nothing(build) -> None:
    plain, saving = build(), build(with_cp=True)
    saving.load_state_dict(plain.state_dict())
    x = torch.rand(2, 3, 32, 32, requires_grad=True)
    y = x.detach().clone().requires_grad_()
    for model, image in ((plain, x), (saving, y)):
        sum(m.square().mean() for m in model(image)).backward()
    torch.testing.assert_close(x.grad, y.grad)


@pytest.mark.parametrize('build', [unet, unetpp])
def test_norms_can_stay_in_eval_mode(build) -> None:
    model = build(norm_eval=True).train()
    assert not any(m.training for m in model.modules() if isinstance(m, nn.BatchNorm2d))


@pytest.mark.parametrize('build', [unet, unetpp])
def test_initial_values_are_hes(build) -> None:
    model = build()
    model.init_weights()
    weight = model.encoder[3][1].convs[1].conv.weight
    assert weight.std().item() == pytest.approx((2 / (weight.shape[0] * 9)) ** 0.5, rel=0.1)


def test_nodes_follow_equation_1() -> None:
    """X_ij by recursion: the nodes of its row before it, and the enlarged node below and before it."""
    model = unetpp().eval()
    x = torch.rand(1, 3, 16, 24)

    def node(i: int, j: int) -> Tensor:
        if j == 0:
            return model.encoder[i](x if i == 0 else node(i - 1, 0))
        return model.nodes[i][j - 1]([node(i, k) for k in range(j)], node(i + 1, j - 1))

    maps = model(x)
    assert model.out_channels == (4, 4, 4)
    assert model.strides == (1, 1, 1)
    for j, found in enumerate(maps, start=1):
        torch.testing.assert_close(found, node(0, j))
    assert model.nodes[0][2].conv_block.convs[0].conv.in_channels == 4 * 4  # X_00, X_01, X_02 and the one from below


@pytest.mark.parametrize('level', [1, 2, 3])
def test_a_pruned_network_gives_the_same_maps_faster(level: int) -> None:
    model = unetpp().eval()
    x = torch.rand(1, 3, 16, 16)
    full = model(x)
    pruned = copy.deepcopy(model)
    pruned.prune(level)
    assert len(pruned.out_channels) == level
    for ours, theirs in itertools.zip_longest(pruned(x), full[:level]):
        torch.testing.assert_close(ours, theirs)
    sizes = [sum(p.numel() for p in m.parameters()) for m in (pruned, model)]
    assert sizes[0] < sizes[1] if level < 3 else sizes[0] == sizes[1]
    built = unetpp(level=level)
    assert {k: v.shape for k, v in built.state_dict().items()} == {k: v.shape for k, v in pruned.state_dict().items()}


def test_every_pruned_weight_is_used() -> None:
    model = unetpp(level=2)
    sum(m.mean() for m in model(torch.rand(2, 3, 16, 16))).backward()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize('kernel_size', [1, 3])
def test_bilinear_layers_enlarge_then_convolve(kernel_size: int) -> None:
    layer = LAYERS.build(dict(type='InterpConv', in_channels=3, out_channels=5, kernel_size=kernel_size))
    x = torch.rand(2, 3, 4, 6)
    enlarged = functional.interpolate(x, size=(8, 12), mode='bilinear', align_corners=False)
    torch.testing.assert_close(layer(x, (8, 12)), layer.interp_upsample(enlarged))


@pytest.mark.parametrize('kind', ['InterpConv', 'DeconvModule'])
def test_odd_sizes_move_nothing(kind: str) -> None:
    """Half of 9 is 4, or 5 with a strided convolution: the doubled map lacks its last row, or has one too many."""
    layer = LAYERS.build(dict(type=kind, in_channels=3, out_channels=5)).eval()
    x = torch.rand(2, 3, 4, 6)
    doubled = layer(x, (8, 12))
    longer, shorter = layer(x, (9, 13)), layer(x, (7, 11))
    torch.testing.assert_close(longer[:, :, :8, :12], doubled)
    torch.testing.assert_close(longer[:, :, 8], longer[:, :, 7])
    torch.testing.assert_close(longer[..., 12], longer[..., 11])
    torch.testing.assert_close(shorter, doubled[:, :, :7, :11])


def test_a_strided_stem_makes_all_maps_smaller() -> None:
    model = unetpp(stem_stride=2).eval()
    maps = model(torch.rand(1, 3, 30, 49))
    assert model.strides == (2, 2, 2)
    assert [tuple(m.shape) for m in maps] == [(1, 4, 15, 25)] * 3
    assert {k: v.shape for k, v in model.state_dict().items()} == {k: v.shape for k, v in unetpp().state_dict().items()}


def test_transposed_convolutions_double() -> None:
    layer = LAYERS.build(dict(type='DeconvModule', in_channels=3, out_channels=5, kernel_size=2))
    assert layer(torch.rand(2, 3, 4, 6), (8, 12)).shape == (2, 5, 8, 12)
    assert layer(torch.rand(2, 3, 4, 6), (9, 13)).shape == (2, 5, 9, 13)
    bilinear = LAYERS.build(dict(type='InterpConv', in_channels=3, out_channels=5))
    assert 'interp_upsample.1.conv.weight' in bilinear.state_dict(), "mmseg's key"


def test_errors() -> None:
    with pytest.raises(ValueError, match=r'UNet: `downsamples` needs 4 entries for 5 stages, got \(True,\)'):
        unet(downsamples=(True,))
    with pytest.raises(ValueError, match=r'UNet: `strides` needs 5 entries for 5 stages, got \(1, 1\)'):
        unet(strides=(1, 1))
    with pytest.raises(ValueError, match=r'UNet: `strides` must be 1 or 2 each, got \(1, 1, 3, 1, 1\)'):
        unet(strides=(1, 1, 3, 1, 1))
    with pytest.raises(ValueError, match='UNetPlusPlus: `level` must be 1 to 3, got 4'):
        unetpp(level=4)
    with pytest.raises(ValueError, match='UNetPlusPlus: `stem_stride` must be 1 or more, got 0'):
        unetpp(stem_stride=0)
    with pytest.raises(ValueError, match='UNetPlusPlus: `num_stages` must be 2 or more, got 1'):
        BACKBONES.build(dict(type='UNetPlusPlus', num_stages=1))
    with pytest.raises(ValueError, match='DeconvModule: `kernel_size` must be even, got 3'):
        LAYERS.build(dict(type='DeconvModule', in_channels=3, out_channels=5, kernel_size=3))
