"""HRNet: branches of several resolutions side by side, which exchange their maps again and again."""

# Letters: B batch, C channels, H x W cells. Branch i (from 0) has a stride of 4 * 2^i px.
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from mmpose_lite.models.backbones.resnet import BasicBlock, Bottleneck, ResidualBlock, make_stage
from mmpose_lite.models.backbones.training import freeze, hold_eval, init_residual
from mmpose_lite.models.base import BaseModule
from mmpose_lite.models.layers.norm import build_norm_layer
from mmpose_lite.models.pretrained import check_init_cfg
from mmpose_lite.registry import BACKBONES

BLOCKS: dict[str, type[ResidualBlock]] = {'BASIC': BasicBlock, 'BOTTLENECK': Bottleneck}
UPSAMPLE_MODES = ('nearest', 'bilinear')
STAGE_KEYS = ('num_modules', 'num_branches', 'block', 'num_blocks', 'num_channels')
STEM_CHANNELS = 64

Norm = Mapping[str, Any] | None


@dataclass(frozen=True)
class Stage:
    """One stage of `extra`: modules in a row, and for each branch its number of blocks and the C of its map."""

    num_modules: int
    block: type[ResidualBlock]
    num_blocks: tuple[int, ...]
    channels: tuple[int, ...]

    @classmethod
    def read(cls, number: int, cfg: Mapping[str, Any]) -> 'Stage':
        """Check the config of stage `number`, which has as many branches; `num_channels` is C without the block's expansion."""
        name = f'extra.stage{number}'
        if sorted(cfg) != sorted(STAGE_KEYS):
            raise ValueError(
                f'HRNet: `{name}` must have the keys {STAGE_KEYS}, got {tuple(cfg)}. To return all branches, or to resize '
                'bilinearly, set `multiscale_output` and `upsample_mode` of HRNet itself.'
            )
        if cfg['block'] not in BLOCKS:
            raise ValueError(f'HRNet: `{name}.block` must be one of {tuple(BLOCKS)}, got {cfg["block"]!r}.')
        if not cfg['num_branches'] == len(cfg['num_blocks']) == len(cfg['num_channels']) == number:
            raise ValueError(
                f'HRNet: `{name}` must have {number} branches and one entry per branch in `num_blocks` and `num_channels`, '
                f'got {cfg["num_branches"]}, {tuple(cfg["num_blocks"])} and {tuple(cfg["num_channels"])}.'
            )
        if number == 1 and cfg['num_modules'] != 1:
            raise ValueError(f'HRNet: `{name}.num_modules` must be 1, got {cfg["num_modules"]}; raise its `num_blocks`.')
        block = BLOCKS[cfg['block']]
        channels = tuple(c * block.expansion for c in cfg['num_channels'])
        return cls(cfg['num_modules'], block, tuple(cfg['num_blocks']), channels)


def _conv_norm(c_in: int, c_out: int, *, kernel_size: int, stride: int, relu: bool, norm_cfg: Norm) -> nn.Sequential:
    conv = nn.Conv2d(c_in, c_out, kernel_size, stride=stride, padding=kernel_size // 2, bias=False)
    layers = [conv, build_norm_layer(norm_cfg, c_out)[1]]
    return nn.Sequential(*layers, nn.ReLU(inplace=True)) if relu else nn.Sequential(*layers)


def _halve(c_in: int, c_out: int, times: int, *, last_relu: bool, norm_cfg: Norm) -> nn.Sequential:
    """Return 3x3 convolutions of stride 2; only the last changes C."""
    outs = [c_in] * (times - 1) + [c_out]
    relus = [True] * (times - 1) + [last_relu]
    return nn.Sequential(
        *(_conv_norm(c_in, c, kernel_size=3, stride=2, relu=relu, norm_cfg=norm_cfg) for c, relu in zip(outs, relus))
    )


class HRModule(nn.Module):
    """Residual blocks on each branch; then each output is the relu of the sum of all branches, brought to its size.

    Args:
        block: of the branches, as `make_stage` calls it.
        num_blocks: of each branch.
        channels: C of each branch, in and out.
        num_outputs: return the first so many (finest) branches.
        upsample_mode: how coarser maps grow: 'nearest' or 'bilinear'.
        norm_cfg: see `build_norm_layer`.
    """

    def __init__(
        self,
        block: Any,
        num_blocks: Sequence[int],
        channels: Sequence[int],
        *,
        num_outputs: int,
        upsample_mode: str = 'nearest',
        norm_cfg: Norm = None,
    ) -> None:
        super().__init__()
        self.upsample_mode = upsample_mode
        self.branches = nn.ModuleList(make_stage(block, n, c, c, norm_cfg=norm_cfg) for n, c in zip(num_blocks, channels))

        def path(j: int, i: int) -> nn.Module:
            """Return what takes branch j towards output i; growing is left to `forward`."""
            if j == i:
                return nn.Identity()
            if j > i:
                return _conv_norm(channels[j], channels[i], kernel_size=1, stride=1, relu=False, norm_cfg=norm_cfg)
            return _halve(channels[j], channels[i], i - j, last_relu=False, norm_cfg=norm_cfg)

        branches = range(len(channels))
        self.fuse_layers = nn.ModuleList(nn.ModuleList(path(j, i) for j in branches) for i in range(num_outputs))
        self.relu = nn.ReLU(inplace=True)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Return `num_outputs` maps (B, channels[i], H_i, W_i) of one map per branch, finest first."""
        maps = [branch(x) for branch, x in zip(self.branches, maps)]
        return [self.relu(self._fuse(i, paths, maps)) for i, paths in enumerate(self.fuse_layers)]

    def _fuse(self, i: int, paths: Sequence[nn.Module], maps: Sequence[Tensor]) -> Tensor:
        total = _sum_at_first([path(x) for path, x in zip(paths[i:], maps[i:])], self.upsample_mode)
        for path, x in zip(paths[:i], maps):
            total = total + path(x)
        return total


def _sum_at_first(maps: Sequence[Tensor], mode: str) -> Tensor:
    """Return the sum of maps (B, C, H / 2^i, W / 2^i) at the size of the first."""
    if mode == 'nearest':  # repeating cells commutes with adding: each size is grown to once, a third of the time
        total = maps[-1]
        for finer in reversed(maps[:-1]):
            total = finer + functional.interpolate(total, size=finer.shape[2:])
        return total
    total = maps[0]
    for power, coarser in enumerate(maps[1:], start=1):
        # Doubled, then fitted: where the finer map has an odd side that is not the same as in one step, and mmseg does this.
        grown = functional.interpolate(coarser, scale_factor=2**power, mode=mode, align_corners=False)
        if grown.shape[2:] != total.shape[2:]:
            grown = functional.interpolate(grown, size=total.shape[2:], mode=mode, align_corners=False)
        total = total + grown
    return total


@BACKBONES.register_module()
class HRNet(BaseModule):
    """HRNet: a stem of stride 4, one stage on it, then stages of 2, 3 and 4 branches.

    Source: Sun et al., Deep High-Resolution Representation Learning for Human Pose Estimation, CVPR 2019, arXiv:1902.09212;
    with all branches returned, Wang et al., TPAMI 2020, arXiv:1908.07919: their join by concatenation is V2, by a pyramid V2p.
    Differs: convolutions start with He's values instead of a standard deviation of 0.001.

    Args:
        extra: `stage1` ... `stage4`, each dict(num_modules, num_branches, block, num_blocks, num_channels): stage n has n
            branches; block is 'BASIC' or 'BOTTLENECK'; num_blocks and num_channels have one entry per branch.
        in_channels: of the image.
        multiscale_output: return all four branches instead of the finest alone (whose last fusion is then the only one made).
        upsample_mode: how coarser maps grow before they are added: 'nearest' (pose, detection) or 'bilinear' (segmentation,
            faces, hands).
        frozen_stages: -1 trains everything, 0 freezes the stem, n the stem and the first n stages with the transition after
            each: no gradient, and eval mode even after `.train()`.
        norm_cfg: see `build_norm_layer`; None is batch norm.
        norm_eval: keep every batch norm in eval mode while training.
        with_cp: recompute blocks in the backward pass: less memory, more time.
        zero_init_residual: start each block as its shortcut; not with pretrained weights.
        init_cfg: dict(type='Pretrained', checkpoint=...) or None, used by `init_weights`.

    Attributes:
        out_channels: C of each returned map.
        strides: of each returned map, in px of the image: 4, 8, 16, 32 or only 4.

    Raises:
        ValueError: an argument is out of range or the lengths do not fit together.
    """

    def __init__(
        self,
        extra: Mapping[str, Mapping[str, Any]],
        *,
        in_channels: int = 3,
        multiscale_output: bool = False,
        upsample_mode: str = 'nearest',
        frozen_stages: int = -1,
        norm_cfg: Norm = None,
        norm_eval: bool = False,
        with_cp: bool = False,
        zero_init_residual: bool = False,
        init_cfg: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if sorted(extra) != ['stage1', 'stage2', 'stage3', 'stage4']:
            raise ValueError(
                f'HRNet: `extra` must have the keys stage1 to stage4, got {tuple(extra)}. To resize bilinearly, set '
                '`upsample_mode` of HRNet itself.'
            )
        if upsample_mode not in UPSAMPLE_MODES:
            raise ValueError(f'HRNet: `upsample_mode` must be one of {UPSAMPLE_MODES}, got {upsample_mode!r}.')
        if not -1 <= frozen_stages <= 4:
            raise ValueError(f'HRNet: `frozen_stages` must be -1 to 4, got {frozen_stages}.')
        check_init_cfg('HRNet', init_cfg)
        self.init_cfg = init_cfg
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval
        self.zero_init_residual = zero_init_residual
        first, *others = [Stage.read(number, extra[f'stage{number}']) for number in (1, 2, 3, 4)]

        self.norm1_name, norm1 = build_norm_layer(norm_cfg, STEM_CHANNELS, postfix=1)
        self.norm2_name, norm2 = build_norm_layer(norm_cfg, STEM_CHANNELS, postfix=2)
        self.conv1 = nn.Conv2d(in_channels, STEM_CHANNELS, 3, stride=2, padding=1, bias=False)
        self.add_module(self.norm1_name, norm1)
        self.conv2 = nn.Conv2d(STEM_CHANNELS, STEM_CHANNELS, 3, stride=2, padding=1, bias=False)
        self.add_module(self.norm2_name, norm2)
        self.relu = nn.ReLU(inplace=True)

        block = partial(first.block, norm_cfg=norm_cfg, with_cp=with_cp)
        self.layer1 = make_stage(block, first.num_blocks[0], STEM_CHANNELS, first.channels[0], norm_cfg=norm_cfg)
        channels = first.channels
        for number, stage in enumerate(others, start=2):
            self.add_module(f'transition{number - 1}', _transition(channels, stage.channels, norm_cfg))
            modules = []
            for i in range(stage.num_modules):
                only_finest = number == 4 and i == stage.num_modules - 1 and not multiscale_output
                modules.append(
                    HRModule(
                        partial(stage.block, norm_cfg=norm_cfg, with_cp=with_cp),
                        stage.num_blocks,
                        stage.channels,
                        num_outputs=1 if only_finest else number,
                        upsample_mode=upsample_mode,
                        norm_cfg=norm_cfg,
                    )
                )
            self.add_module(f'stage{number}', nn.Sequential(*modules))
            channels = stage.channels
        self.out_channels = channels if multiscale_output else channels[:1]
        self.strides = (4, 8, 16, 32) if multiscale_output else (4,)
        freeze(self._frozen())

    @property
    def norm1(self) -> nn.Module:
        return getattr(self, self.norm1_name)

    @property
    def norm2(self) -> nn.Module:
        return getattr(self, self.norm2_name)

    def _frozen(self) -> list[nn.Module]:
        if self.frozen_stages < 0:
            return []
        parts = [self.conv1, self.norm1, self.conv2, self.norm2]
        for number in range(1, self.frozen_stages + 1):
            parts.append(self.layer1 if number == 1 else getattr(self, f'stage{number}'))
            if number < 4:
                parts.append(getattr(self, f'transition{number}'))
        return parts

    def train(self, mode: bool = True) -> 'HRNet':
        """Set the mode; frozen stages, and with `norm_eval` every batch norm, stay in eval mode."""
        super().train(mode)
        hold_eval(self, self._frozen(), norm_eval=self.norm_eval)
        return self

    def init_weights(self) -> None:
        """Set He's normal initial values (fan out), then load the pretrained weights if `init_cfg` names any."""
        init_residual(self, self.init_cfg, zero_init_residual=self.zero_init_residual)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the maps, finest first: (B, out_channels[i], H / strides[i], W / strides[i]), rounded up."""
        x = self.relu(self.norm1(self.conv1(x)))
        x = self.relu(self.norm2(self.conv2(x)))
        maps = [self.layer1(x)]
        for transition, stage in (
            (self.transition1, self.stage2),
            (self.transition2, self.stage3),
            (self.transition3, self.stage4),
        ):
            # A new branch is made of the coarsest map there is.
            maps = stage([layer(maps[min(i, len(maps) - 1)]) for i, layer in enumerate(transition)])
        return tuple(maps)


def _transition(before: Sequence[int], after: Sequence[int], norm_cfg: Norm) -> nn.ModuleList:
    """Return for each branch of the next stage what makes its input; nothing where C stays."""
    layers: list[nn.Module] = []
    for i, channels in enumerate(after):
        if i >= len(before):
            layers.append(_halve(before[-1], channels, i + 1 - len(before), last_relu=True, norm_cfg=norm_cfg))
        elif channels != before[i]:
            layers.append(_conv_norm(before[i], channels, kernel_size=3, stride=1, relu=True, norm_cfg=norm_cfg))
        else:
            layers.append(nn.Identity())
    return nn.ModuleList(layers)
