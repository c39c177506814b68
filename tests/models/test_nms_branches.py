"""What a box head predicts for suppressions beside classes and boxes: IoU, variance, density."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mmpose_lite.models.assign.objects import Objects
from mmpose_lite.models.heads.roi.bbox_head import Shared2FCBBoxHead
from mmpose_lite.models.heads.roi.candidates import Candidates
from mmpose_lite.models.heads.roi.sampling import RoISample, positives
from mmpose_lite.models.heads.roi.standard_roi_head import StandardRoIHead
from mmpose_lite.registry import BOX_CODERS, HEADS, NMS
from tests.det_batches import det_batch, iou, slow_decode

STDS = (0.1, 0.1, 0.2, 0.2)
BRANCHES = dict(with_iou_branch=True, with_variance=True, with_density=True, loss_bbox=dict(type='BoxKLLoss'))


def head_cfg(**args: Any) -> dict[str, Any]:
    return dict(
        type='Shared2FCBBoxHead',
        in_channels=4,
        fc_out_channels=8,
        roi_feat_size=3,
        bbox_coder=dict(type='DeltaXYWHBBoxCoder', target_stds=STDS),
        loss_cls=dict(type='CrossEntropyLoss'),
        **dict(dict(loss_bbox=dict(type='SmoothL1Loss')), **args),
    )


def box_head(**args: Any) -> Shared2FCBBoxHead:
    return HEADS.build(head_cfg(**args), num_classes=3)


def roi_head(nms: str, **args: Any) -> StandardRoIHead:
    return HEADS.build(
        dict(
            type='StandardRoIHead',
            num_classes=3,
            bbox_roi_extractor=dict(
                type='SingleRoIExtractor', roi_layer=dict(type='RoIAlign', output_size=3), out_channels=4, featmap_strides=(8,)
            ),
            bbox_head=head_cfg(**args),
            assigner=dict(type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.5, match_low_quality=False),
            sampler=dict(type='RandomSampler', num=16, pos_fraction=0.5),
            nms=dict(type=nms),
            score_thr=0.0,
        )
    )


def sample() -> RoISample:
    gts = torch.tensor([[10.0, 10, 30, 40], [12, 8, 34, 38], [0, 0, 9, 9], [0, 0, 9, 9]])
    rois = torch.cat([torch.zeros(4, 1), gts + torch.tensor([[2.0, -3, 4, 1], [0, 2, 3, -2], [30, 30, 40, 50], [0, 0, 0, 0]])], 1)
    positive, valid = torch.tensor([True, True, False, False]), torch.tensor([True, True, True, False])
    densities = torch.tensor([0.6, 0.3, 0.9, 0.9])
    return RoISample(rois, gts, torch.tensor([2, 0, 1, 1]), torch.arange(4), positive, valid, ~valid, densities, [4], 2)


@pytest.mark.parametrize('agnostic', [False, True])
def test_losses_by_hand(agnostic: bool) -> None:
    head, rows = box_head(reg_class_agnostic=agnostic, **BRANCHES), sample()
    for fc in (head.fc_iou, head.fc_variance, head.fc_density):
        nn.init.normal_(fc.weight)
    raw = head(torch.randn(4, 4, 3, 3))
    losses = head.loss(raw, rows)
    assert list(losses) == ['loss_cls', 'loss_bbox', 'acc_cls', 'loss_iou', 'loss_density']
    ious, densities, kl = 0.0, 0.0, 0.0
    for i in (0, 1):
        label, roi, gt = int(rows.gt_labels[i]), rows.rois[i, 1:].tolist(), rows.gt_boxes[i].tolist()
        k = 0 if agnostic else label
        deltas, logs = raw.deltas[i, 4 * k : 4 * k + 4], raw.log_variances[i, 4 * k : 4 * k + 4]
        target = iou(slow_decode(roi, deltas.tolist(), STDS), gt)
        ious += (raw.iou_logits[i, k].sigmoid().item() - target) ** 2 / 2
        densities += (raw.density_logits[i, 0].sigmoid().item() - rows.gt_densities[i].item()) ** 2 / 2
        errors = (deltas - head.bbox_coder.encode(rows.rois[i, 1:], rows.gt_boxes[i])).abs()
        smooth = torch.where(errors < 1, errors**2 / 2, errors - 0.5)
        kl += ((-logs).exp() * smooth + logs / 2).sum().item()
    assert losses['loss_iou'].item() == pytest.approx(ious / 2, rel=1e-4)
    assert losses['loss_density'].item() == pytest.approx(densities / 2, rel=1e-4)
    assert losses['loss_bbox'].item() == pytest.approx(kl / 3, rel=1e-4)
    sum(v for k, v in losses.items() if 'loss' in k).backward()
    assert all(p.grad.abs().sum() > 0 for p in head.parameters())


def test_nothing_to_learn_is_zero_with_gradient() -> None:
    head, rows = box_head(**BRANCHES), sample()
    losses = head.loss(head(torch.randn(4, 4, 3, 3)), rows._replace(is_positive=torch.zeros(4, dtype=torch.bool)))
    assert losses['loss_iou'] == losses['loss_density'] == losses['loss_bbox'] == 0
    sum(v for k, v in losses.items() if 'loss' in k).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in head.parameters())


def test_variances_of_edges_are_those_of_the_jacobian() -> None:
    coder = BOX_CODERS.build(dict(type='DeltaXYWHBBoxCoder', target_stds=STDS, target_means=(0.1, 0.0, -0.2, 0.3)))
    prior, deltas = torch.tensor([10.0, 20.0, 50.0, 90.0], dtype=torch.double), torch.randn(4, dtype=torch.double)
    variances = torch.rand(4, dtype=torch.double)
    jacobian = torch.autograd.functional.jacobian(lambda d: coder.decode(prior, d), deltas)
    torch.testing.assert_close(coder.edge_variances(prior, deltas, variances), jacobian.square() @ variances)


@pytest.mark.parametrize('agnostic', [False, True])
def test_what_is_handed_to_the_suppression(agnostic: bool) -> None:
    head = box_head(reg_class_agnostic=agnostic, **BRANCHES)
    for fc in (head.fc_iou, head.fc_variance, head.fc_density):
        nn.init.normal_(fc.weight)
    rois = sample().rois
    raw = head(torch.randn(4, 4, 3, 3))
    extras = head.predict_extras(raw, rois)
    assert tuple(extras) == head.extras == ('pred_ious', 'variances', 'densities')
    assert extras['densities'].tolist() == pytest.approx(raw.density_logits.sigmoid()[:, 0].tolist())
    ious, variances = extras['pred_ious'].view(4, -1), extras['variances'].view(4, -1, 4)
    for i in range(4):
        for k in range(1 if agnostic else 3):
            assert ious[i, k].item() == pytest.approx(raw.iou_logits[i, k].sigmoid().item())
            part = slice(4 * k, 4 * k + 4)
            expected = head.bbox_coder.edge_variances(rois[i, 1:], raw.deltas[i, part], raw.log_variances[i, part].exp())
            torch.testing.assert_close(variances[i, k], expected)
    assert box_head().extras == ()
    assert box_head().predict_extras(box_head()(torch.randn(4, 4, 3, 3)), rois) == {}


def test_variances_move_to_the_image_with_their_boxes() -> None:
    variances = torch.tensor([[4.0, 32.0, 4.0, 32.0]])
    found = Candidates(torch.tensor([[10.0, 20.0, 30.0, 60.0]]), torch.ones(1, 2), dict(variances=variances))
    moved = found.to_image(dict(warp_matrix=[[-2.0, 0, 64.0], [0, 4.0, 0]]))  # twice as wide, four times as high, mirrored
    assert moved.boxes.tolist() == [[17, 5, 27, 15]]
    assert moved.extras['variances'].tolist() == [[1, 2, 1, 2]]


def test_densities_by_a_loop() -> None:
    boxes = [[[0.0, 0, 20, 20], [4, 4, 24, 24], [5, 5, 25, 25], [0, 0, 20, 22]], [[1.0, 1, 5, 5]], []]
    labels, ignored = [[0, 0, 1, 0], [0], []], [[False, False, False, True], [False], []]
    found = Objects.of(det_batch(boxes, labels=labels, ignored=ignored)).densities
    for b, of_image in enumerate(boxes):
        for n, box in enumerate(of_image):
            others = [
                iou(box, other)
                for m, other in enumerate(of_image)
                if m != n and labels[b][m] == labels[b][n] and not ignored[b][m] and not ignored[b][n]
            ]
            assert found[b, n].item() == pytest.approx(max(others, default=0.0))
    assert found[0, 0] > 0.4
    assert not found[2].any()


def test_densities_are_drawn_only_for_a_branch_that_learns_them() -> None:
    boxes = [[[0.0, 0, 20, 20], [4, 4, 24, 24], [9, 9, 34, 34]], [[1.0, 1, 5, 5]]]
    objects = Objects.of(det_batch(boxes))
    feats, proposals = [torch.randn(2, 4, 8, 8)], [torch.tensor([[0.0, 0, 18, 18]]), torch.tensor([[5.0, 5, 9, 9]])]
    drawn = roi_head('AdaptiveNMS', with_density=True)._sample(feats, proposals, objects)
    expected = [objects.densities[int(i), row].item() for i, row in zip(drawn.rois[:, 0], drawn.gt_rows)]
    assert drawn.gt_densities.tolist() == pytest.approx(expected)
    assert len(set(expected)) == 3
    plain = roi_head('HardNMS')._sample(feats, proposals, objects)
    assert plain.gt_densities is positives(plain).gt_densities is None
    assert positives(drawn).gt_densities.tolist() == pytest.approx([e for e, yes in zip(expected, drawn.is_positive) if yes])


@pytest.mark.parametrize(
    ('nms', 'extra', 'branch'),
    [
        ('IoUGuidedNMS', 'pred_ious', dict(with_iou_branch=True)),
        ('SofterNMS', 'variances', dict(with_variance=True, loss_bbox=dict(type='BoxKLLoss'))),
        ('AdaptiveNMS', 'densities', dict(with_density=True)),
    ],
)
def test_each_suppression_gets_its_branch_by_name(nms: str, extra: str, branch: dict[str, Any]) -> None:
    argument = next(iter(branch))
    with pytest.raises(ValueError, match=rf'StandardRoIHead: `nms` {nms} needs `{extra}`, .* set `bbox_head\.{argument}=True`'):
        roi_head(nms)
    head = roi_head(nms, **branch).eval()
    head.init_weights()
    feats = [torch.randn(2, 4, 8, 8)]
    proposals = [torch.tensor([[0.0, 0, 30, 30], [4, 2, 33, 30], [10, 10, 60, 50]]), torch.zeros(0, 4)]
    samples = det_batch([[], []])
    candidates = head.candidates(feats, proposals, samples)
    kept = head.suppress(candidates[0])
    assert 0 < len(kept.boxes) <= 9
    assert len(head.suppress(candidates[1]).boxes) == 0
    assert head.candidates(feats, proposals[1:] * 2, samples)[0].extras[extra].shape[0] == 0
    boxes, scores, values = (
        x.flatten(0, 1) for x in (candidates[0].boxes, candidates[0].scores, _per_class(candidates[0], extra))
    )
    expected = NMS.build(dict(type=nms, max_num=100))(boxes, scores, torch.arange(3).repeat(3), **{extra: values})
    torch.testing.assert_close(kept.boxes, expected.boxes)
    torch.testing.assert_close(kept.scores, expected.scores)
    losses = head.train().loss(feats, proposals, det_batch([[[2.0, 2, 30, 30]], []]))
    assert all(v.isfinite() for v in losses.values())


def _per_class(candidates: Any, extra: str) -> Tensor:
    values = candidates.extras[extra]
    return values[:, None].expand(-1, 3) if extra == 'densities' else values


@pytest.mark.parametrize(
    'args',
    [
        dict(with_variance=True),
        dict(loss_bbox=dict(type='BoxKLLoss')),
        dict(with_variance=True, loss_bbox=dict(type='BoxKLLoss'), reg_decoded_bbox=True),
    ],
)
def test_variances_and_their_loss_need_each_other(args: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r'`with_variance=True` and `loss_bbox=dict\(type="BoxKLLoss"\)`.* need each other'):
        box_head(**args)
