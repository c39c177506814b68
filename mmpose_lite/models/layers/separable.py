"""Depthwise separable convolution as a layer that plugs into the blocks of a backbone."""

from torch import nn

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
