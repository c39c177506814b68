"""Plain vision transformer, with the state-dict keys of mmpretrain's."""

# Letters: B batch, H x W patches, N = H * W tokens, D their dimensions.
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from mmpose_lite.errors import ConfigError
from mmpose_lite.models.base import BaseModule
from mmpose_lite.models.layers.drop_path import DropPath
from mmpose_lite.models.pretrained import check_init_cfg, load_matching, read_pretrained
from mmpose_lite.registry import BACKBONES

# arch -> D, layers, heads; the hidden dimensions are 4 D. 'small' is ViTPose's, with 12 heads where DeiT has 6.
_ARCHS: dict[str, tuple[int, int, int]] = {
    'small': (384, 12, 12),
    'base': (768, 12, 12),
    'large': (1024, 24, 16),
    'huge': (1280, 32, 16),
}
_EPS = 1e-6  # of the layer norms, as published


class PatchEmbed(nn.Module):
    """One token for each patch: a convolution whose stride is its kernel size."""

    def __init__(self, in_channels: int, dims: int, *, patch_size: int, padding: int) -> None:
        super().__init__()
        self.projection = nn.Conv2d(in_channels, dims, patch_size, stride=patch_size, padding=padding)

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Return tokens (B, N, D), row by row, and their (H, W)."""
        x = self.projection(x)
        return x.flatten(2).transpose(1, 2), (x.shape[2], x.shape[3])


class MultiheadAttention(nn.Module):
    """Self-attention: each token becomes a mean of all tokens' values."""

    def __init__(self, dims: int, *, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dims, 3 * dims)
        self.proj = nn.Linear(dims, dims)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, N, D) of (B, N, D)."""
        B, N, D = x.shape
        query, key, value = self.qkv(x).view(B, N, 3, self.num_heads, D // self.num_heads).permute(2, 0, 3, 1, 4)
        x = functional.scaled_dot_product_attention(query, key, value)
        return self.proj(x.transpose(1, 2).reshape(B, N, D))


class FeedForward(nn.Module):
    """Two linear layers on each token, GELU between them; nested as in mmcv, for its keys."""

    def __init__(self, dims: int, hidden_dims: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Sequential(nn.Linear(dims, hidden_dims), nn.GELU()), nn.Linear(hidden_dims, dims))

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, N, D) of (B, N, D)."""
        return self.layers(x)


class TransformerLayer(nn.Module):
    """Attention and feed-forward, each on normalised tokens and added to them."""

    def __init__(self, dims: int, *, num_heads: int, hidden_dims: int, drop_path_rate: float) -> None:
        super().__init__()
        self.ln1 = nn.LayerNorm(dims, eps=_EPS)
        self.attn = MultiheadAttention(dims, num_heads=num_heads)
        self.ln2 = nn.LayerNorm(dims, eps=_EPS)
        self.ffn = FeedForward(dims, hidden_dims)
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, x: Tensor) -> Tensor:
        """Return tokens (B, N, D) of tokens (B, N, D)."""
        x = x + self.drop_path(self.attn(self.ln1(x)))
        return x + self.drop_path(self.ffn(self.ln2(x)))


@BACKBONES.register_module()
class VisionTransformer(BaseModule):
    """Plain ViT without class token; the tokens after the last layer, normalised, are the one map it returns.

    Source: Dosovitskiy et al., An Image is Worth 16x16 Words, ICLR 2021, Sec. 3.1, arXiv:2010.11929, as ViTPose uses it:
    Xu et al., NeurIPS 2022, Sec. 3.1, arXiv:2204.12484 (learned positions; patches of 16 px, of which 2 px of padding shift the
    grid).

    Args:
        arch: 'small', 'base', 'large' or 'huge', or dict(embed_dims=..., num_layers=..., num_heads=...,
            feedforward_channels=...); the last is 4 * embed_dims where not given.
        img_size: (h, w) of the images for which positions are learned; those of others are interpolated.
        patch_size: side of a patch in px.
        patch_padding: px of zeros around the image.
        in_channels: of the image.
        drop_path_rate: chance to leave out a branch of the last layer; it rises linearly from 0 in the first.
        init_cfg: dict(type='Pretrained', checkpoint=...) or None, used by `init_weights`.

    Attributes:
        out_channels: (D,).
        strides: (patch_size,).

    Raises:
        ValueError: an argument is unknown or out of range.
    """

    def __init__(
        self,
        arch: str | Mapping[str, int] = 'base',
        *,
        img_size: tuple[int, int] = (256, 192),
        patch_size: int = 16,
        patch_padding: int = 2,
        in_channels: int = 3,
        drop_path_rate: float = 0.0,
        init_cfg: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        dims, num_layers, num_heads, hidden_dims = _arch_settings(arch)
        if dims % num_heads:
            raise ValueError(f'VisionTransformer: `embed_dims` must be a multiple of the {num_heads} heads, got {dims}.')
        if min(img_size) + 2 * patch_padding < patch_size:
            raise ValueError(f'VisionTransformer: `img_size` must hold a patch of {patch_size} px, got {tuple(img_size)}.')
        check_init_cfg('VisionTransformer', init_cfg)
        self.init_cfg = init_cfg
        H, W = ((side + 2 * patch_padding - patch_size) // patch_size + 1 for side in img_size)
        self.grid_shape = (H, W)
        self.pos_embed = nn.Parameter(torch.zeros(1, H * W, dims))
        self.patch_embed = PatchEmbed(in_channels, dims, patch_size=patch_size, padding=patch_padding)
        self.layers = nn.ModuleList(
            TransformerLayer(
                dims,
                num_heads=num_heads,
                hidden_dims=hidden_dims,
                drop_path_rate=drop_path_rate * i / max(num_layers - 1, 1),
            )
            for i in range(num_layers)
        )
        self.ln1 = nn.LayerNorm(dims, eps=_EPS)
        self.out_channels = (dims,)
        self.strides = (patch_size,)

    def init_weights(self) -> None:
        """Set truncated normal initial values of standard deviation 0.02, then load the weights if `init_cfg` names any."""
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.LayerNorm):
                nn.init.ones_(module.weight)
                nn.init.zeros_(module.bias)
        if self.init_cfg is not None:
            state_dict = read_pretrained(self, self.init_cfg)
            if 'pos_embed' in state_dict:
                state_dict['pos_embed'] = self._fit_positions(state_dict['pos_embed'])
            load_matching(self, state_dict, source=self.init_cfg['checkpoint'])

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return one map (B, D, H, W) of images (B, 3, h, w)."""
        tokens, shape = self.patch_embed(x)
        tokens = tokens + self._positions(shape)
        for layer in self.layers:
            tokens = layer(tokens)
        tokens = self.ln1(tokens)
        return (tokens.transpose(1, 2).unflatten(2, shape),)

    def _positions(self, shape: tuple[int, int]) -> Tensor:
        """Return (1, H * W, D), interpolated where the image's grid is not that of `img_size`."""
        return _resize_positions(self.pos_embed, self.grid_shape, shape)

    def _fit_positions(self, positions: Tensor) -> Tensor:
        """Return positions (1, N, D) of those of another network: on a grid of this shape or a square one, a class token's first.

        Raises:
            ConfigError: their number tells of neither.
        """
        theirs, ours = positions.shape[1], self.pos_embed.shape[1]
        for tokens in (ours, theirs, theirs - 1):
            grid = _grid_of(tokens, self.grid_shape)
            if grid is not None and theirs - tokens in (0, 1):
                return _resize_positions(positions[:, theirs - tokens :], grid, self.grid_shape)
        raise ConfigError(
            f'VisionTransformer: {self.init_cfg["checkpoint"]} has positions of {theirs} patches, which are neither a square nor '
            f'of the shape of this grid, {self.grid_shape[0]} x {self.grid_shape[1]} (h x w); choose `img_size` to fit.'
        )


def _resize_positions(positions: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """Return positions (1, H * W, D) on the `new` (H, W) grid of those on the `old` one."""
    if old == new:
        return positions
    grid = positions.transpose(1, 2).unflatten(2, old)
    return functional.interpolate(grid, size=new, mode='bicubic', align_corners=False).flatten(2).transpose(1, 2)


def _grid_of(tokens: int, like: tuple[int, int]) -> tuple[int, int] | None:
    """Return the (H, W) of a grid of so many tokens, of the shape of `like` or else square; None if there is neither."""
    width = math.isqrt(tokens * like[1] // like[0])
    if width and tokens % width == 0 and tokens // width * like[1] == width * like[0]:
        return tokens // width, width
    side = math.isqrt(tokens)
    return (side, side) if side**2 == tokens else None


def _arch_settings(arch: str | Mapping[str, int]) -> tuple[int, int, int, int]:
    """Return D, layers, heads and hidden dimensions."""
    if isinstance(arch, str):
        if arch not in _ARCHS:
            raise ValueError(f'VisionTransformer: `arch` must be one of {list(_ARCHS)} or a dict, got {arch!r}.')
        dims, num_layers, num_heads = _ARCHS[arch]
        return dims, num_layers, num_heads, 4 * dims
    needed = ('embed_dims', 'num_layers', 'num_heads')
    if not set(needed) <= set(arch) <= {*needed, 'feedforward_channels'}:
        raise ValueError(f'VisionTransformer: `arch` takes {needed} and feedforward_channels, got {sorted(arch)}.')
    return arch['embed_dims'], arch['num_layers'], arch['num_heads'], arch.get('feedforward_channels', 4 * arch['embed_dims'])
