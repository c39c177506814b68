"""The feature pyramid network."""

# Letters: B batch, C channels, H x W cells, L levels.
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from mmpose_lite.models.base import BaseModule
from mmpose_lite.models.layers.conv_module import ConvModule
from mmpose_lite.models.necks.neck_parts import check_num_maps, init_xavier
from mmpose_lite.registry import NECKS

EXTRA_CONVS = ('on_input', 'on_lateral', 'on_output')
UPSAMPLES = ('nearest', 'bilinear')


@NECKS.register_module()
class FPN(BaseModule):
    """Each map, brought to one number of channels, plus the enlarged coarser sum; then a 3x3 convolution. Coarser maps are added.

    Source: Lin et al., Feature Pyramid Networks for Object Detection, CVPR 2017, Sec. 3, arXiv:1612.03144. Convolutions for the
    coarser maps: Lin et al., Focal Loss, ICCV 2017, Sec. 4, arXiv:1708.02002. Names and defaults are mmdet's.

    Args:
        in_channels: C of the maps of the backbone, finest first.
        out_channels: C of every result.
        num_outs: L results; those beyond the maps of the backbone are coarser by 2 each.
        start_level: first map that is used, from 0.
        end_level: last map that is used; -1 is the last. With an earlier one there are no coarser results.
        add_extra_convs: how coarser maps are made: False, every second cell of the map before; a convolution of stride 2 whose
            first input is the last map of the backbone ('on_input' or True), its lateral sum ('on_lateral') or result
            ('on_output').
        relu_before_extra_convs: a ReLU before all of these but the first.
        no_norm_on_lateral: keep `norm_cfg` from the 1x1 convolutions.
        norm_cfg: see `build_norm_layer`; None is no normalisation.
        upsample: 'nearest' or 'bilinear'.

    Raises:
        ValueError: the levels or an option are out of range.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        out_channels: int,
        num_outs: int,
        *,
        start_level: int = 0,
        end_level: int = -1,
        add_extra_convs: bool | str = False,
        relu_before_extra_convs: bool = False,
        no_norm_on_lateral: bool = False,
        norm_cfg: Mapping[str, Any] | None = None,
        upsample: str = 'nearest',
    ) -> None:
        super().__init__()
        last = len(in_channels) - 1 if end_level == -1 else end_level
        used = last - start_level + 1
        if not 0 <= start_level <= last < len(in_channels):
            raise ValueError(
                f'FPN: `start_level` and `end_level` must be among the {len(in_channels)} maps of `in_channels` and rise, got '
                f'{start_level} and {end_level}.'
            )
        all_used = last == len(in_channels) - 1
        if num_outs < used or (num_outs > used and not all_used):
            rule = f'{used} or more' if all_used else f'{used}, since `end_level` is not the last'
            raise ValueError(f'FPN: `num_outs` must be {rule}, got {num_outs}.')
        if add_extra_convs not in (True, False, *EXTRA_CONVS):
            raise ValueError(f'FPN: `add_extra_convs` must be a bool or one of {EXTRA_CONVS}, got {add_extra_convs!r}.')
        if upsample not in UPSAMPLES:
            raise ValueError(f'FPN: `upsample` must be one of {UPSAMPLES}, got {upsample!r}.')
        self.in_channels = tuple(in_channels)
        self.levels = range(start_level, last + 1)
        self.num_extra = num_outs - used
        self.add_extra_convs = 'on_input' if add_extra_convs is True else add_extra_convs
        self.relu_before_extra_convs = relu_before_extra_convs
        self.upsample = upsample
        self.out_channels = (out_channels,) * num_outs

        def conv(channels: int, kernel_size: int, *, stride: int = 1, norm: bool = norm_cfg is not None) -> ConvModule:
            return ConvModule(
                channels, out_channels, kernel_size=kernel_size, stride=stride, with_norm=norm, norm_cfg=norm_cfg, act=None
            )

        norm_on_lateral = norm_cfg is not None and not no_norm_on_lateral
        self.lateral_convs = nn.ModuleList(conv(in_channels[i], 1, norm=norm_on_lateral) for i in self.levels)
        self.fpn_convs = nn.ModuleList(conv(out_channels, 3) for _ in self.levels)
        for i in range(self.num_extra if self.add_extra_convs else 0):
            first_input = i == 0 and self.add_extra_convs == 'on_input'
            self.fpn_convs.append(conv(in_channels[last] if first_input else out_channels, 3, stride=2))

    def init_weights(self) -> None:
        """Set Xavier's uniform initial values; biases 0."""
        init_xavier(self)

    def forward(self, feats: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return L maps (B, out_channels, H, W), finest first.

        Raises:
            ValueError: there is not one map for each of `in_channels`.
        """
        check_num_maps('FPN', feats, len(self.in_channels))
        sums = self.top_down(feats)
        return self.extended([conv(x) for conv, x in zip(self.fpn_convs, sums)], feats, sums)

    def top_down(self, feats: Sequence[Tensor]) -> list[Tensor]:
        """Return a map (B, out_channels, H, W) for each level that is used: the lateral one plus the enlarged coarser sum."""
        sums = [lateral(feats[i]) for lateral, i in zip(self.lateral_convs, self.levels)]
        for i in reversed(range(len(sums) - 1)):
            sums[i] = sums[i] + functional.interpolate(sums[i + 1], size=sums[i].shape[2:], mode=self.upsample)
        return sums

    def extended(self, outs: Sequence[Tensor], feats: Sequence[Tensor], sums: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return the results and the coarser maps that are made of them, of the backbone's maps or of the sums."""
        outs = list(outs)
        sources = dict(on_input=feats[self.levels[-1]], on_lateral=sums[-1], on_output=outs[-1])
        for i in range(self.num_extra):
            if not self.add_extra_convs:
                outs.append(outs[-1][:, :, ::2, ::2])
                continue
            x = sources[self.add_extra_convs] if i == 0 else outs[-1]
            outs.append(self.fpn_convs[len(sums) + i](x.relu() if i and self.relu_before_extra_convs else x))
        return tuple(outs)
