"""ResNets that differ from `ResNet` by more than its arguments: SE-ResNet, ResNet-V1d in mmpose's keys, pre-activation ResNet."""

# Letters: B batch, C channels, H x W pixels or cells.
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

from torch import Tensor, nn

from mmpose_lite.models.backbones.resnet import Block, ResNet, make_stage
from mmpose_lite.models.backbones.training import checked_indices, freeze, hold_eval, init_residual
from mmpose_lite.models.base import BaseModule
from mmpose_lite.models.layers.conv_module import ConvModule
from mmpose_lite.models.layers.norm import build_norm_layer
from mmpose_lite.models.layers.recompute import run_block
from mmpose_lite.models.pretrained import check_init_cfg
from mmpose_lite.registry import BACKBONES


@BACKBONES.register_module()
class SEResNet(ResNet):
    """ResNet with squeeze and excitation at the end of every branch; arguments and attributes are those of ResNet.

    Source: Hu et al., Squeeze-and-Excitation Networks, CVPR 2018, Sec. 4, arXiv:1709.01507, with its ratio of 16. Another ratio,
    or only some stages: `plugins` of ResNet.
    """

    def make_block(self, stage: int) -> Block:
        """Return ResNet's blocks with SE in them, unless `plugins` put another layer there."""
        return partial(super().make_block(stage), plugins={'end': dict(type='SELayer', ratio=16), **self.plugins[stage]})


@BACKBONES.register_module()
class ResNetV1d(ResNet):
    """ResNet with three 3x3 convolutions as stem and mean pooling in the shortcuts, in the state-dict keys of mmpose.

    Source: He et al., Bag of Tricks for Image Classification, CVPR 2019, Sec. 4.1, arXiv:1812.01187.
    The same network in the keys of mmdet and mmseg is `ResNet` with `deep_stem` and `avg_down`.

    Args:
        depth: 18, 34, 50, 101 or 152; this and the others as in ResNet.
        in_channels: of the image.
        stem_channels: C after the stem.
        base_channels: C of the 3x3 convolutions of stage 0.
        strides: of the first block of each stage.
        dilations: of each stage.
        out_indices: stages whose maps are returned, counted from 0.
        frozen_stages: -1 trains everything, 0 freezes the stem, n the stem and the first n stages.
        norm_cfg: see `build_norm_layer`.
        norm_eval: keep every batch norm in eval mode while training.
        with_cp: recompute blocks in the backward pass.
        zero_init_residual: start each block as its shortcut.
        plugins: layers in the blocks of some stages.
        init_cfg: pretrained weights or None.
    """

    def __init__(
        self,
        depth: int,
        *,
        in_channels: int = 3,
        stem_channels: int = 64,
        base_channels: int = 64,
        strides: Sequence[int] = (1, 2, 2, 2),
        dilations: Sequence[int] = (1, 1, 1, 1),
        out_indices: Sequence[int] = (3,),
        frozen_stages: int = -1,
        norm_cfg: Mapping[str, Any] | None = None,
        norm_eval: bool = False,
        with_cp: bool = False,
        zero_init_residual: bool = True,
        plugins: Sequence[Mapping[str, Any]] = (),
        init_cfg: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(
            depth,
            in_channels=in_channels,
            stem_channels=stem_channels,
            base_channels=base_channels,
            strides=strides,
            dilations=dilations,
            out_indices=out_indices,
            deep_stem=True,
            avg_down=True,
            frozen_stages=frozen_stages,
            norm_cfg=norm_cfg,
            norm_eval=norm_eval,
            with_cp=with_cp,
            zero_init_residual=zero_init_residual,
            plugins=plugins,
            init_cfg=init_cfg,
        )
        for stage, stride in zip(self.stages, strides):
            if stride == 1 and stage[0].downsample is not None:  # here the pool does nothing, and has no place in mmpose's keys
                stage[0].downsample = nn.Sequential(*stage[0].downsample[1:])

    def _make_stem(self, in_channels: int, stem_channels: int) -> None:
        half = stem_channels // 2
        self.stem = nn.Sequential(
            ConvModule(in_channels, half, kernel_size=3, stride=2, norm_cfg=self.norm_cfg),
            ConvModule(half, half, kernel_size=3, norm_cfg=self.norm_cfg),
            ConvModule(half, stem_channels, kernel_size=3, norm_cfg=self.norm_cfg),
        )
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)


class PreActBlock(nn.Module):
    """Norm, relu and convolution, two or three times, added to the input as it came.

    Args:
        in_channels: C of the input.
        out_channels: C of the output.
        stride: of the first 3x3.
        dilation: of the first 3x3.
        downsample: the shortcut, of which the norm at the end is left out; it starts after the first relu. None is the identity.
        norm_cfg: see `build_norm_layer`.
        with_cp: recompute the block in the backward pass instead of storing it.
    """

    expansion = 1
    kernel_sizes: ClassVar[tuple[int, ...]] = (3, 3)

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        downsample: nn.Sequential | None = None,
        norm_cfg: Mapping[str, Any] | None = None,
        with_cp: bool = False,
    ) -> None:
        super().__init__()
        mid_channels = out_channels // self.expansion
        first_3x3 = self.kernel_sizes.index(3)
        last = len(self.kernel_sizes) - 1
        self.norm_names: list[str] = []
        channels = in_channels
        for i, kernel_size in enumerate(self.kernel_sizes):
            c_out = out_channels if i == last else mid_channels
            step, spread = (stride, dilation) if i == first_3x3 else (1, 1)
            name, norm = build_norm_layer(norm_cfg, channels, postfix=i + 1)
            padding = spread * (kernel_size // 2)
            conv = nn.Conv2d(channels, c_out, kernel_size, stride=step, padding=padding, dilation=spread, bias=False)
            self.norm_names.append(name)
            self.add_module(name, norm)
            self.add_module(f'conv{i + 1}', conv)
            channels = c_out
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None if downsample is None else downsample[:-1]
        self.with_cp = with_cp

    def _sum(self, x: Tensor) -> Tensor:
        out, shortcut = x, x
        for i, name in enumerate(self.norm_names):
            out = self.relu(getattr(self, name)(out))
            if i == 0 and self.downsample is not None:
                shortcut = self.downsample(out)
            out = getattr(self, f'conv{i + 1}')(out)
        return out + shortcut

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, out_channels, H / stride, W / stride), rounded up."""
        return run_block(self._sum, x, with_cp=self.with_cp)


class PreActBottleneck(PreActBlock):
    """1x1 to a quarter of the channels, 3x3, and 1x1 back, each after norm and relu."""

    expansion = 4
    kernel_sizes: ClassVar[tuple[int, ...]] = (1, 3, 1)


@BACKBONES.register_module()
class PreActResNet(BaseModule):
    """Pre-activation ResNet: the stem of ResNet, stages of pre-activation blocks, norm and relu on each returned map.

    Source: He et al., Identity Mappings in Deep Residual Networks, ECCV 2016, Sec. 3.2 and Fig. 4 (e), arXiv:1603.05027.

    Args:
        depth: 18, 34, 50, 101 or 152.
        in_channels: of the image.
        stem_channels: C after the stem.
        base_channels: C of the 3x3 convolutions of stage 0; doubles with each stage.
        strides: of the first block of each stage.
        dilations: of the first 3x3 of the blocks of each stage.
        out_indices: stages whose maps are returned, counted from 0; those behind the last are neither run nor trained.
        frozen_stages: -1 trains everything, 0 freezes the stem, n the stem and the first n stages: no gradient, and
            eval mode even after `.train()`.
        norm_cfg: see `build_norm_layer`; None is batch norm.
        norm_eval: keep every batch norm in eval mode while training.
        with_cp: recompute blocks in the backward pass: less memory, more time.
        init_cfg: dict(type='Pretrained', checkpoint=...) or None, used by `init_weights`.

    Attributes:
        out_channels: C of each returned map.
        strides: of each returned map, in px of the image.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        depth: int,
        *,
        in_channels: int = 3,
        stem_channels: int = 64,
        base_channels: int = 64,
        strides: Sequence[int] = (1, 2, 2, 2),
        dilations: Sequence[int] = (1, 1, 1, 1),
        out_indices: Sequence[int] = (3,),
        frozen_stages: int = -1,
        norm_cfg: Mapping[str, Any] | None = None,
        norm_eval: bool = False,
        with_cp: bool = False,
        init_cfg: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if depth not in ResNet.arch_settings:
            raise ValueError(f'PreActResNet: `depth` must be one of {list(ResNet.arch_settings)}, got {depth}.')
        if not len(strides) == len(dilations) == 4:
            raise ValueError(f'PreActResNet: `strides` and `dilations` need 4 entries, got {strides} and {dilations}.')
        if not -1 <= frozen_stages <= 4:
            raise ValueError(f'PreActResNet: `frozen_stages` must be -1 to 4, got {frozen_stages}.')
        check_init_cfg('PreActResNet', init_cfg)
        self.init_cfg = init_cfg
        self.out_indices = checked_indices('PreActResNet', out_indices, 4)
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval

        self.conv1 = nn.Conv2d(in_channels, stem_channels, 7, stride=2, padding=3, bias=False)
        self.norm1_name, norm1 = build_norm_layer(norm_cfg, stem_channels, postfix=1)
        self.add_module(self.norm1_name, norm1)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        original_block, blocks_per_stage = ResNet.arch_settings[depth]
        block = PreActBlock if original_block.expansion == 1 else PreActBottleneck
        channels, stride_of_map = stem_channels, 4
        all_channels, all_strides = [], []
        for i, (stride, dilation) in enumerate(zip(strides, dilations)):
            out_channels = base_channels * 2**i * block.expansion
            stage = make_stage(
                partial(block, norm_cfg=norm_cfg, with_cp=with_cp),
                blocks_per_stage[i],
                channels,
                out_channels,
                stride=stride,
                dilation=dilation,
                norm_cfg=norm_cfg,
            )
            self.add_module(f'layer{i + 1}', stage)
            channels, stride_of_map = out_channels, stride_of_map * stride
            all_channels.append(channels)
            all_strides.append(stride_of_map)
        self.out_channels = tuple(all_channels[i] for i in self.out_indices)
        self.strides = tuple(all_strides[i] for i in self.out_indices)
        self.out_norms = nn.ModuleList(build_norm_layer(norm_cfg, c)[1] for c in self.out_channels)
        freeze([*self._frozen(), *self.stages[self.out_indices[-1] + 1 :]])  # nothing reads the last ones

    @property
    def norm1(self) -> nn.Module:
        return getattr(self, self.norm1_name)

    @property
    def stages(self) -> list[nn.Module]:
        return [getattr(self, f'layer{i + 1}') for i in range(4)]

    def _frozen(self) -> list[nn.Module]:
        return [] if self.frozen_stages < 0 else [self.conv1, self.norm1, *self.stages[: self.frozen_stages]]

    def train(self, mode: bool = True) -> 'PreActResNet':
        """Set the mode; frozen stages, and with `norm_eval` every batch norm, stay in eval mode."""
        super().train(mode)
        hold_eval(self, self._frozen(), norm_eval=self.norm_eval)
        return self

    def init_weights(self) -> None:
        """Set He's normal initial values (fan out), then load the pretrained weights if `init_cfg` names any."""
        init_residual(self, self.init_cfg, zero_init_residual=False)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the maps of `out_indices`, finest first: (B, out_channels[i], H / strides[i], W / strides[i]), rounded up."""
        x = self.maxpool(self.relu(self.norm1(self.conv1(x))))
        maps = []
        for i, stage in enumerate(self.stages[: self.out_indices[-1] + 1]):
            x = stage(x)
            if i in self.out_indices:
                maps.append(x)
        return tuple(self.relu(norm(x)) for norm, x in zip(self.out_norms, maps))
