"""Depthwise separable convolutions: a layer that plugs into the blocks of a backbone, and one with norms and activations."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from mmpose_lite.models.layers.conv_module import ConvModule
from mmpose_lite.registry import LAYERS


@LAYERS.register_module()
class SeparableConv2d(nn.Sequential):
    """A convolution of each channel by itself, then a 1x1 over the channels; nothing in between.

    Source: Chollet, Xception, CVPR 2017, Sec. 2, arXiv:1610.02357.

    Args:
        channels: C of the input and the result.
        kernel_size: odd.
        stride: of the first convolution.
        dilation: of the first convolution.
    """

    def __init__(self, channels: int, *, kernel_size: int = 3, stride: int = 1, dilation: int = 1) -> None:
        padding = dilation * (kernel_size // 2)
        super().__init__(
            nn.Conv2d(
                channels,
                channels,
                kernel_size,
                stride=stride,
                padding=padding,
                dilation=dilation,
                groups=channels,
                bias=False,
            ),
            nn.Conv2d(channels, channels, 1, bias=False),
        )


class DepthwiseSeparableConvModule(nn.Module):
    """The same as two ConvModules, each with normalisation and activation, in OpenMMLab's keys.

    Args:
        in_channels: C of the input.
        out_channels: C of the result.
        kernel_size: of the convolution of each channel, odd.
        dilation: of that convolution.
        norm_cfg: see `build_norm_layer`.
        act: see `ConvModule`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel_size: int = 3,
        dilation: int = 1,
        norm_cfg: Mapping[str, Any] | None = None,
        act: str | None = 'relu',
    ) -> None:
        super().__init__()
        self.depthwise_conv = ConvModule(
            in_channels, in_channels, kernel_size=kernel_size, dilation=dilation, groups=in_channels, norm_cfg=norm_cfg, act=act
        )
        self.pointwise_conv = ConvModule(in_channels, out_channels, norm_cfg=norm_cfg, act=act)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, out_channels, H, W) of (B, in_channels, H, W)."""
        return self.pointwise_conv(self.depthwise_conv(x))
