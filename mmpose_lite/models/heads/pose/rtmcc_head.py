"""RTMPose's coordinate classification: a large convolution, a linear layer, a gated attention unit."""

# Letters: B batch, K keypoints, H x W cells, Wx and Wy bins, D dimensions of a keypoint's token.
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from mmpose_lite.models.heads.pose.simcc_head import CoordinateClassificationHead, check_map_size
from mmpose_lite.models.layers.gau import GatedAttentionUnit, ScaleNorm
from mmpose_lite.ops.simcc import Labels
from mmpose_lite.registry import HEADS
from mmpose_lite.structures import KeypointMeta


@HEADS.register_module()
class RTMCCHead(CoordinateClassificationHead):
    """One map per keypoint, flattened to a token; the tokens attend to each other; linear layers give the bins of x and of y.

    Source: Jiang et al., RTMPose: Real-Time Multi-Person Pose Estimation based on MMPose, Sec. 3.3, arXiv:2303.07399.

    Args:
        in_channels: C of the coarsest map of the backbone or neck.
        out_channels: K; None takes it from `meta`.
        in_featuremap_size: (w, h) of that map in cells.
        codec: config of the codec, whose bins are those of the labels.
        meta: the keypoints: anything `KeypointMeta.load` understands. Needed when `out_channels` is None.
        final_layer_kernel_size: of the convolution, odd.
        hidden_dims: D.
        attention_dims: of queries and keys; mmpose's `gau_cfg.s`.
        expansion_factor: of the gated attention unit.
        dropout_rate: of the attention kernel.
        drop_path_rate: of the attention branch.
        loss: config of the loss, called as loss(pred, target, weight).

    Raises:
        ValueError: an argument is missing or out of range, or the counts do not fit together.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int | None = None,
        *,
        in_featuremap_size: tuple[int, int],
        codec: Mapping[str, Any],
        meta: KeypointMeta | Mapping[str, Any] | str | None = None,
        final_layer_kernel_size: int = 7,
        hidden_dims: int = 256,
        attention_dims: int = 128,
        expansion_factor: float = 2,
        dropout_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        loss: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(out_channels, meta=meta, codec=codec, loss=loss)
        if final_layer_kernel_size % 2 == 0:
            raise ValueError(f'RTMCCHead: `final_layer_kernel_size` must be odd, got {final_layer_kernel_size}.')
        self.in_channels = in_channels
        self.in_featuremap_size = tuple(in_featuremap_size)
        cells = in_featuremap_size[0] * in_featuremap_size[1]
        kernel_size = final_layer_kernel_size
        self.final_layer = nn.Conv2d(in_channels, self.out_channels, kernel_size, padding=kernel_size // 2)
        self.mlp = nn.Sequential(ScaleNorm(cells), nn.Linear(cells, hidden_dims, bias=False))
        self.gau = GatedAttentionUnit(
            hidden_dims,
            attention_dims=attention_dims,
            expansion_factor=expansion_factor,
            dropout_rate=dropout_rate,
            drop_path_rate=drop_path_rate,
        )
        self.cls_x = nn.Linear(hidden_dims, self.codec.num_bins[0], bias=False)
        self.cls_y = nn.Linear(hidden_dims, self.codec.num_bins[1], bias=False)

    def forward(self, feats: Sequence[Tensor]) -> Labels:
        """Return logits (B, K, Wx) and (B, K, Wy), made of the last (coarsest) of the maps."""
        maps = self.final_layer(feats[-1])
        check_map_size('RTMCCHead', maps, self.in_featuremap_size)
        tokens = self.gau(self.mlp(maps.flatten(2)))
        return self.cls_x(tokens), self.cls_y(tokens)
