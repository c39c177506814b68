"""What box heads share: from logits and deltas to losses, scores, boxes, and what suppressions may need."""

# Letters: R RoIs, C classes (C is the background).
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mmpose_lite.models.base import BaseModule
from mmpose_lite.models.heads.roi.sampling import RoISample
from mmpose_lite.models.losses.regression import BoxKLLoss, build_box_loss, small_box_weight
from mmpose_lite.ops.iou import aligned_iou
from mmpose_lite.registry import BOX_CODERS, LOSSES

_QUALITY_LOSS = dict(type='SmoothL1Loss')  # of predicted IoUs and densities


class BoxOutput(NamedTuple):
    """What a box head gives."""

    cls_logits: Tensor  # (R, C + 1), the background last
    deltas: Tensor  # (R, 4 C), or (R, 4) of a head that moves boxes of all classes alike
    iou_logits: Tensor | None = None  # (R, C) or (R, 1), of the IoU of the moved box with its object
    log_variances: Tensor | None = None  # as the deltas, of which they are
    density_logits: Tensor | None = None  # (R, 1), of the greatest IoU of the object with another one


class BBoxHead(BaseModule):
    """A subclass makes the layers and writes `forward`, which returns a `BoxOutput`.

    Args:
        num_classes: C, without the background.
        bbox_coder: config of the coding of boxes.
        loss_cls: config of the loss on classes.
        loss_bbox: config of the loss on deltas; a BoxKLLoss if variances are predicted, and only then.
        reg_class_agnostic: the same deltas for all classes.
        reg_decoded_bbox: give `loss_bbox` boxes in place of deltas, as losses on overlap need.
        small_box_weight: weigh the loss on deltas by 2 less the share of the image that the object fills, as YOLOv3 does.
        extras: what is predicted for suppressions, by the names of `Suppression`.
        loss_iou: config of the loss on predicted IoUs, of positive boxes; None is smooth L1.
        loss_density: config of the loss on densities, of positive boxes; None is smooth L1.

    Raises:
        ValueError: variances, `loss_bbox` and `reg_decoded_bbox` do not fit together.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        bbox_coder: Mapping[str, Any],
        loss_cls: Mapping[str, Any],
        loss_bbox: Mapping[str, Any],
        reg_class_agnostic: bool = False,
        reg_decoded_bbox: bool = False,
        small_box_weight: bool = False,
        extras: tuple[str, ...] = (),
        loss_iou: Mapping[str, Any] | None = None,
        loss_density: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.reg_class_agnostic = reg_class_agnostic
        self.reg_decoded_bbox = reg_decoded_bbox
        self.small_box_weight = small_box_weight
        self.extras = extras
        self.bbox_coder = BOX_CODERS.build(bbox_coder)
        self.loss_cls = LOSSES.build(loss_cls)
        self.loss_bbox = build_box_loss(type(self).__name__, loss_bbox, decoded=reg_decoded_bbox)
        self.loss_iou = LOSSES.build(loss_iou or _QUALITY_LOSS)
        self.loss_density = LOSSES.build(loss_density or _QUALITY_LOSS)
        with_variance = 'variances' in extras
        if isinstance(self.loss_bbox, BoxKLLoss) != with_variance or (with_variance and reg_decoded_bbox):
            raise ValueError(
                f'{type(self).__name__}: `with_variance=True` and `loss_bbox=dict(type="BoxKLLoss")`, on deltas, need each '
                f'other, got {with_variance}, {loss_bbox["type"]} and `reg_decoded_bbox` {reg_decoded_bbox}.'
            )

    def loss(self, raw: BoxOutput, sample: RoISample, image_shapes: Tensor | None = None) -> dict[str, Tensor]:
        """Return `loss_cls`, `loss_bbox` and, without gradient, `acc_cls`, the share of boxes whose class is right.

        Both losses are divided by the number of boxes that count, as in mmdet: in it are the negatives, too. With the branches,
        `loss_iou` and `loss_density` as well, divided by the number of positives.

        Args:
            raw: what `forward` gives, for the rows of the sample.
            sample: the boxes and what they are to be.
            image_shapes: (R, 2), (h, w) of the image of each; needed with `small_box_weight`.

        Raises:
            ValueError: `image_shapes` is missing.
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
            loss_bbox=self.loss_bbox(pred, target, self._box_weights(sample, image_shapes), avg_factor=num_valid, **unsure),
            acc_cls=right.sum() / num_valid,
            **self._quality_losses(raw, deltas.detach(), sample),
        )

    def _box_weights(self, sample: RoISample, image_shapes: Tensor | None) -> Tensor:
        """Return (R,) how much the loss on the box of each row counts; 0 where it is not positive."""
        positive = sample.is_positive.float()
        if not self.small_box_weight:
            return positive
        if image_shapes is None:
            raise ValueError(f'{type(self).__name__}: `image_shapes` (R, 2) must be given with `small_box_weight`, got None.')
        return positive * small_box_weight(sample.gt_boxes, image_shapes.flip(-1))

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
            shape = len(rois), 1 if self.reg_class_agnostic else self.num_classes, 4
            deltas, variances = raw.deltas.float().view(shape), raw.log_variances.float().exp().view(shape)
            of_edges = self.bbox_coder.edge_variances(rois[:, None, 1:], deltas, variances)
            extras['variances'] = of_edges[:, 0] if self.reg_class_agnostic else of_edges
        if raw.density_logits is not None:
            extras['densities'] = raw.density_logits[:, 0].float().sigmoid()
        return extras

    def class_losses(self, raw: BoxOutput, labels: Tensor) -> Tensor:
        """Return (R,) losses on the classes, for samplers that look for hard examples; labels (R,), -1 for the background."""
        losses = self.loss_cls(raw.cls_logits.float(), labels.where(labels >= 0, self.num_classes), reduction='none')
        return losses.flatten(1).sum(dim=1) if losses.ndim > 1 else losses  # sigmoids have a loss for each class

    def scores(self, cls_logits: Tensor) -> Tensor:
        """Return (R, C) probabilities of the classes, by a softmax or sigmoids as the loss on them has it."""
        logits = cls_logits.float()
        probs = logits.sigmoid() if getattr(self.loss_cls, 'use_sigmoid', False) else logits.softmax(dim=-1)
        return probs[:, : self.num_classes]

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
