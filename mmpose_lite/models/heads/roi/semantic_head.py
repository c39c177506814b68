"""A class for every cell of a feature map, beside the boxes of a hybrid task cascade."""

# Letters: B images, C channels, H x W cells of the fused map.
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.nn import functional

from mmpose_lite.models.backbones.training import init_he
from mmpose_lite.models.base import BaseModule
from mmpose_lite.models.layers.conv_module import ConvModule
from mmpose_lite.registry import HEADS, LOSSES


class SemanticOutput(NamedTuple):
    """What the head gives."""

    logits: Tensor  # (B, classes, H, W)
    feat: Tensor  # (B, conv_out_channels, H, W), which the boxes pool


@HEADS.register_module()
class FusedSemanticHead(BaseModule):
    """All levels of the pyramid, brought to the size of one and summed; convolutions; classes, and features for the boxes.

    Source: Chen et al., Hybrid Task Cascade, CVPR 2019, Sec. 3.3 and Fig. 4, arXiv:1901.07518. Names and defaults are mmdet's.

    Args:
        num_ins: levels that are read, the finest first.
        fusion_level: the one whose size the sum has.
        in_channels: C of the levels.
        conv_out_channels: C of the convolutions and of the features for the boxes.
        num_classes: of the cells, stuff and things.
        loss_seg: config of the loss on the cells.
        num_convs: 3x3 convolutions.
        norm_cfg: of the convolutions, see `build_norm_layer`; None is no normalisation.

    Raises:
        ValueError: the level is not among those that are read.
    """

    def __init__(
        self,
        *,
        num_ins: int,
        fusion_level: int,
        loss_seg: Mapping[str, Any],
        in_channels: int = 256,
        conv_out_channels: int = 256,
        num_classes: int = 183,
        num_convs: int = 4,
        norm_cfg: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if not 0 <= fusion_level < num_ins:
            raise ValueError(
                f'FusedSemanticHead: `fusion_level` must be one of the {num_ins} levels, from 0, got {fusion_level}.'
            )
        self.fusion_level = fusion_level
        self.num_classes = num_classes

        def conv(channels: int, kernel_size: int) -> ConvModule:
            with_norm = norm_cfg is not None
            return ConvModule(channels, conv_out_channels, kernel_size=kernel_size, with_norm=with_norm, norm_cfg=norm_cfg)

        lateral_out = in_channels  # the sum keeps the channels of the levels
        self.lateral_convs = nn.ModuleList(
            ConvModule(in_channels, lateral_out, with_norm=norm_cfg is not None, norm_cfg=norm_cfg) for _ in range(num_ins)
        )
        self.convs = nn.ModuleList(conv(in_channels if i == 0 else conv_out_channels, 3) for i in range(num_convs))
        self.conv_embedding = conv(conv_out_channels if num_convs else in_channels, 1)
        self.conv_logits = nn.Conv2d(conv_out_channels if num_convs else in_channels, num_classes, 1)
        self.loss_seg = LOSSES.build(loss_seg)

    def init_weights(self) -> None:
        """Set He's normal initial values (fan out); biases 0."""
        init_he(self)

    def forward(self, feats: Sequence[Tensor]) -> SemanticOutput:
        """Return logits and features of the levels (B, in_channels, h, w), finest first."""
        size = feats[self.fusion_level].shape[2:]
        x = self.lateral_convs[self.fusion_level](feats[self.fusion_level])
        for i, (lateral, feat) in enumerate(zip(self.lateral_convs, feats)):
            if i != self.fusion_level:
                x = x + lateral(functional.interpolate(feat, size=size, mode='bilinear', align_corners=True))
        for conv in self.convs:
            x = conv(x)
        return SemanticOutput(self.conv_logits(x), self.conv_embedding(x))

    def loss(self, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Return `loss_semantic_seg`; labels (B, H, W) at the size of the logits, 255 is none."""
        return dict(loss_semantic_seg=self.loss_seg(logits.float(), labels.long()))
