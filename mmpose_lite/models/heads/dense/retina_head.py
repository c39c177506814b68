"""RetinaNet: classes and boxes of every anchor at once."""

# Letters: B images, A anchors per cell, C classes, H x W cells, N anchors of all levels, P candidates of an image.
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mmpose_lite.models.assign.objects import Objects
from mmpose_lite.models.base import BaseModule
from mmpose_lite.models.heads.dense.anchor_targets import anchors_on_images, assign_anchors
from mmpose_lite.models.heads.dense.dense_parts import (
    DenseCandidates,
    build_plain_nms,
    build_sigmoid_loss,
    by_anchor,
    check_counts,
    conv_stack,
    init_dense,
)
from mmpose_lite.models.losses.regression import build_box_loss
from mmpose_lite.ops.nms import Detections, Suppression
from mmpose_lite.registry import ASSIGNERS, BOX_CODERS, HEADS, PRIOR_GENERATORS
from mmpose_lite.structures import SampleBatch


class RetinaMaps(NamedTuple):
    """What the head gives for each level, finest first."""

    cls_logits: tuple[Tensor, ...]  # (B, A C, H, W), of sigmoids
    deltas: tuple[Tensor, ...]  # (B, A 4, H, W)


@HEADS.register_module()
class RetinaHead(BaseModule):
    """Two stacks of convolutions, shared by all levels: one for the classes of anchors, one for their boxes.

    Source: Lin et al., Focal Loss for Dense Object Detection, ICCV 2017, Sec. 4, arXiv:1708.02002. Names and defaults are
    mmdet's; what stands in its `train_cfg` and `test_cfg` are arguments here.

    Args:
        in_channels: C of the maps.
        num_classes: C.
        anchor_generator: config of the anchors, one of the PRIOR_GENERATORS.
        bbox_coder: config of the coding of boxes.
        assigner: config of what gives anchors to objects.
        loss_cls: config of the loss on classes, of sigmoids.
        loss_bbox: config of the loss on deltas.
        nms: config of the suppression within each class; its `max_num` is set to `max_per_img` unless it sets it.
        stacked_convs: convolutions of each stack.
        feat_channels: C of them.
        norm_cfg: of them, see `build_norm_layer`; None is no normalisation.
        reg_decoded_bbox: give `loss_bbox` boxes in place of deltas, as losses on overlap need.
        nms_pre: candidates of a level that go into the suppression, the best ones.
        score_thr: candidates score more.
        max_per_img: detections of an image at most.

    Raises:
        ValueError: a number of boxes is below 1, the suppression needs what the head does not predict, the loss on classes is on
            a softmax, or the loss on boxes and `reg_decoded_bbox` do not fit together.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        num_classes: int,
        anchor_generator: Mapping[str, Any],
        bbox_coder: Mapping[str, Any],
        assigner: Mapping[str, Any],
        loss_cls: Mapping[str, Any],
        loss_bbox: Mapping[str, Any],
        nms: Mapping[str, Any],
        stacked_convs: int = 4,
        feat_channels: int = 256,
        norm_cfg: Mapping[str, Any] | None = None,
        reg_decoded_bbox: bool = False,
        nms_pre: int = 1000,
        score_thr: float = 0.05,
        max_per_img: int = 100,
    ) -> None:
        super().__init__()
        check_counts('RetinaHead', nms_pre=nms_pre, max_per_img=max_per_img)
        self.num_classes = num_classes
        self.anchor_generator = PRIOR_GENERATORS.build(anchor_generator)
        self.bbox_coder = BOX_CODERS.build(bbox_coder)
        self.assigner = ASSIGNERS.build(assigner)
        self.loss_cls = build_sigmoid_loss('RetinaHead', 'loss_cls', loss_cls)
        self.loss_bbox = build_box_loss('RetinaHead', loss_bbox, decoded=reg_decoded_bbox)
        self.nms = build_plain_nms('RetinaHead', nms, max_num=max_per_img)
        self.reg_decoded_bbox = reg_decoded_bbox
        self.nms_pre = nms_pre
        self.score_thr = score_thr

        last = feat_channels if stacked_convs else in_channels
        A = self.anchor_generator.num_base_anchors
        self.cls_convs, self.reg_convs = (conv_stack(in_channels, feat_channels, stacked_convs, norm_cfg) for _ in range(2))
        self.retina_cls = nn.Conv2d(last, A * num_classes, 3, padding=1)
        self.retina_reg = nn.Conv2d(last, A * 4, 3, padding=1)

    @property
    def strides(self) -> tuple[int, ...]:
        """Of the maps, px."""
        return self.anchor_generator.strides

    def init_weights(self) -> None:
        """Set normal initial values with a standard deviation of 0.01; biases 0, but all classes start unlikely."""
        init_dense(self, self.retina_cls)

    def forward(self, feats: Sequence[Tensor]) -> RetinaMaps:
        """Return logits and deltas for each of the maps (B, in_channels, H, W)."""
        cls_logits, deltas = [], []
        for feat in feats:
            of_class, of_box = feat, feat
            for cls_conv, reg_conv in zip(self.cls_convs, self.reg_convs):
                of_class, of_box = cls_conv(of_class), reg_conv(of_box)
            cls_logits.append(self.retina_cls(of_class))
            deltas.append(self.retina_reg(of_box))
        return RetinaMaps(tuple(cls_logits), tuple(deltas))

    def loss(self, raw: RetinaMaps, data_samples: SampleBatch) -> dict[str, Tensor]:
        """Return `loss_cls` and `loss_bbox`, divided by the number of positive anchors, of each image at least one.

        Args:
            raw: what `forward` gives.
            data_samples: with the fields of `Objects.of`, and `img_shape` in the metainfo.
        """
        shapes = [tuple(x.shape[2:]) for x in raw.cls_logits]
        anchors, on_image = anchors_on_images(self.anchor_generator, shapes, [m['img_shape'] for m in data_samples.metainfo])
        gt_inds, gt_boxes, gt_labels = assign_anchors(
            [anchors] * len(on_image), on_image, Objects.of(data_samples), self.assigner
        )
        logits = torch.cat(by_anchor(raw.cls_logits, self.num_classes), dim=1).float()
        deltas = torch.cat(by_anchor(raw.deltas, 4), dim=1)
        positive, counts = gt_inds > 0, gt_inds >= 0
        avg_factor = positive.sum(dim=1).clamp(min=1).sum()
        priors = anchors.expand(len(logits), -1, -1)
        if self.reg_decoded_bbox:
            pred, target = self.bbox_coder.decode(priors, deltas), gt_boxes
        else:
            pred, target = deltas.float(), self.bbox_coder.encode(priors, gt_boxes)
        labels = gt_labels.where(positive, self.num_classes)
        return dict(
            loss_cls=self.loss_cls(logits.flatten(0, 1), labels.flatten(), counts.flatten().float(), avg_factor=avg_factor),
            loss_bbox=self.loss_bbox(pred.flatten(0, 1), target.flatten(0, 1), positive.flatten().float(), avg_factor=avg_factor),
        )

    @torch.no_grad()
    def candidates(self, raw: RetinaMaps, data_samples: SampleBatch) -> list[DenseCandidates]:
        """Return the best boxes of each image, px of the input, before suppression; nothing waits for the device.

        Args:
            raw: what `forward` gives.
            data_samples: with `img_shape` in the metainfo.
        """
        anchors = self.anchor_generator([tuple(x.shape[2:]) for x in raw.cls_logits])
        image_shapes = torch.tensor([m['img_shape'] for m in data_samples.metainfo])[:, None]
        image_shapes = image_shapes.to(anchors[0].device, non_blocking=True)
        parts = []
        levels = zip(anchors, by_anchor(raw.cls_logits, self.num_classes), by_anchor(raw.deltas, 4))
        for of_level, logits, deltas in levels:
            scores = logits.float().sigmoid().flatten(1)
            best, where = scores.topk(min(self.nms_pre, scores.shape[1]), dim=1)
            rows, labels = where // self.num_classes, where % self.num_classes
            deltas = deltas.gather(1, rows[..., None].expand(-1, -1, 4))
            boxes = self.bbox_coder.decode(of_level[rows], deltas, max_shape=image_shapes)
            parts.append((boxes, best.where(best > self.score_thr, -torch.inf), labels))
        return [DenseCandidates(*of_image) for of_image in zip(*(torch.cat(part, dim=1) for part in zip(*parts)))]

    def suppress(self, found: DenseCandidates, nms: Suppression | None = None) -> Detections:
        """Return what `nms`, or that of the head, keeps of the candidates of an image, best first. It waits for the device."""
        return found.suppress(nms or self.nms)
