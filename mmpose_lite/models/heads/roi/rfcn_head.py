"""R-FCN: what a box is, is read off maps that know about the parts of boxes; no layer works on single boxes."""

# Letters: B images, C classes (C is the background), k parts along each side of a box, R RoIs, H x W cells.
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from mmpose_lite.models.heads.roi.base_bbox_head import BBoxHead, BoxOutput
from mmpose_lite.models.heads.roi.standard_roi_head import StandardRoIHead
from mmpose_lite.registry import HEADS


@HEADS.register_module()
class PositionSensitiveBBoxHead(BBoxHead):
    """Maps of logits and deltas for each of the k x k parts of a box; a box gets the mean of what its parts say.

    Source: Dai et al., R-FCN, NeurIPS 2016, Sec. 2, arXiv:1605.06409. Boxes of all classes are moved alike, as there.

    Args:
        in_channels: C of the maps.
        num_classes: C, without the background.
        bbox_coder: config of the coding of boxes.
        loss_cls: config of the loss on classes.
        loss_bbox: config of the loss on deltas.
        num_parts: k, 7 in the paper, which is also the `output_size` of the PSRoIAlign that pools.
        feat_channels: C of the 1x1 convolution before the maps, 1024 in the paper.
        reg_decoded_bbox: give `loss_bbox` boxes in place of deltas, as losses on overlap need.
        small_box_weight: weigh the loss on deltas by 2 less the share of the image that the object fills, as YOLOv3 does.

    Raises:
        ValueError: `num_parts` is not positive.
    """

    def __init__(
        self,
        in_channels: int = 256,
        *,
        num_classes: int,
        bbox_coder: Mapping[str, Any],
        loss_cls: Mapping[str, Any],
        loss_bbox: Mapping[str, Any],
        num_parts: int = 7,
        feat_channels: int = 256,
        reg_decoded_bbox: bool = False,
        small_box_weight: bool = False,
    ) -> None:
        super().__init__(
            num_classes=num_classes,
            bbox_coder=bbox_coder,
            loss_cls=loss_cls,
            loss_bbox=loss_bbox,
            reg_class_agnostic=True,
            reg_decoded_bbox=reg_decoded_bbox,
            small_box_weight=small_box_weight,
        )
        if num_parts < 1:
            raise ValueError(f'PositionSensitiveBBoxHead: `num_parts` must be 1 or more, got {num_parts}.')
        self.num_results = num_classes + 1 + 4
        self.conv_new = nn.Conv2d(in_channels, feat_channels, 1)
        self.conv_maps = nn.Conv2d(feat_channels, self.num_results * num_parts**2, 1)

    def init_weights(self) -> None:
        """Set normal initial values with a standard deviation of 0.01; biases 0."""
        for conv in (self.conv_new, self.conv_maps):
            nn.init.normal_(conv.weight, std=0.01)
            nn.init.zeros_(conv.bias)

    def maps(self, feat: Tensor) -> Tensor:
        """Return (B, (C + 1 + 4) * k * k, H, W) of a map (B, in_channels, H, W), in the order of `PSRoIAlign`."""
        return self.conv_maps(self.conv_new(feat).relu())

    def forward(self, x: Tensor) -> BoxOutput:
        """Return logits and deltas of pooled maps (R, C + 1 + 4, k, k)."""
        logits, deltas = x.mean(dim=(2, 3)).split((self.num_classes + 1, 4), dim=1)
        return BoxOutput(logits, deltas)


@HEADS.register_module()
class RFCNRoIHead(StandardRoIHead):
    """A StandardRoIHead whose box head makes the maps that boxes are pooled from; arguments as there.

    Source: Dai et al., R-FCN, NeurIPS 2016, arXiv:1605.06409. With a feature pyramid, a box is pooled from the level of its size.
    """

    def forward(self, feats: Sequence[Tensor], rois: Tensor) -> BoxOutput:
        """Return the logits and deltas of boxes (R, 5), the index of the image and the box xyxy in px of the input."""
        used = feats[: len(self.bbox_roi_extractor.featmap_strides)]
        return self.bbox_head(self.bbox_roi_extractor([self.bbox_head.maps(feat) for feat in used], rois))
