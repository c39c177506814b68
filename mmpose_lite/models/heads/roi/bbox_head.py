"""Box heads: of the features of a box, its class and how to move it."""

# Letters: R RoIs, C classes (C is the background), h x w cells of the features.
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.utils import _pair

from mmpose_lite.models.backbones.training import init_he
from mmpose_lite.models.heads.roi.base_bbox_head import BBoxHead, BoxOutput
from mmpose_lite.models.layers.conv_module import ConvModule
from mmpose_lite.registry import HEADS


@HEADS.register_module()
class ConvFCBBoxHead(BBoxHead):
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
        small_box_weight: weigh the loss on deltas by 2 less the share of the image that the object fills, as YOLOv3 does.
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
        small_box_weight: bool = False,
        with_iou_branch: bool = False,
        with_variance: bool = False,
        with_density: bool = False,
        loss_iou: Mapping[str, Any] | None = None,
        loss_density: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(
            num_classes=num_classes,
            bbox_coder=bbox_coder,
            loss_cls=loss_cls,
            loss_bbox=loss_bbox,
            reg_class_agnostic=reg_class_agnostic,
            reg_decoded_bbox=reg_decoded_bbox,
            small_box_weight=small_box_weight,
            extras=tuple(
                name
                for name, wanted in zip(('pred_ious', 'variances', 'densities'), (with_iou_branch, with_variance, with_density))
                if wanted
            ),
            loss_iou=loss_iou,
            loss_density=loss_density,
        )
        name = type(self).__name__
        counts = (num_shared_convs, num_shared_fcs, num_cls_convs, num_cls_fcs, num_reg_convs, num_reg_fcs)
        if min(counts) < 0:
            raise ValueError(f'{name}: the numbers of layers must be 0 or more, got {counts}.')
        if num_shared_fcs and (num_cls_convs or num_reg_convs):
            raise ValueError(
                f'{name}: `num_cls_convs` and `num_reg_convs` must be 0 behind shared layers, got {num_cls_convs} and '
                f'{num_reg_convs} with `num_shared_fcs` {num_shared_fcs}.'
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
        small_box_weight: weigh that loss by the size of objects.
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
        small_box_weight: bool = False,
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
            small_box_weight=small_box_weight,
            with_iou_branch=with_iou_branch,
            with_variance=with_variance,
            with_density=with_density,
            loss_iou=loss_iou,
            loss_density=loss_density,
        )
