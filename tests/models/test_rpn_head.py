"""Proposals: what the network of them learns, and what it hands on."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from mmpose_lite.models.heads.dense.rpn_head import RPNHead, RPNMaps
from mmpose_lite.registry import HEADS
from tests.det_batches import det_batch, iou, slow_decode, slow_nms
from tests.no_sync import NoSync

SHAPES = ((6, 8), (3, 4))  # (H, W) of levels of strides 8 and 16: inputs of 64 x 48 px
SIZE = (64, 48)
A = 2


def build(**args: Any) -> RPNHead:
    defaults = dict(
        in_channels=3,
        feat_channels=4,
        anchor_generator=dict(type='AnchorGenerator', strides=(8, 16), ratios=(0.5, 2.0), scales=(2,)),
        bbox_coder=dict(type='DeltaXYWHBBoxCoder'),
        assigner=dict(type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.3, min_pos_iou=0.1, ignore_iof_thr=0.5),
        sampler=dict(type='RandomSampler', num=10_000, pos_fraction=0.5, add_gt_as_proposals=False),
        loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=True),
        loss_bbox=dict(type='L1Loss'),
        nms=dict(type='HardNMS', iou_threshold=0.5),
    )
    return HEADS.build(dict(type='RPNHead', **(defaults | args)))


def random_raw(B: int = 2) -> RPNMaps:
    return RPNMaps(
        tuple(torch.randn(B, A, *s, requires_grad=True) for s in SHAPES),
        tuple((0.3 * torch.randn(B, 4 * A, *s)).requires_grad_() for s in SHAPES),
    )


def rows_of(raw: RPNMaps, image: int) -> list[list[tuple[list[float], Tensor, Tensor]]]:
    """Return for each level (anchor, logit, deltas) of every anchor, in a loop."""
    levels = []
    for level, stride in enumerate((8, 16)):
        rows = []
        H, W = SHAPES[level]
        for y in range(H):
            for x in range(W):
                for a, ratio in enumerate((0.5, 2.0)):
                    w, h = 2 * stride / ratio**0.5, 2 * stride * ratio**0.5
                    box = [x * stride - w / 2, y * stride - h / 2, x * stride + w / 2, y * stride + h / 2]
                    rows.append((box, raw.cls_logits[level][image, a, y, x], raw.deltas[level][image, 4 * a : 4 * a + 4, y, x]))
        levels.append(rows)
    return levels


def test_proposals_against_a_loop() -> None:
    head, raw = build(nms_pre=30, max_per_img=12, nms_pre_train=50, max_per_img_train=40), random_raw()
    shapes = [(48, 64), (40, 50)]
    batch = det_batch([[], []], size=SIZE, img_shapes=shapes)
    for training, nms_pre, most in ((False, 30, 12), (True, 50, 40)):
        found = head.proposals(raw, batch, training=training)
        for image, (h, w) in enumerate(shapes):
            boxes, scores = [], []
            for rows in rows_of(raw, image):
                best = sorted(rows, key=lambda row: -row[1].item())[:nms_pre]
                cut = []
                for box, logit, deltas in best:
                    x1, y1, x2, y2 = slow_decode(box, deltas.tolist())
                    box = [min(max(x1, 0), w), min(max(y1, 0), h), min(max(x2, 0), w), min(max(y2, 0), h)]
                    if box[2] > box[0] and box[3] > box[1]:
                        cut.append((torch.tensor(box), logit.sigmoid()))
                level_boxes, level_scores = (torch.stack(c) for c in zip(*cut))
                kept = slow_nms(level_boxes, level_scores, 0.5)
                boxes.append(level_boxes[kept])
                scores.append(level_scores[kept])
            scores_all, order = torch.cat(scores).sort(descending=True)
            torch.testing.assert_close(found[image].scores, scores_all[:most])
            torch.testing.assert_close(found[image].boxes, torch.cat(boxes)[order][:most], rtol=1e-4, atol=1e-3)
        assert not found[0].boxes.requires_grad


def test_small_proposals_are_left_out() -> None:
    raw = random_raw()
    batch = det_batch([[], []], size=SIZE)
    all_sides = torch.cat([p.boxes[:, 2:] - p.boxes[:, :2] for p in build().proposals(raw, batch, training=True)])
    assert (all_sides < 12).any()
    for p in build(min_bbox_size=12).proposals(raw, batch, training=True):
        assert len(p.boxes)
        assert (p.boxes[:, 2:] - p.boxes[:, :2] > 12).all()


@pytest.mark.parametrize('decoded', [False, True])
def test_losses_against_a_loop(decoded: bool) -> None:
    loss_bbox = dict(type='GIoULoss') if decoded else dict(type='L1Loss')
    head, raw = build(reg_decoded_bbox=decoded, loss_bbox=loss_bbox), random_raw()
    objects = [[10.0, 8.0, 30.0, 30.0], [40.0, 20.0, 60.0, 44.0]]
    crowd = [0.0, 30.0, 16.0, 48.0]
    batch = det_batch([[objects[0], crowd, objects[1]], []], ignored=[[False, True, False], []], size=SIZE)
    losses = head.loss(raw, batch)
    loss_cls, loss_bbox_sum, positives, negatives = 0.0, 0.0, [0, 0], [0, 0]
    for image in range(2):
        rows = [row for level in rows_of(raw, image) for row in level]
        best = [max(iou(row[0], gt) for row in rows) for gt in objects]
        for box, logit, deltas in rows:
            gt = None
            if image == 0:
                overlaps = [iou(box, o) for o in objects]
                x = max(0, min(box[2], crowd[2]) - max(box[0], crowd[0])) * max(0, min(box[3], crowd[3]) - max(box[1], crowd[1]))
                if x / ((box[2] - box[0]) * (box[3] - box[1])) > 0.5:
                    continue
                winners = [o for o, v, b in zip(objects, overlaps, best) if abs(v - b) < 1e-7]
                if winners:
                    gt = winners[-1]
                elif max(overlaps) >= 0.5:
                    gt = objects[overlaps.index(max(overlaps))]
                elif max(overlaps) >= 0.3:
                    continue
            target = float(gt is not None)
            loss_cls += functional.binary_cross_entropy_with_logits(logit, torch.tensor(target))
            if gt is None:
                negatives[image] += 1
                continue
            positives[image] += 1
            if decoded:
                pred = head.bbox_coder.decode(torch.tensor([box]), deltas[None])
                loss_bbox_sum += head.loss_bbox(pred, torch.tensor([gt]), reduction='sum')
            else:
                loss_bbox_sum += (deltas - head.bbox_coder.encode(torch.tensor(box), torch.tensor(gt))).abs().sum()
    assert positives[0] > 2
    assert positives[1] == 0
    factor = sum(max(n, 1) for n in (*positives, *negatives))
    torch.testing.assert_close(losses['loss_rpn_cls'], loss_cls / factor)
    torch.testing.assert_close(losses['loss_rpn_bbox'], loss_bbox_sum / factor)
    assert list(losses) == ['loss_rpn_cls', 'loss_rpn_bbox']


def test_padding_holds_no_anchor() -> None:
    head, raw = build(), random_raw(1)
    head.loss(raw, det_batch([[[4.0, 4.0, 20.0, 20.0]]], size=SIZE, img_shapes=[(30, 33)]))['loss_rpn_cls'].backward()
    touched = [x.grad[0].abs().sum(dim=0) > 0 for x in raw.cls_logits]
    assert touched[0].nonzero().amax(dim=0).tolist() == [3, 4]  # rows 0, 8, 16 and 24; columns up to 32
    assert touched[1].nonzero().amax(dim=0).tolist() == [1, 2]


def test_anchors_that_reach_beyond_the_image() -> None:
    head, raw = build(allowed_border=2), random_raw(1)
    h, w = 40, 60
    head.loss(raw, det_batch([[[4.0, 4.0, 20.0, 20.0]]], size=SIZE, img_shapes=[(h, w)]))['loss_rpn_cls'].backward()
    touched = [x.grad[0] != 0 for x in raw.cls_logits]
    inside = [
        [x1 >= -2 and y1 >= -2 and x2 < w + 2 and y2 < h + 2 for (x1, y1, x2, y2), _, _ in rows] for rows in rows_of(raw, 0)
    ]
    for level, rows in enumerate(inside):
        H, W = SHAPES[level]
        expected = torch.tensor(rows).view(H, W, A).permute(2, 0, 1)
        assert not (touched[level] & ~expected).any()
    assert 0 < sum(t.sum() for t in touched) <= sum(sum(rows) for rows in inside)


def test_images_without_objects() -> None:
    head = build()
    feats = [torch.randn(2, 3, *s) for s in SHAPES]
    for boxes in ([[], []], [[[4.0, 4.0, 9.0, 9.0]], []]):
        head.zero_grad()
        losses = head.loss(head(feats), det_batch(boxes, size=SIZE))
        sum(losses.values()).backward()
        assert all(torch.isfinite(v) for v in losses.values())
        assert all(p.grad is not None and p.grad.isfinite().all() for p in head.parameters())
        if not boxes[0]:
            assert losses['loss_rpn_bbox'] == 0
            assert head.rpn_reg.weight.grad.abs().sum() == 0


def test_order_of_images_does_not_matter() -> None:
    head, raw = build(), random_raw()
    boxes = [[[10.0, 8.0, 30.0, 30.0]], [[1.0, 1.0, 30.0, 40.0], [40.0, 20.0, 60.0, 44.0]]]
    swapped = RPNMaps(*(tuple(x.flip(0) for x in part) for part in raw))
    ours, theirs = head.loss(raw, det_batch(boxes, size=SIZE)), head.loss(swapped, det_batch(boxes[::-1], size=SIZE))
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name])
    batch = det_batch([[], []], size=SIZE)
    ours, theirs = head.proposals(raw, batch, training=False), head.proposals(swapped, batch, training=False)
    assert all(torch.equal(a.boxes, b.boxes) for a, b in zip(ours, theirs[::-1]))


def test_the_loss_waits_for_nothing() -> None:
    head = build(sampler=dict(type='RandomSampler', num=32, pos_fraction=0.5, add_gt_as_proposals=False))
    batch = det_batch([[[10.0, 8.0, 30.0, 30.0]], []], size=SIZE, img_shapes=[(30, 33), (48, 64)])
    feats = [torch.randn(2, 3, *s) for s in SHAPES]
    with NoSync():
        sum(head.loss(head(feats), batch).values()).backward()


def test_initial_values_and_errors() -> None:
    head = build(in_channels=64, feat_channels=64)
    head.init_weights()
    assert 0.009 < head.rpn_conv.weight.std() < 0.011
    assert head.rpn_cls.bias.abs().sum() == 0
    with pytest.raises(ValueError, match='`nms_pre` must be 1 or more, got 0'):
        build(nms_pre=0)
    with pytest.raises(ValueError, match='`nms` must be a suppression that needs boxes and scores alone, got SofterNMS'):
        build(nms=dict(type='SofterNMS'))
    with pytest.raises(ValueError, match='RPNHead: `reg_decoded_bbox` must be True with a `loss_bbox` on boxes, IoULoss'):
        build(loss_bbox=dict(type='IoULoss'))
    with pytest.raises(ValueError, match=r'RPNHead: `sampler` must be a sampler that needs no losses, .* got OHEMSampler'):
        build(sampler=dict(type='OHEMSampler', num=8, pos_fraction=0.5))
    for name in ('CrossEntropyLoss', 'HardExampleCrossEntropyLoss'):
        with pytest.raises(ValueError, match=rf"RPNHead: `loss_cls` must be a loss on sigmoids, .* got {{'type': '{name}'}}"):
            build(loss_cls=dict(type=name))
