"""FCOS: every cell of every level says which class its object has, how far its edges are, and how near its middle is."""

# Letters: B images, M objects of an image, C classes, H x W cells, N points (one per cell of all levels), P candidates.
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mmpose_lite.models.assign.box_coder import clip_boxes
from mmpose_lite.models.assign.objects import Objects
from mmpose_lite.models.base import BaseModule
from mmpose_lite.models.heads.dense.dense_parts import (
    DenseCandidates,
    build_plain_nms,
    build_sigmoid_loss,
    by_anchor,
    check_counts,
    conv_stack,
    init_dense,
)
from mmpose_lite.ops.nms import Detections, Suppression
from mmpose_lite.registry import HEADS, LOSSES
from mmpose_lite.structures import SampleBatch

INF = 1e8
REGRESS_RANGES = ((-1, 64), (64, 128), (128, 256), (256, 512), (512, INF))


class FCOSMaps(NamedTuple):
    """What the head gives for each level, finest first."""

    cls_logits: tuple[Tensor, ...]  # (B, C, H, W), of sigmoids
    distances: tuple[Tensor, ...]  # (B, 4, H, W), from the cell's middle to left, top, right and bottom edge; px
    centerness: tuple[Tensor, ...]  # (B, 1, H, W) logits


class PointTargets(NamedTuple):
    """What each point of each image is to find."""

    labels: Tensor  # (B, N) int64; C is the background
    boxes: Tensor  # (B, N, 4) xyxy of the object; of any object where the point is background
    centerness: Tensor  # (B, N) in [0, 1]; 0 for the background
    counts: Tensor  # (B, N) bool; background in regions to be ignored does not


class Scale(nn.Module):
    """A factor that is learnt."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        """Return x times the factor."""
        return x * self.scale


@torch.no_grad()
def point_targets(points: Tensor, ranges: Tensor, objects: Objects, *, num_classes: int) -> PointTargets:
    """Give each point to the smallest object that it lies in and whose farthest edge is in the range of its level.

    Source: Tian et al., FCOS, ICCV 2019, Sec. 3.1 and 3.2, Eq. 1 and 3, arXiv:1904.01355.

    Args:
        points: (N, 2), px of the input.
        ranges: (N, 2), least and greatest distance of the farthest edge, px.
        objects: of the images.
        num_classes: C, which labels the background.
    """
    x, y = points.unbind(-1)
    boxes = objects.boxes[:, None]  # (B, 1, M, 4)
    x, y = x[:, None], y[:, None]
    edges = torch.stack([x - boxes[..., 0], y - boxes[..., 1], boxes[..., 2] - x, boxes[..., 3] - y], dim=-1)  # (B, N, M, 4)
    inside = edges.amin(dim=-1) > 0
    farthest = edges.amax(dim=-1)
    fits = inside & (farthest >= ranges[:, None, 0]) & (farthest <= ranges[:, None, 1]) & objects.is_object[:, None]
    areas = (boxes[..., 2:] - boxes[..., :2]).prod(dim=-1).where(fits, INF)
    area, rows = areas.min(dim=2)
    positive = area < INF
    labels = objects.labels.gather(1, rows).where(positive, num_classes)
    left, top, right, bottom = edges.gather(2, rows[..., None, None].expand(-1, -1, 1, 4))[:, :, 0].clamp(min=0).unbind(-1)
    across, down = (torch.minimum(a, b) / torch.maximum(a, b).clamp(min=1e-6) for a, b in ((left, right), (top, bottom)))
    ignored = (inside & objects.is_ignored[:, None]).any(dim=2)
    return PointTargets(
        labels,
        objects.boxes.gather(1, rows[..., None].expand(-1, -1, 4)),
        (across * down).sqrt().where(positive, 0),
        positive | ~ignored,
    )


@HEADS.register_module()
class FCOSHead(BaseModule):
    """Two stacks of convolutions, shared by all levels, for the classes of cells (with how central they are) and for their boxes.

    Source: Tian et al., FCOS, ICCV 2019, arXiv:1904.01355. Names and defaults are mmdet's; what stands in its `test_cfg` are
    arguments here.
    Differs: cells in regions to be ignored are no background; mmdet takes no account of these. Losses are divided by
    the counts of the process, in mmdet by their means over all processes.

    Args:
        in_channels: C of the maps.
        num_classes: C.
        strides: of the maps, px.
        loss_cls: config of the loss on classes, of sigmoids.
        loss_bbox: config of the loss on boxes, one on their overlap.
        loss_centerness: config of the loss on how central a cell is, of sigmoids.
        nms: config of the suppression within each class; its `max_num` is set to `max_per_img` unless it sets it.
        regress_ranges: of each level, least and greatest distance to the farthest edge of an object that it finds, px.
        stacked_convs: convolutions of each stack.
        feat_channels: C of them.
        norm_cfg: of them, see `build_norm_layer`; None is no normalisation.
        norm_on_bbox: learn distances in strides, cut off at 0; False is their logarithm in px.
        centerness_on_reg: say how central a cell is from the stack for boxes.
        nms_pre: candidates of a level that go into the suppression, the best ones.
        score_thr: candidates have a class that scores more, before the score is multiplied by how central they are.
        max_per_img: detections of an image at most.

    Raises:
        ValueError: there is not one range per stride, a number of boxes is below 1, the suppression needs what the head does not
            predict, or a loss on sigmoids is on a softmax.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        num_classes: int,
        strides: Sequence[int],
        loss_cls: Mapping[str, Any],
        loss_bbox: Mapping[str, Any],
        loss_centerness: Mapping[str, Any],
        nms: Mapping[str, Any],
        regress_ranges: Sequence[tuple[float, float]] = REGRESS_RANGES,
        stacked_convs: int = 4,
        feat_channels: int = 256,
        norm_cfg: Mapping[str, Any] | None = None,
        norm_on_bbox: bool = False,
        centerness_on_reg: bool = False,
        nms_pre: int = 1000,
        score_thr: float = 0.05,
        max_per_img: int = 100,
    ) -> None:
        super().__init__()
        if len(regress_ranges) != len(strides):
            raise ValueError(
                f'FCOSHead: `regress_ranges` needs one entry per stride ({len(strides)}), got {tuple(regress_ranges)}.'
            )
        check_counts('FCOSHead', nms_pre=nms_pre, max_per_img=max_per_img)
        self.num_classes = num_classes
        self.strides = tuple(strides)
        self.regress_ranges = tuple(regress_ranges)
        self.loss_cls = build_sigmoid_loss('FCOSHead', 'loss_cls', loss_cls)
        self.loss_bbox = LOSSES.build(loss_bbox)
        self.loss_centerness = build_sigmoid_loss('FCOSHead', 'loss_centerness', loss_centerness)
        self.nms = build_plain_nms('FCOSHead', nms, max_num=max_per_img)
        self.norm_on_bbox = norm_on_bbox
        self.centerness_on_reg = centerness_on_reg
        self.nms_pre = nms_pre
        self.score_thr = score_thr

        last = feat_channels if stacked_convs else in_channels
        self.cls_convs, self.reg_convs = (conv_stack(in_channels, feat_channels, stacked_convs, norm_cfg) for _ in range(2))
        self.conv_cls = nn.Conv2d(last, num_classes, 3, padding=1)
        self.conv_reg = nn.Conv2d(last, 4, 3, padding=1)
        self.conv_centerness = nn.Conv2d(last, 1, 3, padding=1)
        self.scales = nn.ModuleList(Scale() for _ in strides)

    def init_weights(self) -> None:
        """Set normal initial values with a standard deviation of 0.01; biases 0, but all classes start unlikely."""
        init_dense(self, self.conv_cls)

    def forward(self, feats: Sequence[Tensor]) -> FCOSMaps:
        """Return logits, distances and centerness for each of the maps (B, in_channels, H, W).

        Raises:
            ValueError: there is not one map per stride.
        """
        if len(feats) != len(self.strides):
            raise ValueError(f'FCOSHead: `strides` {self.strides} needs one entry per map, got {len(feats)} maps.')
        levels = zip(feats, self.scales, self.strides)
        return FCOSMaps(*zip(*(self._of_level(feat, scale, stride) for feat, scale, stride in levels)))

    def _of_level(self, feat: Tensor, scale: Scale, stride: int) -> tuple[Tensor, Tensor, Tensor]:
        of_class, of_box = feat, feat
        for cls_conv, reg_conv in zip(self.cls_convs, self.reg_convs):
            of_class, of_box = cls_conv(of_class), reg_conv(of_box)
        coded = scale(self.conv_reg(of_box)).float()
        distances = coded.relu() * stride if self.norm_on_bbox else coded.exp()
        return self.conv_cls(of_class), distances, self.conv_centerness(of_box if self.centerness_on_reg else of_class)

    def _points(self, shapes: Sequence[tuple[int, int]], device: torch.device) -> list[Tensor]:
        """Return the middles of the cells (H * W, 2) of each level, (x, y) in px of the input."""
        points = []
        for (H, W), stride in zip(shapes, self.strides):
            x, y = ((torch.arange(length, device=device) + 0.5) * stride for length in (W, H))
            points.append(torch.stack(torch.meshgrid(x, y, indexing='xy'), dim=-1).view(-1, 2))
        return points

    def loss(self, raw: FCOSMaps, data_samples: SampleBatch) -> dict[str, Tensor]:
        """Return `loss_cls`, `loss_bbox` and `loss_centerness`; boxes count by how central their cell is.

        Args:
            raw: what `forward` gives.
            data_samples: with the fields of `Objects.of`.
        """
        device = raw.cls_logits[0].device
        points = self._points([tuple(x.shape[2:]) for x in raw.cls_logits], device)
        ranges = torch.tensor(self.regress_ranges, dtype=torch.float32).to(device, non_blocking=True)
        ranges = torch.cat([of_level.expand(len(p), -1) for p, of_level in zip(points, ranges)])
        centres = torch.cat(points)
        targets = point_targets(centres, ranges, Objects.of(data_samples), num_classes=self.num_classes)
        logits = torch.cat(by_anchor(raw.cls_logits, self.num_classes), dim=1).float()
        boxes = _boxes(centres, torch.cat(by_anchor(raw.distances, 4), dim=1))
        centerness = torch.cat(by_anchor(raw.centerness, 1), dim=1)[..., 0].float()
        positive = (targets.labels < self.num_classes).float()
        num_positive = positive.sum().clamp(min=1)
        return dict(
            loss_cls=self.loss_cls(
                logits.flatten(0, 1), targets.labels.flatten(), targets.counts.flatten().float(), avg_factor=num_positive
            ),
            loss_bbox=self.loss_bbox(
                boxes.flatten(0, 1),
                targets.boxes.flatten(0, 1),
                targets.centerness.flatten(),
                avg_factor=targets.centerness.sum().clamp(min=1e-6),
            ),
            loss_centerness=self.loss_centerness(
                centerness.flatten()[:, None], targets.centerness.flatten()[:, None], positive.flatten(), avg_factor=num_positive
            ),
        )

    @torch.no_grad()
    def candidates(self, raw: FCOSMaps, data_samples: SampleBatch) -> list[DenseCandidates]:
        """Return the best boxes of each image, px of the input, before suppression; nothing waits for the device.

        Args:
            raw: what `forward` gives.
            data_samples: with `img_shape` in the metainfo.
        """
        device = raw.cls_logits[0].device
        points = self._points([tuple(x.shape[2:]) for x in raw.cls_logits], device)
        image_shapes = torch.tensor([m['img_shape'] for m in data_samples.metainfo])[:, None].to(device, non_blocking=True)
        maps = (by_anchor(x, values) for x, values in zip(raw, (self.num_classes, 4, 1)))
        parts = []
        for of_level, logits, distances, centerness in zip(points, *maps):
            scores = logits.float().sigmoid().flatten(1)
            best, where = scores.topk(min(self.nms_pre, scores.shape[1]), dim=1)
            rows, labels = where // self.num_classes, where % self.num_classes
            boxes = _boxes(of_level[rows], distances.gather(1, rows[..., None].expand(-1, -1, 4)))
            central = centerness[..., 0].float().sigmoid().gather(1, rows)
            parts.append((clip_boxes(boxes, image_shapes), (best * central).where(best > self.score_thr, -torch.inf), labels))
        return [DenseCandidates(*of_image) for of_image in zip(*(torch.cat(part, dim=1) for part in zip(*parts)))]

    def suppress(self, found: DenseCandidates, nms: Suppression | None = None) -> Detections:
        """Return what `nms`, or that of the head, keeps of the candidates of an image, best first. It waits for the device."""
        return found.suppress(nms or self.nms)


def _boxes(points: Tensor, distances: Tensor) -> Tensor:
    """Return boxes (..., 4) xyxy around points (..., 2)."""
    return torch.cat([points - distances[..., :2], points + distances[..., 2:]], dim=-1)
