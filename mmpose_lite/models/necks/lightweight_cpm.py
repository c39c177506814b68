"""What Lightweight OpenPose has between its backbone and its stages."""

# Letters: B batch, C channels, H x W cells.
from collections.abc import Sequence

from torch import Tensor, nn

from mmpose_lite.models.base import BaseModule
from mmpose_lite.models.layers.conv_module import ConvModule
from mmpose_lite.registry import NECKS


@NECKS.register_module()
class LightweightCPM(BaseModule):
    """A 1x1 convolution to fewer channels, three depthwise separable blocks with a shortcut over them, a 3x3 convolution.

    Source: Osokin, Lightweight OpenPose, arXiv:1811.12004 (`cpm` in the author's code, in place of conv4_3_CPM and conv4_4_CPM).

    Args:
        in_channels: C of the coarsest map of the backbone.
        out_channels: C of the result.
    """

    def __init__(self, in_channels: int, out_channels: int = 128) -> None:
        super().__init__()
        C = out_channels
        self.align = ConvModule(in_channels, C, with_norm=False)
        self.trunk = nn.Sequential(*(_separable(C) for _ in range(3)))
        self.conv = ConvModule(C, C, kernel_size=3, with_norm=False)
        self.out_channels = (C,)

    def init_weights(self) -> None:
        """Set He's normal initial values, by fan in: the fan out of a depthwise convolution without norm would make it vanish."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity='relu')
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, feats: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return one map (B, out_channels, H, W) of the last (coarsest) of the maps."""
        x = self.align(feats[-1])
        return (self.conv(x + self.trunk(x)),)


def _separable(channels: int) -> nn.Sequential:
    return nn.Sequential(
        ConvModule(channels, channels, kernel_size=3, groups=channels, with_norm=False, bias=False, act='elu'),
        ConvModule(channels, channels, with_norm=False, bias=False, act='elu'),
    )
