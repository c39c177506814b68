"""DeepLabV3 and V3+: convolutions of several dilations beside one another."""

# Letters: B batch, C channels, h x w cells.
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmpose_lite.models.heads.seg.decode_head import DecodeHead, Losses, resize
from mmpose_lite.models.layers.aspp import dilated_branches, image_pool, pyramid
from mmpose_lite.models.layers.conv_module import ConvModule
from mmpose_lite.models.layers.separable import DepthwiseSeparableConvModule
from mmpose_lite.registry import HEADS
from mmpose_lite.structures.class_meta import IGNORE_INDEX

Norm = Mapping[str, Any] | None


@HEADS.register_module()
class ASPPHead(DecodeHead):
    """The head of DeepLabV3: the mean of the map and a convolution for each dilation, joined by one more convolution.

    Source: Chen et al., Rethinking Atrous Convolution, Sec. 3.3, arXiv:1706.05587.

    Args:
        in_channels: see `DecodeHead`, as for all that is not below.
        channels: C of each branch and of the result.
        num_classes: C.
        dilations: of each branch; 1 is a 1x1 convolution, others are 3x3. The paper takes 6, 12, 18 at stride 16, and twice
            that at stride 8.
        out_channels: None or 1.
        threshold: of a single channel.
        dropout_ratio: before `conv_seg`.
        norm_cfg: of the convolutions. With batch norm the mean of the map needs two images in a batch for training.
        in_index: of the map.
        loss_decode: loss or losses.
        ignore_index: of pixels without a class.
        align_corners: of resizing.

    Raises:
        ValueError: the arguments do not fit together.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        num_classes: int,
        dilations: Sequence[int] = (1, 6, 12, 18),
        out_channels: int | None = None,
        threshold: float = 0.5,
        dropout_ratio: float = 0.1,
        norm_cfg: Norm = None,
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
        self.image_pool = image_pool(in_channels, channels, norm_cfg)
        self.aspp_modules = dilated_branches('ASPPHead', in_channels, channels, dilations, norm_cfg)
        self.bottleneck = ConvModule((len(dilations) + 1) * channels, channels, kernel_size=3, norm_cfg=norm_cfg)

    def features(self, feats: Sequence[Tensor]) -> Tensor:
        """Return (B, channels, h, w)."""
        parts = dict(pool=self.image_pool, branches=self.aspp_modules, bottleneck=self.bottleneck)
        return pyramid(self.select(feats), **parts)


@HEADS.register_module()
class DepthwiseSeparableASPPHead(DecodeHead):
    """The head of DeepLabV3+: a pyramid of separable convolutions, enlarged, and refined beside a fine map of the backbone.

    Source: Chen et al., Encoder-Decoder with Atrous Separable Convolution, ECCV 2018, Sec. 3.1, arXiv:1802.02611.

    Args:
        in_channels: see `DecodeHead`, as for all that is not below.
        channels: C of each branch and of the result.
        num_classes: C.
        c1_in_channels: C of the fine map; 0 does without it.
        c1_channels: to which it is reduced, so that it does not outweigh the coarse one.
        c1_index: of the fine map.
        dilations: of each branch, see `ASPPHead`.
        out_channels: None or 1.
        threshold: of a single channel.
        dropout_ratio: before `conv_seg`.
        norm_cfg: of the convolutions. With batch norm the mean of the map needs two images in a batch for training.
        in_index: of the coarse map.
        loss_decode: loss or losses.
        ignore_index: of pixels without a class.
        align_corners: of resizing.

    Raises:
        ValueError: the arguments do not fit together.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        num_classes: int,
        c1_in_channels: int,
        c1_channels: int = 48,
        c1_index: int = 0,
        dilations: Sequence[int] = (1, 6, 12, 18),
        out_channels: int | None = None,
        threshold: float = 0.5,
        dropout_ratio: float = 0.1,
        norm_cfg: Norm = None,
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
        self.c1_in_channels = c1_in_channels
        self.c1_index = c1_index
        c1_channels = c1_channels if c1_in_channels else 0
        self.image_pool = image_pool(in_channels, channels, norm_cfg)
        self.aspp_modules = dilated_branches(
            'DepthwiseSeparableASPPHead', in_channels, channels, dilations, norm_cfg, separable=True
        )
        self.bottleneck = ConvModule((len(dilations) + 1) * channels, channels, kernel_size=3, norm_cfg=norm_cfg)
        self.c1_bottleneck = ConvModule(c1_in_channels, c1_channels, norm_cfg=norm_cfg) if c1_in_channels else None
        self.sep_bottleneck = nn.Sequential(
            DepthwiseSeparableConvModule(channels + c1_channels, channels, norm_cfg=norm_cfg),
            DepthwiseSeparableConvModule(channels, channels, norm_cfg=norm_cfg),
        )

    def maps_read(self) -> dict[str, tuple[tuple[int, ...], int]]:
        """Return what `DecodeHead.maps_read` does, and the fine map."""
        fine = dict(c1_in_channels=((self.c1_index,), self.c1_in_channels)) if self.c1_in_channels else {}
        return super().maps_read() | fine

    def features(self, feats: Sequence[Tensor]) -> Tensor:
        """Return (B, channels, h, w) at the resolution of the fine map."""
        parts = dict(pool=self.image_pool, branches=self.aspp_modules, bottleneck=self.bottleneck)
        x = pyramid(self.select(feats), **parts)
        if self.c1_bottleneck is not None:
            fine = self.c1_bottleneck(feats[self.c1_index])
            x = torch.cat((resize(x, fine.shape[2:], align_corners=self.align_corners), fine), dim=1)
        return self.sep_bottleneck(x)
