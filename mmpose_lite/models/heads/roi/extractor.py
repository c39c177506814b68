"""Features of boxes, each from the level of the pyramid that fits its size."""

# Letters: R RoIs, C channels, L levels, h x w cells of a result.
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmpose_lite.models.base import BaseModule
from mmpose_lite.models.layers.roi_pool import RoIAlign
from mmpose_lite.registry import LAYERS, ROI_EXTRACTORS


def map_roi_levels(rois: Tensor, num_levels: int, finest_scale: float) -> Tensor:
    """Return (R,) int64 levels: 0 below a side of 2 * `finest_scale` px (the square root of the area), then one more per double.

    A box with a NaN, as a network that has diverged moves them, is on level 0.

    Source: Lin et al., Feature Pyramid Networks, CVPR 2017, Eq. 1, arXiv:1612.03144.

    Args:
        rois: (R, 5), the index of the image and the box xyxy in px.
        num_levels: L.
        finest_scale: px.
    """
    sides = (rois[:, 3:] - rois[:, 1:3]).clamp(min=0).prod(dim=1).sqrt()
    levels = torch.floor(torch.log2(sides / finest_scale + 1e-6)).clamp(min=0, max=num_levels - 1)
    return levels.nan_to_num(0).long()


@ROI_EXTRACTORS.register_module()
class SingleRoIExtractor(BaseModule):
    """Pools each box from one level of a feature pyramid. Names and defaults are mmdet's.

    Args:
        roi_layer: config of the layer that pools, one of the LAYERS; it is built for each level with its `spatial_scale`.
        featmap_strides: of the maps that are used, finest first; maps beyond them are not.
        out_channels: C of the features, which is checked; None takes any, as of position-sensitive maps, whose C depends on the
            classes.
        finest_scale: see `map_roi_levels`.

    Raises:
        ValueError: a stride or `finest_scale` is not positive, or there is no stride.
    """

    def __init__(
        self,
        roi_layer: Mapping[str, Any],
        *,
        featmap_strides: Sequence[int],
        out_channels: int | None = None,
        finest_scale: float = 56,
    ) -> None:
        super().__init__()
        if not featmap_strides or min(featmap_strides) <= 0 or finest_scale <= 0:
            raise ValueError(
                'SingleRoIExtractor: `featmap_strides` must be one or more positive numbers and `finest_scale` positive, got '
                f'{tuple(featmap_strides)} and {finest_scale}.'
            )
        self.roi_layers = nn.ModuleList(LAYERS.build(roi_layer, spatial_scale=1 / stride) for stride in featmap_strides)
        self.out_channels = out_channels
        self.featmap_strides = tuple(featmap_strides)
        self.finest_scale = finest_scale

    def forward(self, feats: Sequence[Tensor], rois: Tensor) -> Tensor:
        """Return (R, C, h, w).

        On an accelerator every level pools all boxes, those of other levels as empty ones, which cost RoIAlign nothing: to pick
        rows, the host would have to wait.

        Args:
            feats: maps (B, C, H, W) of the pyramid, finest first.
            rois: (R, 5), the index of the image and the box xyxy in px.

        Raises:
            ValueError: there are fewer maps than `featmap_strides`, or the features have not `out_channels`.
        """
        if len(feats) < len(self.roi_layers):
            raise ValueError(
                f'SingleRoIExtractor: `featmap_strides` must be of the {len(feats)} maps at most, got {self.featmap_strides}.'
            )
        pooled = self._pooled(feats, rois)
        if self.out_channels is not None and pooled.shape[1] != self.out_channels:
            raise ValueError(
                f'SingleRoIExtractor: `out_channels` must be the channels of the features, {pooled.shape[1]}, got '
                f'{self.out_channels}.'
            )
        return pooled

    def _pooled(self, feats: Sequence[Tensor], rois: Tensor) -> Tensor:
        if len(self.roi_layers) == 1:
            return self.roi_layers[0](feats[0], rois)
        levels = map_roi_levels(rois, len(self.roi_layers), self.finest_scale)
        parts = zip(self.roi_layers, feats)
        if rois.device.type != 'cpu':
            return self._masked(parts, rois, levels)
        if all(type(layer) is RoIAlign for layer in self.roi_layers):
            scales = [layer.spatial_scale for layer in self.roi_layers]
            return self.roi_layers[0].pyramid(feats[: len(scales)], rois, levels, scales)
        rows = [(levels == level).nonzero().squeeze(1) for level in range(len(self.roi_layers))]
        pooled = torch.cat([layer(feat, rois[of_level]) for (layer, feat), of_level in zip(parts, rows)])
        return pooled.index_select(0, torch.cat(rows).argsort())

    @staticmethod
    def _masked(parts: Any, rois: Tensor, levels: Tensor) -> Tensor:
        pooled: Tensor | None = None
        for level, (layer, feat) in enumerate(parts):
            here = levels == level
            empty = torch.cat([rois[:, :1], torch.zeros_like(rois[:, 1:])], dim=1)
            part = layer(feat, torch.where(here[:, None], rois, empty))
            part = part.where(here[:, None, None, None], 0)
            pooled = part if pooled is None else pooled + part
        assert pooled is not None
        return pooled
