"""CenterNet: an object is the peak at its centre, and a size and a rest that are read there."""

# Letters: B images, N objects of an image, C classes, H x W cells, P candidates of an image.
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from mmpose_lite.models.assign.objects import Objects
from mmpose_lite.models.base import BaseModule
from mmpose_lite.models.heads.dense.dense_parts import DenseCandidates, build_plain_nms, check_counts
from mmpose_lite.ops.nms import Detections, Suppression
from mmpose_lite.registry import HEADS, LOSSES
from mmpose_lite.structures import SampleBatch

START_PROB = 0.1  # of a peak, before anything is learnt (Zhou et al., as in their code)
MIN_OVERLAP = 0.3  # IoU with the object that a box has at least whose centre is off by the radius of a peak


class CenterMaps(NamedTuple):
    """What the head gives, each for one level."""

    scores: tuple[Tensor]  # (B, C, H, W) probabilities
    sizes: tuple[Tensor]  # (B, 2, H, W), width and height in cells
    offsets: tuple[Tensor]  # (B, 2, H, W), x and y of the centre from the corner of its cell, in cells


class CenterTargets(NamedTuple):
    """What is to be found, in cells."""

    heatmap: Tensor  # (B, C, H, W) in [0, 1]
    counts: Tensor  # (B, C, H, W) bool; cells in regions to be ignored do not, unless they are a centre
    cells: Tensor  # (B, N) int64, row * W + column of each centre
    sizes: Tensor  # (B, N, 2), width and height
    offsets: Tensor  # (B, N, 2), of the centre from the corner of its cell
    is_object: Tensor  # (B, N) bool; the rest stands for nothing


def peak_radius(sizes: Tensor, min_overlap: float) -> Tensor:
    """Return (...) the radius, in cells, by which both corners of a box may move so that its IoU is still `min_overlap`.

    Of the three ways they can move, both inwards, both outwards and to one side, the least.

    Source: Law and Deng, CornerNet, ECCV 2018, Sec. 3.2, arXiv:1808.01244.
    Differs: the roots as mmdet has them, which follow from the definition; those of CornerNet's code do not.

    Args:
        sizes: (..., 2), width and height in cells.
        min_overlap: see above.
    """
    w, h = sizes.unbind(-1)
    total, area = w + h, w * h
    aside = (total - (total.square() - 4 * area * (1 - min_overlap) / (1 + min_overlap)).clamp(min=0).sqrt()) / 2
    inwards = (total - (total.square() - 4 * (1 - min_overlap) * area).clamp(min=0).sqrt()) / 4
    b = 2 * min_overlap * total
    outwards = (-b + (b.square() + 16 * min_overlap * (1 - min_overlap) * area).sqrt()) / (8 * min_overlap)
    return torch.minimum(torch.minimum(aside, inwards), outwards)


@torch.no_grad()
def center_targets(objects: Objects, shape: tuple[int, int], stride: float, *, num_classes: int) -> CenterTargets:
    """Return the targets of maps of (H, W) cells of `stride` px: a Gaussian, cut off at its radius, around each centre.

    Source: Zhou et al., Objects as Points, Sec. 3, arXiv:1904.07850.
    """
    H, W = shape
    boxes = objects.boxes / stride
    sizes, centers = boxes[..., 2:] - boxes[..., :2], (boxes[..., :2] + boxes[..., 2:]) / 2
    whole = torch.stack([centers[..., axis].floor().clamp(0, last) for axis, last in ((0, W - 1), (1, H - 1))], dim=-1)
    radius = peak_radius(sizes, MIN_OVERLAP).floor().clamp(min=0)[..., None]
    spread = 2 * ((2 * radius + 1) / 6).square()
    lines = []
    for axis, length in ((1, H), (0, W)):
        distance = torch.arange(length, device=boxes.device) - whole[..., axis, None]
        lines.append(torch.exp(-distance.square() / spread) * (distance.abs() <= radius))
    peaks = lines[0][..., None] * lines[1][..., None, :] * objects.is_object[..., None, None]  # (B, N, H, W)
    heatmap = peaks.new_zeros(len(peaks), num_classes, H, W)
    heatmap.scatter_reduce_(1, objects.labels[..., None, None].expand_as(peaks), peaks, 'amax')
    cells = (whole[..., 1] * W + whole[..., 0]).long()
    regions = objects.ignored_boxes / stride
    inside = []
    for axis, length in ((1, H), (0, W)):
        places = torch.arange(length, device=boxes.device) + 0.5
        inside.append((places > regions[..., axis, None]) & (places < regions[..., axis + 2, None]))
    ignored = (inside[0][..., None] & inside[1][..., None, :]).any(dim=1, keepdim=True)  # (B, 1, H, W)
    return CenterTargets(heatmap, ~ignored | (heatmap == 1), cells, sizes, centers - whole, objects.is_object)


@HEADS.register_module()
class CenterNetHead(BaseModule):
    """A 3x3 and a 1x1 convolution for each of: the peaks of the classes, sizes, and offsets within a cell.

    Source: Zhou et al., Objects as Points, arXiv:1904.07850. Names and keys are mmdet's; what stands in its `test_cfg` are
    arguments here.
    Differs: two objects with their centres in one cell both count in the losses on size and offset; mmdet keeps the later one.
    Cells in regions to be ignored are no background; mmdet takes no account of these.

    Args:
        in_channels: C of the map.
        feat_channels: C of the 3x3 convolutions.
        num_classes: C.
        stride: of the map, px.
        loss_center_heatmap: config of the loss on the peaks, of probabilities.
        loss_wh: config of the loss on sizes, in cells.
        loss_offset: config of the loss on offsets.
        local_maximum_kernel: side of the neighbourhood of which a peak is the greatest, odd.
        topk: peaks of an image, of all classes.
        nms: config of a suppression within each class; None, as in the paper, suppresses nothing.

    Raises:
        ValueError: the kernel is even, `topk` is below 1, or the suppression needs what the head does not predict.
    """

    def __init__(
        self,
        in_channels: int,
        feat_channels: int,
        *,
        num_classes: int,
        loss_center_heatmap: Mapping[str, Any],
        loss_wh: Mapping[str, Any],
        loss_offset: Mapping[str, Any],
        stride: int = 4,
        local_maximum_kernel: int = 3,
        topk: int = 100,
        nms: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if local_maximum_kernel < 1 or local_maximum_kernel % 2 == 0:
            raise ValueError(f'CenterNetHead: `local_maximum_kernel` must be odd and positive, got {local_maximum_kernel}.')
        check_counts('CenterNetHead', topk=topk)
        self.num_classes = num_classes
        self.stride = stride
        self.loss_center_heatmap = LOSSES.build(loss_center_heatmap)
        self.loss_wh, self.loss_offset = LOSSES.build(loss_wh), LOSSES.build(loss_offset)
        self.local_maximum_kernel = local_maximum_kernel
        self.topk = topk
        self.nms = None if nms is None else build_plain_nms('CenterNetHead', nms, max_num=topk)
        self.heatmap_head = self._branch(in_channels, feat_channels, num_classes)
        self.wh_head = self._branch(in_channels, feat_channels, 2)
        self.offset_head = self._branch(in_channels, feat_channels, 2)

    @property
    def strides(self) -> tuple[int]:
        """Of the map, px."""
        return (self.stride,)

    @staticmethod
    def _branch(in_channels: int, feat_channels: int, out_channels: int) -> nn.Sequential:
        conv = nn.Conv2d(in_channels, feat_channels, 3, padding=1)
        return nn.Sequential(conv, nn.ReLU(inplace=True), nn.Conv2d(feat_channels, out_channels, 1))

    def init_weights(self) -> None:
        """Set normal initial values with a standard deviation of 0.001 in sizes and offsets; torch's in the peaks, which start
        unlikely."""
        for branch in (self.wh_head, self.offset_head):
            for conv in (branch[0], branch[2]):
                nn.init.normal_(conv.weight, std=0.001)
                nn.init.zeros_(conv.bias)
        nn.init.constant_(self.heatmap_head[2].bias, torch.logit(torch.tensor(START_PROB)).item())

    def forward(self, feats: Sequence[Tensor]) -> CenterMaps:
        """Return what is known of each cell of the map (B, in_channels, H, W), the last of those given."""
        x = feats[-1]
        return CenterMaps((self.heatmap_head(x).float().sigmoid(),), (self.wh_head(x),), (self.offset_head(x),))

    def loss(self, raw: CenterMaps, data_samples: SampleBatch) -> dict[str, Tensor]:
        """Return `loss_center_heatmap`, `loss_wh` and `loss_offset`, divided by the number of objects.

        Args:
            raw: what `forward` gives.
            data_samples: with the fields of `Objects.of`.
        """
        (scores,), (sizes,), (offsets,) = raw
        targets = center_targets(Objects.of(data_samples), scores.shape[2:], self.stride, num_classes=self.num_classes)
        num_objects = targets.is_object.sum().clamp(min=1)
        weight = targets.is_object.flatten().float()
        pairs = dict(
            loss_wh=(self.loss_wh, _at(sizes, targets.cells), targets.sizes),
            loss_offset=(self.loss_offset, _at(offsets, targets.cells), targets.offsets),
        )
        peaks = self.loss_center_heatmap(scores.float(), targets.heatmap, targets.counts.float(), avg_factor=num_objects)
        losses = {'loss_center_heatmap': peaks}
        for name, (loss, pred, target) in pairs.items():
            losses[name] = loss(pred.flatten(0, 1).float(), target.flatten(0, 1), weight, avg_factor=2 * num_objects)
        return losses

    @torch.no_grad()
    def candidates(self, raw: CenterMaps, data_samples: SampleBatch) -> list[DenseCandidates]:
        """Return the greatest peaks of each image as boxes, px of the input; nothing waits for the device.

        Args:
            raw: what `forward` gives.
            data_samples: not looked at: peaks on padding are as unlikely as elsewhere.
        """
        (scores,), (sizes,), (offsets,) = (tuple(x.float() for x in maps) for maps in raw)
        H, W = scores.shape[2:]
        kernel = self.local_maximum_kernel
        is_peak = functional.max_pool2d(scores, kernel, stride=1, padding=kernel // 2) == scores
        peaks = scores.where(is_peak, -torch.inf)
        best, where = peaks.flatten(1).topk(min(self.topk, peaks[0].numel()), dim=1)
        labels, cells = where // (H * W), where % (H * W)
        corners = torch.stack([cells % W, cells // W], dim=-1)
        centers, halves = corners + _at(offsets, cells), _at(sizes, cells) / 2
        boxes = torch.cat([centers - halves, centers + halves], dim=-1) * self.stride
        return [DenseCandidates(*of_image) for of_image in zip(boxes, best, labels)]

    def suppress(self, found: DenseCandidates, nms: Suppression | None = None) -> Detections:
        """Return the candidates of an image, best first; with `nms`, or that of the head, what it keeps of them."""
        nms = nms or self.nms
        if nms is not None:
            return found.suppress(nms)
        rows = (found.scores > -torch.inf).nonzero().squeeze(1)
        return Detections(found.boxes[rows], found.scores[rows], found.labels[rows], rows)


def _at(maps: Tensor, cells: Tensor) -> Tensor:
    """Return (B, N, 2) values of maps (B, 2, H, W) at cells (B, N), row * W + column."""
    return maps.flatten(2).gather(2, cells[:, None].expand(-1, 2, -1)).transpose(1, 2)
