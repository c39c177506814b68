"""Dense upsampling convolution: every cell predicts all of its pixels."""

# Letters: B batch, C channels, h x w cells, d pixels along the side of a cell.
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from mmpose_lite.models.heads.seg.decode_head import DecodeHead, Losses
from mmpose_lite.models.layers.conv_module import ConvModule
from mmpose_lite.registry import HEADS
from mmpose_lite.structures.class_meta import IGNORE_INDEX


@HEADS.register_module()
class DUCHead(DecodeHead):
    """A last convolution to d^2 C channels, which are the d x d pixels of the cell, in place of bilinear enlargement.

    Source: Wang et al., Understanding Convolution for Semantic Segmentation, WACV 2018, Sec. 3.1, arXiv:1702.08502.
    Of an input whose sides are no multiples of d the last cells reach beyond it; what lies outside is cut off.

    Args:
        in_channels: see `DecodeHead`, as for all that is not below.
        channels: C of the convolutions before the last one.
        num_classes: C.
        upscale: d, the stride of the map.
        dilations: of each 3x3 convolution before the last one; () for none.
        out_channels: None or 1.
        threshold: of a single channel.
        dropout_ratio: before the last convolution.
        norm_cfg: of the convolutions before the last one, see `build_norm_layer`; None is batch norm.
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
        upscale: int = 8,
        dilations: Sequence[int] = (1,),
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
        if upscale < 1:
            raise ValueError(f'DUCHead: `upscale` must be 1 or more, got {upscale}.')
        if not dilations and channels != in_channels:
            raise ValueError(f'DUCHead: without `dilations` `channels` must be `in_channels` ({in_channels}), got {channels}.')
        self.convs = nn.Sequential(
            *(
                ConvModule(in_channels if i == 0 else channels, channels, kernel_size=3, dilation=dilation, norm_cfg=norm_cfg)
                for i, dilation in enumerate(dilations)
            )
        )
        self.conv_seg = nn.Conv2d(channels, self.out_channels * upscale**2, 1)
        self.shuffle = nn.PixelShuffle(upscale)

    def features(self, feats: Sequence[Tensor]) -> Tensor:
        """Return (B, channels, h, w)."""
        return self.convs(self.select(feats))

    def forward(self, feats: Sequence[Tensor]) -> Tensor:
        """Return logits (B, out_channels, h d, w d)."""
        return self.shuffle(super().forward(feats))

    def enlarge(self, logits: Tensor, size: Sequence[int]) -> Tensor:
        """Return logits (B, out_channels, *size): those of the pixels, or enlarged where the cells are not d px wide."""
        if all(0 <= ours - side < self.shuffle.upscale_factor for ours, side in zip(logits.shape[2:], size)):
            return logits[:, :, : size[0], : size[1]]
        return super().enlarge(logits, size)
