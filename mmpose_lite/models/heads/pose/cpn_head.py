"""Heatmaps of a cascaded pyramid network: from each size of the pyramid, and from all of them together."""

# Letters: B batch, C channels, K keypoints, H x W heatmap cells, U sizes of the pyramid.
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from mmpose_lite.models.backbones.resnet import Bottleneck
from mmpose_lite.models.backbones.training import init_he
from mmpose_lite.models.heads.pose.mspn_head import PredictHeatmap
from mmpose_lite.models.heads.pose.multi_stage_head import MultiStageHead
from mmpose_lite.models.layers.conv_module import ConvModule
from mmpose_lite.registry import HEADS
from mmpose_lite.structures import KeypointMeta


@HEADS.register_module()
class CPNHead(MultiStageHead):
    """GlobalNet's heatmaps of each size, coarse to fine, and RefineNet's, which sees all sizes and is decoded.

    RefineNet passes size i of the pyramid (0 the finest) through i bottlenecks, enlarges it to the finest and joins the sizes.

    Source: Chen et al., Cascaded Pyramid Network for Multi-Person Pose Estimation, CVPR 2018, Sec. 3.2, arXiv:1711.07319.
    Differs: GlobalNet learns occluded keypoints too; the authors' code leaves them to RefineNet.

    Args:
        in_channels: C of every map of the pyramid.
        out_channels: K; None takes it from `meta`.
        num_levels: U.
        refine_channels: C of RefineNet's bottlenecks' results, a multiple of 4.
        level_indices: the codec's level that each of the U + 1 sets learns; () gives each size its own, the finest one twice.
        meta: the keypoints: anything `KeypointMeta.load` understands. Needed when `out_channels` is None.
        loss: config of the loss, called as loss(pred, target, weight), or one config per set.
        stage_weights: factor of each set's loss; None is 1 for all.
        norm_cfg: see `build_norm_layer`; None is batch norm.
        codec: config of the codec that makes the targets and decodes; `forward` alone does without.

    Raises:
        ValueError: an argument is missing, or the lengths or counts do not fit together.
    """

    def __init__(
        self,
        in_channels: int = 256,
        out_channels: int | None = None,
        *,
        num_levels: int = 4,
        refine_channels: int = 256,
        level_indices: Sequence[int] = (),
        meta: KeypointMeta | Mapping[str, Any] | str | None = None,
        loss: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
        stage_weights: Sequence[float] | None = None,
        norm_cfg: Mapping[str, Any] | None = None,
        codec: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(
            num_levels + 1,
            out_channels=out_channels,
            meta=meta,
            loss=loss,
            stage_weights=stage_weights,
            level_indices=level_indices or (*range(num_levels), num_levels - 1),
            codec=codec,
        )
        K = self.out_channels
        self.predict_layers = nn.ModuleList(PredictHeatmap(in_channels, K, norm_cfg=norm_cfg) for _ in range(num_levels))
        self.cascade = nn.ModuleList(
            nn.Sequential(*(_bottleneck(in_channels if j == 0 else refine_channels, refine_channels, norm_cfg) for j in range(i)))
            for i in range(num_levels)
        )
        joined = in_channels + (num_levels - 1) * refine_channels  # the finest map passes unchanged
        self.refine = nn.Sequential(
            _bottleneck(joined, refine_channels, norm_cfg),
            ConvModule(refine_channels, K, kernel_size=3, norm_cfg=norm_cfg, act=None),
        )

    def init_weights(self) -> None:
        """Set He's normal initial values (fan out)."""
        init_he(self)

    def forward(self, feats: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return U + 1 sets of heatmaps (B, K, H, W) of the finest map's size: GlobalNet's, coarse to fine, then RefineNet's.

        Args:
            feats: maps of the pyramid, finest first.
        """
        self._check_feats(feats, len(self.predict_layers))
        shape = feats[0].shape[-2:]
        coarse_to_fine = tuple(layer(feat, shape) for layer, feat in zip(self.predict_layers, reversed(feats)))
        refined = [blocks(feat) for blocks, feat in zip(self.cascade, feats)]
        enlarged = [interpolate(x, size=shape, mode='bilinear', align_corners=True) for x in refined[1:]]
        return (*coarse_to_fine, self.refine(torch.cat((refined[0], *enlarged), dim=1)))


def _bottleneck(in_channels: int, out_channels: int, norm_cfg: Mapping[str, Any] | None) -> Bottleneck:
    """Return a bottleneck with a convolution in its shortcut, as the authors' code has in every one."""
    shortcut = ConvModule(in_channels, out_channels, norm_cfg=norm_cfg, act=None)
    return Bottleneck(in_channels, out_channels, downsample=shortcut, norm_cfg=norm_cfg)
