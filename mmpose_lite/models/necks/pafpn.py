"""The feature pyramid network with a way back up."""

# Letters: B batch, C channels, H x W cells, L levels.
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from mmpose_lite.models.layers.conv_module import ConvModule
from mmpose_lite.models.necks.fpn import FPN
from mmpose_lite.models.necks.neck_parts import check_num_maps
from mmpose_lite.registry import NECKS


@NECKS.register_module()
class PAFPN(FPN):
    """FPN, then from the finest map on: each map plus the halved finer sum, and a 3x3 convolution on each sum.

    Source: Liu et al., Path Aggregation Network for Instance Segmentation, CVPR 2018, Sec. 3.1, arXiv:1803.01534. Names and
    keys are mmdet's.
    Differs: no activation, as in mmdet; the finest map has no second convolution, as in the paper.

    Args:
        in_channels: C of the maps of the backbone, finest first; all arguments are those of FPN.
        out_channels: C of every result.
        num_outs: L results.
        start_level: first map that is used, from 0.
        end_level: last map that is used; -1 is the last.
        add_extra_convs: how coarser maps are made.
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
        super().__init__(
            in_channels,
            out_channels,
            num_outs,
            start_level=start_level,
            end_level=end_level,
            add_extra_convs=add_extra_convs,
            relu_before_extra_convs=relu_before_extra_convs,
            no_norm_on_lateral=no_norm_on_lateral,
            norm_cfg=norm_cfg,
            upsample=upsample,
        )
        args = dict(kernel_size=3, with_norm=norm_cfg is not None, norm_cfg=norm_cfg, act=None)
        above = self.levels[1:]
        self.downsample_convs = nn.ModuleList(ConvModule(out_channels, out_channels, stride=2, **args) for _ in above)
        self.pafpn_convs = nn.ModuleList(ConvModule(out_channels, out_channels, **args) for _ in above)

    def forward(self, feats: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return L maps (B, out_channels, H, W), finest first.

        Raises:
            ValueError: there is not one map for each of `in_channels`.
        """
        check_num_maps('PAFPN', feats, len(self.in_channels))
        sums = self.top_down(feats)
        upward = [conv(x) for conv, x in zip(self.fpn_convs, sums)]
        for i, conv in enumerate(self.downsample_convs):
            upward[i + 1] = upward[i + 1] + conv(upward[i])
        outs = [upward[0], *(conv(x) for conv, x in zip(self.pafpn_convs, upward[1:]))]
        return self.extended(outs, feats, sums)
