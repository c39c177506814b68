"""PSPNet: the means of regions of several sizes beside every cell."""

# Letters: B batch, C channels, h x w cells.
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmpose_lite.models.heads.seg.decode_head import DecodeHead, Losses, resize
from mmpose_lite.models.layers.conv_module import ConvModule
from mmpose_lite.models.layers.upsample import in_format_of
from mmpose_lite.registry import HEADS
from mmpose_lite.structures.class_meta import IGNORE_INDEX


@HEADS.register_module()
class PSPHead(DecodeHead):
    """Pyramid pooling: the map beside its means over grids of several sizes, then a convolution.

    Source: Zhao et al., Pyramid Scene Parsing Network, CVPR 2017, Sec. 3.2, arXiv:1612.01105. The auxiliary loss of its Sec. 3.3
    is an FCNHead on stage 3 of the ResNet.

    Args:
        in_channels: see `DecodeHead`, as for all that is not below.
        channels: C of each mean and of the result.
        num_classes: C.
        pool_scales: n of each n x n grid. A grid of 1 cannot train with batch norm on a batch of one image.
        out_channels: None or 1.
        threshold: of a single channel.
        dropout_ratio: before `conv_seg`.
        norm_cfg: of the convolutions, see `build_norm_layer`; None is batch norm.
        in_index: of the map.
        loss_decode: loss or losses.
        ignore_index: of pixels without a class.
        align_corners: of resizing.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        num_classes: int,
        pool_scales: Sequence[int] = (1, 2, 3, 6),
        out_channels: int | None = None,
        threshold: float = 0.5,
        dropout_ratio: float = 0.1,
        norm_cfg: Mapping[str, Any] | None = None,
        in_index: int = -1,
        loss_decode: Losses | None = None,
        ignore_index: int = IGNORE_INDEX,
        align_corners: bool = False,
    ) -> None:
        super().__init__(
            in_channels,
            channels,
            num_classes=num_classes,
            out_channels=out_channels,
            threshold=threshold,
            dropout_ratio=dropout_ratio,
            in_index=in_index,
            loss_decode=loss_decode,
            ignore_index=ignore_index,
            align_corners=align_corners,
        )
        self.psp_modules = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(scale), ConvModule(in_channels, channels, norm_cfg=norm_cfg))
            for scale in pool_scales
        )
        self.bottleneck = ConvModule(in_channels + len(pool_scales) * channels, channels, kernel_size=3, norm_cfg=norm_cfg)

    def features(self, feats: Sequence[Tensor]) -> Tensor:
        """Return (B, channels, h, w)."""
        x = self.select(feats)
        pooled = (resize(module(x), x.shape[2:], align_corners=self.align_corners) for module in self.psp_modules)
        return self.bottleneck(torch.cat((x, *(in_format_of(x, mean) for mean in pooled)), dim=1))
