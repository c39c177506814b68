"""CSPNeXt, with the state-dict keys of mmdet's."""

# Letters: B batch, C channels, H x W pixels or cells.
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmpose_lite.models.backbones.training import checked_indices, freeze, hold_eval
from mmpose_lite.models.base import BaseModule
from mmpose_lite.models.layers.conv_module import ConvModule
from mmpose_lite.models.layers.separable import DepthwiseSeparableConvModule
from mmpose_lite.models.pretrained import check_init_cfg, load_pretrained
from mmpose_lite.registry import BACKBONES

# arch -> for each stage: C in, C out, blocks, whether blocks have a shortcut, whether pooling at several scales comes first
_ARCHS: dict[str, tuple[tuple[int, int, int, bool, bool], ...]] = {
    'P5': (
        (64, 128, 3, True, False),
        (128, 256, 6, True, False),
        (256, 512, 6, True, False),
        (512, 1024, 3, False, True),
    ),
    'P6': (
        (64, 128, 3, True, False),
        (128, 256, 6, True, False),
        (256, 512, 6, True, False),
        (512, 768, 3, True, False),
        (768, 1024, 3, False, True),
    ),
}


class CSPNeXtBlock(nn.Module):
    """3x3, then a 5x5 depthwise separable convolution, plus the input where `add_identity`."""

    def __init__(self, channels: int, *, add_identity: bool, norm_cfg: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.conv1 = ConvModule(channels, channels, kernel_size=3, norm_cfg=norm_cfg, act='silu')
        self.conv2 = DepthwiseSeparableConvModule(channels, channels, kernel_size=5, norm_cfg=norm_cfg, act='silu')
        self.add_identity = add_identity

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv2(self.conv1(x))
        return out + x if self.add_identity else out


class ChannelAttention(nn.Module):
    """Multiply each channel by the hard sigmoid of a linear function of all channels' means."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.global_avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Conv2d(channels, channels, 1)
        self.act = nn.Hardsigmoid(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.act(self.fc(self.global_avgpool(x)))


class CSPLayer(nn.Module):
    """Half of the channels go through the blocks, half around them; both are joined, weighted and mixed.

    Source: Wang et al., CSPNet, CVPR workshops 2020, arXiv:1911.11929.
    """

    def __init__(
        self,
        channels: int,
        *,
        num_blocks: int,
        add_identity: bool,
        expand_ratio: float,
        channel_attention: bool,
        norm_cfg: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        mid = int(channels * expand_ratio)
        conv = partial(ConvModule, norm_cfg=norm_cfg, act='silu')
        self.main_conv = conv(channels, mid)
        self.short_conv = conv(channels, mid)
        self.final_conv = conv(2 * mid, channels)
        self.blocks = nn.Sequential(*(CSPNeXtBlock(mid, add_identity=add_identity, norm_cfg=norm_cfg) for _ in range(num_blocks)))
        self.attention = ChannelAttention(2 * mid) if channel_attention else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.final_conv(self.attention(torch.cat((self.blocks(self.main_conv(x)), self.short_conv(x)), dim=1)))


class SPPBottleneck(nn.Module):
    """Join the map with its maxima over windows of several sizes.

    Source: He et al., Spatial Pyramid Pooling, ECCV 2014, arXiv:1406.4729, with stride 1 as in YOLOv3-SPP.
    """

    def __init__(self, channels: int, *, kernel_sizes: Sequence[int], norm_cfg: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        mid = channels // 2
        self.conv1 = ConvModule(channels, mid, norm_cfg=norm_cfg, act='silu')
        self.poolings = nn.ModuleList(nn.MaxPool2d(size, stride=1, padding=size // 2) for size in kernel_sizes)
        self.conv2 = ConvModule(mid * (len(kernel_sizes) + 1), channels, norm_cfg=norm_cfg, act='silu')

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        return self.conv2(torch.cat((x, *(pooling(x) for pooling in self.poolings)), dim=1))


@BACKBONES.register_module()
class CSPNeXt(BaseModule):
    """CSPNeXt: stem (stride 2), then stages of a strided convolution and a cross-stage-partial layer.

    Source: Lyu et al., RTMDet: An Empirical Study of Designing Real-Time Object Detectors, Sec. 3.2, arXiv:2212.07784.

    Stages count from 0, the stem (64 channels times `widen_factor`, stride 2); stage i has stride 2^(i + 1) and 64 * 2^i
    channels times `widen_factor`; with 'P6' stage 4 has 768 and stage 5 has 1024. RTMPose-t, s, m, l are
    (deepen_factor, widen_factor) = (0.167, 0.375), (0.33, 0.5), (0.67, 0.75), (1, 1).

    Args:
        arch: 'P5' (4 stages) or 'P6' (5 stages).
        deepen_factor: on the number of blocks of each stage.
        widen_factor: on the number of channels.
        expand_ratio: share of the channels that go through the blocks of a stage, and again around them.
        channel_attention: weight the channels at the end of each stage.
        spp_kernel_sizes: windows of the pooling in the last stage, odd.
        out_indices: stages whose maps are returned; those behind the last are neither run nor trained.
        frozen_stages: -1 trains everything, n freezes the stem and the first n stages: no gradient, and eval mode even after
            `.train()`.
        norm_cfg: see `build_norm_layer`; None is batch norm (eps 1e-5, as RTMPose and RTMDet have it).
        norm_eval: keep every batch norm in eval mode while training.
        init_cfg: dict(type='Pretrained', checkpoint=..., prefix='backbone.') or None, used by `init_weights`.

    Attributes:
        out_channels: C of each returned map.
        strides: of each returned map, in px of the image.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        arch: str = 'P5',
        *,
        deepen_factor: float = 1.0,
        widen_factor: float = 1.0,
        expand_ratio: float = 0.5,
        channel_attention: bool = True,
        spp_kernel_sizes: Sequence[int] = (5, 9, 13),
        out_indices: Sequence[int] = (4,),
        frozen_stages: int = -1,
        norm_cfg: Mapping[str, Any] | None = None,
        norm_eval: bool = False,
        init_cfg: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if arch not in _ARCHS:
            raise ValueError(f'CSPNeXt: `arch` must be one of {list(_ARCHS)}, got {arch!r}.')
        num_stages = len(_ARCHS[arch])
        if deepen_factor <= 0 or widen_factor <= 0 or expand_ratio <= 0:
            raise ValueError(
                'CSPNeXt: `deepen_factor`, `widen_factor` and `expand_ratio` must be positive, '
                f'got {deepen_factor}, {widen_factor} and {expand_ratio}.'
            )
        if not -1 <= frozen_stages <= num_stages:
            raise ValueError(f'CSPNeXt: `frozen_stages` must be -1 to {num_stages}, got {frozen_stages}.')
        check_init_cfg('CSPNeXt', init_cfg)
        self.init_cfg = init_cfg
        self.out_indices = checked_indices('CSPNeXt', out_indices, num_stages + 1, what='stages 0 (the stem)')
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval
        self.layers = ['stem', *(f'stage{i + 1}' for i in range(num_stages))]

        conv = partial(ConvModule, kernel_size=3, norm_cfg=norm_cfg, act='silu')
        channels = int(_ARCHS[arch][0][0] * widen_factor)
        half = int(_ARCHS[arch][0][0] * widen_factor // 2)
        self.stem = nn.Sequential(conv(3, half, stride=2), conv(half, half), conv(half, channels))
        all_channels = [channels]
        for i, (c_in, c_out, blocks, add_identity, with_spp) in enumerate(_ARCHS[arch]):
            channels = int(c_out * widen_factor)
            spp = [SPPBottleneck(channels, kernel_sizes=spp_kernel_sizes, norm_cfg=norm_cfg)] if with_spp else []
            csp = CSPLayer(
                channels,
                num_blocks=max(round(blocks * deepen_factor), 1),
                add_identity=add_identity,
                expand_ratio=expand_ratio,
                channel_attention=channel_attention,
                norm_cfg=norm_cfg,
            )
            self.add_module(f'stage{i + 1}', nn.Sequential(conv(int(c_in * widen_factor), channels, stride=2), *spp, csp))
            all_channels.append(channels)
        self.out_channels = tuple(all_channels[i] for i in self.out_indices)
        self.strides = tuple(2 ** (i + 1) for i in self.out_indices)
        unread = [getattr(self, name) for name in self.layers[self.out_indices[-1] + 1 :]]
        freeze([*self._frozen(), *unread])

    def _frozen(self) -> list[nn.Module]:
        return [getattr(self, name) for name in self.layers[: self.frozen_stages + 1]]

    def train(self, mode: bool = True) -> 'CSPNeXt':
        """Set the mode; frozen stages, and with `norm_eval` every batch norm, stay in eval mode."""
        super().train(mode)
        hold_eval(self, self._frozen(), norm_eval=self.norm_eval)
        return self

    def init_weights(self) -> None:
        """Set uniform initial values of variance 1 / (3 * fan in), then load the pretrained weights if `init_cfg` names any."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight, a=5**0.5)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, _BatchNorm):
                nn.init.ones_(module.weight)
                nn.init.zeros_(module.bias)
        if self.init_cfg is not None:
            load_pretrained(self, self.init_cfg)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the maps of `out_indices`, finest first: (B, out_channels[i], H / strides[i], W / strides[i]), rounded up."""
        outs = []
        for i, name in enumerate(self.layers[: self.out_indices[-1] + 1]):
            x = getattr(self, name)(x)
            if i in self.out_indices:
                outs.append(x)
        return tuple(outs)
