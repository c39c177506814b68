"""The region proposal network: boxes that hold something, of any class."""

# Letters: B images, A anchors per cell, H x W cells, N anchors of all levels, P proposals.
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from mmpose_lite.models.assign.objects import Objects
from mmpose_lite.models.base import BaseModule
from mmpose_lite.models.heads.dense.anchor_targets import anchors_on_images, sample_anchors
from mmpose_lite.models.heads.dense.dense_parts import (
    build_plain_nms,
    build_plain_sampler,
    build_sigmoid_loss,
    by_anchor,
    check_counts,
)
from mmpose_lite.models.losses.regression import build_box_loss
from mmpose_lite.registry import ASSIGNERS, BOX_CODERS, HEADS, PRIOR_GENERATORS
from mmpose_lite.structures import SampleBatch


class RPNMaps(NamedTuple):
    """What the head gives for each level, finest first."""

    cls_logits: tuple[Tensor, ...]  # (B, A, H, W)
    deltas: tuple[Tensor, ...]  # (B, 4 A, H, W)


class Proposals(NamedTuple):
    """Of one image, best first."""

    boxes: Tensor  # (P, 4) xyxy, px of the input, without gradient
    scores: Tensor  # (P,) in [0, 1]


@HEADS.register_module()
class RPNHead(BaseModule):
    """A 3x3 convolution shared by all levels; from it, for each anchor, whether it holds an object, and where exactly.

    Source: Ren et al., Faster R-CNN, NeurIPS 2015, Sec. 3.1, arXiv:1506.01497; on a pyramid: Lin et al., Feature Pyramid
    Networks, CVPR 2017, Sec. 4.1, arXiv:1612.03144. Names and defaults are mmdet's; what stands in its `train_cfg` and `test_cfg`
    are arguments here.

    Args:
        in_channels: C of the maps.
        feat_channels: C of the convolution.
        anchor_generator: config of the anchors, one of the PRIOR_GENERATORS.
        bbox_coder: config of the coding of boxes.
        assigner: config of what gives anchors to objects.
        sampler: config of what chooses the anchors that count.
        loss_cls: config of the loss on classes, of sigmoids.
        loss_bbox: config of the loss on deltas.
        nms: config of the suppression within each level.
        nms_pre_train: anchors of a level that go into it, the best ones, in training.
        max_per_img_train: proposals of an image at most, in training.
        nms_pre: as `nms_pre_train`, in testing.
        max_per_img: as `max_per_img_train`, in testing.
        min_bbox_size: px; proposals whose sides are not above it are left out.
        allowed_border: px that an anchor may reach beyond the image to be learnt from; below 0 any number.
        reg_decoded_bbox: give `loss_bbox` boxes in place of deltas, as losses on overlap need.

    Raises:
        ValueError: a number of boxes is below 1, the loss on classes is on a softmax, the sampler needs losses of anchors, or the
            loss on boxes and `reg_decoded_bbox` do not fit together.
    """

    def __init__(
        self,
        in_channels: int,
        feat_channels: int = 256,
        *,
        anchor_generator: Mapping[str, Any],
        bbox_coder: Mapping[str, Any],
        assigner: Mapping[str, Any],
        sampler: Mapping[str, Any],
        loss_cls: Mapping[str, Any],
        loss_bbox: Mapping[str, Any],
        nms: Mapping[str, Any],
        nms_pre_train: int = 2000,
        max_per_img_train: int = 1000,
        nms_pre: int = 1000,
        max_per_img: int = 1000,
        min_bbox_size: float = 0,
        allowed_border: float = -1,
        reg_decoded_bbox: bool = False,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        check_counts(
            name, nms_pre_train=nms_pre_train, max_per_img_train=max_per_img_train, nms_pre=nms_pre, max_per_img=max_per_img
        )
        self.anchor_generator = PRIOR_GENERATORS.build(anchor_generator)
        self.bbox_coder = BOX_CODERS.build(bbox_coder)
        self.assigner = ASSIGNERS.build(assigner)
        self.sampler = build_plain_sampler(name, 'sampler', sampler)
        self.loss_cls = build_sigmoid_loss(name, 'loss_cls', loss_cls)
        self.loss_bbox = build_box_loss(name, loss_bbox, decoded=reg_decoded_bbox)
        self.nms = build_plain_nms(name, nms)
        self.limits = {True: (nms_pre_train, max_per_img_train), False: (nms_pre, max_per_img)}
        self.min_bbox_size = min_bbox_size
        self.allowed_border = allowed_border
        self.reg_decoded_bbox = reg_decoded_bbox
        self.rpn_conv = nn.Conv2d(in_channels, feat_channels, 3, padding=1)
        self.add_branches(feat_channels)

    def add_branches(self, feat_channels: int) -> None:
        """Make the layers on the shared convolution."""
        A = self.anchor_generator.num_base_anchors
        self.rpn_cls = nn.Conv2d(feat_channels, A, 1)
        self.rpn_reg = nn.Conv2d(feat_channels, A * 4, 1)

    @property
    def strides(self) -> tuple[int, ...]:
        """Of the maps, px."""
        return self.anchor_generator.strides

    def init_weights(self) -> None:
        """Set normal initial values with a standard deviation of 0.01; biases 0."""
        for conv in (self.rpn_conv, self.rpn_cls, self.rpn_reg):
            nn.init.normal_(conv.weight, std=0.01)
            nn.init.zeros_(conv.bias)

    def forward(self, feats: Sequence[Tensor]) -> RPNMaps:
        """Return logits and deltas for each of the maps (B, in_channels, H, W)."""
        hidden = [functional.relu(self.rpn_conv(feat), inplace=True) for feat in feats]
        return RPNMaps(tuple(self.rpn_cls(x) for x in hidden), tuple(self.rpn_reg(x) for x in hidden))

    def loss(self, raw: RPNMaps, data_samples: SampleBatch) -> dict[str, Tensor]:
        """Return the losses `loss_rpn_cls` and `loss_rpn_bbox`.

        Args:
            raw: what `forward` gives.
            data_samples: with the fields of `Objects.of`, and `img_shape` in the metainfo.
        """
        shapes = [tuple(x.shape[2:]) for x in raw.cls_logits]
        image_shapes = [tuple(m['img_shape']) for m in data_samples.metainfo]
        anchors, on_image = anchors_on_images(self.anchor_generator, shapes, image_shapes, allowed_border=self.allowed_border)
        anchors = anchors.expand(len(on_image), -1, -1)
        return self.box_losses(raw.cls_logits, raw.deltas, anchors, on_image, Objects.of(data_samples))

    def box_losses(
        self,
        cls_logits: Sequence[Tensor],
        deltas: Sequence[Tensor],
        anchors: Tensor,
        on_image: Sequence[Tensor | None],
        objects: Objects,
    ) -> dict[str, Tensor]:
        """Return the losses of anchors (B, N, 4); `on_image` as in `sample_anchors`."""
        targets = sample_anchors(anchors, on_image, objects, self.assigner, self.sampler)
        four = targets.indices[..., None].expand(-1, -1, 4)
        logits = torch.cat(by_anchor(cls_logits, 1), dim=1).gather(1, targets.indices[..., None])
        coded = torch.cat(by_anchor(deltas, 4), dim=1).gather(1, four)
        background = (~targets.is_positive).long()  # class 0 is the object, 1 the background
        priors, avg_factor = anchors.gather(1, four), targets.num_samples
        if self.reg_decoded_bbox:
            pred, target = self.bbox_coder.decode(priors, coded), targets.gt_boxes
        else:
            pred, target = coded.float(), self.bbox_coder.encode(priors, targets.gt_boxes)
        loss_cls = self.loss_cls(
            logits.flatten(0, 1).float(), background.flatten(), targets.is_valid.flatten().float(), avg_factor=avg_factor
        )
        loss_bbox = self.loss_bbox(
            pred.flatten(0, 1), target.flatten(0, 1), targets.is_positive.flatten().float(), avg_factor=avg_factor
        )
        return dict(loss_rpn_cls=loss_cls, loss_rpn_bbox=loss_bbox)

    @torch.no_grad()
    def proposals(self, raw: RPNMaps, data_samples: SampleBatch, *, training: bool) -> list[Proposals]:
        """Return the proposals of each image. The suppression waits for the device.

        Args:
            raw: what `forward` gives.
            data_samples: with `img_shape` in the metainfo.
            training: whether the limits of training hold.
        """
        anchors = self.anchor_generator([tuple(x.shape[2:]) for x in raw.cls_logits])
        of_images = [of_level.expand(len(data_samples.metainfo), -1, -1) for of_level in anchors]
        return self.best_proposals(raw.cls_logits, raw.deltas, of_images, data_samples, training=training)

    def best_proposals(
        self,
        cls_logits: Sequence[Tensor],
        deltas: Sequence[Tensor],
        anchors: Sequence[Tensor],
        data_samples: SampleBatch,
        *,
        training: bool,
    ) -> list[Proposals]:
        """Return the proposals of anchors (B, H * W * A, 4) of each level; none where the logit is minus infinity."""
        nms_pre, max_per_img = self.limits[training]
        image_shapes = torch.tensor([m['img_shape'] for m in data_samples.metainfo])[:, None]
        image_shapes = image_shapes.to(anchors[0].device, non_blocking=True)
        boxes, scores, levels = [], [], []
        for level, (logits, coded) in enumerate(zip(by_anchor(cls_logits, 1), by_anchor(deltas, 4))):
            best, rows = logits[..., 0].float().topk(min(nms_pre, logits.shape[1]), dim=1)
            four = rows[..., None].expand(-1, -1, 4)
            boxes.append(self.bbox_coder.decode(anchors[level].gather(1, four), coded.gather(1, four), max_shape=image_shapes))
            scores.append(best.sigmoid().where(best > -torch.inf, -torch.inf))
            levels.append(rows.new_full((rows.shape[1],), level))
        all_boxes, all_scores, all_levels = torch.cat(boxes, dim=1), torch.cat(scores, dim=1), torch.cat(levels)
        small = ((all_boxes[..., 2:] - all_boxes[..., :2]) <= self.min_bbox_size).any(dim=-1)
        all_scores = all_scores.masked_fill(small, -torch.inf)  # which no suppression keeps
        kept = (self.nms(of_image, best, all_levels) for of_image, best in zip(all_boxes, all_scores))
        return [Proposals(k.boxes[:max_per_img], k.scores[:max_per_img]) for k in kept]
