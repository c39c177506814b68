"""The feature pyramid on HRNet's branches: HRNetV2p."""

# Letters: B batch, C channels, H x W cells, L levels.
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from mmpose_lite.models.base import BaseModule
from mmpose_lite.models.layers.conv_module import ConvModule
from mmpose_lite.models.layers.recompute import run_block
from mmpose_lite.models.necks.neck_parts import check_num_maps, init_xavier
from mmpose_lite.registry import NECKS

POOLS = {'AVG': functional.avg_pool2d, 'MAX': functional.max_pool2d}


@NECKS.register_module()
class HRFPN(BaseModule):
    """All maps at the size of the first, joined and brought to `out_channels`; pooled to L sizes, a 3x3 convolution on each.

    Source: Wang et al., Deep High-Resolution Representation Learning for Visual Recognition, TPAMI 2020, Sec. 3.3 (V2p),
    arXiv:1908.07919. Names and defaults are mmdet's.

    Args:
        in_channels: C of the maps of the backbone, finest first.
        out_channels: C of every result.
        num_outs: L results, each half as large as the one before.
        pooling_type: 'AVG' or 'MAX'.
        norm_cfg: see `build_norm_layer`; None is no normalisation.
        with_cp: recompute the 1x1 convolution on the joined maps in the backward pass: less memory, more time.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        out_channels: int,
        *,
        num_outs: int = 5,
        pooling_type: str = 'AVG',
        norm_cfg: Mapping[str, Any] | None = None,
        with_cp: bool = False,
    ) -> None:
        super().__init__()
        if pooling_type not in POOLS:
            raise ValueError(f'HRFPN: `pooling_type` must be one of {tuple(POOLS)}, got {pooling_type!r}.')
        if num_outs < 1:
            raise ValueError(f'HRFPN: `num_outs` must be 1 or more, got {num_outs}.')
        self.in_channels = tuple(in_channels)
        self.out_channels = (out_channels,) * num_outs
        self.pool = POOLS[pooling_type]
        self.with_cp = with_cp
        args = dict(with_norm=norm_cfg is not None, norm_cfg=norm_cfg, act=None)
        self.reduction_conv = ConvModule(sum(in_channels), out_channels, **args)
        self.fpn_convs = nn.ModuleList(ConvModule(out_channels, out_channels, kernel_size=3, **args) for _ in range(num_outs))

    def init_weights(self) -> None:
        """Set Xavier's uniform initial values; biases 0."""
        init_xavier(self)

    def forward(self, feats: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return L maps (B, out_channels, H / 2^i, W / 2^i), rounded down, finest first.

        Raises:
            ValueError: there is not one map for each of `in_channels`.
        """
        check_num_maps('HRFPN', feats, len(self.in_channels))
        size = feats[0].shape[2:]
        larger = (functional.interpolate(x, size=size, mode='bilinear', align_corners=False) for x in feats[1:])
        joined = torch.cat((feats[0], *larger), dim=1)
        x = run_block(self.reduction_conv, joined, with_cp=self.with_cp)
        return tuple(conv(self.pool(x, 2**i, 2**i) if i else x) for i, conv in enumerate(self.fpn_convs))
