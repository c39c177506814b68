"""Feature maps without new weights: activated and resized."""

# Letters: B batch, C channels, H x W cells.
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from mmpose_lite.models.necks.neck_parts import check_num_maps
from mmpose_lite.registry import NECKS


@NECKS.register_module()
class FeatureMapProcessor(nn.Module):
    """Joining of all maps, ReLU, then bilinear resizing; each step if asked for.

    Source: the last two, with a convolution behind them, are the simple decoder of ViTPose: Xu et al., NeurIPS 2022, Sec. 3.1,
    Eq. 3, arXiv:2204.12484. Joined maps are the V2 of HRNet: Wang et al., TPAMI 2020, Sec. 3.3, arXiv:1908.07919.

    Args:
        concat: resize all maps to the size of the first and return them as one, with the channels of all.
        scale_factor: on the sides of each map.
        apply_relu: cut off negative values first.
        in_channels: C of the maps, finest first, from which `out_channels` is known; None takes any maps.

    Attributes:
        out_channels: C of each map, or None.

    Raises:
        ValueError: `scale_factor` is not positive.
    """

    def __init__(
        self,
        *,
        concat: bool = False,
        scale_factor: float = 1.0,
        apply_relu: bool = False,
        in_channels: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        if scale_factor <= 0:
            raise ValueError(f'FeatureMapProcessor: `scale_factor` must be positive, got {scale_factor}.')
        self.concat = concat
        self.scale_factor = scale_factor
        self.apply_relu = apply_relu
        self.in_channels = None if in_channels is None else tuple(in_channels)
        self.out_channels = (sum(in_channels),) if concat and in_channels is not None else self.in_channels

    def forward(self, feats: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return maps (B, C, scale_factor * H, scale_factor * W) of maps (B, C, H, W); with `concat` one, of all C.

        Raises:
            ValueError: there is not one map for each of `in_channels`.
        """
        if self.in_channels is not None:
            check_num_maps('FeatureMapProcessor', feats, len(self.in_channels))
        if self.concat:
            size = feats[0].shape[2:]
            feats = [torch.cat([feats[0], *(_resized(feat, size=size) for feat in feats[1:])], dim=1)]
        if self.apply_relu:
            feats = [functional.relu(feat) for feat in feats]
        if self.scale_factor == 1:
            return tuple(feats)
        return tuple(_resized(feat, scale_factor=self.scale_factor) for feat in feats)


def _resized(feat: Tensor, *, size: Sequence[int] | None = None, scale_factor: float | None = None) -> Tensor:
    return functional.interpolate(feat, size=size, scale_factor=scale_factor, mode='bilinear', align_corners=False)
