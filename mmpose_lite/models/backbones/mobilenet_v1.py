"""MobileNet (V1), with strides and dilations to choose."""

# Letters: B batch, C channels, H x W pixels or cells.
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

from torch import Tensor, nn

from mmpose_lite.models.backbones.training import checked_indices, freeze, hold_eval, init_he
from mmpose_lite.models.base import BaseModule
from mmpose_lite.models.layers.conv_module import ConvModule
from mmpose_lite.models.pretrained import check_init_cfg, load_pretrained
from mmpose_lite.registry import BACKBONES

BLOCK_CHANNELS = (64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
BLOCK_STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)


class DepthwiseSeparable(nn.Module):
    """A 3x3 convolution of each channel by itself, then a 1x1 over the channels; norm and ReLU behind each."""

    def __init__(
        self, in_channels: int, out_channels: int, *, stride: int, dilation: int, norm_cfg: Mapping[str, Any] | None
    ) -> None:
        super().__init__()
        self.depthwise = ConvModule(
            in_channels,
            in_channels,
            kernel_size=3,
            stride=stride,
            dilation=dilation,
            groups=in_channels,
            norm_cfg=norm_cfg,
        )
        self.pointwise = ConvModule(in_channels, out_channels, norm_cfg=norm_cfg)

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise(self.depthwise(x))


@BACKBONES.register_module()
class MobileNetV1(BaseModule):
    """A 3x3 convolution of stride 2, then up to 13 depthwise separable blocks, as many as `block_strides` has entries.

    Source: Howard et al., MobileNets, Table 1, arXiv:1704.04861. For maps of stride 8 with the strides of two blocks taken away
    and one dilated in return: Osokin, Lightweight OpenPose, Sec. 3.1, arXiv:1811.12004.

    Args:
        in_channels: of the image.
        widen_factor: on the number of channels everywhere.
        block_strides: of each block: 1 or 2.
        block_dilations: of each block; None is 1 everywhere.
        out_indices: blocks whose maps are returned, counted from 0; None is the last. Those behind are neither run nor trained.
        frozen_stages: -1 trains everything, 0 freezes the first convolution, n that and n blocks: no gradient, and eval mode even
            after `.train()`.
        norm_cfg: see `build_norm_layer`; None is batch norm.
        norm_eval: keep every batch norm in eval mode while training.
        init_cfg: dict(type='Pretrained', checkpoint=...) or None, used by `init_weights`; names as in `marvis/pytorch-mobilenet`
            and Lightweight OpenPose are understood.

    Attributes:
        out_channels: C of each returned map.
        strides: of each returned map, in px of the image.

    Raises:
        ValueError: an argument is out of range or the lengths do not fit together.
    """

    def __init__(
        self,
        *,
        in_channels: int = 3,
        widen_factor: float = 1.0,
        block_strides: Sequence[int] = BLOCK_STRIDES,
        block_dilations: Sequence[int] | None = None,
        out_indices: Sequence[int] | None = None,
        frozen_stages: int = -1,
        norm_cfg: Mapping[str, Any] | None = None,
        norm_eval: bool = False,
        init_cfg: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        num_blocks = len(block_strides)
        dilations = (1,) * num_blocks if block_dilations is None else tuple(block_dilations)
        if not 1 <= num_blocks <= len(BLOCK_CHANNELS) or not set(block_strides) <= {1, 2}:
            raise ValueError(f'MobileNetV1: `block_strides` must be 1 to 13 entries of 1 or 2, got {tuple(block_strides)}.')
        if len(dilations) != num_blocks or min(dilations) < 1:
            raise ValueError(
                f'MobileNetV1: `block_dilations` needs one entry per block ({num_blocks}), 1 or more, got {dilations}.'
            )
        if not -1 <= frozen_stages <= num_blocks:
            raise ValueError(f'MobileNetV1: `frozen_stages` must be -1 to {num_blocks}, got {frozen_stages}.')
        if widen_factor <= 0:
            raise ValueError(f'MobileNetV1: `widen_factor` must be positive, got {widen_factor}.')
        check_init_cfg('MobileNetV1', init_cfg)
        self.init_cfg = init_cfg
        out_indices = (num_blocks - 1,) if out_indices is None else out_indices
        self.out_indices = checked_indices('MobileNetV1', out_indices, num_blocks, what='blocks 0')
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval
        channels = [max(round(c * widen_factor), 1) for c in (32, *BLOCK_CHANNELS[:num_blocks])]
        self.conv1 = ConvModule(in_channels, channels[0], kernel_size=3, stride=2, norm_cfg=norm_cfg)
        self.blocks = nn.ModuleList(
            DepthwiseSeparable(c_in, c_out, stride=stride, dilation=dilation, norm_cfg=norm_cfg)
            for c_in, c_out, stride, dilation in zip(channels, channels[1:], block_strides, dilations)
        )
        self.out_channels = tuple(channels[i + 1] for i in self.out_indices)
        self.strides = tuple(2 * prod(block_strides[: i + 1]) for i in self.out_indices)
        freeze([*self._frozen(), *self.blocks[self.out_indices[-1] + 1 :]])  # nothing reads the last ones

    def _frozen(self) -> list[nn.Module]:
        return [self.conv1, *self.blocks[: self.frozen_stages]] if self.frozen_stages >= 0 else []

    def train(self, mode: bool = True) -> 'MobileNetV1':
        """Set the mode; frozen blocks, and with `norm_eval` every batch norm, stay in eval mode."""
        super().train(mode)
        hold_eval(self, self._frozen(), norm_eval=self.norm_eval)
        return self

    def init_weights(self) -> None:
        """Set He's normal initial values, then load the pretrained weights if `init_cfg` names any."""
        init_he(self)
        if self.init_cfg is not None:
            load_pretrained(self, self.init_cfg)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the maps of `out_indices`, finest first: (B, out_channels[i], H / strides[i], W / strides[i]), rounded up."""
        x = self.conv1(x)
        outs = []
        for i, block in enumerate(self.blocks[: self.out_indices[-1] + 1]):
            x = block(x)
            if i in self.out_indices:
                outs.append(x)
        return tuple(outs)
