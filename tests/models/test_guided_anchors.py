"""Guided anchoring: targets against loops over objects and cells, the head by config, masked convolution."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from mmpose_lite.models.assign.guided_anchors import location_targets
from mmpose_lite.models.assign.objects import Objects
from mmpose_lite.models.heads.dense.ga_rpn_head import FeatureAdaption, GARPNHead
from mmpose_lite.ops.iou import pairwise_iou
from mmpose_lite.registry import ASSIGNERS, HEADS, LAYERS
from mmpose_lite.structures import SampleBatch
from tests.det_batches import det_batch
from tests.no_sync import NoSync

STRIDES = (4, 8, 16)
SHAPES = [(16, 24), (8, 12), (4, 6)]
BOXES = [
    [[10.0, 8.0, 40.0, 44.0], [30.0, 20.0, 90.0, 60.0], [2.0, 3.0, 9.0, 14.0], [0.0, 0.0, 96.0, 64.0]],
    [],
    [[50.0, 30.0, 70.0, 62.0], [40.0, 10.0, 95.0, 63.0]],
]


def batch(boxes: list[list[list[float]]] = BOXES, ignored: Sequence[tuple[int, int]] = ()) -> SampleBatch:
    """Return images of 64 x 96 px, the second one smaller; `ignored` are (image, box)."""
    flags = [[(i, n) in ignored for n in range(len(of_image))] for i, of_image in enumerate(boxes)]
    shapes = [(64, 96) if i != 1 else (50, 70) for i in range(len(boxes))]
    return det_batch(boxes, ignored=flags, size=(96, 64), img_shapes=shapes)


def region(box: list[float], stride: int, ratio: float) -> tuple[int, int, int, int]:
    """First and last column and row of the middle of a box, in cells, as the paper's code rounds them."""
    x1, y1, x2, y2 = (v / stride for v in box)
    r = (1 - ratio) / 2
    return tuple(round(v) for v in ((1 - r) * x1 + r * x2, r * x1 + (1 - r) * x2, (1 - r) * y1 + r * y2, r * y1 + (1 - r) * y2))


def is_in(x: int, y: int, cells: tuple[int, int, int, int]) -> bool:
    return cells[0] <= x <= cells[1] and cells[2] <= y <= cells[3]


def test_places_by_a_loop() -> None:
    ignored = [(0, 2)]
    targets = location_targets(Objects.of(batch(ignored=ignored)), SHAPES, STRIDES, base_scale=8, center_ratio=0.3)
    seen = set()
    for level, ((H, W), stride) in enumerate(zip(SHAPES, STRIDES)):
        for b, y, x in torch.cartesian_prod(*(torch.arange(n) for n in (3, H, W))).tolist():
            target, weight = 0.0, 0.1
            for n, box in enumerate(BOXES[b]):
                side = ((box[2] - box[0]) * (box[3] - box[1])) ** 0.5
                squares = [32 * 2**i for i in range(3)]
                own = min(range(3), key=lambda i: abs(torch.tensor(side / squares[i]).log2().item()))
                if (b, n) in ignored:
                    weight = 0.0 if is_in(x, y, region(box, stride, 1.0)) else weight
                elif abs(level - own) <= 1 and is_in(x, y, region(box, stride, 0.5)):
                    weight = 0.0
                seen.add(own)
            for n, box in enumerate(BOXES[b]):
                side = ((box[2] - box[0]) * (box[3] - box[1])) ** 0.5
                own = min(range(3), key=lambda i: abs(torch.tensor(side / (32 * 2**i)).log2().item()))
                if (b, n) not in ignored and level == own and is_in(x, y, region(box, stride, 0.3)):
                    target, weight = 1.0, 1.0
            found = targets[level][0][b, y, x].item(), targets[level][1][b, y, x].item()
            assert found == (target, pytest.approx(weight)), (level, b, y, x)
    assert seen == {0, 1}


@pytest.mark.parametrize('kernel_size', [1, 3])
def test_masked_convolution_is_the_convolution_where_the_mask_is(kernel_size: int) -> None:
    layer = LAYERS.build(dict(type='MaskedConv2d', in_channels=3, out_channels=4, kernel_size=kernel_size)).double()
    x = torch.randn(2, 3, 5, 6, dtype=torch.double, requires_grad=True)
    mask = torch.rand(2, 5, 6) > 0.5
    plain = functional.conv2d(x, layer.weight, layer.bias, padding=kernel_size // 2)
    torch.testing.assert_close(layer(x), plain)
    torch.testing.assert_close(layer(x, mask), plain * mask[:, None])
    assert not layer(x, torch.zeros_like(mask)).any()
    assert torch.autograd.gradcheck(lambda t: layer(t, mask), x)
    with pytest.raises(ValueError, match=r'`mask` must be \(B, H, W\) = \(2, 5, 6\), got \(2, 1, 5, 6\)'):
        layer(x, mask[:, None])
    with pytest.raises(ValueError, match='`kernel_size` must be odd, got 2'):
        LAYERS.build(dict(type='MaskedConv2d', in_channels=3, out_channels=4, kernel_size=2))


def test_adaption_reads_where_the_shapes_say() -> None:
    layer = FeatureAdaption(4, deform_groups=2)
    x, shapes = torch.randn(1, 4, 5, 6), torch.randn(1, 2, 5, 6, requires_grad=True)
    nn.init.zeros_(layer.conv_offset.weight)
    plain = functional.conv2d(x, layer.conv_adaption.weight, padding=1).relu()
    torch.testing.assert_close(layer(x, shapes), plain)
    nn.init.normal_(layer.conv_offset.weight)
    out = layer(x, shapes)
    assert not torch.allclose(out, plain)
    out.sum().backward()
    assert shapes.grad is None
    assert layer.conv_offset.weight.grad.any()


def head(**args: Any) -> GARPNHead:
    means = dict(type='DeltaXYWHBBoxCoder')
    cfg = dict(
        type='GARPNHead',
        in_channels=8,
        feat_channels=8,
        approx_anchor_generator=dict(
            type='AnchorGenerator', octave_base_scale=8, scales_per_octave=3, ratios=(0.5, 1.0, 2.0), strides=STRIDES
        ),
        square_anchor_generator=dict(type='AnchorGenerator', ratios=(1.0,), scales=(8,), strides=STRIDES),
        anchor_coder=dict(means, target_stds=(0.07, 0.07, 0.14, 0.14)),
        bbox_coder=dict(means, target_stds=(0.07, 0.07, 0.11, 0.11)),
        ga_assigner=dict(type='ApproxMaxIoUAssigner', pos_iou_thr=0.7, neg_iou_thr=0.3, min_pos_iou=0.3),
        ga_sampler=dict(type='RandomSampler', num=64, pos_fraction=0.5, add_gt_as_proposals=False),
        assigner=dict(type='MaxIoUAssigner', pos_iou_thr=0.7, neg_iou_thr=0.3, min_pos_iou=0.3),
        sampler=dict(type='RandomSampler', num=64, pos_fraction=0.5, add_gt_as_proposals=False),
        loss_loc=dict(type='FocalLoss'),
        loss_shape=dict(type='BoundedIoULoss'),
        loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=True),
        loss_bbox=dict(type='SmoothL1Loss'),
        nms=dict(type='HardNMS', iou_threshold=0.7),
    )
    return HEADS.build(cfg | args)


def feats(images: int = 3) -> list[Tensor]:
    return [torch.randn(images, 8, *shape) for shape in SHAPES]


def test_an_object_goes_to_the_cell_whose_best_approximation_fits() -> None:
    assigner = ASSIGNERS.build(dict(type='ApproxMaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.4, min_pos_iou=0.2))
    plain = ASSIGNERS.build(dict(type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.4, min_pos_iou=0.2))
    corners = 60 * torch.rand(40, 3, 2)
    approxs = torch.cat([corners, corners + 10 + 30 * torch.rand(40, 3, 2)], dim=-1)
    objects = torch.cat([approxs[3, 1:2] + 2, approxs[7, :1] - 3, approxs[20, 2:]])
    found = assigner.assign(approxs, objects)
    ious = pairwise_iou(objects, approxs.flatten(0, 1)).view(3, 40, 3)
    for n in range(40):
        best = max((float(ious[m, n, a]), m) for m in range(3) for a in range(3))
        assert found.max_ious[n].item() == pytest.approx(best[0])
        forced = [m for m in range(3) if float(ious[m, n].max()) == float(ious[m].max()) >= 0.2]
        expected = best[1] + 1 if best[0] >= 0.5 else (0 if best[0] < 0.4 else -1)
        assert found.gt_inds[n] == (forced[-1] + 1 if forced else expected)
    assert set(found.gt_inds.tolist()) >= {0, 1, 2, 3}
    single = assigner.assign(approxs[:, :1], objects)
    assert torch.equal(single.gt_inds, plain.assign(approxs[:, 0], objects).gt_inds)
    with pytest.raises(ValueError, match=r'must be \(N, A, 4\) and \(M, 4\), got \(40, 4\)'):
        assigner.assign(approxs[:, 0], objects)


def test_losses_by_a_loop_over_cells() -> None:
    """With samplers that take everything: shapes by the loss on each cell's own object, places by focal loss on each cell."""
    everything = dict(type='RandomSampler', num=10**6, pos_fraction=1.0, add_gt_as_proposals=False)
    module = head(ga_sampler=everything, loss_shape=dict(type='BoundedIoULoss', reduction='mean')).train()
    module.init_weights()
    nn.init.normal_(module.conv_shape.weight)
    samples = batch()
    raw = module(feats())
    losses = module.loss(raw, samples)
    assert sorted(losses) == ['loss_anchor_loc', 'loss_anchor_shape', 'loss_rpn_bbox', 'loss_rpn_cls']
    squares = torch.cat(module.anchor_generator(SHAPES))
    approxs = torch.cat(module.approx_anchor_generator(SHAPES)).view(-1, 9, 4)
    on_image = torch.cat(module.anchor_generator.valid_flags(SHAPES, (50, 70)))
    shapes = torch.cat([x.permute(0, 2, 3, 1).flatten(1, 2) for x in raw.shapes], dim=1)
    total, count = 0.0, 0
    for b, boxes in enumerate(BOXES):
        usable = on_image if b == 1 else torch.ones(len(squares), dtype=torch.bool)
        assignment = module.ga_assigner.assign(approxs[usable], torch.tensor(boxes).view(-1, 4))
        num_pos = int((assignment.gt_inds > 0).sum())
        count += max(num_pos, 1) + max(int((assignment.gt_inds == 0).sum()), 1)
        for n in (assignment.gt_inds > 0).nonzero()[:, 0].tolist():
            x1, y1, x2, y2 = squares[usable][n].tolist()
            w, h = ((0.14 * shapes[b][usable][n, k]).exp() * side for k, side in enumerate((x2 - x1, y2 - y1)))
            cx, cy = (x1 + x2) / 2, (y1 + y2) / 2
            anchor = torch.stack([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2])
            of_box = module.loss_shape(anchor[None], torch.tensor([boxes[int(assignment.gt_inds[n]) - 1]]), reduction='sum')
            total += of_box.item()
    assert total > 0
    assert losses['loss_anchor_shape'].item() == pytest.approx(total / count, rel=1e-4)
    targets = location_targets(Objects.of(samples), SHAPES, STRIDES, base_scale=8)
    total = 0.0
    for logits, (target, weight) in zip(raw.places, targets):
        p = logits[:, 0].sigmoid()
        focal = target * 0.25 * (1 - p) ** 2 * -p.log() + (1 - target) * 0.75 * p**2 * -(1 - p).log()
        total += (focal * weight).sum().item()
    cells = sum(3 * H * W for H, W in SHAPES)
    assert losses['loss_anchor_loc'].item() == pytest.approx(total / (cells / 200), rel=1e-4)


def test_everything_learns_without_waiting() -> None:
    module = head().train()
    module.init_weights()
    samples = batch()
    with NoSync():
        losses = module.loss(module(feats()), samples)
    # Anchors are where boxes start from, not what their loss moves.
    (gradient,) = torch.autograd.grad(losses['loss_rpn_bbox'], module.conv_shape.weight, retain_graph=True, allow_unused=True)
    assert losses['loss_rpn_bbox'] > 0
    assert gradient is None or not gradient.any()
    with NoSync():
        sum(losses.values()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in module.parameters())


def test_images_without_objects() -> None:
    module = head().train()
    module.init_weights()
    losses = module.loss(module(feats(2)), batch([[], []]))
    assert losses['loss_anchor_shape'].item() == losses['loss_rpn_bbox'].item() == 0
    assert losses['loss_rpn_cls'].item() > 0
    sum(losses.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())


def test_proposals_stand_where_an_anchor_is_likely() -> None:
    module = head(nms=dict(type='HardNMS', iou_threshold=0.99)).eval()
    module.init_weights()
    nn.init.zeros_(module.conv_loc.weight)
    maps = feats(1)
    nothing = module(maps)  # a probability of 0.01, rounded, everywhere
    module.loc_filter_thr = 0.02
    assert all(len(p.boxes) == 0 for p in module.proposals(module(maps), batch([[]]), training=False))
    nn.init.normal_(module.conv_loc.weight)
    nn.init.zeros_(module.conv_loc.bias)
    module.loc_filter_thr = 0.5
    raw = module(maps)
    likely = [x.sigmoid() >= 0.5 for x in raw.places]
    assert 0 < sum(int(mask.sum()) for mask in likely) < sum(mask.numel() for mask in likely)
    module.train()
    everywhere = module(maps)
    for masked, plain, mask in zip(raw.cls_logits + raw.deltas, everywhere.cls_logits + everywhere.deltas, likely * 2):
        torch.testing.assert_close(masked, plain * mask)
    (found,) = module.proposals(raw, batch([[]]), training=False)
    anchors = torch.cat([a[0][m.flatten()] for a, m in zip(module.guided_anchors(raw), likely)])
    deltas = torch.cat([d[0].permute(1, 2, 0)[m[0, 0]] for d, m in zip(raw.deltas, likely)])
    boxes = module.bbox_coder.decode(anchors, deltas, max_shape=(64, 96))
    distance = (found.boxes[:, None] - boxes[None]).abs().amax(dim=-1).amin(dim=1)
    assert len(found.boxes) > 0
    assert distance.max() < 1e-4
    assert nothing.cls_logits[0].shape == (1, 1, 16, 24)


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (dict(center_ratio=0.6), r'`center_ratio` and `ignore_ratio` must be in \(0, 1\] and rise, got 0\.6 and 0\.5'),
        (
            dict(square_anchor_generator=dict(type='AnchorGenerator', ratios=(1.0, 2.0), scales=(8,), strides=STRIDES)),
            '`square_anchor_generator` must make one anchor per cell .* got 2 anchors',
        ),
        (dict(loss_loc=dict(type='CrossEntropyLoss')), 'GARPNHead: `loss_loc` must be a loss on sigmoids'),
        (
            dict(ga_sampler=dict(type='OHEMSampler', num=8, pos_fraction=0.5)),
            'GARPNHead: `ga_sampler` must be a sampler that needs no losses, .* got OHEMSampler',
        ),
    ],
)
def test_wrong_arguments(args: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        head(**args)
