"""Layers of a decoder that double a map: bilinear, or by a transposed convolution."""

# Letters: B batch, C channels, H x W cells.
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from mmpose_lite.models.layers.conv_module import ConvModule
from mmpose_lite.models.layers.norm import build_norm_layer
from mmpose_lite.registry import LAYERS


def fit(x: Tensor, size: Sequence[int]) -> Tensor:
    """Return (B, C, *size) of a doubled map (B, C, h, w); `size` is (h, w).

    Halves of odd numbers are rounded, so it may be a cell larger or smaller: it is cut, or its last cells are repeated, and what
    it says stays where it is. Other maps are resized, bilinear.
    """
    h, w = size
    if max(abs(x.shape[2] - h), abs(x.shape[3] - w)) > 1:
        return functional.interpolate(x, size=(h, w), mode='bilinear')
    x = x[:, :, :h, :w]
    missing = (0, w - x.shape[3], 0, h - x.shape[2])
    return functional.pad(x, missing, mode='replicate') if any(missing) else x


def _doubled(x: Tensor, size: Sequence[int]) -> Tensor:
    """Return (B, C, *size), bilinear, of (B, C, h, w); see `fit`."""
    return fit(functional.interpolate(x, scale_factor=2.0, mode='bilinear'), size)


def in_format_of(like: Tensor, x: Tensor) -> Tensor:
    """Return `x` (B, C, H, W) in the memory format of `like`.

    What was made of a single cell has lost it, and takes it from all that it is joined with.
    """
    is_last = like.is_contiguous(memory_format=torch.channels_last)
    return x.contiguous(memory_format=torch.channels_last if is_last else torch.contiguous_format)


@LAYERS.register_module()
class InterpConv(nn.Module):
    """Bilinear enlargement, then a convolution; keys as in mmseg.

    Args:
        in_channels: C of the input.
        out_channels: C of the result.
        kernel_size: odd.
        norm_cfg: see `build_norm_layer`.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, kernel_size: int = 1, norm_cfg: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__()
        conv = ConvModule(in_channels, out_channels, kernel_size=kernel_size, norm_cfg=norm_cfg)
        self.interp_upsample = nn.Sequential(nn.Identity(), conv)  # in mmseg the enlargement is a layer, index 0
        self.is_pointwise = kernel_size == 1

    def forward(self, x: Tensor, size: Sequence[int]) -> Tensor:
        """Return (B, out_channels, *size); `size` is (h, w), twice that of `x`, or one more or less."""
        layer = self.interp_upsample[1]
        if self.is_pointwise:  # enlarging and a 1x1 convolution commute: this order has a quarter of the cells to convolve
            return layer.finish(_doubled(layer.conv(x), size))
        return layer(_doubled(x, size))


@LAYERS.register_module()
class DeconvModule(nn.Module):
    """A transposed convolution of stride 2, normalisation, relu; keys as in mmseg.

    Args:
        in_channels: C of the input.
        out_channels: C of the result.
        kernel_size: even, 2 or more; 4 overlaps, which leaves less of a checkerboard.
        norm_cfg: see `build_norm_layer`.

    Raises:
        ValueError: the kernel is odd.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, kernel_size: int = 4, norm_cfg: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__()
        if kernel_size < 2 or kernel_size % 2:
            raise ValueError(f'DeconvModule: `kernel_size` must be even, got {kernel_size}.')
        deconv = nn.ConvTranspose2d(in_channels, out_channels, kernel_size, stride=2, padding=(kernel_size - 2) // 2)
        self.deconv_upsamping = nn.Sequential(deconv, build_norm_layer(norm_cfg, out_channels)[1], nn.ReLU(inplace=True))

    def forward(self, x: Tensor, size: Sequence[int]) -> Tensor:
        """Return (B, out_channels, *size); `size` is (h, w), twice that of `x`, or one more or less."""
        return fit(self.deconv_upsamping(x), size)
