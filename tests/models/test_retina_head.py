"""RetinaNet: losses and candidates against loops over anchors, the whole detector thin."""

from typing import Any

import numpy as np
import pytest
import torch

from mmpose_lite.models.heads.dense.dense_parts import DenseCandidates
from mmpose_lite.models.heads.dense.retina_head import RetinaHead, RetinaMaps
from mmpose_lite.registry import HEADS, MODELS
from tests.det_batches import det_batch, iou, slow_decode, slow_nms
from tests.no_sync import NoSync

SHAPES = ((6, 8), (3, 4))  # (H, W) of levels of strides 8 and 16: inputs of 64 x 48 px
SIZE = (64, 48)
A, C = 2, 3


def head_cfg(**args: Any) -> dict[str, Any]:
    cfg = dict(
        type='RetinaHead',
        in_channels=4,
        feat_channels=4,
        stacked_convs=1,
        anchor_generator=dict(type='AnchorGenerator', strides=(8, 16), ratios=(0.5, 2.0), scales=(2,)),
        bbox_coder=dict(type='DeltaXYWHBBoxCoder'),
        assigner=dict(type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.4, min_pos_iou=0.1, ignore_iof_thr=0.5),
        loss_cls=dict(type='FocalLoss'),
        loss_bbox=dict(type='L1Loss'),
        nms=dict(type='HardNMS', iou_threshold=0.5),
    )
    return cfg | args


def build(**args: Any) -> RetinaHead:
    return HEADS.build(head_cfg(**args), num_classes=C)


def random_raw(B: int = 2) -> RetinaMaps:
    return RetinaMaps(
        tuple(torch.randn(B, A * C, *s, requires_grad=True) for s in SHAPES),
        tuple((0.3 * torch.randn(B, 4 * A, *s)).requires_grad_() for s in SHAPES),
    )


def rows_of(raw: RetinaMaps, image: int) -> list[list[tuple[list[float], torch.Tensor, torch.Tensor]]]:
    """Return for each level (anchor, logits (C,), deltas) of every anchor."""
    levels = []
    for level, stride in enumerate((8, 16)):
        rows = []
        for y, x, a in torch.cartesian_prod(*(torch.arange(n) for n in (*SHAPES[level], A))).tolist():
            h, w = 2 * stride * (0.5, 2.0)[a] ** 0.5, 2 * stride / (0.5, 2.0)[a] ** 0.5
            box = [x * stride - w / 2, y * stride - h / 2, x * stride + w / 2, y * stride + h / 2]
            logits, deltas = (maps[level][image, n * a : n * (a + 1), y, x] for maps, n in zip(raw, (C, 4)))
            rows.append((box, logits, deltas))
        levels.append(rows)
    return levels


def test_losses_by_a_loop() -> None:
    head, raw = build(), random_raw()
    boxes = [[[5.0, 6.0, 30.0, 28.0], [30.0, 20.0, 62.0, 46.0]], []]
    losses = head.loss(raw, det_batch(boxes, labels=[[2, 0], []], size=SIZE))
    cls, reg, count = 0.0, 0.0, 0
    for image in range(2):
        rows = [row for level in rows_of(raw, image) for row in level]
        ious = [[iou(row[0], box) for box in boxes[image]] for row in rows]
        best = [max(column) for column in zip(*ious)]
        num_positive = 0
        for (box, logits, deltas), of_row in zip(rows, ious):
            forced = [m for m, value in enumerate(of_row) if value == best[m] >= 0.1]
            gt = forced[-1] if forced else (int(np.argmax(of_row)) if max(of_row, default=0) >= 0.5 else None)
            if gt is None and max(of_row, default=0) >= 0.4:
                continue
            target = torch.zeros(C)
            if gt is not None:
                num_positive += 1
                target[(2, 0)[gt]] = 1
                x1, y1, x2, y2 = boxes[image][gt]
                w, h = box[2] - box[0], box[3] - box[1]
                centre = [(x1 + x2 - box[0] - box[2]) / 2 / w, (y1 + y2 - box[1] - box[3]) / 2 / h]
                coded = torch.tensor([*centre, np.log((x2 - x1) / w), np.log((y2 - y1) / h)])
                reg += (deltas - coded).abs().sum().item()
            p = logits.sigmoid()
            wrong = torch.where(target > 0, 1 - p, p)
            cls += (torch.where(target > 0, 0.25, 0.75) * wrong**2 * -(1 - wrong).log()).sum().item()
        count += max(num_positive, 1)
    assert count > 2
    assert losses['loss_cls'].item() == pytest.approx(cls / count, rel=1e-4)
    assert losses['loss_bbox'].item() == pytest.approx(reg / count, rel=1e-4)


def test_candidates_and_suppression_by_a_loop() -> None:
    head, raw = build(nms_pre=20, score_thr=0.8, max_per_img=9), random_raw()
    shapes = [(48, 64), (40, 50)]
    found = head.candidates(raw, det_batch([[], []], size=SIZE, img_shapes=shapes))
    for image, (h, w) in enumerate(shapes):
        boxes, scores, labels = [], [], []
        for rows in rows_of(raw, image):
            pairs = [(logits[c].sigmoid().item(), c, box, deltas) for box, logits, deltas in rows for c in range(C)]
            for score, label, box, deltas in sorted(pairs, key=lambda pair: -pair[0])[:20]:
                if score > 0.8:
                    x1, y1, x2, y2 = slow_decode(box, deltas.tolist())
                    boxes.append([min(max(x1, 0), w), min(max(y1, 0), h), min(max(x2, 0), w), min(max(y2, 0), h)])
                    scores.append(score)
                    labels.append(label)
        boxes, scores, labels = torch.tensor(boxes), torch.tensor(scores), torch.tensor(labels)
        assert 9 < len(scores) < 40
        torch.testing.assert_close(found[image].scores[found[image].scores > -torch.inf], scores)
        kept = [torch.nonzero(labels == c)[:, 0] for c in range(C)]
        kept = torch.cat([rows[slow_nms(boxes[rows], scores[rows], 0.5)] for rows in kept])
        kept = kept[scores[kept].argsort(descending=True)][:9]
        ours = head.suppress(found[image])
        torch.testing.assert_close(ours.boxes, boxes[kept], rtol=1e-4, atol=1e-3)
        torch.testing.assert_close(ours.scores, scores[kept])
        assert ours.labels.tolist() == labels[kept].tolist()


def test_everything_learns_without_waiting_and_without_objects() -> None:
    head = build()
    head.init_weights()
    assert head.retina_cls.bias.sigmoid().tolist() == pytest.approx([0.01] * A * C)
    feats = [torch.randn(2, 4, *shape) for shape in SHAPES]
    for boxes in ([[[5.0, 6.0, 30.0, 28.0]], []], [[], []]):
        head.zero_grad()
        with NoSync():
            losses = head.loss(head(feats), det_batch(boxes, size=SIZE, img_shapes=[(48, 64), (40, 50)]))
            sum(losses.values()).backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in head.parameters())
        assert (losses['loss_bbox'] > 0) == bool(boxes[0])
        assert head.retina_cls.weight.grad.any()


@pytest.mark.parametrize('head', ['RetinaHead', 'CenterNetHead'])
def test_boxes_of_which_nothing_is_left_are_no_objects(head: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = dict(head_cfg(), in_channels=4, feat_channels=4)
    if head == 'CenterNetHead':
        losses = {f'loss_{name}': dict(type='L1Loss') for name in ('center_heatmap', 'wh', 'offset')}
        cfg = dict(type=head, in_channels=4, feat_channels=4, stride=16, **losses)
    backbone = dict(type='ResNet', depth=18, stem_channels=4, base_channels=4, out_indices=(1, 2))
    neck = dict(type='FPN', in_channels=(8, 16), out_channels=4, num_outs=2)
    model = MODELS.build(dict(type='SingleStageDetector', meta=dict(classes=['a']), backbone=backbone, neck=neck, bbox_head=cfg))
    boxes = torch.tensor([[50.0, 4, 50, 20], [4, 4, 20, 20], [30, 9, 20, 19]])  # at the border, whole, and inside out
    found = DenseCandidates(boxes, torch.tensor([0.9, 0.8, 0.7]), torch.zeros(3).long())
    monkeypatch.setattr(model.bbox_head, 'candidates', lambda raw, samples: [found])
    (sample,) = model.eval()(torch.randn(1, 3, 48, 64), det_batch([[]], size=SIZE), mode='predict')
    assert sample.pred_instances.bboxes.tolist() == [[4, 4, 20, 20]]


def test_the_whole_detector_learns_one_image_by_heart() -> None:
    torch.set_num_threads(1)
    model = MODELS.build(
        dict(
            type='SingleStageDetector',
            meta=dict(classes=['cat', 'dog']),
            backbone=dict(type='ResNet', depth=18, stem_channels=8, base_channels=8, out_indices=(1, 2)),
            neck=dict(type='FPN', in_channels=(16, 32), out_channels=16, num_outs=2),
            bbox_head=dict(head_cfg(score_thr=0.3), in_channels=16, feat_channels=16),
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
    model.eval()
    samples.metainfo[0].update(warp_matrix=[[0.5, 0, 0], [0, 2.0, 4.0]], ori_shape=(22, 128))  # of an image of another size
    found = model(inputs, samples, mode='predict')[0].pred_instances
    for label, box in ((1, [12.0, 2.0, 80.0, 13.0]), (0, [88.0, 8.0, 124.0, 21.0])):
        best = found.bboxes[found.labels == label][0]
        np.testing.assert_allclose(best, box, atol=8)
    assert [tuple(x.shape) for x in model(inputs).deltas] == [(1, 8, 6, 8), (1, 8, 3, 4)]
    with pytest.raises(ValueError, match='`mode` must be one of'):
        model(inputs, mode='test')
    with pytest.raises(ValueError, match="mode 'loss' needs `data_samples`"):
        model(inputs, mode='loss')


def test_a_suppression_that_needs_more_and_a_softmax_are_refused() -> None:
    with pytest.raises(ValueError, match=r'RetinaHead: `nms` must be .* got SofterNMS, which needs `variances`'):
        build(nms=dict(type='SofterNMS'))
    with pytest.raises(ValueError, match='RetinaHead: `loss_cls` must be a loss on sigmoids'):
        build(loss_cls=dict(type='CrossEntropyLoss'))
    with pytest.raises(ValueError, match='RetinaHead: `reg_decoded_bbox` must be True with a `loss_bbox` on boxes, GIoULoss'):
        build(loss_bbox=dict(type='GIoULoss'))
    with pytest.raises(ValueError, match='RetinaHead: `nms_pre` must be 1 or more, got -1'):
        build(nms_pre=-1)
