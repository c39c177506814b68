"""The region proposal network of guided anchoring: it also says where anchors stand and which shape they have."""

# Letters: B images, H x W cells, N squares (one per cell of all levels), A approximations of an anchor, P proposals.
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from mmpose_lite.models.assign.guided_anchors import location_targets
from mmpose_lite.models.assign.objects import Objects
from mmpose_lite.models.heads.dense.anchor_targets import anchors_on_images, sample_anchors
from mmpose_lite.models.heads.dense.dense_parts import build_plain_sampler, build_sigmoid_loss, by_anchor
from mmpose_lite.models.heads.dense.rpn_head import Proposals, RPNHead
from mmpose_lite.models.layers.deform_conv import DeformConv2d
from mmpose_lite.models.layers.masked_conv import MaskedConv2d
from mmpose_lite.registry import ASSIGNERS, BOX_CODERS, HEADS, LOSSES, PRIOR_GENERATORS
from mmpose_lite.structures import SampleBatch

_SHAPE_CLIP = 1e-6  # the sides of an anchor may be those of its square times or over 1e6, as in mmdet
_CELLS_PER_OBJECT = 200  # the loss on places is divided by so many cells of the maps, as in mmdet


class FeatureAdaption(nn.Module):
    """A deformable convolution whose offsets are made of the anchors' shapes: an anchor's features come from all of its box.

    Source: Wang et al., Region Proposal by Guided Anchoring, CVPR 2019, Sec. 3.4, arXiv:1901.03278.

    Args:
        channels: C, in and out.
        deform_groups: see `DeformConv2d`.
    """

    def __init__(self, channels: int, deform_groups: int) -> None:
        super().__init__()
        self.conv_offset = nn.Conv2d(2, deform_groups * 18, 1, bias=False)
        self.conv_adaption = DeformConv2d(channels, channels, deform_groups=deform_groups)

    def forward(self, x: Tensor, shapes: Tensor) -> Tensor:
        """Return (B, C, H, W) of maps (B, C, H, W) and the coded shapes (B, 2, H, W), into which no gradient flows."""
        return self.conv_adaption(x, self.conv_offset(shapes.detach())).relu()


class GARPNMaps(NamedTuple):
    """What the head gives for each level, finest first."""

    cls_logits: tuple[Tensor, ...]  # (B, 1, H, W)
    deltas: tuple[Tensor, ...]  # (B, 4, H, W), from the guided anchor
    shapes: tuple[Tensor, ...]  # (B, 2, H, W), width and height of the anchor, coded from the square
    places: tuple[Tensor, ...]  # (B, 1, H, W) logits: does an object have its middle here?


@HEADS.register_module()
class GARPNHead(RPNHead):
    """An RPN that makes its anchors itself: for each cell how likely there is one and its width and height. Keys are mmdet's.

    In testing, classes and deltas are computed only where an anchor is likely.

    Source: Wang et al., Region Proposal by Guided Anchoring, CVPR 2019, arXiv:1901.03278. Names and defaults are mmdet's; what
    stands in its `train_cfg` and `test_cfg` are arguments here.

    Args:
        in_channels: C of the maps.
        feat_channels: C of the convolutions.
        approx_anchor_generator: config of the anchors that stand for all shapes when an object is given to a cell.
        square_anchor_generator: config of the squares, one for each cell, from which shapes are coded.
        anchor_coder: config of the coding of shapes.
        bbox_coder: config of the coding of boxes from guided anchors.
        ga_assigner: config of what gives cells to objects, by their approximations: an ApproxMaxIoUAssigner.
        ga_sampler: config of what chooses the cells whose shape counts.
        assigner: config of what gives guided anchors to objects.
        sampler: config of what chooses the guided anchors that count.
        loss_loc: config of the loss on places, of sigmoids.
        loss_shape: config of the loss on the boxes of guided anchors.
        loss_cls: config of the loss on classes, of sigmoids.
        loss_bbox: config of the loss on deltas.
        nms: config of the suppression within each level.
        deform_groups: of the adaption of features.
        loc_filter_thr: least probability of a place with an anchor, in testing.
        center_ratio: see `location_targets`.
        ignore_ratio: see there.
        nms_pre_train: anchors of a level that go into the suppression, the best ones, in training.
        max_per_img_train: proposals of an image at most, in training.
        nms_pre: as `nms_pre_train`, in testing.
        max_per_img: as `max_per_img_train`, in testing.
        min_bbox_size: px; proposals whose sides are not above it are left out.
        reg_decoded_bbox: give `loss_bbox` boxes in place of deltas, as losses on overlap need.

    Raises:
        ValueError: an argument is out of range, the squares are not one per cell, or a sampler needs losses of anchors.
    """

    def __init__(
        self,
        in_channels: int,
        feat_channels: int = 256,
        *,
        approx_anchor_generator: Mapping[str, Any],
        square_anchor_generator: Mapping[str, Any],
        anchor_coder: Mapping[str, Any],
        bbox_coder: Mapping[str, Any],
        ga_assigner: Mapping[str, Any],
        ga_sampler: Mapping[str, Any],
        assigner: Mapping[str, Any],
        sampler: Mapping[str, Any],
        loss_loc: Mapping[str, Any],
        loss_shape: Mapping[str, Any],
        loss_cls: Mapping[str, Any],
        loss_bbox: Mapping[str, Any],
        nms: Mapping[str, Any],
        deform_groups: int = 4,
        loc_filter_thr: float = 0.01,
        center_ratio: float = 0.2,
        ignore_ratio: float = 0.5,
        nms_pre_train: int = 2000,
        max_per_img_train: int = 1000,
        nms_pre: int = 1000,
        max_per_img: int = 1000,
        min_bbox_size: float = 0,
        reg_decoded_bbox: bool = False,
    ) -> None:
        super().__init__(
            in_channels,
            feat_channels,
            anchor_generator=square_anchor_generator,
            bbox_coder=bbox_coder,
            assigner=assigner,
            sampler=sampler,
            loss_cls=loss_cls,
            loss_bbox=loss_bbox,
            nms=nms,
            nms_pre_train=nms_pre_train,
            max_per_img_train=max_per_img_train,
            nms_pre=nms_pre,
            max_per_img=max_per_img,
            min_bbox_size=min_bbox_size,
            reg_decoded_bbox=reg_decoded_bbox,
        )
        if not 0 < center_ratio <= ignore_ratio <= 1:
            raise ValueError(
                f'GARPNHead: `center_ratio` and `ignore_ratio` must be in (0, 1] and rise, got {center_ratio} and {ignore_ratio}.'
            )
        self.approx_anchor_generator = PRIOR_GENERATORS.build(approx_anchor_generator)
        squares, approxs = self.anchor_generator, self.approx_anchor_generator
        if squares.num_base_anchors != 1 or approxs.strides != squares.strides:
            raise ValueError(
                'GARPNHead: `square_anchor_generator` must make one anchor per cell and both generators have the same strides, '
                f'got {squares.num_base_anchors} anchors, strides {squares.strides} and {approxs.strides}.'
            )
        self.anchor_coder = BOX_CODERS.build(anchor_coder)
        self.ga_assigner = ASSIGNERS.build(ga_assigner)
        self.ga_sampler = build_plain_sampler('GARPNHead', 'ga_sampler', ga_sampler)
        self.loss_loc = build_sigmoid_loss('GARPNHead', 'loss_loc', loss_loc)
        self.loss_shape = LOSSES.build(loss_shape)
        self.loc_filter_thr = loc_filter_thr
        self.center_ratio, self.ignore_ratio = center_ratio, ignore_ratio
        self.conv_loc = nn.Conv2d(feat_channels, 1, 1)
        self.conv_shape = nn.Conv2d(feat_channels, 2, 1)
        self.feature_adaption = FeatureAdaption(feat_channels, deform_groups)
        self.conv_cls = MaskedConv2d(feat_channels, 1)
        self.conv_reg = MaskedConv2d(feat_channels, 4)

    def add_branches(self, feat_channels: int) -> None:
        """Make nothing: the constructor makes other layers than those of RPNHead."""

    def init_weights(self) -> None:
        """Set normal initial values with a standard deviation of 0.01, 0.1 of offsets; biases 0, but places start unlikely."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d | DeformConv2d):
                nn.init.normal_(module.weight, std=0.01)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.normal_(self.feature_adaption.conv_offset.weight, std=0.1)
        nn.init.constant_(self.conv_loc.bias, math.log(0.01 / 0.99))

    def forward(self, feats: Sequence[Tensor]) -> GARPNMaps:
        """Return what is known of each cell of the maps (B, in_channels, H, W); in testing 0 where no anchor is likely."""
        return GARPNMaps(*zip(*(self._of_level(feat) for feat in feats)))

    def _of_level(self, feat: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        x = functional.relu(self.rpn_conv(feat), inplace=True)
        places, shapes = self.conv_loc(x), self.conv_shape(x)
        x = self.feature_adaption(x, shapes)
        likely = None if self.training else self._likely(places)[:, 0]
        return self.conv_cls(x, likely), self.conv_reg(x, likely), shapes, places

    def _likely(self, places: Tensor) -> Tensor:
        return places.detach().float().sigmoid() >= self.loc_filter_thr

    def guided_anchors(self, raw: GARPNMaps) -> list[Tensor]:
        """Return the anchors (B, H * W, 4) of each level, without gradient."""
        squares = self.anchor_generator([tuple(x.shape[2:]) for x in raw.shapes])
        return [self._decoded(square, shape.detach()) for square, shape in zip(squares, by_anchor(raw.shapes, 2))]

    def _decoded(self, squares: Tensor, shapes: Tensor) -> Tensor:
        """Return boxes (..., 4) of squares (..., 4) and shapes (..., 2): the centre stays where it is."""
        deltas = torch.cat([torch.zeros_like(shapes), shapes], dim=-1)
        return self.anchor_coder.decode(squares, deltas, wh_ratio_clip=_SHAPE_CLIP)

    def loss(self, raw: GARPNMaps, data_samples: SampleBatch) -> dict[str, Tensor]:
        """Return the losses `loss_rpn_cls`, `loss_rpn_bbox`, `loss_anchor_shape` and `loss_anchor_loc`.

        Args:
            raw: what `forward` gives.
            data_samples: with the fields of `Objects.of`, and `img_shape` in the metainfo.
        """
        objects = Objects.of(data_samples)
        featmap_shapes = [tuple(x.shape[2:]) for x in raw.shapes]
        image_shapes = [metainfo['img_shape'] for metainfo in data_samples.metainfo]
        squares, on_image = anchors_on_images(self.anchor_generator, featmap_shapes, image_shapes)
        guided = torch.cat(self.guided_anchors(raw), dim=1)
        return dict(
            **self.box_losses(raw.cls_logits, raw.deltas, guided, on_image, objects),
            loss_anchor_shape=self._shape_loss(raw, squares, on_image, objects),
            loss_anchor_loc=self._place_loss(raw, objects),
        )

    def _shape_loss(self, raw: GARPNMaps, squares: Tensor, on_image: Sequence[Tensor | None], objects: Objects) -> Tensor:
        """Return the loss on the guided anchors of the cells that are given to an object."""
        approxs = self.approx_anchor_generator([tuple(x.shape[2:]) for x in raw.shapes])
        approxs = torch.cat(approxs).view(-1, self.approx_anchor_generator.num_base_anchors, 4)
        targets = sample_anchors([approxs] * len(on_image), on_image, objects, self.ga_assigner, self.ga_sampler)
        shapes = torch.cat(by_anchor(raw.shapes, 2), dim=1).gather(1, targets.indices[..., None].expand(-1, -1, 2))
        pred = self._decoded(squares[targets.indices], shapes.float())
        return self.loss_shape(
            pred.flatten(0, 1),
            targets.gt_boxes.flatten(0, 1),
            targets.is_positive.flatten().float(),
            avg_factor=targets.num_samples,
        )

    def _place_loss(self, raw: GARPNMaps, objects: Objects) -> Tensor:
        """Return the loss on where anchors stand."""
        targets = location_targets(
            objects,
            [tuple(x.shape[2:]) for x in raw.places],
            self.anchor_generator.strides,
            base_scale=self.anchor_generator.scales[0],
            center_ratio=self.center_ratio,
            ignore_ratio=self.ignore_ratio,
        )
        logits = torch.cat([x.flatten() for x in raw.places]).float()
        target, weight = (torch.cat([of_level.flatten() for of_level in column]) for column in zip(*targets))
        num = len(logits) / _CELLS_PER_OBJECT
        return self.loss_loc(logits[:, None], target[:, None], weight[:, None], avg_factor=num)

    @torch.no_grad()
    def proposals(self, raw: GARPNMaps, data_samples: SampleBatch, *, training: bool) -> list[Proposals]:
        """Return the proposals of each image; in testing of places that are likely to have an anchor alone.

        Args:
            raw: what `forward` gives.
            data_samples: with `img_shape` in the metainfo.
            training: whether the limits of training hold.
        """
        logits = raw.cls_logits
        if not training:  # minus infinity is not kept
            logits = tuple(x.masked_fill(~self._likely(places), -torch.inf) for x, places in zip(logits, raw.places))
        return self.best_proposals(logits, raw.deltas, self.guided_anchors(raw), data_samples, training=training)
