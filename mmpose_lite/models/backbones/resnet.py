"""ResNet and ResNeXt of depth 18 to 152, with OpenMMLab's state-dict keys (which are also torchvision's)."""

# Letters: B batch, C channels, H x W pixels or cells.
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

from torch import Tensor, nn

from mmpose_lite.models.backbones.gridding import gridding_holes
from mmpose_lite.models.backbones.training import checked_indices, freeze, hold_eval, init_residual
from mmpose_lite.models.base import BaseModule
from mmpose_lite.models.layers.norm import build_norm_layer
from mmpose_lite.models.layers.recompute import run_block
from mmpose_lite.models.pretrained import check_init_cfg
from mmpose_lite.registry import BACKBONES, LAYERS

Block = Callable[..., nn.Module]
STYLES = ('pytorch', 'caffe')
PLUGIN_POSITIONS = ('conv2', 'end')


class ResidualBlock(nn.Module):
    """relu(branch(x) + shortcut(x)); a subclass makes its layers, sets `relu`, `downsample`, `with_cp`, and writes `branch`."""

    expansion = 1
    relu: nn.Module
    downsample: nn.Module | None
    with_cp: bool
    end_name: str | None = None

    def add_end(self, cfg: Mapping[str, Any] | None, channels: int) -> None:
        """Build the layer that works on the branch just before the sum; its class may say its key in the state dict (`key`)."""
        if cfg is not None:
            layer = LAYERS.build(cfg, channels=channels)
            self.end_name = getattr(layer, 'key', 'attention')
            self.add_module(self.end_name, layer)

    def branch(self, x: Tensor) -> Tensor:
        """Return what is added to the shortcut."""
        raise NotImplementedError

    def _sum(self, x: Tensor) -> Tensor:
        out = self.branch(x)
        if self.end_name is not None:
            out = getattr(self, self.end_name)(out)
        out += x if self.downsample is None else self.downsample(x)
        return out

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(run_block(self._sum, x, with_cp=self.with_cp))


class BasicBlock(ResidualBlock):
    """Two 3x3 convolutions.

    Args:
        in_channels: C of the input.
        out_channels: C of the output.
        stride: of the first convolution.
        dilation: of the first convolution; the second has none, as in mmdet and mmseg.
        downsample: the shortcut; None is the identity.
        style: as in Bottleneck; without effect, since the one strided layer is a 3x3 already.
        norm_cfg: see `build_norm_layer`.
        with_cp: recompute the block in the backward pass instead of storing it. Running statistics then move twice per step.
        plugins: position -> config of a layer: 'conv2' in place of the second convolution, 'end' before the sum.
    """

    expansion = 1

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        downsample: nn.Module | None = None,
        style: str = 'pytorch',
        norm_cfg: Mapping[str, Any] | None = None,
        with_cp: bool = False,
        plugins: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        super().__init__()
        plugins = plugins or {}
        self.norm1_name, norm1 = build_norm_layer(norm_cfg, out_channels, postfix=1)
        self.norm2_name, norm2 = build_norm_layer(norm_cfg, out_channels, postfix=2)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=dilation, dilation=dilation, bias=False)
        self.add_module(self.norm1_name, norm1)
        if 'conv2' in plugins:
            self.conv2 = LAYERS.build(plugins['conv2'], channels=out_channels)
        else:
            self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.add_module(self.norm2_name, norm2)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample
        self.with_cp = with_cp
        self.add_end(plugins.get('end'), out_channels)

    @property
    def norm1(self) -> nn.Module:
        return getattr(self, self.norm1_name)

    @property
    def norm2(self) -> nn.Module:
        return getattr(self, self.norm2_name)

    @property
    def last_norm(self) -> nn.Module:
        return self.norm2

    def branch(self, x: Tensor) -> Tensor:
        x = self.relu(self.norm1(self.conv1(x)))
        return self.norm2(self.conv2(x))


class Bottleneck(ResidualBlock):
    """1x1 to a quarter of the channels, 3x3, and 1x1 back.

    Args:
        in_channels: C of the input.
        out_channels: C of the output, a multiple of 4.
        stride: of the 3x3 ('pytorch') or of the first 1x1 ('caffe').
        dilation: of the 3x3.
        downsample: the shortcut; None is the identity.
        style: 'pytorch' or 'caffe'.
        norm_cfg: see `build_norm_layer`.
        with_cp: recompute the block in the backward pass instead of storing it. Running statistics then move twice per step.
        plugins: position -> config of a layer: 'conv2' in place of the second convolution, 'end' before the sum.
        mid_channels: C of the 3x3; None is a quarter of `out_channels`.
        groups: of the 3x3.
        dcn: config of a deformable convolution in place of the 3x3, with `fallback_on_stride` unless the block has a stride.
    """

    expansion = 4

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        downsample: nn.Module | None = None,
        style: str = 'pytorch',
        norm_cfg: Mapping[str, Any] | None = None,
        with_cp: bool = False,
        plugins: Mapping[str, Mapping[str, Any]] | None = None,
        mid_channels: int | None = None,
        groups: int = 1,
        dcn: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        plugins = plugins or {}
        mid_channels = mid_channels or out_channels // self.expansion
        stride1, stride2 = (1, stride) if style == 'pytorch' else (stride, 1)
        self.norm1_name, norm1 = build_norm_layer(norm_cfg, mid_channels, postfix=1)
        self.norm2_name, norm2 = build_norm_layer(norm_cfg, mid_channels, postfix=2)
        self.norm3_name, norm3 = build_norm_layer(norm_cfg, out_channels, postfix=3)
        self.conv1 = nn.Conv2d(in_channels, mid_channels, 1, stride=stride1, bias=False)
        self.add_module(self.norm1_name, norm1)
        if 'conv2' in plugins:
            self.conv2 = LAYERS.build(plugins['conv2'], channels=mid_channels, stride=stride2, dilation=dilation)
        elif dcn is not None and not (dcn.get('fallback_on_stride', False) and stride > 1):
            self.conv2 = LAYERS.build(
                {key: value for key, value in dcn.items() if key != 'fallback_on_stride'},
                in_channels=mid_channels,
                out_channels=mid_channels,
                stride=stride2,
                dilation=dilation,
                groups=groups,
            )
        else:
            self.conv2 = nn.Conv2d(
                mid_channels,
                mid_channels,
                3,
                stride=stride2,
                padding=dilation,
                dilation=dilation,
                groups=groups,
                bias=False,
            )
        self.add_module(self.norm2_name, norm2)
        self.conv3 = nn.Conv2d(mid_channels, out_channels, 1, bias=False)
        self.add_module(self.norm3_name, norm3)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample
        self.with_cp = with_cp
        self.add_end(plugins.get('end'), out_channels)

    @property
    def norm1(self) -> nn.Module:
        return getattr(self, self.norm1_name)

    @property
    def norm2(self) -> nn.Module:
        return getattr(self, self.norm2_name)

    @property
    def norm3(self) -> nn.Module:
        return getattr(self, self.norm3_name)

    @property
    def last_norm(self) -> nn.Module:
        return self.norm3

    def branch(self, x: Tensor) -> Tensor:
        x = self.relu(self.norm1(self.conv1(x)))
        x = self.relu(self.norm2(self.conv2(x)))
        return self.norm3(self.conv3(x))


def make_stage(
    block: Block,
    num_blocks: int,
    in_channels: int,
    out_channels: int,
    *,
    stride: int = 1,
    dilation: int | Sequence[int] = 1,
    first_dilation: int | None = None,
    avg_down: bool = False,
    norm_cfg: Mapping[str, Any] | None = None,
) -> nn.Sequential:
    """Return `num_blocks` residual blocks in a row.

    Args:
        block: called as block(in_channels, out_channels, stride=, dilation=, downsample=); the rest is bound beforehand.
        num_blocks: at least 1.
        in_channels: C of the input.
        out_channels: C of every block's output.
        stride: of the first block.
        dilation: of the blocks; several are given to them in turn, again and again.
        first_dilation: of the first block; None is `dilation`.
        avg_down: average-pool the shortcut before its 1x1 convolution, which then has no stride.
        norm_cfg: of the shortcut, see `build_norm_layer`.
    """
    downsample = None
    if stride != 1 or in_channels != out_channels:
        # The pool stands there for stride 1 too, where it does nothing: it holds index 0 in mmdet's and mmseg's keys.
        pool = [nn.AvgPool2d(stride, stride, ceil_mode=True, count_include_pad=False)] if avg_down else []
        conv = nn.Conv2d(in_channels, out_channels, 1, stride=1 if avg_down else stride, bias=False)
        downsample = nn.Sequential(*pool, conv, build_norm_layer(norm_cfg, out_channels)[1])
    pattern = (dilation,) if isinstance(dilation, int) else tuple(dilation)
    rates = [pattern[i % len(pattern)] for i in range(num_blocks)]
    first = block(in_channels, out_channels, stride=stride, dilation=first_dilation or rates[0], downsample=downsample)
    rest = (block(out_channels, out_channels, stride=1, dilation=rate, downsample=None) for rate in rates[1:])
    return nn.Sequential(first, *rest)


@BACKBONES.register_module()
class ResNet(BaseModule):
    """ResNet: stem (stride 4), then stages of residual blocks.

    Source: He et al., Deep Residual Learning for Image Recognition, CVPR 2016, Table 1, arXiv:1512.03385. `deep_stem` and
    `avg_down`: He et al., Bag of Tricks for Image Classification, CVPR 2019, Sec. 4.1, arXiv:1812.01187.
    `groups` and `width_per_group`: Xie et al., Aggregated Residual Transformations, CVPR 2017, Table 1, arXiv:1611.05431.
    Differs: the 3x3 of a Bottleneck takes the stride (`style='pytorch'`), as in torchvision and OpenMMLab.

    Stage i (from 0) has base_channels * 2^i channels, four times as many from depth 50 on; with the default `strides` its
    stride is 4 * 2^i. The keys of `deep_stem` (`stem.0` ... `stem.7`) and of `avg_down` are those of mmdet and mmseg.

    Args:
        depth: 18, 34, 50, 101 or 152.
        in_channels: of the image.
        stem_channels: C after the stem.
        base_channels: C of the 3x3 convolutions of stage 0 (without groups); doubles with each stage.
        groups: of the 3x3 convolutions of a Bottleneck; 32 with `width_per_group` 4 is ResNeXt 32x4d.
        width_per_group: C of each of these groups in stage 0; needed with groups, doubles with each stage.
        num_stages: 1 to 4.
        strides: of the first block of each stage.
        dilations: of each stage; 2 and 4 in place of strides keep the map large (segmentation). Several for a stage, such as
            (1, 2, 5), are given to its blocks in turn: hybrid dilation, Wang et al., WACV 2018, Sec. 3.2, arXiv:1702.08502;
            a warning says so if a cell then does not see all of its field.
        out_indices: stages whose maps are returned, counted from 0; those behind the last are neither run nor trained.
        style: 'pytorch' or 'caffe', see Bottleneck.
        deep_stem: three 3x3 convolutions in place of the 7x7.
        avg_down: average-pool in the shortcuts.
        contract_dilation: the first block of a stage of one dilation has half of it, as in mmseg.
        frozen_stages: -1 trains everything, 0 freezes the stem, n the stem and the first n stages: no gradient, and
            eval mode even after `.train()`.
        norm_cfg: see `build_norm_layer`; None is batch norm.
        norm_eval: keep every batch norm in eval mode while training.
        with_cp: recompute blocks in the backward pass: less memory, more time.
        zero_init_residual: start each block as its shortcut; not with pretrained weights.
        plugins: layers in the blocks of some stages, each dict(cfg=dict(type='CBAM', ...), stages=(False, True, True, True),
            position='end'): one bool per stage; 'end' is on the branch before the sum, 'conv2' in place of the second
            convolution; the layers are those of the LAYERS registry.
        dcn: deformable 3x3 convolutions in the Bottlenecks of some stages: dict(type='DCN' or 'DCNv2', deform_groups=1,
            fallback_on_stride=False); with `fallback_on_stride` blocks with a stride stay plain.
        stage_with_dcn: one bool per stage.
        init_cfg: dict(type='Pretrained', checkpoint='torchvision://resnet50') or None, used by `init_weights`.

    Attributes:
        out_channels: C of each returned map.
        strides: of each returned map, in px of the image.

    Raises:
        ValueError: an argument is out of range or the lengths do not fit together.
    """

    # depth -> block and number of blocks in each stage; variants with other blocks replace it
    arch_settings: ClassVar[dict[int, tuple[type[ResidualBlock], tuple[int, ...]]]] = {
        18: (BasicBlock, (2, 2, 2, 2)),
        34: (BasicBlock, (3, 4, 6, 3)),
        50: (Bottleneck, (3, 4, 6, 3)),
        101: (Bottleneck, (3, 4, 23, 3)),
        152: (Bottleneck, (3, 8, 36, 3)),
    }

    def __init__(
        self,
        depth: int,
        *,
        in_channels: int = 3,
        stem_channels: int = 64,
        base_channels: int = 64,
        groups: int = 1,
        width_per_group: int | None = None,
        num_stages: int = 4,
        strides: Sequence[int] = (1, 2, 2, 2),
        dilations: Sequence[int | Sequence[int]] = (1, 1, 1, 1),
        out_indices: Sequence[int] = (3,),
        style: str = 'pytorch',
        deep_stem: bool = False,
        avg_down: bool = False,
        contract_dilation: bool = False,
        frozen_stages: int = -1,
        norm_cfg: Mapping[str, Any] | None = None,
        norm_eval: bool = False,
        with_cp: bool = False,
        zero_init_residual: bool = True,
        plugins: Sequence[Mapping[str, Any]] = (),
        dcn: Mapping[str, Any] | None = None,
        stage_with_dcn: Sequence[bool] = (False, False, False, False),
        init_cfg: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if depth not in self.arch_settings:
            raise ValueError(f'ResNet: `depth` must be one of {list(self.arch_settings)}, got {depth}.')
        if style not in STYLES:
            raise ValueError(f'ResNet: `style` must be one of {STYLES}, got {style!r}.')
        if not 1 <= num_stages <= 4:
            raise ValueError(f'ResNet: `num_stages` must be 1 to 4, got {num_stages}.')
        if not len(strides) == len(dilations) == num_stages:
            raise ValueError(
                f'ResNet: `strides` and `dilations` need one entry per stage ({num_stages}), got {strides} and {dilations}.'
            )
        if not all(d >= 1 if isinstance(d, int) else min(d, default=0) >= 1 for d in dilations):
            raise ValueError(f'ResNet: `dilations` must be positive, one or several for each stage, got {tuple(dilations)}.')
        if not -1 <= frozen_stages <= num_stages:
            raise ValueError(f'ResNet: `frozen_stages` must be -1 to {num_stages}, got {frozen_stages}.')
        if (groups == 1) != (width_per_group is None) or (groups > 1 and self.arch_settings[depth][0].expansion == 1):
            raise ValueError(
                'ResNet: `groups` above 1 needs `width_per_group` and a depth from 50 on, got '
                f'groups {groups}, width_per_group {width_per_group}, depth {depth}.'
            )
        check_init_cfg('ResNet', init_cfg)
        self.init_cfg = init_cfg
        self.depth = depth
        self.deep_stem = deep_stem
        self.style = style
        self.norm_cfg = norm_cfg
        self.with_cp = with_cp
        self.groups = groups
        self.width_per_group = width_per_group
        self.plugins = _plugins_of_stages(plugins, num_stages)
        self.num_stages = num_stages
        self.dcn, self.stage_with_dcn = dcn, tuple(stage_with_dcn)
        self._check_dcn()
        self.out_indices = checked_indices('ResNet', out_indices, num_stages)
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval
        self.zero_init_residual = zero_init_residual

        self._make_stem(in_channels, stem_channels)
        block_class, blocks_per_stage = self.arch_settings[depth]
        channels, stride_of_map = stem_channels, 4
        all_channels, all_strides = [], []
        for i in range(num_stages):
            dilation = dilations[i]
            out_channels = base_channels * 2**i * block_class.expansion
            stage = make_stage(
                self.make_block(i),
                blocks_per_stage[i],
                channels,
                out_channels,
                stride=strides[i],
                dilation=dilation,
                first_dilation=dilation // 2 if contract_dilation and isinstance(dilation, int) and dilation > 1 else None,
                avg_down=avg_down,
                norm_cfg=norm_cfg,
            )
            self.add_module(f'layer{i + 1}', stage)
            channels, stride_of_map = out_channels, stride_of_map * strides[i]
            all_channels.append(channels)
            all_strides.append(stride_of_map)
        self.out_channels = tuple(all_channels[i] for i in self.out_indices)
        self.strides = tuple(all_strides[i] for i in self.out_indices)
        _warn_of_gridding(self.stages, strides, dilations)
        freeze([*self._frozen(), *self.stages[self.out_indices[-1] + 1 :]])  # nothing reads the last ones

    def make_block(self, stage: int) -> Block:
        """Return what builds the blocks of a stage (from 0), as `make_stage` calls it; variants bind other arguments."""
        args = dict(style=self.style, norm_cfg=self.norm_cfg, with_cp=self.with_cp, plugins=self.plugins[stage])
        if self.groups > 1:
            args |= dict(groups=self.groups, mid_channels=self.groups * self.width_per_group * 2**stage)
        if self.dcn is not None and self.stage_with_dcn[stage]:
            args['dcn'] = self.dcn
        return partial(self.arch_settings[self.depth][0], **args)

    def _check_dcn(self) -> None:
        if len(self.stage_with_dcn) < self.num_stages or any(self.stage_with_dcn) != (self.dcn is not None):
            raise ValueError(
                f'ResNet: `stage_with_dcn` must be one bool per stage ({self.num_stages}), with a True if and only if `dcn` is '
                f'set, got {self.stage_with_dcn} and {self.dcn}.'
            )
        if self.dcn is not None and self.arch_settings[self.depth][0].expansion == 1:
            raise ValueError(f'ResNet: `dcn` needs the Bottlenecks of depth 50 and more, got depth {self.depth}.')
        if any(wanted and 'conv2' in plugins for wanted, plugins in zip(self.stage_with_dcn, self.plugins)):
            raise ValueError("ResNet: `dcn` and a plugin at 'conv2' stand in each other's place; choose one for each stage.")

    def _make_stem(self, in_channels: int, stem_channels: int) -> None:
        if self.deep_stem:
            half = stem_channels // 2
            layers: list[nn.Module] = []
            for c_in, c_out, stride in ((in_channels, half, 2), (half, half, 1), (half, stem_channels, 1)):
                layers.append(nn.Conv2d(c_in, c_out, 3, stride=stride, padding=1, bias=False))
                layers.append(build_norm_layer(self.norm_cfg, c_out)[1])
                layers.append(nn.ReLU(inplace=True))
            self.stem = nn.Sequential(*layers)
        else:
            self.conv1 = nn.Conv2d(in_channels, stem_channels, 7, stride=2, padding=3, bias=False)
            self.norm1_name, norm1 = build_norm_layer(self.norm_cfg, stem_channels, postfix=1)
            self.add_module(self.norm1_name, norm1)
            self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)

    @property
    def norm1(self) -> nn.Module:
        return getattr(self, self.norm1_name)

    @property
    def stages(self) -> list[nn.Module]:
        return [getattr(self, f'layer{i + 1}') for i in range(self.num_stages)]

    def _frozen(self) -> list[nn.Module]:
        if self.frozen_stages < 0:
            return []
        stem = [self.stem] if self.deep_stem else [self.conv1, self.norm1]
        return stem + self.stages[: self.frozen_stages]

    def train(self, mode: bool = True) -> 'ResNet':
        """Set the mode; frozen stages, and with `norm_eval` every batch norm, stay in eval mode."""
        super().train(mode)
        hold_eval(self, self._frozen(), norm_eval=self.norm_eval)
        return self

    def init_weights(self) -> None:
        """Set He's normal initial values (fan out), then load the pretrained weights if `init_cfg` names any."""
        init_residual(self, self.init_cfg, zero_init_residual=self.zero_init_residual)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the maps of `out_indices`, finest first: (B, out_channels[i], H / strides[i], W / strides[i]), rounded up."""
        x = self.stem(x) if self.deep_stem else self.relu(self.norm1(self.conv1(x)))
        x = self.maxpool(x)
        outs = []
        for i, stage in enumerate(self.stages[: self.out_indices[-1] + 1]):
            x = stage(x)
            if i in self.out_indices:
                outs.append(x)
        return tuple(outs)


def _warn_of_gridding(stages: Sequence[nn.Module], strides: Sequence[int], dilations: Sequence[int | Sequence[int]]) -> None:
    """Say so if several dilations were chosen for a stage and the dilated stages do not see every cell all the same."""
    last_strided = max((i for i, stride in enumerate(strides) if stride > 1), default=0)
    dilated = [i for i in range(last_strided, len(stages)) if dilations[i] != 1]
    if all(isinstance(dilations[i], int) for i in dilated):
        return
    layers = (layer for i in dilated for layer in stages[i].modules() if isinstance(layer, nn.Conv2d))
    holes = gridding_holes([layer.dilation[0] for layer in layers if layer.kernel_size == (3, 3)])
    if holes:
        warnings.warn(
            f'ResNet: with `dilations` {tuple(dilations)} the cells of the last map see a grid with holes: what is {holes[0]} '
            f'cells away has no influence, nor what is at {len(holes) - 1} other distances. Rates that grow slowly and have no '
            'common factor leave none, such as 1, 2, 5.',
            stacklevel=3,
        )


def _plugins_of_stages(plugins: Sequence[Mapping[str, Any]], num_stages: int) -> list[dict[str, Mapping[str, Any]]]:
    """Return for each stage the plugins as its blocks take them: position -> config."""
    of_stages: list[dict[str, Mapping[str, Any]]] = [{} for _ in range(num_stages)]
    for plugin in plugins:
        if sorted(plugin) != ['cfg', 'position', 'stages']:
            raise ValueError(f'ResNet: each of `plugins` must have the keys cfg, stages and position, got {tuple(plugin)}.')
        position, stages = plugin['position'], plugin['stages']
        if position not in PLUGIN_POSITIONS:
            raise ValueError(f'ResNet: `plugins` stand at one of {PLUGIN_POSITIONS}, got {position!r}.')
        if len(stages) != num_stages or not all(isinstance(wanted, bool) for wanted in stages):
            raise ValueError(f'ResNet: `stages` of a plugin must be one bool per stage ({num_stages}), got {tuple(stages)}.')
        for of_stage, wanted in zip(of_stages, stages):
            if wanted and position in of_stage:
                raise ValueError(f'ResNet: `plugins` must be at most one per stage and position, got two at {position!r}.')
            if wanted:
                of_stage[position] = plugin['cfg']
    return of_stages
