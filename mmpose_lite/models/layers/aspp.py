"""Atrous spatial pyramid pooling: the parts of a map's pyramid, and their join."""

# Letters: B batch, C channels, h x w cells.
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmpose_lite.models.layers.conv_module import ConvModule
from mmpose_lite.models.layers.separable import DepthwiseSeparableConvModule
from mmpose_lite.models.layers.upsample import in_format_of

Norm = Mapping[str, Any] | None


def image_pool(in_channels: int, channels: int, norm_cfg: Norm) -> nn.Sequential:
    """Return the mean of the map and a 1x1 convolution of it."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), ConvModule(in_channels, channels, norm_cfg=norm_cfg))


def dilated_branches(
    owner: str, in_channels: int, channels: int, dilations: Sequence[int], norm_cfg: Norm, *, separable: bool = False
) -> nn.ModuleList:
    """Return a convolution for each dilation: 1x1 for 1, 3x3 for others, or a separable one."""
    if not dilations or min(dilations) < 1:
        raise ValueError(f'{owner}: `dilations` must be one or more positive numbers, got {tuple(dilations)}.')

    def branch(dilation: int) -> nn.Module:
        if dilation > 1 and separable:
            return DepthwiseSeparableConvModule(in_channels, channels, dilation=dilation, norm_cfg=norm_cfg)
        kernel_size = 1 if dilation == 1 else 3
        return ConvModule(in_channels, channels, kernel_size=kernel_size, dilation=dilation, norm_cfg=norm_cfg)

    return nn.ModuleList(branch(dilation) for dilation in dilations)


def pyramid(x: Tensor, *, pool: nn.Module, branches: Iterable[nn.Module], bottleneck: nn.Module) -> Tensor:
    """Return (B, channels, h, w): the bottleneck of the map's mean and of all branches."""
    mean = in_format_of(x, pool(x).expand(-1, -1, *x.shape[2:]))
    return bottleneck(torch.cat((mean, *(branch(x) for branch in branches)), dim=1))
