"""MSPN: ResNets with an upsampling path, in a row; with OpenMMLab's state-dict keys."""

# Letters: B batch, C channels, H x W cells, S stages, U units (sizes) of a stage.
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import interpolate

from mmpose_lite.models.backbones.resnet import Bottleneck
from mmpose_lite.models.backbones.training import init_he
from mmpose_lite.models.base import BaseModule
from mmpose_lite.models.layers.conv_module import ConvModule
from mmpose_lite.models.pretrained import check_init_cfg, load_matching, read_pretrained
from mmpose_lite.registry import BACKBONES


class ResNetTop(nn.Module):
    """The stem of a ResNet: stride 4."""

    def __init__(self, channels: int, *, norm_cfg: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.top = nn.Sequential(
            ConvModule(3, channels, kernel_size=7, stride=2, norm_cfg=norm_cfg),
            nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.top(x)


class DownsampleModule(nn.Module):
    """The stages of a ResNet; what the previous MSPN stage hands over is added after each."""

    def __init__(self, in_channels: int, num_blocks: Sequence[int], *, norm_cfg: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        channels = in_channels
        for i, blocks in enumerate(num_blocks):
            out_channels, stride = in_channels * 2**i * Bottleneck.expansion, 1 if i == 0 else 2
            shortcut = ConvModule(channels, out_channels, stride=stride, norm_cfg=norm_cfg, act=None)
            first = Bottleneck(channels, out_channels, stride=stride, downsample=shortcut, norm_cfg=norm_cfg)
            rest = (Bottleneck(out_channels, out_channels, norm_cfg=norm_cfg) for _ in range(1, blocks))
            self.add_module(f'layer{i + 1}', nn.Sequential(first, *rest))
            channels = out_channels

    def forward(self, x: Tensor, skips: Sequence[Tensor] | None) -> list[Tensor]:
        """Return the U maps, finest first."""
        outs = []
        for i, layer in enumerate(self.children()):
            x = layer(x)
            if skips is not None:
                x = x + skips[i]
            outs.append(x)
        return outs


class UpsampleUnit(nn.Module):
    """Join a map of the way down with the coarser map of the way up.

    Args:
        in_channels: C of the map of the way down.
        unit_channels: C of the result.
        is_first: there is no coarser map.
        with_skip: make what the next stage adds at this size.
        cross_channels: C of the input of the next stage, made here; None for none.
        norm_cfg: see `build_norm_layer`.
    """

    def __init__(
        self,
        in_channels: int,
        unit_channels: int,
        *,
        is_first: bool,
        with_skip: bool,
        cross_channels: int | None,
        norm_cfg: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.in_skip = ConvModule(in_channels, unit_channels, norm_cfg=norm_cfg, act=None)
        self.relu = nn.ReLU(inplace=True)
        if not is_first:
            self.up_conv = ConvModule(unit_channels, unit_channels, norm_cfg=norm_cfg, act=None)
        if with_skip:
            self.out_skip1 = ConvModule(in_channels, in_channels, norm_cfg=norm_cfg)
            self.out_skip2 = ConvModule(unit_channels, in_channels, norm_cfg=norm_cfg)
        if cross_channels is not None:
            self.cross_conv = ConvModule(unit_channels, cross_channels, norm_cfg=norm_cfg)

    def forward(self, x: Tensor, coarser: Tensor | None) -> Tensor:
        out = self.in_skip(x)
        if coarser is not None:
            out = out + self.up_conv(interpolate(coarser, size=x.shape[-2:], mode='bilinear', align_corners=True))
        return self.relu(out)

    def skip(self, x: Tensor, out: Tensor) -> Tensor:
        """Return what the next stage adds to its map of the size of `x`."""
        return self.out_skip1(x) + self.out_skip2(out)


class UpsampleModule(nn.Module):
    """The way up: U units, coarsest first."""

    def __init__(
        self, in_channels: int, unit_channels: int, num_units: int, *, is_last: bool, norm_cfg: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__()
        self.is_last = is_last
        for i in range(num_units):
            finest = i == num_units - 1
            unit = UpsampleUnit(
                in_channels * 2 ** (num_units - 1 - i) * Bottleneck.expansion,
                unit_channels,
                is_first=i == 0,
                with_skip=not is_last,
                cross_channels=in_channels if finest and not is_last else None,
                norm_cfg=norm_cfg,
            )
            self.add_module(f'up{i + 1}', unit)

    def forward(self, maps: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor] | None, Tensor | None]:
        """Return the U results, coarsest first, and for the next stage its skips, finest first, and its input.

        Args:
            maps: of the way down, finest first.
        """
        outs: list[Tensor] = []
        skips: list[Tensor] = []
        for unit, x in zip(self.children(), reversed(maps)):
            outs.append(unit(x, outs[-1] if outs else None))
            if not self.is_last:
                skips.append(unit.skip(x, outs[-1]))
        if self.is_last:
            return outs, None, None
        return outs, skips[::-1], unit.cross_conv(outs[-1])


class SingleStage(nn.Module):
    """One way down and up."""

    def __init__(
        self,
        in_channels: int,
        unit_channels: int,
        num_blocks: Sequence[int],
        *,
        is_last: bool,
        norm_cfg: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.downsample = DownsampleModule(in_channels, num_blocks, norm_cfg=norm_cfg)
        self.upsample = UpsampleModule(in_channels, unit_channels, len(num_blocks), is_last=is_last, norm_cfg=norm_cfg)

    def forward(self, x: Tensor, skips: Sequence[Tensor] | None) -> tuple[list[Tensor], list[Tensor] | None, Tensor | None]:
        return self.upsample(self.downsample(x, skips))


@BACKBONES.register_module()
class MSPN(BaseModule):
    """A stem, then S stages; each goes down through a ResNet and up again, and hands its maps over to the next.

    Source: Li et al., Rethinking on Multi-Stage Networks for Human Pose Estimation, Sec. 3, arXiv:1901.00148.
    Differs: maps come in the order of supervision, stage after stage, each from coarse to fine: S * U maps, the last is the
    finest of the last stage.

    Args:
        unit_channels: C of the returned maps.
        num_stages: S, at least 1.
        num_units: U, sizes of a stage, 2 or more: strides 4, 8, ...
        num_blocks: bottlenecks at each size, finest first; (3, 4, 6, 3) are those of ResNet-50.
        res_top_channels: C after the stem.
        norm_cfg: see `build_norm_layer`; None is batch norm.
        zero_init_residual: start each bottleneck as its shortcut; not with pretrained weights.
        init_cfg: dict(type='Pretrained', checkpoint='torchvision://resnet50') or None, used by `init_weights`: a ResNet, which
            the stem and the way down of every stage load.

    Attributes:
        out_channels: C of each returned map.
        strides: of each returned map, in px of the image.

    Raises:
        ValueError: an argument is out of range or the lengths do not fit together.
    """

    def __init__(
        self,
        *,
        unit_channels: int = 256,
        num_stages: int = 4,
        num_units: int = 4,
        num_blocks: Sequence[int] = (2, 2, 2, 2),
        res_top_channels: int = 64,
        norm_cfg: Mapping[str, Any] | None = None,
        zero_init_residual: bool = True,
        init_cfg: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if num_stages < 1:
            raise ValueError(f'MSPN: `num_stages` must be 1 or more, got {num_stages}.')
        if num_units < 2:
            raise ValueError(f'MSPN: `num_units` must be 2 or more, got {num_units}.')
        if len(num_blocks) != num_units or min(num_blocks) < 1:
            raise ValueError(f'MSPN: `num_blocks` needs one positive entry per unit ({num_units}), got {tuple(num_blocks)}.')
        check_init_cfg('MSPN', init_cfg)
        self.init_cfg = init_cfg
        self.zero_init_residual = zero_init_residual
        self.top = ResNetTop(res_top_channels, norm_cfg=norm_cfg)
        self.multi_stage_mspn = nn.ModuleList(
            SingleStage(res_top_channels, unit_channels, num_blocks, is_last=i == num_stages - 1, norm_cfg=norm_cfg)
            for i in range(num_stages)
        )
        self.out_channels = (unit_channels,) * (num_stages * num_units)
        self.strides = tuple(4 * 2**i for i in reversed(range(num_units))) * num_stages

    def init_weights(self) -> None:
        """Set He's normal initial values (fan out), then load the pretrained ResNet if `init_cfg` names one."""
        init_he(self)
        if self.init_cfg is not None:
            self._load_resnet(self.init_cfg)
        elif self.zero_init_residual:
            for module in self.modules():
                if isinstance(module, Bottleneck) and getattr(module.last_norm, 'weight', None) is not None:
                    nn.init.zeros_(module.last_norm.weight)

    def _load_resnet(self, init_cfg: Mapping[str, Any]) -> None:
        stem: dict[str, Tensor] = {}
        layers: dict[str, Tensor] = {}
        for name, value in read_pretrained(self, init_cfg).items():
            if name.startswith('layer'):
                layers[name.replace('downsample.0.', 'downsample.conv.').replace('downsample.1.', 'downsample.bn.')] = value
            elif name.startswith(('conv1.', 'bn1.')):
                stem[name.replace('conv1.', 'top.0.conv.').replace('bn1.', 'top.0.bn.')] = value
        load_matching(self.top, stem, source=init_cfg['checkpoint'])
        for stage in self.multi_stage_mspn:
            load_matching(stage.downsample, layers, source=init_cfg['checkpoint'])

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return S * U maps (B, unit_channels, H / strides[i], W / strides[i]), rounded up."""
        x = self.top(x)
        skips: list[Tensor] | None = None
        outs: list[Tensor] = []
        for stage in self.multi_stage_mspn:
            stage_outs, skips, x = stage(x, skips)
            outs += stage_outs
        return tuple(outs)
