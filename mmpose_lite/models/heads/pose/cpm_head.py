"""One convolution to heatmaps for each stage of a stacked network."""

# Letters: B batch, K keypoints, H x W heatmap cells, S stages.
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from torch import Tensor, nn

from mmpose_lite.models.heads.pose.multi_stage_head import MultiStageHead
from mmpose_lite.registry import HEADS
from mmpose_lite.structures import KeypointMeta

_FINAL_LAYER: Mapping[str, int] = MappingProxyType({'kernel_size': 1})


@HEADS.register_module()
class CPMHead(MultiStageHead):
    """One convolution to K channels per stage, each supervised.

    Source: Wei et al., Convolutional Pose Machines, CVPR 2016, Sec. 3.3, arXiv:1602.00134; Newell et al., Stacked Hourglass
    Networks, ECCV 2016, Sec. 3.2, arXiv:1603.06937.

    Args:
        in_channels: C of each stage's map.
        out_channels: K; None takes it from `meta`.
        num_stages: S.
        meta: the keypoints: anything `KeypointMeta.load` understands. Needed when `out_channels` is None.
        final_layer: dict(kernel_size=...) of the convolutions, odd; None for none: the maps have K channels already.
        loss: config of the loss, called as loss(pred, target, weight), or one config per stage.
        stage_weights: factor of each stage's loss; None is 1 for all.
        codec: config of the codec that makes the targets and decodes; `forward` alone does without.

    Raises:
        ValueError: an argument is missing, out of range, or the lengths or counts do not fit together.
    """

    def __init__(
        self,
        in_channels: int | None = None,
        out_channels: int | None = None,
        *,
        num_stages: int,
        meta: KeypointMeta | Mapping[str, Any] | str | None = None,
        final_layer: Mapping[str, int] | None = _FINAL_LAYER,
        loss: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
        stage_weights: Sequence[float] | None = None,
        codec: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(num_stages, out_channels=out_channels, meta=meta, loss=loss, stage_weights=stage_weights, codec=codec)
        K = self.out_channels
        if final_layer is None:
            if in_channels not in (None, K):
                raise ValueError(
                    f'CPMHead: without `final_layer` the maps must have {K} channels, one per keypoint, got {in_channels}.'
                )
            self.multi_final_layers = nn.ModuleList(nn.Identity() for _ in range(num_stages))
            return
        if in_channels is None:
            raise ValueError('CPMHead: `in_channels` must be given with `final_layer`, got None.')
        if list(final_layer) not in ([], ['kernel_size']) or final_layer.get('kernel_size', 1) % 2 == 0:
            raise ValueError(f'CPMHead: `final_layer` must be dict(kernel_size=<odd number>), got {dict(final_layer)}.')
        kernel = final_layer.get('kernel_size', 1)
        self.multi_final_layers = nn.ModuleList(nn.Conv2d(in_channels, K, kernel, padding=kernel // 2) for _ in range(num_stages))

    def init_weights(self) -> None:
        """Set normal initial values of standard deviation 0.001, biases 0."""
        for layer in self.multi_final_layers:
            if isinstance(layer, nn.Conv2d):
                nn.init.normal_(layer.weight, std=0.001)
                nn.init.zeros_(layer.bias)

    def forward(self, feats: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return S sets of heatmaps (B, K, H, W), any range, in the order of the stages."""
        self._check_feats(feats, len(self.multi_final_layers))
        return tuple(layer(feat) for layer, feat in zip(self.multi_final_layers, feats))
