import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from mmpose_lite.models.layers import CBAM, BoTAttention, SELayer, SeparableConv2d
from mmpose_lite.registry import LAYERS


def test_se_by_hand() -> None:
    layer = LAYERS.build(dict(type='SELayer', ratio=2), channels=4)
    x = torch.randn(2, 4, 3, 5)
    first, second = layer.conv1.conv, layer.conv2.conv
    hidden = functional.relu(x.mean(dim=(2, 3)) @ first.weight[:, :, 0, 0].T + first.bias)
    scale = torch.sigmoid(hidden @ second.weight[:, :, 0, 0].T + second.bias)
    torch.testing.assert_close(layer(x), x * scale[:, :, None, None])


def test_cbam_by_hand() -> None:
    layer = CBAM(4, ratio=2, kernel_size=3)
    x = torch.randn(2, 4, 5, 6)
    first, second = layer.channel.conv1.conv, layer.channel.conv2.conv

    def mlp(pooled: Tensor) -> Tensor:
        return functional.relu(pooled @ first.weight[:, :, 0, 0].T + first.bias) @ second.weight[:, :, 0, 0].T + second.bias

    scale = torch.sigmoid(mlp(x.mean(dim=(2, 3))) + mlp(x.flatten(2).max(dim=2).values))
    y = x * scale[:, :, None, None]
    pooled = torch.stack((y.mean(dim=1), y.max(dim=1).values), dim=1)
    expected = y * torch.sigmoid(functional.conv2d(pooled, layer.spatial.conv.conv.weight, padding=1))
    torch.testing.assert_close(layer(x), expected)


def test_parts_of_cbam() -> None:
    x = torch.randn(2, 4, 5, 6)
    both = CBAM(4, ratio=2)
    channel, spatial = CBAM(4, ratio=2, parts='channel'), CBAM(4, ratio=2, parts='spatial')
    channel.channel.load_state_dict(both.channel.state_dict())
    spatial.spatial.load_state_dict(both.spatial.state_dict())
    torch.testing.assert_close(spatial(channel(x)), both(x))
    assert {key.split('.')[0] for key in channel.state_dict()} == {'channel'}
    assert {key.split('.')[0] for key in spatial.state_dict()} == {'spatial'}


@pytest.mark.parametrize('size', [(3, 2), (5, 4), (1, 1)])
def test_bot_attention_is_the_slow_loop(size: tuple[int, int]) -> None:
    """Every query against every key, with the learnt vector of their offset; (w, h) up to the largest."""
    W, H = size
    max_w, max_h, n, d = 5, 4, 2, 3
    layer = BoTAttention(n * d, max_size=(max_w, max_h), num_heads=n).double()
    x = torch.randn(1, n * d, H, W, dtype=torch.float64)
    q, k, v = layer.qkv(x).chunk(3, dim=1)
    expected = torch.zeros_like(x)
    for head in range(n):
        rows = slice(head * d, (head + 1) * d)
        for qy in range(H):
            for qx in range(W):
                query = q[0, rows, qy, qx]
                logits = torch.empty(H, W, dtype=torch.float64)
                for ky in range(H):
                    for kx in range(W):
                        position = layer.rel_w[kx - qx + max_w - 1] + layer.rel_h[ky - qy + max_h - 1]
                        logits[ky, kx] = query @ (k[0, rows, ky, kx] + position) / math.sqrt(d)
                weights = logits.flatten().softmax(dim=0).reshape(H, W)
                expected[0, rows, qy, qx] = (weights * v[0, rows]).sum(dim=(1, 2))
    torch.testing.assert_close(layer(x), expected)


def test_bot_attention_without_positions_does_not_know_where_a_cell_is() -> None:
    layer = BoTAttention(8, max_size=(4, 3))
    x = torch.randn(2, 8, 3, 4)
    order = torch.randperm(12)
    moved = x.flatten(2)[:, :, order].reshape(x.shape)
    assert not torch.allclose(layer(moved).flatten(2), layer(x).flatten(2)[:, :, order], atol=1e-4)
    with torch.no_grad():
        layer.rel_w.zero_()
        layer.rel_h.zero_()
    torch.testing.assert_close(layer(moved).flatten(2), layer(x).flatten(2)[:, :, order])


def test_bot_attention_pools_after_attending() -> None:
    plain, strided = BoTAttention(8, max_size=(4, 6)), BoTAttention(8, max_size=(4, 6), stride=2)
    strided.load_state_dict(plain.state_dict())
    x = torch.randn(1, 8, 6, 4)
    torch.testing.assert_close(strided(x), plain(x).reshape(1, 8, 3, 2, 2, 2).mean(dim=(3, 5)))
    assert strided(torch.randn(1, 8, 5, 3)).shape == (1, 8, 3, 2)


def test_every_parameter_of_attention_gets_a_gradient() -> None:
    for layer in (SELayer(8, ratio=2), CBAM(8, ratio=2), BoTAttention(8, max_size=(4, 4))):
        layer(torch.randn(2, 8, 4, 4)).square().sum().backward()
        assert all(p.grad.abs().sum() > 0 for p in layer.parameters()), type(layer)


@pytest.mark.parametrize(('stride', 'dilation'), [(1, 1), (2, 1), (1, 2)])
def test_separable_convolution_is_a_dense_one_of_rank_one(stride: int, dilation: int) -> None:
    layer = SeparableConv2d(4, stride=stride, dilation=dilation)
    dense = layer[1].weight * layer[0].weight.reshape(1, 4, 3, 3)
    x = torch.randn(2, 4, 7, 6)
    torch.testing.assert_close(layer(x), functional.conv2d(x, dense, stride=stride, padding=dilation, dilation=dilation))


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match=r'SELayer: `ratio` must be 1 to the number of channels \(8\), got 16'):
        SELayer(8)
    with pytest.raises(ValueError, match='CBAM: `ratio` must be 1 to'):
        CBAM(8, ratio=0)
    with pytest.raises(ValueError, match=r"CBAM: `parts` must be one of .*, got 'all'"):
        CBAM(32, parts='all')
    with pytest.raises(ValueError, match='BoTAttention: `num_heads` must divide the 6 channels, got 4'):
        BoTAttention(6, max_size=(2, 2))
    with pytest.raises(ValueError, match=r'the map must be at most `max_size` \(w, h\) = \(2, 3\), got \(3, 2\)'):
        BoTAttention(8, max_size=(2, 3))(torch.rand(1, 8, 2, 3))
