"""Heatmaps from each map of a network that goes from coarse to fine, once or several times."""

# Letters: B batch, K keypoints, H x W heatmap cells, S stages, U units (sizes) of a stage.
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import interpolate

from mmpose_lite.models.backbones.training import init_he
from mmpose_lite.models.heads.pose.multi_stage_head import MultiStageHead
from mmpose_lite.models.layers.conv_module import ConvModule
from mmpose_lite.registry import HEADS
from mmpose_lite.structures import KeypointMeta


class PredictHeatmap(nn.Module):
    """A 1x1 and a 3x3 convolution to K channels, brought to a given size."""

    def __init__(self, in_channels: int, out_channels: int, *, norm_cfg: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.conv_layers = nn.Sequential(
            ConvModule(in_channels, in_channels, norm_cfg=norm_cfg),
            ConvModule(in_channels, out_channels, kernel_size=3, norm_cfg=norm_cfg, act=None),
        )

    def forward(self, x: Tensor, out_shape: Sequence[int]) -> Tensor:
        """Return (B, K, H, W) for an `out_shape` (h, w)."""
        return interpolate(self.conv_layers(x), size=tuple(out_shape), mode='bilinear', align_corners=True)


@HEADS.register_module()
class MSPNHead(MultiStageHead):
    """Heatmaps of the finest map's size from each of S * U maps, each supervised by a target of its own sharpness.

    Source: Li et al., Rethinking on Multi-Stage Networks for Human Pose Estimation, Sec. 3.3, arXiv:1901.00148.

    Args:
        unit_channels: C of the maps.
        out_channels: K; None takes it from `meta`.
        num_stages: S.
        num_units: U.
        level_indices: the codec's level that each map learns, in the order of the maps; () numbers each stage's units.
        meta: the keypoints: anything `KeypointMeta.load` understands. Needed when `out_channels` is None.
        loss: config of the loss, called as loss(pred, target, weight), or one config per map.
        stage_weights: factor of each map's loss; None is 1 for all.
        norm_cfg: see `build_norm_layer`; None is batch norm.
        codec: config of the codec that makes the targets and decodes; `forward` alone does without.

    Raises:
        ValueError: an argument is missing, or the lengths or counts do not fit together.
    """

    def __init__(
        self,
        unit_channels: int = 256,
        out_channels: int | None = None,
        *,
        num_stages: int = 4,
        num_units: int = 4,
        level_indices: Sequence[int] = (),
        meta: KeypointMeta | Mapping[str, Any] | str | None = None,
        loss: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
        stage_weights: Sequence[float] | None = None,
        norm_cfg: Mapping[str, Any] | None = None,
        codec: Mapping[str, Any] | None = None,
    ) -> None:
        num_maps = num_stages * num_units
        super().__init__(
            num_maps,
            out_channels=out_channels,
            meta=meta,
            loss=loss,
            stage_weights=stage_weights,
            level_indices=level_indices or tuple(range(num_units)) * num_stages,
            codec=codec,
        )
        self.predict_layers = nn.ModuleList(
            PredictHeatmap(unit_channels, self.out_channels, norm_cfg=norm_cfg) for _ in range(num_maps)
        )

    def init_weights(self) -> None:
        """Set He's normal initial values (fan out)."""
        init_he(self)

    def forward(self, feats: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return S * U sets of heatmaps (B, K, H, W) of the last map's size, in the order of the maps."""
        self._check_feats(feats, len(self.predict_layers))
        return tuple(layer(feat, feats[-1].shape[-2:]) for layer, feat in zip(self.predict_layers, feats))
