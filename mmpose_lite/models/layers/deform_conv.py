"""Deformable convolution, v1 and v2, on torchvision's kernel."""

# Letters: B batch, C channels, H x W cells, k taps of the kernel, G deformable groups.
import torch
from torch import Tensor, nn
from torch.nn.modules.utils import _pair

from mmpose_lite.registry import LAYERS


class DeformConv2d(nn.Module):
    """Convolution whose taps read where a map of offsets says; the offsets are an input.

    Source: Dai et al., Deformable Convolutional Networks, ICCV 2017, Sec. 2.1, arXiv:1703.06211.

    Args:
        in_channels: C of the input.
        out_channels: C of the result.
        kernel_size: odd.
        stride: of the convolution.
        dilation: of the convolution.
        groups: of the convolution.
        deform_groups: G: each part of C / G channels has offsets of its own.
        bias: add one.

    Raises:
        ValueError: the kernel is even, or the groups do not divide the channels.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel_size: int = 3,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        deform_groups: int = 1,
        bias: bool = False,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        if kernel_size % 2 == 0:
            raise ValueError(f'{name}: `kernel_size` must be odd, got {kernel_size}.')
        for key, value in (('groups', groups), ('deform_groups', deform_groups)):
            if in_channels % value or (key == 'groups' and out_channels % value):
                raise ValueError(
                    f'{name}: `{key}` must divide the channels, got {value} for {in_channels} in and {out_channels} out.'
                )
        self.stride, self.dilation = _pair(stride), _pair(dilation)
        self.padding = _pair(dilation * (kernel_size // 2))
        self.deform_groups = deform_groups
        self.taps = kernel_size**2
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels // groups, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        DeformConv2d.init_weights(self)  # a subclass has more, which is not there yet

    def init_weights(self) -> None:
        """Set He's normal initial values (fan out), and 0 in the bias."""
        nn.init.kaiming_normal_(self.weight, mode='fan_out', nonlinearity='relu')
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor, offset: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return (B, out_channels, H', W'): H and W divided by the stride and rounded up.

        Under autocast too it is computed in the precision of the weights: the kernel has no bfloat16 on the CPU.

        Args:
            x: (B, in_channels, H, W).
            offset: (B, 2 * G * k, H', W') in cells: for each group and tap y, then x.
            mask: (B, G * k, H', W') by which what a tap reads is multiplied; None for 1.
        """
        from torchvision.ops import deform_conv2d

        with torch.autocast(x.device.type, enabled=False):
            out = deform_conv2d(
                x.to(self.weight.dtype),
                offset.to(self.weight.dtype),
                self.weight,
                self.bias,
                stride=self.stride,
                padding=self.padding,
                dilation=self.dilation,
                mask=None if mask is None else mask.to(self.weight.dtype),
            )
        return out.to(x.dtype)


class _OwnOffsets(DeformConv2d):
    """A deformable convolution whose offsets, and what else it needs, are made of its input by the convolution `conv_offset`."""

    maps_per_tap = 2

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel_size: int = 3,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        deform_groups: int = 1,
        bias: bool = False,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size=kernel_size,
            stride=stride,
            dilation=dilation,
            groups=groups,
            deform_groups=deform_groups,
            bias=bias,
        )
        self.conv_offset = nn.Conv2d(
            in_channels,
            self.maps_per_tap * deform_groups * self.taps,
            kernel_size,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
        )
        self.init_weights()

    def init_weights(self) -> None:
        """Set He's normal initial values, and offsets of 0: a convolution that is not deformed yet."""
        super().init_weights()
        nn.init.zeros_(self.conv_offset.weight)
        nn.init.zeros_(self.conv_offset.bias)


@LAYERS.register_module()
class DCN(_OwnOffsets):
    """Deformable convolution v1: a 3x3 convolution of the input gives the offsets.

    Source: Dai et al., Deformable Convolutional Networks, ICCV 2017, Sec. 2.1, arXiv:1703.06211.

    Args:
        in_channels: see `DeformConv2d`, as for all arguments.
        out_channels: C of the result.
        kernel_size: odd.
        stride: of the convolution.
        dilation: of the convolution.
        groups: of the convolution.
        deform_groups: G.
        bias: add one.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, out_channels, H', W') of (B, in_channels, H, W)."""
        return super().forward(x, self.conv_offset(x))


@LAYERS.register_module()
class DCNv2(_OwnOffsets):
    """Deformable convolution v2: each tap also has a weight in (0, 1) at each cell.

    Source: Zhu et al., Deformable ConvNets v2, CVPR 2019, Sec. 3.2, arXiv:1811.11168.

    Args:
        in_channels: see `DeformConv2d`, as for all arguments.
        out_channels: C of the result.
        kernel_size: odd.
        stride: of the convolution.
        dilation: of the convolution.
        groups: of the convolution.
        deform_groups: G.
        bias: add one.
    """

    maps_per_tap = 3

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, out_channels, H', W') of (B, in_channels, H, W)."""
        maps = self.conv_offset(x)
        offset, mask = maps.split((2 * self.deform_groups * self.taps, self.deform_groups * self.taps), dim=1)
        return super().forward(x, offset, mask.sigmoid())
