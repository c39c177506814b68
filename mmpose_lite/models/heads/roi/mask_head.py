"""Mask heads: of the features of a box, which of its pixels belong to the object."""

# Letters: R RoIs, C classes, h x w cells of the features (twice as many of the masks).
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from mmpose_lite.models.backbones.training import init_he
from mmpose_lite.models.base import BaseModule
from mmpose_lite.models.layers.conv_module import ConvModule
from mmpose_lite.registry import HEADS, LOSSES


@HEADS.register_module()
class FCNMaskHead(BaseModule):
    """3x3 convolutions, a transposed one that doubles the map, and a mask for each class. Names and defaults are mmdet's.

    Source: He et al., Mask R-CNN, ICCV 2017, Fig. 4 (right), arXiv:1703.06870. `with_conv_res`: Chen et al., Hybrid Task Cascade,
    CVPR 2019, Sec. 3.2 (mask information flow), arXiv:1901.07518.

    Args:
        in_channels: C of the features.
        num_classes: C, without a background.
        loss_mask: config of the loss on the mask of the object's class.
        num_convs: of the 3x3 convolutions.
        conv_out_channels: C of these and of the transposed one.
        class_agnostic: one mask for all classes.
        norm_cfg: of the convolutions, see `build_norm_layer`; None is no normalisation.
        with_conv_res: take in the features of the head of the stage before, through a 1x1 convolution.
    """

    def __init__(
        self,
        in_channels: int = 256,
        *,
        num_classes: int,
        loss_mask: Mapping[str, Any],
        num_convs: int = 4,
        conv_out_channels: int = 256,
        class_agnostic: bool = False,
        norm_cfg: Mapping[str, Any] | None = None,
        with_conv_res: bool = False,
    ) -> None:
        super().__init__()
        if num_convs < 0 or (num_convs == 0 and in_channels != conv_out_channels):
            raise ValueError(
                f'FCNMaskHead: `num_convs` must be 1 or more, or 0 with `in_channels` ({in_channels}) equal to '
                f'`conv_out_channels` ({conv_out_channels}), got {num_convs}.'
            )
        if with_conv_res and in_channels != conv_out_channels:
            raise ValueError(
                f'FCNMaskHead: `with_conv_res` needs `in_channels` equal to `conv_out_channels`, got {in_channels} and '
                f'{conv_out_channels}.'
            )
        self.num_classes = num_classes
        self.class_agnostic = class_agnostic
        self.loss_mask = LOSSES.build(loss_mask)

        def conv(channels: int, kernel_size: int) -> ConvModule:
            return ConvModule(
                channels, conv_out_channels, kernel_size=kernel_size, with_norm=norm_cfg is not None, norm_cfg=norm_cfg
            )

        self.convs = nn.ModuleList(conv(in_channels if i == 0 else conv_out_channels, 3) for i in range(num_convs))
        self.upsample = nn.ConvTranspose2d(conv_out_channels, conv_out_channels, 2, stride=2)
        self.conv_logits = nn.Conv2d(conv_out_channels, 1 if class_agnostic else num_classes, 1)
        self.conv_res = conv(conv_out_channels, 1) if with_conv_res else None

    def init_weights(self) -> None:
        """Set He's normal initial values (fan out); biases 0."""
        init_he(self)
        nn.init.kaiming_normal_(self.upsample.weight, mode='fan_out', nonlinearity='relu')
        nn.init.zeros_(self.upsample.bias)

    def features(self, x: Tensor, before: Tensor | None = None) -> Tensor:
        """Return (R, conv_out_channels, h, w), what the convolutions make of features (R, in_channels, h, w).

        Args:
            x: features of the boxes.
            before: what this method of the stage before gave, for a head with `with_conv_res`.
        """
        if before is not None and self.conv_res is not None:
            x = x + self.conv_res(before)
        for conv in self.convs:
            x = conv(x)
        return x

    def logits(self, features: Tensor) -> Tensor:
        """Return (R, C, 2 h, 2 w), or (R, 1, 2 h, 2 w) of a head that is `class_agnostic`, of what `features` gives."""
        return self.conv_logits(functional.relu(self.upsample(features), inplace=True))

    def forward(self, x: Tensor) -> Tensor:
        """Return logits of features (R, in_channels, h, w)."""
        return self.logits(self.features(x))

    def loss(self, logits: Tensor, targets: Tensor, labels: Tensor, is_positive: Tensor) -> dict[str, Tensor]:
        """Return `loss_mask`, averaged over the pixels of the positives.

        Args:
            logits: as `forward` gives.
            targets: (R, 2 h, 2 w) in {0, 1}.
            labels: (R,) class of the object.
            is_positive: (R,) bool, rows that count.
        """
        pred = self.own_class(logits.float(), labels)
        counts = is_positive.float()
        num_pixels = counts.sum().clamp(min=1) * targets.shape[1:].numel()
        weight = counts[:, None, None, None].expand_as(pred)
        return dict(loss_mask=self.loss_mask(pred, targets[:, None], weight, avg_factor=num_pixels))

    def own_class(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return (R, 1, 2 h, 2 w), the logits of the class of each row."""
        if self.class_agnostic:
            return logits
        rows = labels[:, None, None, None].expand(-1, 1, *logits.shape[2:])
        return logits.gather(1, rows)

    def probs(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return (R, 2 h, 2 w) probabilities of the class of each row."""
        return self.own_class(logits.float(), labels)[:, 0].sigmoid()
