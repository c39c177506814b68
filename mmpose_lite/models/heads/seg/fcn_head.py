"""Fully convolutional heads: convolutions on one map, and the skips of the original FCN."""

# Letters: B batch, C channels, h x w cells.
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmpose_lite.models.heads.seg.decode_head import DecodeHead, Losses, resize
from mmpose_lite.models.layers.conv_module import ConvModule
from mmpose_lite.models.layers.upsample import fit
from mmpose_lite.registry import HEADS
from mmpose_lite.structures.class_meta import IGNORE_INDEX

UPSAMPLES = ('bilinear', 'deconv')


@HEADS.register_module()
class FCNHead(DecodeHead):
    """Convolutions on one map; also the auxiliary head of most networks, and with several maps the head of HRNetV2.

    Source: Long et al., Fully Convolutional Networks, CVPR 2015, arXiv:1411.4038, as mmseg's head of this name.

    Args:
        in_channels: see `DecodeHead`, as for all that is not below.
        channels: C of the convolutions.
        num_classes: C.
        num_convs: how many; 0 for none, which needs `channels` equal to `in_channels`.
        kernel_size: of the convolutions, odd.
        concat_input: join the input to their result, and one more convolution.
        dilation: of the convolutions but that one.
        out_channels: None or 1.
        threshold: of a single channel.
        dropout_ratio: before `conv_seg`.
        norm_cfg: of the convolutions, see `build_norm_layer`; None is batch norm.
        in_index: of the map or maps.
        input_transform: 'resize_concat' or None.
        loss_decode: loss or losses.
        ignore_index: of pixels without a class.
        align_corners: of resizing.

    Raises:
        ValueError: the arguments do not fit together.
    """

    def __init__(
        self,
        in_channels: int | Sequence[int],
        channels: int,
        *,
        num_classes: int,
        num_convs: int = 2,
        kernel_size: int = 3,
        concat_input: bool = True,
        dilation: int = 1,
        out_channels: int | None = None,
        threshold: float = 0.5,
        dropout_ratio: float = 0.1,
        norm_cfg: Mapping[str, Any] | None = None,
        in_index: int | Sequence[int] = -1,
        input_transform: str | None = None,
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
            input_transform=input_transform,
            loss_decode=loss_decode,
            ignore_index=ignore_index,
            align_corners=align_corners,
        )
        if num_convs < 0 or (num_convs == 0 and self.in_channels != channels):
            raise ValueError(
                f'FCNHead: without convolutions (`num_convs` {num_convs}) `channels` ({channels}) must be the channels of the '
                f'input ({self.in_channels}).'
            )
        self.convs = nn.Sequential(
            *(
                ConvModule(
                    self.in_channels if i == 0 else channels,
                    channels,
                    kernel_size=kernel_size,
                    dilation=dilation,
                    norm_cfg=norm_cfg,
                )
                for i in range(num_convs)
            )
        )
        self.conv_cat = None
        if concat_input:
            self.conv_cat = ConvModule(self.in_channels + channels, channels, kernel_size=kernel_size, norm_cfg=norm_cfg)

    def features(self, feats: Sequence[Tensor]) -> Tensor:
        """Return (B, channels, h, w)."""
        x = self.select(feats)
        out = self.convs(x)
        return out if self.conv_cat is None else self.conv_cat(torch.cat((x, out), dim=1))


@HEADS.register_module()
class FCNSkipHead(DecodeHead):
    """FCN-32s, 16s, 8s: scores of the coarsest map, enlarged step by step, with the scores of finer maps added on the way.

    Source: Long et al., Fully Convolutional Networks, CVPR 2015, Sec. 4.2 and Fig. 3, arXiv:1411.4038.
    Differs: the two layers that stem from VGG's classifier (`convs`) pad, in place of 100 px around the image.

    Args:
        in_channels: C of the maps that are read, finest first: one for 32s, two for 16s, three for 8s.
        channels: C of the two convolutions on the coarsest map.
        num_classes: C; see `DecodeHead` for all that is not below.
        in_index: of the maps, as many.
        kernel_size: of the first convolution on the coarsest map, odd.
        upsample: 'bilinear', or 'deconv': transposed convolutions, which begin as bilinear enlargement by 2.
        out_channels: None or 1.
        threshold: of a single channel.
        dropout_ratio: after each of the two convolutions.
        norm_cfg: of the two convolutions; None is none, as in the paper.
        loss_decode: loss or losses.
        ignore_index: of pixels without a class.
        align_corners: of resizing.

    Raises:
        ValueError: the arguments do not fit together.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        channels: int = 4096,
        *,
        num_classes: int,
        in_index: Sequence[int] = (-3, -2, -1),
        kernel_size: int = 7,
        upsample: str = 'deconv',
        out_channels: int | None = None,
        threshold: float = 0.5,
        dropout_ratio: float = 0.5,
        norm_cfg: Mapping[str, Any] | None = None,
        loss_decode: Losses | None = None,
        ignore_index: int = IGNORE_INDEX,
        align_corners: bool = False,
    ) -> None:
        super().__init__(
            in_channels[-1],
            channels,
            num_classes=num_classes,
            out_channels=out_channels,
            threshold=threshold,
            dropout_ratio=dropout_ratio,
            in_index=in_index[-1],
            loss_decode=loss_decode,
            ignore_index=ignore_index,
            align_corners=align_corners,
        )
        if len(in_channels) != len(in_index):
            raise ValueError(
                f'FCNSkipHead: `in_channels` and `in_index` need one entry per map, got {tuple(in_channels)}, {tuple(in_index)}.'
            )
        if upsample not in UPSAMPLES:
            raise ValueError(f'FCNSkipHead: `upsample` must be one of {UPSAMPLES}, got {upsample!r}.')
        with_norm = norm_cfg is not None
        self.convs = nn.Sequential(
            ConvModule(in_channels[-1], channels, kernel_size=kernel_size, with_norm=with_norm, norm_cfg=norm_cfg),
            nn.Dropout2d(dropout_ratio),
            ConvModule(channels, channels, with_norm=with_norm, norm_cfg=norm_cfg),
        )
        self.read = {f'in_channels[{i}]': ((index,), c) for i, (index, c) in enumerate(zip(in_index, in_channels))}
        self.skip_index = tuple(in_index[:-1])
        self.skips = nn.ModuleList(nn.Conv2d(c, self.out_channels, 1) for c in in_channels[:-1])
        self.deconvs = nn.ModuleList(
            nn.ConvTranspose2d(self.out_channels, self.out_channels, 4, stride=2, padding=1, bias=False)
            for _ in (self.skips if upsample == 'deconv' else ())
        )

    def init_weights(self) -> None:
        """Set initial values as `DecodeHead` does; skips 0, so that training begins as FCN-32s; transposed ones bilinear."""
        super().init_weights()
        for skip in self.skips:
            nn.init.zeros_(skip.weight)
            nn.init.zeros_(skip.bias)
        tent = torch.tensor((0.25, 0.75, 0.75, 0.25))
        for deconv in self.deconvs:
            nn.init.zeros_(deconv.weight)
            with torch.no_grad():
                deconv.weight.diagonal().copy_(torch.outer(tent, tent)[..., None].expand(-1, -1, self.out_channels))

    def maps_read(self) -> dict[str, tuple[tuple[int, ...], int]]:
        """Return what `DecodeHead.maps_read` does, of each map by itself."""
        return self.read

    def features(self, feats: Sequence[Tensor]) -> Tensor:
        """Return (B, channels, h, w) of the coarsest map."""
        return self.convs(self.select(feats))

    def forward(self, feats: Sequence[Tensor]) -> Tensor:
        """Return logits (B, out_channels, h, w) at the resolution of the finest map that is read."""
        scores = super().forward(feats)
        for number in reversed(range(len(self.skips))):
            finer = self.skips[number](feats[self.skip_index[number]])
            if self.deconvs:
                scores = fit(self.deconvs[number](scores), finer.shape[2:])
            scores = finer + resize(scores, finer.shape[2:], align_corners=self.align_corners)
        return scores
