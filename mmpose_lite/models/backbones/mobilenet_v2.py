"""MobileNetV2, with OpenMMLab's state-dict keys."""

# Letters: B batch, C channels, H x W pixels or cells.
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from mmpose_lite.models.backbones.training import checked_indices, freeze, hold_eval, init_he
from mmpose_lite.models.base import BaseModule
from mmpose_lite.models.layers.conv_module import ConvModule
from mmpose_lite.models.layers.recompute import run_block
from mmpose_lite.models.pretrained import check_init_cfg, load_pretrained
from mmpose_lite.registry import BACKBONES

# expansion, C, blocks and stride of the first block: Table 2 of the paper
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
LAST = len(STAGES)  # index of the last convolution among the stages


class InvertedResidual(nn.Module):
    """1x1 convolution to more channels, 3x3 of each channel by itself, 1x1 back, not activated; plus the input where it fits."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        stride: int,
        expansion: int,
        norm_cfg: Mapping[str, Any] | None = None,
        with_cp: bool = False,
    ) -> None:
        super().__init__()
        self.with_cp = with_cp
        self.with_shortcut = stride == 1 and in_channels == out_channels
        hidden = in_channels * expansion
        expand = [ConvModule(in_channels, hidden, norm_cfg=norm_cfg, act='relu6')] if expansion != 1 else []
        depthwise = ConvModule(hidden, hidden, kernel_size=3, stride=stride, groups=hidden, norm_cfg=norm_cfg, act='relu6')
        self.conv = nn.Sequential(*expand, depthwise, ConvModule(hidden, out_channels, norm_cfg=norm_cfg, act=None))

    def _sum(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.with_shortcut else self.conv(x)

    def forward(self, x: Tensor) -> Tensor:
        return run_block(self._sum, x, with_cp=self.with_cp)


@BACKBONES.register_module()
class MobileNetV2(BaseModule):
    """A 3x3 convolution of stride 2, seven stages of inverted residual blocks, a 1x1 convolution.

    Source: Sandler et al., MobileNetV2: Inverted Residuals and Linear Bottlenecks, CVPR 2018, Table 2, arXiv:1801.04381.

    Args:
        widen_factor: on the number of channels everywhere, rounded to multiples of 8; the last convolution does not shrink.
        in_channels: of the image.
        out_indices: what is returned: stages 0 to 6 (strides 2, 4, 8, 16, 16, 32, 32), 7 the last convolution (32); what is
            behind the last of them is neither run nor trained.
        frozen_stages: -1 trains everything, 0 freezes the first convolution, n that and the first n stages, 8 everything: no
            gradient, and eval mode even after `.train()`.
        norm_cfg: see `build_norm_layer`; None is batch norm.
        norm_eval: keep every batch norm in eval mode while training.
        with_cp: recompute blocks in the backward pass: less memory, more time.
        init_cfg: dict(type='Pretrained', checkpoint='torchvision://mobilenet_v2') or None, used by `init_weights`.

    Attributes:
        out_channels: C of each returned map.
        strides: of each returned map, in px of the image.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        widen_factor: float = 1.0,
        *,
        in_channels: int = 3,
        out_indices: Sequence[int] = (LAST,),
        frozen_stages: int = -1,
        norm_cfg: Mapping[str, Any] | None = None,
        norm_eval: bool = False,
        with_cp: bool = False,
        init_cfg: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if widen_factor <= 0:
            raise ValueError(f'MobileNetV2: `widen_factor` must be positive, got {widen_factor}.')
        if not -1 <= frozen_stages <= LAST + 1:
            raise ValueError(f'MobileNetV2: `frozen_stages` must be -1 to {LAST + 1}, got {frozen_stages}.')
        check_init_cfg('MobileNetV2', init_cfg)
        self.init_cfg = init_cfg
        self.out_indices = checked_indices('MobileNetV2', out_indices, LAST + 1, what='0')
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval
        channels, stride_of_map = _widened(32, widen_factor), 2
        self.conv1 = ConvModule(in_channels, channels, kernel_size=3, stride=2, norm_cfg=norm_cfg, act='relu6')
        all_channels, all_strides = [], []
        for number, (expansion, full_channels, num_blocks, stride) in enumerate(STAGES, start=1):
            blocks = []
            for i in range(num_blocks):
                c_in, channels = channels, _widened(full_channels, widen_factor)
                block_stride = stride if i == 0 else 1
                blocks.append(
                    InvertedResidual(c_in, channels, stride=block_stride, expansion=expansion, norm_cfg=norm_cfg, with_cp=with_cp)
                )
            self.add_module(f'layer{number}', nn.Sequential(*blocks))
            stride_of_map *= stride
            all_channels.append(channels)
            all_strides.append(stride_of_map)
        last_channels = int(1280 * max(widen_factor, 1.0))
        self.conv2 = ConvModule(channels, last_channels, norm_cfg=norm_cfg, act='relu6')
        all_channels.append(last_channels)
        all_strides.append(stride_of_map)
        self.out_channels = tuple(all_channels[i] for i in self.out_indices)
        self.strides = tuple(all_strides[i] for i in self.out_indices)
        freeze([*self._frozen(), *self.stages[self.out_indices[-1] + 1 :]])  # nothing reads the last ones

    @property
    def stages(self) -> list[nn.Module]:
        """What `out_indices` counts."""
        return [*(getattr(self, f'layer{number + 1}') for number in range(LAST)), self.conv2]

    def _frozen(self) -> list[nn.Module]:
        return [self.conv1, *self.stages[: self.frozen_stages]] if self.frozen_stages >= 0 else []

    def train(self, mode: bool = True) -> 'MobileNetV2':
        """Set the mode; frozen stages, and with `norm_eval` every batch norm, stay in eval mode."""
        super().train(mode)
        hold_eval(self, self._frozen(), norm_eval=self.norm_eval)
        return self

    def init_weights(self) -> None:
        """Set He's normal initial values (fan out), then load the pretrained weights if `init_cfg` names any."""
        init_he(self)
        if self.init_cfg is not None:
            load_pretrained(self, self.init_cfg)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the maps of `out_indices`, finest first: (B, out_channels[i], H / strides[i], W / strides[i]), rounded up."""
        x = self.conv1(x)
        outs = []
        for i, stage in enumerate(self.stages[: self.out_indices[-1] + 1]):
            x = stage(x)
            if i in self.out_indices:
                outs.append(x)
        return tuple(outs)


def _widened(channels: int, factor: float) -> int:
    """Return the multiple of 8 nearest to channels * factor, but not more than a tenth below it, and at least 8."""
    wanted = channels * factor
    rounded = max(8, int(wanted + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * wanted else rounded
