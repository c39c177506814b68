"""Attention layers that plug into the blocks of a backbone: SE, CBAM, and the self-attention of BoTNet."""

# Letters: B batch, C channels, H x W cells, n heads, d channels of a head.
import torch
from torch import Tensor, nn
from torch.nn import functional

from mmpose_lite.models.layers.conv_module import ConvModule
from mmpose_lite.registry import LAYERS

CBAM_PARTS = ('both', 'channel', 'spatial')


def _squeezed(owner: str, channels: int, ratio: int) -> int:
    """Return channels / ratio, rounded down."""
    if not 1 <= ratio <= channels:
        raise ValueError(f'{owner}: `ratio` must be 1 to the number of channels ({channels}), got {ratio}.')
    return channels // ratio


@LAYERS.register_module()
class SELayer(nn.Module):
    """Squeeze and excitation: each channel is scaled by a number in (0, 1), made of the means of all channels.

    Source: Hu et al., Squeeze-and-Excitation Networks, CVPR 2018, Sec. 3, arXiv:1709.01507.

    Args:
        channels: C.
        ratio: by which the hidden layer is narrower.
    """

    key = 'se_layer'  # of the layer in a block, in published checkpoints

    def __init__(self, channels: int, *, ratio: int = 16) -> None:
        super().__init__()
        squeezed = _squeezed('SELayer', channels, ratio)
        self.conv1 = ConvModule(channels, squeezed, with_norm=False)
        self.conv2 = ConvModule(squeezed, channels, with_norm=False, act=None)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, C, H, W) of (B, C, H, W)."""
        return x * self.conv2(self.conv1(x.mean(dim=(2, 3), keepdim=True))).sigmoid()


class ChannelAttention(nn.Module):
    """CBAM, Eq. 2: one hidden layer on the means and on the maxima of the channels, the two results added."""

    def __init__(self, channels: int, ratio: int) -> None:
        super().__init__()
        squeezed = _squeezed('CBAM', channels, ratio)
        self.conv1 = ConvModule(channels, squeezed, with_norm=False)
        self.conv2 = ConvModule(squeezed, channels, with_norm=False, act=None)

    def forward(self, x: Tensor) -> Tensor:
        pooled = (x.mean(dim=(2, 3), keepdim=True), x.amax(dim=(2, 3), keepdim=True))
        return x * sum(self.conv2(self.conv1(p)) for p in pooled).sigmoid()


class SpatialAttention(nn.Module):
    """CBAM, Eq. 3: a convolution on the mean and the maximum over the channels of each cell."""

    def __init__(self, kernel_size: int) -> None:
        super().__init__()
        self.conv = ConvModule(2, 1, kernel_size=kernel_size, with_norm=False, bias=False, act=None)

    def forward(self, x: Tensor) -> Tensor:
        pooled = torch.cat((x.mean(dim=1, keepdim=True), x.amax(dim=1, keepdim=True)), dim=1)
        return x * self.conv(pooled).sigmoid()


@LAYERS.register_module()
class CBAM(nn.Module):
    """Convolutional block attention: channels are scaled, then cells.

    Source: Woo et al., CBAM, ECCV 2018, Sec. 3, arXiv:1807.06521.

    Args:
        channels: C.
        ratio: by which the hidden layer of the channel part is narrower.
        kernel_size: of the spatial part, odd.
        parts: 'both', 'channel' or 'spatial'.
    """

    key = 'cbam'

    def __init__(self, channels: int, *, ratio: int = 16, kernel_size: int = 7, parts: str = 'both') -> None:
        super().__init__()
        if parts not in CBAM_PARTS:
            raise ValueError(f'CBAM: `parts` must be one of {CBAM_PARTS}, got {parts!r}.')
        self.channel = ChannelAttention(channels, ratio) if parts != 'spatial' else nn.Identity()
        self.spatial = SpatialAttention(kernel_size) if parts != 'channel' else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, C, H, W) of (B, C, H, W)."""
        return self.spatial(self.channel(x))


@LAYERS.register_module()
class BoTAttention(nn.Module):
    """Self-attention over all cells with relative positions, in place of a 3x3 convolution; then, with a stride, mean pooling.

    Source: Srinivas et al., Bottleneck Transformers for Visual Recognition, CVPR 2021, Sec. 3, Fig. 4, arXiv:2101.11605.
    Differs: the positions are learnt up to `max_size`, and a smaller map uses the offsets it has.

    Args:
        channels: C, a multiple of num_heads.
        max_size: (w, h) in cells of the largest map it is used on.
        stride: of the result.
        num_heads: n.
    """

    def __init__(self, channels: int, *, max_size: tuple[int, int], stride: int = 1, num_heads: int = 4) -> None:
        super().__init__()
        if channels % num_heads:
            raise ValueError(f'BoTAttention: `num_heads` must divide the {channels} channels, got {num_heads}.')
        self.max_size = tuple(max_size)
        self.num_heads = num_heads
        d = channels // num_heads
        self.scale = d**-0.5
        self.qkv = nn.Conv2d(channels, 3 * channels, 1, bias=False)
        # Row w - 1 + offset belongs to the key that lies `offset` cells to the right of (below) the query.
        self.rel_w, self.rel_h = (nn.Parameter(torch.randn(2 * length - 1, d) * self.scale) for length in self.max_size)
        self.pool = nn.AvgPool2d(stride, ceil_mode=True, count_include_pad=False) if stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, C, H / stride, W / stride), rounded up, of (B, C, H, W).

        Raises:
            ValueError: the map is larger than `max_size`.
        """
        B, C, H, W = x.shape
        if self.max_size[0] < W or self.max_size[1] < H:
            raise ValueError(f'BoTAttention: the map must be at most `max_size` (w, h) = {self.max_size}, got {(W, H)}.')
        q, k, v = self.qkv(x).reshape(B, 3, self.num_heads, -1, H * W).transpose(3, 4).unbind(1)  # each (B, n, HW, d)
        queries = (q * self.scale).unflatten(2, (H, W))
        rows = torch.einsum('bnhwd,hkd->bnhwk', queries, _by_offset(self.rel_h, H))
        columns = torch.einsum('bnhwd,wkd->bnhwk', queries, _by_offset(self.rel_w, W))
        bias = (rows[..., :, None] + columns[..., None, :]).reshape(B, self.num_heads, H * W, H * W)
        out = functional.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype), scale=self.scale)
        return self.pool(out.transpose(2, 3).reshape(B, C, H, W))


def _by_offset(table: Tensor, length: int) -> Tensor:
    """Return (query, key, d): the row of (2 * max - 1, d) for the offset from each of `length` queries to each key."""
    index = torch.arange(length, device=table.device)
    return table[index[None, :] - index[:, None] + table.shape[0] // 2]
