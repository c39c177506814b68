"""CenterNet: radii, targets, losses and peaks by loops, its neck and its loss, the whole detector thin."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from mmpose_lite.models.assign.objects import Objects
from mmpose_lite.models.heads.dense.center_head import CenterMaps, CenterNetHead, center_targets, peak_radius
from mmpose_lite.registry import HEADS, LOSSES, MODELS, NECKS
from tests.det_batches import det_batch, iou
from tests.no_sync import NoSync
from tests.parity import functions

SIZE = (64, 48)
BOXES = [
    [[3.0, 5.0, 30.0, 29.0], [26.0, 10.0, 62.0, 46.0], [8.0, 9.0, 18.0, 20.0], [40.0, 2.0, 52.0, 12.0], [10.0, 12.0, 24.0, 24.0]],
    [],
]
LABELS = [[2, 0, 2, 1, 0], []]
IGNORED = [[False, False, False, True, True], []]


def head_cfg(**args: object) -> dict:
    cfg = dict(
        type='CenterNetHead',
        in_channels=4,
        feat_channels=6,
        loss_center_heatmap=dict(type='GaussianFocalLoss'),
        loss_wh=dict(type='L1Loss', loss_weight=0.1),
        loss_offset=dict(type='L1Loss'),
        topk=5,
    )
    return cfg | args


def build(**args: object) -> CenterNetHead:
    return HEADS.build(head_cfg(**args), num_classes=3)


@pytest.mark.parametrize(('w', 'h'), [(10.0, 10.0), (30.0, 4.0), (7.0, 21.0), (1.0, 1.0)])
@pytest.mark.parametrize('overlap', [0.3, 0.7])
def test_a_box_that_is_off_by_the_radius_still_overlaps(w: float, h: float, overlap: float) -> None:
    r = peak_radius(torch.tensor([w, h], dtype=torch.double), overlap).item()
    box = [0.0, 0.0, w, h]
    moved = ([r, r, w + r, h + r], [r, r, w - r, h - r], [-r, -r, w + r, h + r])
    assert min(iou(box, other) for other in moved) == pytest.approx(overlap)


def test_targets_by_a_loop() -> None:
    targets = center_targets(Objects.of(det_batch(BOXES, labels=LABELS, ignored=IGNORED, size=SIZE)), (12, 16), 4, num_classes=3)
    expected = np.zeros((2, 3, 12, 16))
    for n, (x1, y1, x2, y2) in enumerate(BOXES[0][:3]):
        w, h = (x2 - x1) / 4, (y2 - y1) / 4
        cx, cy = int((x1 + x2) / 8), int((y1 + y2) / 8)
        radius = int(peak_radius(torch.tensor([w, h]), 0.3))
        sigma = (2 * radius + 1) / 6
        for y in range(max(cy - radius, 0), min(cy + radius + 1, 12)):
            for x in range(max(cx - radius, 0), min(cx + radius + 1, 16)):
                value = math.exp(-((x - cx) ** 2 + (y - cy) ** 2) / 2 / sigma**2)
                expected[0, LABELS[0][n], y, x] = max(expected[0, LABELS[0][n], y, x], value)
        assert targets.cells[0, n] == cy * 16 + cx
        assert targets.sizes[0, n].tolist() == pytest.approx([w, h])
        assert targets.offsets[0, n].tolist() == pytest.approx([(x1 + x2) / 8 - cx, (y1 + y2) / 8 - cy])
    np.testing.assert_allclose(targets.heatmap.numpy(), expected, atol=1e-6)
    assert (expected == 1).sum() == 3
    counts = np.ones((2, 3, 12, 16), bool)
    counts[0, :, 1:3, 10:13] = counts[0, :, 3:6, 3:6] = False  # cells whose middle lies in a region to be ignored
    assert expected[0, 2, 4, 4] == 1  # an object has its centre in the second one
    np.testing.assert_array_equal(targets.counts.numpy(), counts | (expected == 1))


def test_losses_by_hand() -> None:
    head = build()
    raw = CenterMaps((torch.rand(2, 3, 12, 16) * 0.9 + 0.05,), (4 * torch.rand(2, 2, 12, 16),), (torch.rand(2, 2, 12, 16),))
    batch = det_batch(BOXES, labels=LABELS, ignored=IGNORED, size=SIZE)
    losses = head.loss(raw, batch)
    targets = center_targets(Objects.of(batch), (12, 16), 4, num_classes=3)
    heatmap, p = targets.heatmap, raw.scores[0]
    cells = torch.where(heatmap == 1, -p.log() * (1 - p) ** 2, -(1 - p).log() * p**2 * (1 - heatmap) ** 4)[targets.counts]
    assert losses['loss_center_heatmap'].item() == pytest.approx(cells.sum().item() / 3, rel=1e-5)
    sizes, offsets = 0.0, 0.0
    for x1, y1, x2, y2 in BOXES[0][:3]:
        x, y = (x1 + x2) / 8, (y1 + y2) / 8
        w, h = raw.sizes[0][0, :, int(y), int(x)].tolist()
        dx, dy = raw.offsets[0][0, :, int(y), int(x)].tolist()
        sizes += abs(w - (x2 - x1) / 4) + abs(h - (y2 - y1) / 4)
        offsets += abs(dx - x + int(x)) + abs(dy - y + int(y))
    assert losses['loss_wh'].item() == pytest.approx(0.1 * sizes / 6, rel=1e-5)
    assert losses['loss_offset'].item() == pytest.approx(offsets / 6, rel=1e-5)


def test_peaks_by_a_loop() -> None:
    head = build()
    raw = CenterMaps((torch.rand(2, 3, 6, 7),), (4 + 3 * torch.rand(2, 2, 6, 7),), (torch.rand(2, 2, 6, 7),))
    found = head.candidates(raw, det_batch([[], []], size=(28, 24)))
    for b in range(2):
        peaks = []
        for c, y, x in torch.cartesian_prod(torch.arange(3), torch.arange(6), torch.arange(7)).tolist():
            score = raw.scores[0][b, c, y, x].item()
            around = raw.scores[0][b, c, max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]
            if score == around.max().item():
                cx, cy = x + raw.offsets[0][b, 0, y, x].item(), y + raw.offsets[0][b, 1, y, x].item()
                w, h = raw.sizes[0][b, :, y, x].tolist()
                peaks.append((score, c, [4 * (cx - w / 2), 4 * (cy - h / 2), 4 * (cx + w / 2), 4 * (cy + h / 2)]))
        best = sorted(peaks, key=lambda peak: -peak[0])[:5]
        kept = head.suppress(found[b])
        assert kept.scores.tolist() == pytest.approx([score for score, *_ in best])
        assert kept.labels.tolist() == [c for _, c, _ in best]
        torch.testing.assert_close(kept.boxes, torch.tensor([box for *_, box in best]))
    alone = CenterMaps((torch.zeros(1, 3, 6, 7).index_fill(2, torch.tensor(2), 0.5),), (raw.sizes[0][:1],), (raw.offsets[0][:1],))
    alone.scores[0][0, :, 2, 4] = 0.9  # of each class one peak in its row, and the cells too far from it to be lower
    (few,) = build(local_maximum_kernel=13, topk=50).candidates(alone, det_batch([[]], size=(28, 24)))
    assert head.suppress(few).scores.tolist() == pytest.approx([0.9] * 3), 'what is no peak is no object'
    fewer = build(nms=dict(type='HardNMS', iou_threshold=0.01)).suppress(found[0])
    assert len(fewer.scores) < 5


def test_everything_learns_without_waiting_and_without_objects() -> None:
    head = build()
    head.init_weights()
    assert head.heatmap_head[2].bias.sigmoid().tolist() == pytest.approx([0.1] * 3)
    feats = [torch.randn(2, 4, 12, 16)]
    for boxes in (BOXES, [[], []]):
        head.zero_grad()
        with NoSync():
            losses = head.loss(head(feats), det_batch(boxes, size=SIZE))
            sum(losses.values()).backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in head.parameters())
        assert head.heatmap_head[0].weight.grad.any()
        assert bool(losses['loss_wh'] > 0) == bool(boxes[0])


def test_wrong_peaks_are_unlearnt_in_half_precision_too() -> None:
    head, feats = build(), [torch.zeros(1, 4, 12, 16)]
    torch.nn.init.zeros_(head.heatmap_head[2].weight)
    torch.nn.init.constant_(head.heatmap_head[2].bias, 8.0)  # a probability that is 1 in bfloat16
    with torch.autocast('cpu', dtype=torch.bfloat16):
        raw = head(feats)
        head.loss(raw, det_batch([[]], size=SIZE))['loss_center_heatmap'].backward()
    p = torch.tensor(8.0).sigmoid()
    slope = -(1 - p) * 2 * p**2 * (1 - p).log() + p**3  # of -p^2 log(1 - p), by the logit
    torch.testing.assert_close(head.heatmap_head[2].bias.grad, torch.full((3,), 12 * 16 * slope.item()), rtol=0.02, atol=0)


def test_gaussian_focal_loss(shared: Path) -> None:
    stored = functions(shared)
    pred, target = (torch.from_numpy(stored[f'loss.gaussian_focal.{name}']) for name in ('pred', 'target'))
    loss = LOSSES.build(dict(type='GaussianFocalLoss'))(pred, target, avg_factor=(target == 1).sum())
    assert loss.item() == pytest.approx(float(stored['loss.gaussian_focal']), rel=1e-5)


def test_gradient_of_gaussian_focal_loss() -> None:
    target = torch.rand(2, 3, 4, dtype=torch.double)
    target[0, 0, 0] = 1
    pred = (0.05 + 0.9 * torch.rand(2, 3, 4, dtype=torch.double)).requires_grad_()
    loss = LOSSES.build(dict(type='GaussianFocalLoss'))
    assert torch.autograd.gradcheck(lambda p: loss(p, target, avg_factor=2.0), pred)
    with pytest.raises(ValueError, match='GaussianFocalLoss: `pred` and `target` must have one shape'):
        loss(pred, target[0])


@pytest.mark.parametrize('use_dcn', [True, False])
def test_the_neck_starts_by_enlarging_bilinearly(use_dcn: bool) -> None:
    neck = NECKS.build(
        dict(type='CTResNetNeck', in_channels=4, num_deconv_filters=(6, 5), num_deconv_kernels=(4, 4), use_dcn=use_dcn)
    )
    neck.init_weights()
    assert neck.out_channels == (5,)
    assert neck((torch.randn(1, 9, 8, 8), torch.randn(1, 4, 3, 5)))[0].shape == (1, 5, 12, 20)
    x = torch.randn(1, 6, 4, 4)
    grown = functional.interpolate(x, scale_factor=2, mode='bilinear', align_corners=False)
    torch.testing.assert_close(neck.deconv_layers[1].conv(x)[..., 1:-1, 1:-1], grown[..., 1:-1, 1:-1])
    neck.train()((torch.randn(2, 4, 3, 5),))[0].square().sum().backward()
    assert all(p.grad is not None for p in neck.parameters())
    with pytest.raises(
        ValueError, match=r'CTResNetNeck: `num_deconv_kernels` needs one even number per filter \(2\), got \(3, 4\)'
    ):
        NECKS.build(dict(type='CTResNetNeck', in_channels=4, num_deconv_filters=(6, 5), num_deconv_kernels=(3, 4)))


def test_the_whole_detector_learns_one_image_by_heart() -> None:
    torch.set_num_threads(1)
    model = MODELS.build(
        dict(
            type='SingleStageDetector',
            meta=dict(classes=['cat', 'dog']),
            backbone=dict(
                type='ResNet',
                depth=18,
                stem_channels=8,
                base_channels=8,
                num_stages=2,
                strides=(1, 2),
                dilations=(1, 1),
                out_indices=(1,),
            ),
            neck=dict(type='CTResNetNeck', in_channels=16, num_deconv_filters=(8,), num_deconv_kernels=(4,)),
            bbox_head=head_cfg(in_channels=8, feat_channels=16),
        )
    )
    model.init_weights()
    assert isinstance(model.neck.deconv_layers[0].conv.conv_offset, nn.Conv2d)
    inputs = torch.zeros(1, 3, 48, 64)
    inputs[0, 0, 8:30, 6:40] = 1
    inputs[0, 1, 20:46, 44:62] = 1
    samples = det_batch([[[6.0, 8.0, 40.0, 30.0], [44.0, 20.0, 62.0, 46.0]]], labels=[[1, 0]], size=SIZE)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(100):
        loss, _ = model.parse_losses(model(inputs, samples, mode='loss'))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found = model.eval()(inputs, samples, mode='predict')[0].pred_instances
    assert sorted(found.labels[:2].tolist()) == [0, 1]
    for label, box in ((1, [6.0, 8.0, 40.0, 30.0]), (0, [44.0, 20.0, 62.0, 46.0])):
        np.testing.assert_allclose(found.bboxes[found.labels == label][0], box, atol=6)


def test_an_even_neighbourhood_is_refused() -> None:
    with pytest.raises(ValueError, match='CenterNetHead: `local_maximum_kernel` must be odd and positive, got 2'):
        build(local_maximum_kernel=2)
    with pytest.raises(ValueError, match='CenterNetHead: `topk` must be 1 or more, got 0'):
        build(topk=0)
    with pytest.raises(
        ValueError, match='CenterNetHead: `nms` must be a suppression that needs boxes and scores alone, got SofterNMS'
    ):
        build(nms=dict(type='SofterNMS'))
