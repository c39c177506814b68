"""Box heads: of the features of a box, its class and how to move it."""

# Letters: R RoIs, C classes (C is the background), h x w cells of the features.
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.utils import _pair

from mmpose_lite.models.backbones.training import init_he
from mmpose_lite.models.base import BaseModule
from mmpose_lite.models.heads.roi.sampling import RoISample
from mmpose_lite.models.layers.conv_module import ConvModule
from mmpose_lite.registry import BOX_CODERS, HEADS, LOSSES


class BoxOutput(NamedTuple):
    """What a box head gives."""

    cls_logits: Tensor  # (R, C + 1), the background last
    deltas: Tensor  # (R, 4 C), or (R, 4) of a head that moves boxes of all classes alike


@HEADS.register_module()
class ConvFCBBoxHead(BaseModule):
    """Convolutions and fully connected layers, shared by both results and then of each its own. Names and defaults are mmdet's.

    Source: the second stage of Faster R-CNN, as in Lin et al., Feature Pyramid Networks, CVPR 2017, Sec. 4.2, arXiv:1612.03144.

    Args:
        in_channels: C of the features.
        num_classes: C, without the background.
        bbox_coder: config of the coding of boxes.
        loss_cls: config of the loss on classes.
        loss_bbox: config of the loss on deltas.
        num_shared_convs: 3x3 convolutions that both results share.
        num_shared_fcs: fully connected layers that both share.
        num_cls_convs: convolutions of the classes alone, before `num_cls_fcs`.
        num_cls_fcs: layers of the classes alone.
        num_reg_convs: as `num_cls_convs`, of the deltas.
        num_reg_fcs: as `num_cls_fcs`, of the deltas.
        conv_out_channels: C of the convolutions.
        fc_out_channels: C of the layers.
        roi_feat_size: h and w of the features, or one number for both.
        norm_cfg: of the convolutions, see `build_norm_layer`; None is no normalisation.
        reg_class_agnostic: the same deltas for all classes.
        reg_decoded_bbox: give `loss_bbox` boxes in place of deltas, as losses on overlap need.

    Raises:
        ValueError: a number of layers is negative, or shared layers are followed by convolutions.
    """

    def __init__(
        self,
        in_channels: int = 256,
        *,
        num_classes: int,
        bbox_coder: Mapping[str, Any],
        loss_cls: Mapping[str, Any],
        loss_bbox: Mapping[str, Any],
        num_shared_convs: int = 0,
        num_shared_fcs: int = 0,
        num_cls_convs: int = 0,
        num_cls_fcs: int = 0,
        num_reg_convs: int = 0,
        num_reg_fcs: int = 0,
        conv_out_channels: int = 256,
        fc_out_channels: int = 1024,
        roi_feat_size: int | tuple[int, int] = 7,
        norm_cfg: Mapping[str, Any] | None = None,
        reg_class_agnostic: bool = False,
        reg_decoded_bbox: bool = False,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        counts = (num_shared_convs, num_shared_fcs, num_cls_convs, num_cls_fcs, num_reg_convs, num_reg_fcs)
        if min(counts) < 0:
            raise ValueError(f'{name}: the numbers of layers must be 0 or more, got {counts}.')
        if num_shared_fcs and (num_cls_convs or num_reg_convs):
            raise ValueError(
                f'{name}: `num_cls_convs` and `num_reg_convs` must be 0 behind shared layers, got {num_cls_convs} and '
                f'{num_reg_convs} with `num_shared_fcs` {num_shared_fcs}.'
            )
        self.num_classes = num_classes
        self.reg_class_agnostic = reg_class_agnostic
        self.reg_decoded_bbox = reg_decoded_bbox
        self.bbox_coder = BOX_CODERS.build(bbox_coder)
        self.loss_cls = LOSSES.build(loss_cls)
        self.loss_bbox = LOSSES.build(loss_bbox)
        h, w = _pair(roi_feat_size)

        def convs(channels: int, count: int) -> tuple[nn.ModuleList, int]:
            layers = nn.ModuleList()
            for _ in range(count):
                conv = ConvModule(channels, conv_out_channels, kernel_size=3, with_norm=norm_cfg is not None, norm_cfg=norm_cfg)
                layers.append(conv)
                channels = conv_out_channels
            return layers, channels

        def fcs(length: int, count: int) -> tuple[nn.ModuleList, int]:
            layers = nn.ModuleList()
            for _ in range(count):
                layers.append(nn.Linear(length, fc_out_channels))
                length = fc_out_channels
            return layers, length

        shared_convs, channels = convs(in_channels, num_shared_convs)
        shared_fcs, length = fcs(channels * h * w, num_shared_fcs)
        cls_convs, cls_channels = convs(channels, num_cls_convs)
        cls_fcs, cls_length = fcs(length if num_shared_fcs else cls_channels * h * w, num_cls_fcs)
        reg_convs, reg_channels = convs(channels, num_reg_convs)
        reg_fcs, reg_length = fcs(length if num_shared_fcs else reg_channels * h * w, num_reg_fcs)
        # The last layers come first, as in mmdet's state dict: optimizer states number the parameters by that order.
        self.fc_cls = nn.Linear(cls_length, num_classes + 1)
        self.fc_reg = nn.Linear(reg_length, 4 if reg_class_agnostic else 4 * num_classes)
        self.shared_convs, self.shared_fcs = shared_convs, shared_fcs
        self.cls_convs, self.cls_fcs = cls_convs, cls_fcs
        self.reg_convs, self.reg_fcs = reg_convs, reg_fcs

    def init_weights(self) -> None:
        """Set He's initial values in convolutions, Xavier's uniform ones in layers; a standard deviation of 0.01 (classes) and
        0.001 (deltas) in the last ones; biases 0."""
        init_he(self)
        for fcs in (self.shared_fcs, self.cls_fcs, self.reg_fcs):
            for fc in fcs:
                nn.init.xavier_uniform_(fc.weight)
                nn.init.zeros_(fc.bias)
        for fc, std in ((self.fc_cls, 0.01), (self.fc_reg, 0.001)):
            nn.init.normal_(fc.weight, std=std)
            nn.init.zeros_(fc.bias)

    def forward(self, x: Tensor) -> BoxOutput:
        """Return logits and deltas of features (R, in_channels, h, w)."""
        for conv in self.shared_convs:
            x = conv(x)
        if self.shared_fcs:
            x = _connected(x, self.shared_fcs)
        return BoxOutput(
            self.fc_cls(_connected(_convolved(x, self.cls_convs), self.cls_fcs)),
            self.fc_reg(_connected(_convolved(x, self.reg_convs), self.reg_fcs)),
        )

    def loss(self, raw: BoxOutput, sample: RoISample) -> dict[str, Tensor]:
        """Return `loss_cls`, `loss_bbox` and, without gradient, `acc_cls`, the share of boxes whose class is right.

        Both losses are divided by the number of boxes that count, as in mmdet: in it are the negatives, too.
        """
        logits, labels, weight = raw.cls_logits.float(), sample.labels(self.num_classes), sample.is_valid.float()
        num_valid = weight.sum().clamp(min=1)
        pred, target = self._deltas_of(raw.deltas, sample.gt_labels).float(), sample.gt_boxes
        priors = sample.rois[:, 1:]
        if self.reg_decoded_bbox:
            pred = self.bbox_coder.decode(priors, pred)
        else:
            target = self.bbox_coder.encode(priors, target)
        right = (logits.detach().argmax(dim=1) == labels) & sample.is_valid
        return dict(
            loss_cls=self.loss_cls(logits, labels, weight, avg_factor=num_valid),
            loss_bbox=self.loss_bbox(pred, target, sample.is_positive.float(), avg_factor=num_valid),
            acc_cls=right.sum() / num_valid,
        )

    def class_losses(self, raw: BoxOutput, labels: Tensor) -> Tensor:
        """Return (R,) losses on the classes, for samplers that look for hard examples; labels (R,), -1 for the background."""
        return self.loss_cls(raw.cls_logits.float(), labels.where(labels >= 0, self.num_classes), reduction='none')

    def scores(self, cls_logits: Tensor) -> Tensor:
        """Return (R, C) probabilities of the classes."""
        return cls_logits.float().softmax(dim=-1)[:, : self.num_classes]

    def decode(self, deltas: Tensor, rois: Tensor, image_shapes: Tensor) -> Tensor:
        """Return boxes (R, C, 4), or (R, 4) of a head that moves boxes of all classes alike; px of the input.

        Args:
            deltas: as `forward` gives.
            rois: (R, 5).
            image_shapes: (R, 2), (h, w) of the image of each, at whose border boxes are cut.
        """
        priors = rois[:, 1:]
        if self.reg_class_agnostic:
            return self.bbox_coder.decode(priors, deltas, max_shape=image_shapes)
        deltas = deltas.view(len(deltas), self.num_classes, 4)
        return self.bbox_coder.decode(priors[:, None], deltas, max_shape=image_shapes[:, None])

    @torch.no_grad()
    def refine(self, raw: BoxOutput, rois: Tensor, image_shapes: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return rois (R, 5) moved by the deltas of their class, without gradient.

        Args:
            raw: what `forward` gives.
            rois: (R, 5).
            image_shapes: see `decode`.
            labels: (R,) classes; where they are the background, and without them, it is the class of the best score.
        """
        best = raw.cls_logits[:, : self.num_classes].argmax(dim=1)
        labels = best if labels is None else labels.where(labels < self.num_classes, best)
        boxes = self.bbox_coder.decode(rois[:, 1:], self._deltas_of(raw.deltas, labels), max_shape=image_shapes)
        return torch.cat([rois[:, :1], boxes], dim=1)

    def _deltas_of(self, deltas: Tensor, labels: Tensor) -> Tensor:
        """Return (R, 4) deltas of the class of each row."""
        if self.reg_class_agnostic:
            return deltas
        rows = labels[:, None, None].expand(-1, 1, 4)
        return deltas.view(len(deltas), self.num_classes, 4).gather(1, rows).squeeze(1)


def _convolved(x: Tensor, convs: nn.ModuleList) -> Tensor:
    for conv in convs:
        x = conv(x)
    return x


def _connected(x: Tensor, fcs: nn.ModuleList) -> Tensor:
    x = x.flatten(1)
    for fc in fcs:
        x = fc(x).relu()
    return x


@HEADS.register_module()
class Shared2FCBBoxHead(ConvFCBBoxHead):
    """Two layers that both results share.

    Args:
        in_channels: C of the features; see `ConvFCBBoxHead` for all arguments.
        num_classes: C, without the background.
        bbox_coder: config.
        loss_cls: config.
        loss_bbox: config.
        fc_out_channels: C of the layers.
        roi_feat_size: h and w of the features.
        reg_class_agnostic: the same deltas for all classes.
        reg_decoded_bbox: `loss_bbox` is on boxes.
    """

    def __init__(
        self,
        in_channels: int = 256,
        *,
        num_classes: int,
        bbox_coder: Mapping[str, Any],
        loss_cls: Mapping[str, Any],
        loss_bbox: Mapping[str, Any],
        fc_out_channels: int = 1024,
        roi_feat_size: int | tuple[int, int] = 7,
        reg_class_agnostic: bool = False,
        reg_decoded_bbox: bool = False,
    ) -> None:
        super().__init__(
            in_channels,
            num_classes=num_classes,
            bbox_coder=bbox_coder,
            loss_cls=loss_cls,
            loss_bbox=loss_bbox,
            num_shared_fcs=2,
            fc_out_channels=fc_out_channels,
            roi_feat_size=roi_feat_size,
            reg_class_agnostic=reg_class_agnostic,
            reg_decoded_bbox=reg_decoded_bbox,
        )
