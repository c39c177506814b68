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
from mmpose_lite.models.losses.regression import BoxKLLoss
from mmpose_lite.ops.iou import aligned_iou
from mmpose_lite.registry import BOX_CODERS, HEADS, LOSSES

_QUALITY_LOSS = dict(type='SmoothL1Loss')  # of predicted IoUs and densities


class BoxOutput(NamedTuple):
    """What a box head gives."""

    cls_logits: Tensor  # (R, C + 1), the background last
    deltas: Tensor  # (R, 4 C), or (R, 4) of a head that moves boxes of all classes alike
    iou_logits: Tensor | None = None  # (R, C) or (R, 1), of the IoU of the moved box with its object
    log_variances: Tensor | None = None  # as the deltas, of which they are
    density_logits: Tensor | None = None  # (R, 1), of the greatest IoU of the object with another one


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
        with_iou_branch: also predict the IoU of each moved box with its object, for IoUGuidedNMS (Jiang et al., IoU-Net, ECCV
            2018, arXiv:1807.11590; there it is predicted anew from features of the moved box).
        with_variance: also predict the logarithm of the variance of each delta, for SofterNMS; `loss_bbox` is then a BoxKLLoss.
        with_density: also predict how much the object is overlapped by another one, for AdaptiveNMS (Liu et al., CVPR 2019, Sec.
            3.3, arXiv:1904.03629; there from the features of the RPN, by three convolutions).
        loss_iou: config of the loss on predicted IoUs, of positive boxes; None is smooth L1, as in IoU-Net.
        loss_density: config of the loss on densities, of positive boxes; None is smooth L1, as in Adaptive NMS.

    Raises:
        ValueError: a number of layers is negative, shared layers are followed by convolutions, or `with_variance` and
            `loss_bbox` do not fit together.
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
        with_iou_branch: bool = False,
        with_variance: bool = False,
        with_density: bool = False,
        loss_iou: Mapping[str, Any] | None = None,
        loss_density: Mapping[str, Any] | None = None,
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
        if isinstance(self.loss_bbox, BoxKLLoss) != with_variance or (with_variance and reg_decoded_bbox):
            raise ValueError(
                f'{name}: `with_variance=True` and `loss_bbox=dict(type="BoxKLLoss")`, on deltas, need each other, got '
                f'{with_variance}, {loss_bbox["type"]} and `reg_decoded_bbox` {reg_decoded_bbox}.'
            )
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
        boxes = 1 if reg_class_agnostic else num_classes
        self.fc_reg = nn.Linear(reg_length, 4 * boxes)
        self.fc_iou = nn.Linear(reg_length, boxes) if with_iou_branch else None
        self.fc_variance = nn.Linear(reg_length, 4 * boxes) if with_variance else None
        self.fc_density = nn.Linear(reg_length, 1) if with_density else None
        self.loss_iou = LOSSES.build(loss_iou or _QUALITY_LOSS)
        self.loss_density = LOSSES.build(loss_density or _QUALITY_LOSS)
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
        branches = ((self.fc_iou, 0.01), (self.fc_variance, 0.0001), (self.fc_density, 0.01))  # the second as its paper has it
        for fc, std in ((self.fc_cls, 0.01), (self.fc_reg, 0.001), *branches):
            if fc is not None:
                nn.init.normal_(fc.weight, std=std)
                nn.init.zeros_(fc.bias)

    def forward(self, x: Tensor) -> BoxOutput:
        """Return logits and deltas of features (R, in_channels, h, w)."""
        for conv in self.shared_convs:
            x = conv(x)
        if self.shared_fcs:
            x = _connected(x, self.shared_fcs)
        of_class = _connected(_convolved(x, self.cls_convs), self.cls_fcs)
        of_box = _connected(_convolved(x, self.reg_convs), self.reg_fcs)
        branches = (None if fc is None else fc(of_box) for fc in (self.fc_iou, self.fc_variance, self.fc_density))
        return BoxOutput(self.fc_cls(of_class), self.fc_reg(of_box), *branches)

    def loss(self, raw: BoxOutput, sample: RoISample) -> dict[str, Tensor]:
        """Return `loss_cls`, `loss_bbox` and, without gradient, `acc_cls`, the share of boxes whose class is right.

        Both losses are divided by the number of boxes that count, as in mmdet: in it are the negatives, too. With the branches,
        `loss_iou` and `loss_density` as well, divided by the number of positives.
        """
        logits, labels, weight = raw.cls_logits.float(), sample.labels(self.num_classes), sample.is_valid.float()
        num_valid = weight.sum().clamp(min=1)
        deltas, target = self._deltas_of(raw.deltas, sample.gt_labels).float(), sample.gt_boxes
        priors = sample.rois[:, 1:]
        if self.reg_decoded_bbox:
            pred = self.bbox_coder.decode(priors, deltas)
        else:
            pred, target = deltas, self.bbox_coder.encode(priors, target)
        unsure = {}
        if raw.log_variances is not None:
            unsure = dict(log_variances=self._deltas_of(raw.log_variances, sample.gt_labels).float())
        right = (logits.detach().argmax(dim=1) == labels) & sample.is_valid
        return dict(
            loss_cls=self.loss_cls(logits, labels, weight, avg_factor=num_valid),
            loss_bbox=self.loss_bbox(pred, target, sample.is_positive.float(), avg_factor=num_valid, **unsure),
            acc_cls=right.sum() / num_valid,
            **self._quality_losses(raw, deltas.detach(), sample),
        )

    def _quality_losses(self, raw: BoxOutput, deltas: Tensor, sample: RoISample) -> dict[str, Tensor]:
        """Return the losses of the branches for IoU and density; deltas (R, 4) of the class of each row."""
        positive = sample.is_positive.float()
        num_positive = positive.sum().clamp(min=1)
        losses = {}
        if raw.iou_logits is not None:
            target = aligned_iou(self.bbox_coder.decode(sample.rois[:, 1:], deltas), sample.gt_boxes)
            pred = raw.iou_logits if self.reg_class_agnostic else raw.iou_logits.gather(1, sample.gt_labels[:, None])
            losses['loss_iou'] = self.loss_iou(pred[:, 0].float().sigmoid(), target, positive, avg_factor=num_positive)
        if raw.density_logits is not None:
            pred = raw.density_logits[:, 0].float().sigmoid()
            losses['loss_density'] = self.loss_density(pred, sample.gt_densities, positive, avg_factor=num_positive)
        return losses

    @property
    def extras(self) -> tuple[str, ...]:
        """What the head predicts for suppressions, by the names of `Suppression`."""
        branches = dict(pred_ious=self.fc_iou, variances=self.fc_variance, densities=self.fc_density)
        return tuple(name for name, fc in branches.items() if fc is not None)

    def predict_extras(self, raw: BoxOutput, rois: Tensor) -> dict[str, Tensor]:
        """Return what suppressions may need of boxes (R, 5), by name.

        Returns:
            `pred_ious` (R, C), `variances` (R, C, 4) of the edges in px^2 of the input, `densities` (R,), as far as there are
            branches for them; without the axis C of a head that moves boxes of all classes alike.
        """
        extras = {}
        if raw.iou_logits is not None:
            ious = raw.iou_logits.float().sigmoid()
            extras['pred_ious'] = ious[:, 0] if self.reg_class_agnostic else ious
        if raw.log_variances is not None:
            R, priors = len(rois), rois[:, None, 1:]
            deltas, variances = raw.deltas.float().view(R, -1, 4), raw.log_variances.float().exp().view(R, -1, 4)
            of_edges = self.bbox_coder.edge_variances(priors, deltas, variances)
            extras['variances'] = of_edges[:, 0] if self.reg_class_agnostic else of_edges
        if raw.density_logits is not None:
            extras['densities'] = raw.density_logits[:, 0].float().sigmoid()
        return extras

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
        with_iou_branch: also predict IoUs.
        with_variance: also predict variances.
        with_density: also predict densities.
        loss_iou: config.
        loss_density: config.
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
        with_iou_branch: bool = False,
        with_variance: bool = False,
        with_density: bool = False,
        loss_iou: Mapping[str, Any] | None = None,
        loss_density: Mapping[str, Any] | None = None,
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
            with_iou_branch=with_iou_branch,
            with_variance=with_variance,
            with_density=with_density,
            loss_iou=loss_iou,
            loss_density=loss_density,
        )
