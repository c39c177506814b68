"""FCOS: targets, losses and candidates against loops over points, the whole detector thin."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from mmpose_lite.models.heads.dense.fcos_head import FCOSHead, FCOSMaps
from mmpose_lite.registry import HEADS, MODELS
from tests.det_batches import det_batch, iou
from tests.no_sync import NoSync

SHAPES = ((6, 8), (3, 4))  # (H, W) of levels of strides 8 and 16: inputs of 64 x 48 px
SIZE = (64, 48)
RANGES = ((-1, 20), (20, 1e8))
C = 3
BOXES = [[[3.0, 5.0, 30.0, 29.0], [26.0, 10.0, 62.0, 46.0], [8.0, 9.0, 18.0, 20.0], [34.0, 2.0, 50.0, 28.0]], []]
LABELS = [[2, 0, 1, 1], []]
IGNORED = [[False, False, False, True], []]


def head_cfg(**args: Any) -> dict[str, Any]:
    cfg = dict(
        type='FCOSHead',
        in_channels=4,
        feat_channels=4,
        stacked_convs=1,
        strides=(8, 16),
        regress_ranges=RANGES,
        loss_cls=dict(type='FocalLoss'),
        loss_bbox=dict(type='IoULoss'),
        loss_centerness=dict(type='CrossEntropyLoss', use_sigmoid=True),
        nms=dict(type='HardNMS', iou_threshold=0.5),
    )
    return cfg | args


def build(**args: Any) -> FCOSHead:
    return HEADS.build(head_cfg(**args), num_classes=C)


def random_raw() -> FCOSMaps:
    return FCOSMaps(
        tuple(torch.randn(2, C, *s) for s in SHAPES),
        tuple(4 + 20 * torch.rand(2, 4, *s) for s in SHAPES),
        tuple(torch.randn(2, 1, *s) for s in SHAPES),
    )


def points() -> list[tuple[int, int, int, float, float]]:
    """Return (level, row, column, x, y) of every point."""
    return [
        (level, i, j, (j + 0.5) * stride, (i + 0.5) * stride)
        for level, ((H, W), stride) in enumerate(zip(SHAPES, (8, 16)))
        for i in range(H)
        for j in range(W)
    ]


def test_losses_by_a_loop() -> None:
    head, raw = build(), random_raw()
    losses = head.loss(raw, det_batch(BOXES, labels=LABELS, ignored=IGNORED, size=SIZE))
    cls, boxes, centers, num_positive, weights = 0.0, 0.0, 0.0, 0, 0.0
    levels_used = set()
    for b in range(2):
        for level, i, j, x, y in points():
            best, in_ignored = None, False
            for n, (x1, y1, x2, y2) in enumerate(BOXES[b]):
                edges = (x - x1, y - y1, x2 - x, y2 - y)
                if min(edges) <= 0:
                    continue
                if IGNORED[b][n]:
                    in_ignored = True
                elif RANGES[level][0] <= max(edges) <= RANGES[level][1]:
                    area = (x2 - x1) * (y2 - y1)
                    if best is None or area < best[0]:
                        best = (area, n, edges)
            if best is None and in_ignored:
                continue
            logits = raw.cls_logits[level][b, :, i, j]
            target = torch.zeros(C)
            if best is not None:
                _, n, (left, top, right, bottom) = best
                target[LABELS[b][n]] = 1
                num_positive += 1
                levels_used.add(level)
                central = math.sqrt(min(left, right) / max(left, right) * min(top, bottom) / max(top, bottom))
                reach = raw.distances[level][b, :, i, j].tolist()
                found = [x - reach[0], y - reach[1], x + reach[2], y + reach[3]]
                boxes -= central * math.log(iou(found, BOXES[b][n]))
                weights += central
                logit = raw.centerness[level][b, 0, i, j].item()
                centers += math.log1p(math.exp(logit)) - central * logit
            p = logits.sigmoid()
            wrong = torch.where(target > 0, 1 - p, p)
            cls += (torch.where(target > 0, 0.25, 0.75) * wrong**2 * -(1 - wrong).log()).sum().item()
    assert levels_used == {0, 1}
    assert losses['loss_cls'].item() == pytest.approx(cls / num_positive, rel=1e-4)
    assert losses['loss_bbox'].item() == pytest.approx(boxes / weights, rel=1e-4)
    assert losses['loss_centerness'].item() == pytest.approx(centers / num_positive, rel=1e-4)


def test_candidates_by_a_loop() -> None:
    head, raw = build(nms_pre=10, score_thr=0.8), random_raw()
    shapes = [(48, 64), (40, 50)]
    found = head.candidates(raw, det_batch([[], []], size=SIZE, img_shapes=shapes))
    for b, (h, w) in enumerate(shapes):
        expected = []
        for level in range(2):
            pairs = []
            for lev, i, j, x, y in points():
                if lev == level:
                    reach = raw.distances[level][b, :, i, j].tolist()
                    box = [max(x - reach[0], 0), max(y - reach[1], 0), min(x + reach[2], w), min(y + reach[3], h)]
                    box = [min(box[0], w), min(box[1], h), max(box[2], 0), max(box[3], 0)]
                    central = raw.centerness[level][b, 0, i, j].sigmoid().item()
                    pairs += [(raw.cls_logits[level][b, c, i, j].sigmoid().item(), central, c, box) for c in range(C)]
            expected += sorted(pairs, key=lambda pair: -pair[0])[:10]
        kept = found[b].scores > -torch.inf
        expected = [e for e in expected if e[0] > 0.8]
        assert 0 < len(expected) < 20
        torch.testing.assert_close(found[b].scores[kept], torch.tensor([score * central for score, central, _, _ in expected]))
        torch.testing.assert_close(found[b].boxes[kept], torch.tensor([box for *_, box in expected]))
        assert found[b].labels[kept].tolist() == [c for _, _, c, _ in expected]


@pytest.mark.parametrize(
    'args', [dict(), dict(norm_on_bbox=True, centerness_on_reg=True, norm_cfg=dict(type='GN', num_groups=2))]
)
def test_everything_learns_without_waiting_and_without_objects(args: dict[str, Any]) -> None:
    head = build(**args)
    head.init_weights()
    torch.nn.init.constant_(head.conv_reg.bias, 2.0)  # px, or strides: boxes that are not empty
    feats = [torch.randn(2, 4, *shape) for shape in SHAPES]
    for boxes in (BOXES, [[], []]):
        head.zero_grad()
        with NoSync():
            losses = head.loss(head(feats), det_batch(boxes, size=SIZE))
            sum(losses.values()).backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in head.parameters())
        if boxes is BOXES:
            assert all(p.grad.any() for p in head.parameters())
        else:
            assert losses['loss_bbox'] == losses['loss_centerness'] == 0


def test_distances_are_learnt_in_strides_or_as_logarithms() -> None:
    feats = [torch.randn(1, 4, *shape) for shape in SHAPES]
    for args, expected in ((dict(norm_on_bbox=True), (3.0 * 8, 3.0 * 16)), (dict(), (math.exp(3), math.exp(3)))):
        head = build(**args)
        torch.nn.init.zeros_(head.conv_reg.weight)
        torch.nn.init.constant_(head.conv_reg.bias, 3.0)
        assert [x.unique().item() for x in head(feats).distances] == pytest.approx(expected)


def test_the_whole_detector_learns_one_image_by_heart() -> None:
    torch.set_num_threads(1)
    model = MODELS.build(
        dict(
            type='SingleStageDetector',
            meta=dict(classes=['cat', 'dog']),
            backbone=dict(type='ResNet', depth=18, stem_channels=8, base_channels=8, out_indices=(1, 2)),
            neck=dict(type='FPN', in_channels=(16, 32), out_channels=16, num_outs=2),
            bbox_head=head_cfg(in_channels=16, feat_channels=16, score_thr=0.3),
        )
    )
    model.init_weights()
    inputs = torch.zeros(1, 3, 48, 64)
    inputs[0, 0, 8:30, 6:40] = 1
    inputs[0, 1, 20:46, 44:62] = 1
    samples = det_batch([[[6.0, 8.0, 40.0, 30.0], [44.0, 20.0, 62.0, 46.0]]], labels=[[1, 0]], size=SIZE)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(80):
        loss, _ = model.parse_losses(model(inputs, samples, mode='loss'))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found = model.eval()(inputs, samples, mode='predict')[0].pred_instances
    for label, box in ((1, [6.0, 8.0, 40.0, 30.0]), (0, [44.0, 20.0, 62.0, 46.0])):
        np.testing.assert_allclose(found.bboxes[found.labels == label][0], box, atol=5)


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match=r'FCOSHead: `strides` \(8, 16\) needs one entry per map, got 1 maps'):
        build()([torch.randn(1, 4, 6, 8)])
    with pytest.raises(ValueError, match='FCOSHead: `nms_pre` must be 1 or more, got 0'):
        build(nms_pre=0)
    with pytest.raises(ValueError, match=r'FCOSHead: `regress_ranges` needs one entry per stride \(2\)'):
        build(regress_ranges=((0, 9),))
    with pytest.raises(ValueError, match=r'FCOSHead: `nms` must be .* got AdaptiveNMS, which needs `densities`'):
        build(nms=dict(type='AdaptiveNMS'))
    for name in ('loss_cls', 'loss_centerness'):
        with pytest.raises(ValueError, match=f'FCOSHead: `{name}` must be a loss on sigmoids'):
            build(**{name: dict(type='CrossEntropyLoss')})
