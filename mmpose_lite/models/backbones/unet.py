"""U-Net and UNet++: encoders and decoders of one shape, joined by skips."""

# Letters: B batch, C channels, H x W pixels or cells; X_ij node j of row i, as in the UNet++ paper.
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmpose_lite.models.backbones.training import hold_eval, init_he
from mmpose_lite.models.base import BaseModule
from mmpose_lite.models.layers.conv_module import ConvModule
from mmpose_lite.models.layers.recompute import run_block
from mmpose_lite.models.pretrained import check_init_cfg, load_pretrained
from mmpose_lite.registry import BACKBONES, LAYERS

Norm = Mapping[str, Any] | None


class BasicConvBlock(nn.Module):
    """3x3 convolutions in a row; keys as in mmseg.

    Args:
        in_channels: C of the input.
        out_channels: C of the result.
        num_convs: how many.
        stride: of the first.
        dilation: of the others.
        norm_cfg: see `build_norm_layer`.
        with_cp: recompute the block in the backward pass instead of storing it. Running statistics then move twice per step.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        num_convs: int = 2,
        stride: int = 1,
        dilation: int = 1,
        norm_cfg: Norm = None,
        with_cp: bool = False,
    ) -> None:
        super().__init__()
        self.with_cp = with_cp
        first = ConvModule(in_channels, out_channels, kernel_size=3, stride=stride, norm_cfg=norm_cfg)
        others = (
            ConvModule(out_channels, out_channels, kernel_size=3, dilation=dilation, norm_cfg=norm_cfg)
            for _ in range(num_convs - 1)
        )
        self.convs = nn.Sequential(first, *others)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, out_channels, H / stride, W / stride), rounded up."""
        return run_block(self.convs, x, with_cp=self.with_cp)


class UpConvBlock(nn.Module):
    """A coarse map brought to the size and channels of the skips, joined with them, then a `BasicConvBlock`; keys as in mmseg.

    Args:
        in_channels: C of the coarse map.
        skip_channels: C of each skip and of the result.
        num_skips: how many.
        num_convs: of the block.
        dilation: of the block.
        upsample_cfg: config of a layer that doubles the map ('InterpConv', 'DeconvModule'); None where the sizes are equal.
        norm_cfg: see `build_norm_layer`.
        with_cp: see `BasicConvBlock`.
    """

    def __init__(
        self,
        in_channels: int,
        skip_channels: int,
        *,
        num_skips: int = 1,
        num_convs: int = 2,
        dilation: int = 1,
        upsample_cfg: Mapping[str, Any] | None,
        norm_cfg: Norm = None,
        with_cp: bool = False,
    ) -> None:
        super().__init__()
        self.conv_block = BasicConvBlock(
            (num_skips + 1) * skip_channels,
            skip_channels,
            num_convs=num_convs,
            dilation=dilation,
            norm_cfg=norm_cfg,
            with_cp=with_cp,
        )
        self.doubles = upsample_cfg is not None
        if self.doubles:
            self.upsample = LAYERS.build(upsample_cfg, in_channels=in_channels, out_channels=skip_channels, norm_cfg=norm_cfg)
        else:
            self.upsample = ConvModule(in_channels, skip_channels, norm_cfg=norm_cfg)

    def forward(self, skips: Sequence[Tensor], x: Tensor) -> Tensor:
        """Return (B, skip_channels, H, W) of skips of that size and of a coarse map (B, in_channels, H / 2, W / 2)."""
        x = self.upsample(x, skips[0].shape[2:]) if self.doubles else self.upsample(x)
        return self.conv_block(torch.cat((*skips, x), dim=1))


def _check_lengths(owner: str, num_stages: int, **values: Sequence[Any]) -> None:
    for name, value in values.items():
        expected = num_stages - 1 if name in ('dec_num_convs', 'dec_dilations', 'downsamples') else num_stages
        if len(value) != expected:
            raise ValueError(f'{owner}: `{name}` needs {expected} entries for {num_stages} stages, got {tuple(value)}.')


@BACKBONES.register_module()
class UNet(BaseModule):
    """U-Net: stages that halve the map, then as many steps back up, each with the skip of its size.

    Source: Ronneberger et al., U-Net, MICCAI 2015, Fig. 1, arXiv:1505.04597. Keys, names and defaults are mmseg's.
    Differs: convolutions pad, as in mmseg; the input may have any size (mmseg: multiples of 16); the maps are returned finest
    first, so that `in_index=0` of a head is what is 4 in mmseg.

    Args:
        in_channels: of the image.
        base_channels: C of stage 0; doubles with each stage.
        num_stages: of the encoder.
        strides: of the first convolution of each stage: 1 or 2.
        enc_num_convs: convolutions of each stage.
        dec_num_convs: convolutions of each step back up, finest first.
        downsamples: whether each stage but the first halves the map, by a maximum unless its stride is 2.
        enc_dilations: of each stage.
        dec_dilations: of each step back up, finest first.
        upsample_cfg: how a map grows: dict(type='InterpConv') or dict(type='DeconvModule').
        norm_cfg: see `build_norm_layer`; None is batch norm.
        norm_eval: keep every batch norm in eval mode while training.
        with_cp: recompute blocks in the backward pass: less memory, more time.
        init_cfg: dict(type='Pretrained', checkpoint=...) or None, used by `init_weights`.

    Attributes:
        out_channels: C of each returned map: those of the decoder, and last the coarsest of the encoder.
        strides: of each returned map, in px of the image.

    Raises:
        ValueError: a stride is neither 1 nor 2, or the lengths do not fit together.
    """

    def __init__(
        self,
        *,
        in_channels: int = 3,
        base_channels: int = 64,
        num_stages: int = 5,
        strides: Sequence[int] = (1, 1, 1, 1, 1),
        enc_num_convs: Sequence[int] = (2, 2, 2, 2, 2),
        dec_num_convs: Sequence[int] = (2, 2, 2, 2),
        downsamples: Sequence[bool] = (True, True, True, True),
        enc_dilations: Sequence[int] = (1, 1, 1, 1, 1),
        dec_dilations: Sequence[int] = (1, 1, 1, 1),
        upsample_cfg: Mapping[str, Any] | None = None,
        norm_cfg: Norm = None,
        norm_eval: bool = False,
        with_cp: bool = False,
        init_cfg: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        _check_lengths(
            'UNet',
            num_stages,
            strides=strides,
            enc_num_convs=enc_num_convs,
            dec_num_convs=dec_num_convs,
            downsamples=downsamples,
            enc_dilations=enc_dilations,
            dec_dilations=dec_dilations,
        )
        if not set(strides) <= {1, 2}:
            raise ValueError(f'UNet: `strides` must be 1 or 2 each, got {tuple(strides)}.')
        check_init_cfg('UNet', init_cfg)
        self.init_cfg = init_cfg
        self.norm_eval = norm_eval
        upsample_cfg = upsample_cfg or dict(type='InterpConv')
        channels = [base_channels * 2**i for i in range(num_stages)]
        halved = [strides[i] == 2 or downsamples[i - 1] for i in range(1, num_stages)]
        self.encoder = nn.ModuleList()
        self.decoder = nn.ModuleList()
        for i in range(num_stages):
            pool = [nn.MaxPool2d(2)] if i > 0 and strides[i] == 1 and downsamples[i - 1] else []
            block = BasicConvBlock(
                in_channels if i == 0 else channels[i - 1],
                channels[i],
                num_convs=enc_num_convs[i],
                stride=strides[i],
                dilation=enc_dilations[i],
                norm_cfg=norm_cfg,
                with_cp=with_cp,
            )
            self.encoder.append(nn.Sequential(*pool, block))
            if i > 0:
                up = UpConvBlock(
                    channels[i],
                    channels[i - 1],
                    num_convs=dec_num_convs[i - 1],
                    dilation=dec_dilations[i - 1],
                    upsample_cfg=upsample_cfg if halved[i - 1] else None,
                    norm_cfg=norm_cfg,
                    with_cp=with_cp,
                )
                self.decoder.append(up)
        self.out_channels = tuple(channels)
        stride, all_strides = strides[0], [strides[0]]
        for is_halved in halved:
            stride *= 2 if is_halved else 1
            all_strides.append(stride)
        self.strides = tuple(all_strides)

    def train(self, mode: bool = True) -> 'UNet':
        """Set the mode; with `norm_eval` every batch norm stays in eval mode."""
        super().train(mode)
        hold_eval(self, (), norm_eval=self.norm_eval)
        return self

    def init_weights(self) -> None:
        """Set He's normal initial values (fan out), then load the pretrained weights if `init_cfg` names any."""
        init_he(self)
        if self.init_cfg is not None:
            load_pretrained(self, self.init_cfg)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the maps of the decoder, finest first, and the coarsest of the encoder: (B, out_channels[i], ...)."""
        skips = []
        for stage in self.encoder:
            x = stage(x)
            skips.append(x)
        maps = [x]
        for skip, up in zip(reversed(skips[:-1]), reversed(self.decoder)):
            x = up((skip,), x)
            maps.append(x)
        return tuple(reversed(maps))


@BACKBONES.register_module()
class UNetPlusPlus(BaseModule):
    """UNet++: a decoder on every stage of the encoder, each step joined with all nodes of its row before it.

    Source: Zhou et al., UNet++, DLMIA 2018, Sec. 2.1 and Eq. 1, arXiv:1807.10165. Node X_i0 is stage i of a U-Net's encoder;
    X_ij is made of X_i0 ... X_i(j-1) and the enlarged X_(i+1)(j-1). The results of the L = num_stages - 1 decoders are
    X_01 ... X_0L, all of the size of the image.
    Differs: `stem_stride`.

    Args:
        in_channels: of the image.
        base_channels: C of row 0; doubles with each row.
        num_stages: rows.
        stem_stride: of the first convolution. 2 makes all maps half as wide and high, which is a quarter of the work.
        level: build the first so many decoders alone, see `prune`; None for all.
        num_convs: of each node.
        upsample_cfg: how a map grows: dict(type='InterpConv') or dict(type='DeconvModule').
        norm_cfg: see `build_norm_layer`; None is batch norm.
        norm_eval: keep every batch norm in eval mode while training.
        with_cp: recompute nodes in the backward pass: less memory, more time.
        init_cfg: dict(type='Pretrained', checkpoint=...) or None, used by `init_weights`.

    Attributes:
        level: decoders there are.
        out_channels: C of each returned map.
        strides: of each returned map, in px of the image.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        *,
        in_channels: int = 3,
        base_channels: int = 32,
        num_stages: int = 5,
        stem_stride: int = 1,
        level: int | None = None,
        num_convs: int = 2,
        upsample_cfg: Mapping[str, Any] | None = None,
        norm_cfg: Norm = None,
        norm_eval: bool = False,
        with_cp: bool = False,
        init_cfg: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if num_stages < 2:
            raise ValueError(f'UNetPlusPlus: `num_stages` must be 2 or more, got {num_stages}.')
        if stem_stride < 1:
            raise ValueError(f'UNetPlusPlus: `stem_stride` must be 1 or more, got {stem_stride}.')
        check_init_cfg('UNetPlusPlus', init_cfg)
        self.init_cfg = init_cfg
        self.norm_eval = norm_eval
        upsample_cfg = upsample_cfg or dict(type='InterpConv')
        channels = [base_channels * 2**i for i in range(num_stages)]
        self.base_channels = base_channels
        self.stem_stride = stem_stride
        self.encoder = nn.ModuleList()
        for i, c_out in enumerate(channels):
            pool = [nn.MaxPool2d(2)] if i else []
            c_in = channels[i - 1] if i else in_channels
            stride = 1 if i else stem_stride
            block = BasicConvBlock(c_in, c_out, num_convs=num_convs, stride=stride, norm_cfg=norm_cfg, with_cp=with_cp)
            self.encoder.append(nn.Sequential(*pool, block))
        # nodes[i][j - 1] is X_ij
        self.nodes = nn.ModuleList(
            nn.ModuleList(
                UpConvBlock(
                    channels[i + 1],
                    channels[i],
                    num_skips=j,
                    num_convs=num_convs,
                    upsample_cfg=upsample_cfg,
                    norm_cfg=norm_cfg,
                    with_cp=with_cp,
                )
                for j in range(1, num_stages - i)
            )
            for i in range(num_stages - 1)
        )
        self.level = num_stages - 1
        if level is not None:
            self.prune(level)

    @property
    def out_channels(self) -> tuple[int, ...]:
        return (self.base_channels,) * self.level

    @property
    def strides(self) -> tuple[int, ...]:
        return (self.stem_stride,) * self.level

    def prune(self, level: int) -> None:
        """Drop all that X_01 ... X_0level do without: what is left is smaller and faster, and its weights are the same.

        Raises:
            ValueError: there are not so many decoders.
        """
        if not 1 <= level <= self.level:
            raise ValueError(f'UNetPlusPlus: `level` must be 1 to {self.level}, got {level}.')
        self.level = level
        self.encoder = self.encoder[: level + 1]
        self.nodes = nn.ModuleList(row[: level - i] for i, row in enumerate(self.nodes[:level]))

    def train(self, mode: bool = True) -> 'UNetPlusPlus':
        """Set the mode; with `norm_eval` every batch norm stays in eval mode."""
        super().train(mode)
        hold_eval(self, (), norm_eval=self.norm_eval)
        return self

    def init_weights(self) -> None:
        """Set He's normal initial values (fan out), then load the pretrained weights if `init_cfg` names any."""
        init_he(self)
        if self.init_cfg is not None:
            load_pretrained(self, self.init_cfg)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return X_01 ... X_0level, each (B, base_channels, H / stem_stride, W / stem_stride), rounded up."""
        rows: list[list[Tensor]] = []
        for stage in self.encoder:
            x = stage(x)
            rows.append([x])
        for j in range(1, self.level + 1):
            for i in range(self.level + 1 - j):
                rows[i].append(self.nodes[i][j - 1](rows[i], rows[i + 1][j - 1]))
        return tuple(rows[0][1:])
