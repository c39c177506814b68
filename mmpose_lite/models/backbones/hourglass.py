"""Stacked hourglasses, with OpenMMLab's state-dict keys."""

# Letters: B batch, C channels, H x W cells, S stacks.
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import interpolate

from mmpose_lite.models.backbones.resnet import BasicBlock, make_stage
from mmpose_lite.models.base import BaseModule
from mmpose_lite.models.layers.conv_module import ConvModule
from mmpose_lite.models.pretrained import check_init_cfg, load_pretrained
from mmpose_lite.registry import BACKBONES


class HourglassModule(nn.Module):
    """Down `len(channels) - 1` times and up again, with a shortcut at each size.

    Args:
        channels: C at each size, the first is that of input and result.
        blocks: residual blocks at each size.
        norm_cfg: see `build_norm_layer`.
    """

    def __init__(self, channels: Sequence[int], blocks: Sequence[int], *, norm_cfg: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        block = partial(BasicBlock, norm_cfg=norm_cfg)
        here, below = channels[:2]
        self.up1 = make_stage(block, blocks[0], here, here, norm_cfg=norm_cfg)
        self.low1 = make_stage(block, blocks[0], here, below, stride=2, norm_cfg=norm_cfg)
        if len(channels) > 2:
            self.low2 = HourglassModule(channels[1:], blocks[1:], norm_cfg=norm_cfg)
        else:
            self.low2 = make_stage(block, blocks[1], below, below, norm_cfg=norm_cfg)
        same = make_stage(block, blocks[0] - 1, below, below, norm_cfg=norm_cfg) if blocks[0] > 1 else ()
        self.low3 = nn.Sequential(*same, *make_stage(block, 1, below, here, norm_cfg=norm_cfg))

    def forward(self, x: Tensor) -> Tensor:
        """Return a map of the shape of `x`, (B, channels[0], H, W)."""
        low = self.low3(self.low2(self.low1(x)))
        return self.up1(x) + interpolate(low, size=x.shape[-2:])  # the nearest cell


@BACKBONES.register_module()
class HourglassNet(BaseModule):
    """A stem to stride 4, then hourglasses in a row; each gives a map and the next one reads it.

    Source: Newell et al., Stacked Hourglass Networks for Human Pose Estimation, ECCV 2016, Sec. 3, arXiv:1603.06937; the layers
    are those of Hourglass-52 (one stack) and Hourglass-104 (two) in Law and Deng, CornerNet, ECCV 2018, arXiv:1808.01244.
    Differs: residual blocks of two 3x3 convolutions; the paper has bottlenecks, and feeds back heatmaps as well as features.
    Sizes that `downsample_times` halvings do not divide are allowed.

    Returns S maps of `feat_channel` channels at stride 4, in the order of the stacks.

    Args:
        downsample_times: halvings inside an hourglass.
        num_stacks: 1 to 8.
        stage_channels: C at stride 4, 8, ...: downsample_times + 1 entries; further ones are not used.
        stage_blocks: residual blocks at each of these sizes.
        feat_channel: C of the returned maps.
        stem_channels: C after the first convolution.
        norm_cfg: see `build_norm_layer`; None is batch norm.
        init_cfg: dict(type='Pretrained', checkpoint=...) or None, used by `init_weights`.

    Attributes:
        out_channels: C of each returned map.
        strides: of each returned map, in px of the image.

    Raises:
        ValueError: an argument is out of range or the lengths do not fit together.
    """

    def __init__(
        self,
        *,
        downsample_times: int = 5,
        num_stacks: int = 2,
        stage_channels: Sequence[int] = (256, 256, 384, 384, 384, 512),
        stage_blocks: Sequence[int] = (2, 2, 2, 2, 2, 4),
        feat_channel: int = 256,
        stem_channels: int = 128,
        norm_cfg: Mapping[str, Any] | None = None,
        init_cfg: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if downsample_times < 1:
            raise ValueError(f'HourglassNet: `downsample_times` must be 1 or more, got {downsample_times}.')
        if not 1 <= num_stacks <= 8:
            raise ValueError(f'HourglassNet: `num_stacks` must be 1 to 8, got {num_stacks}.')
        sizes = downsample_times + 1
        if len(stage_channels) != len(stage_blocks) or len(stage_channels) < sizes or min(stage_blocks) < 1:
            raise ValueError(
                f'HourglassNet: `stage_channels` and `stage_blocks` need one positive entry per size ({sizes}), '
                f'got {tuple(stage_channels)} and {tuple(stage_blocks)}.'
            )
        check_init_cfg('HourglassNet', init_cfg)
        self.init_cfg = init_cfg
        channels = stage_channels[0]
        block = partial(BasicBlock, norm_cfg=norm_cfg)
        self.stem = nn.Sequential(
            ConvModule(3, stem_channels, kernel_size=7, stride=2, norm_cfg=norm_cfg),
            make_stage(block, 1, stem_channels, channels, stride=2, norm_cfg=norm_cfg),
        )
        self.hourglass_modules = nn.ModuleList(
            HourglassModule(stage_channels[:sizes], stage_blocks[:sizes], norm_cfg=norm_cfg) for _ in range(num_stacks)
        )
        self.inters = make_stage(block, max(num_stacks - 1, 1), channels, channels, norm_cfg=norm_cfg)
        if num_stacks == 1:
            self.inters.requires_grad_(False)  # published checkpoints have this block, no stack reads it
        self.conv1x1s = nn.ModuleList(ConvModule(channels, channels, norm_cfg=norm_cfg, act=None) for _ in range(num_stacks - 1))
        self.out_convs = nn.ModuleList(
            ConvModule(channels, feat_channel, kernel_size=3, norm_cfg=norm_cfg) for _ in range(num_stacks)
        )
        self.remap_convs = nn.ModuleList(
            ConvModule(feat_channel, channels, norm_cfg=norm_cfg, act=None) for _ in range(num_stacks - 1)
        )
        self.relu = nn.ReLU(inplace=True)
        self.out_channels = (feat_channel,) * num_stacks
        self.strides = (4,) * num_stacks

    def init_weights(self) -> None:
        """Set normal initial values of standard deviation 0.001, then load the weights that `init_cfg` names."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.001)
        if self.init_cfg is not None:
            load_pretrained(self, self.init_cfg)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return S maps (B, feat_channel, H / 4, W / 4), rounded up, the last stack's last."""
        x = self.stem(x)
        outs: list[Tensor] = []
        for i, (hourglass, out_conv) in enumerate(zip(self.hourglass_modules, self.out_convs)):
            if i > 0:
                x = self.inters[i - 1](self.relu(self.conv1x1s[i - 1](x) + self.remap_convs[i - 1](outs[-1])))
            outs.append(out_conv(hourglass(x)))
        return tuple(outs)
