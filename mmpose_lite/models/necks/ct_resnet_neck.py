"""The neck of CenterNet on ResNet: the coarsest map grows back to a quarter of the image."""

# Letters: B batch, C channels, H x W cells.
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmpose_lite.models.base import BaseModule
from mmpose_lite.models.layers.conv_module import ConvModule
from mmpose_lite.models.layers.deform_conv import DCNv2
from mmpose_lite.registry import NECKS


class _ConvNorm(nn.Module):
    """A layer, batch norm and ReLU, with the keys `conv` and `bn`."""

    def __init__(self, conv: nn.Module, channels: int) -> None:
        super().__init__()
        self.conv = conv
        self.bn = nn.BatchNorm2d(channels)
        self.activate = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.activate(self.bn(self.conv(x)))


@NECKS.register_module()
class CTResNetNeck(BaseModule):
    """Several times a 3x3 convolution, deformable or not, and a transposed convolution that doubles the map.

    Source: Zhou et al., Objects as Points, Sec. 5, arXiv:1904.07850. Names and keys are mmdet's.

    Args:
        in_channels: C of the coarsest map.
        num_deconv_filters: C after each doubling.
        num_deconv_kernels: side of each transposed convolution's kernel, even.
        use_dcn: the 3x3 convolutions are deformable, v2.

    Raises:
        ValueError: there is not one kernel per doubling, or one is odd.
    """

    def __init__(
        self,
        in_channels: int,
        num_deconv_filters: Sequence[int] = (256, 128, 64),
        num_deconv_kernels: Sequence[int] = (4, 4, 4),
        *,
        use_dcn: bool = True,
    ) -> None:
        super().__init__()
        if len(num_deconv_filters) != len(num_deconv_kernels) or any(k < 2 or k % 2 for k in num_deconv_kernels):
            raise ValueError(
                f'CTResNetNeck: `num_deconv_kernels` needs one even number per filter ({len(num_deconv_filters)}), got '
                f'{tuple(num_deconv_kernels)}.'
            )
        layers: list[nn.Module] = []
        channels = in_channels
        for filters, kernel in zip(num_deconv_filters, num_deconv_kernels):
            if use_dcn:
                layers.append(_ConvNorm(DCNv2(channels, filters), filters))
            else:
                layers.append(ConvModule(channels, filters, kernel_size=3))
            deconv = nn.ConvTranspose2d(filters, filters, kernel, stride=2, padding=(kernel - 2) // 2, bias=False)
            layers.append(_ConvNorm(deconv, filters))
            channels = filters
        self.deconv_layers = nn.Sequential(*layers)
        self.out_channels = (channels,)

    def init_weights(self) -> None:
        """Set bilinear enlargement in the transposed convolutions, He's initial values in the others, 1 and 0 in norms."""
        for module in self.modules():
            if isinstance(module, nn.ConvTranspose2d):
                nn.init.zeros_(module.weight)
                kernel = _bilinear(module.kernel_size[0])
                with torch.no_grad():
                    module.weight.diagonal(dim1=0, dim2=1).copy_(kernel[..., None].expand(-1, -1, module.in_channels))
            elif isinstance(module, DCNv2):
                module.init_weights()
            elif isinstance(module, ConvModule):
                nn.init.kaiming_normal_(module.conv.weight, mode='fan_out', nonlinearity='relu')

    def forward(self, feats: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return one map (B, C, 2^n H, 2^n W) of the last (coarsest) of the maps, (B, in_channels, H, W), n the doublings."""
        return (self.deconv_layers(feats[-1]),)


def _bilinear(size: int) -> Tensor:
    """Return the kernel (size, size) with which a transposed convolution of stride 2 interpolates."""
    offsets = torch.arange(size, dtype=torch.float32) - (size - 1) / 2
    line = (1 - offsets.abs() / (size / 2)).clamp(min=0)
    return line[:, None] * line * (2 / line.sum()) ** 2
