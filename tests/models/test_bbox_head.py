"""Box heads, the sample they learn from, and the standard second stage."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from mmpose_lite.models.assign import Assignment, Objects
from mmpose_lite.models.heads.roi.base_bbox_head import BoxOutput
from mmpose_lite.models.heads.roi.bbox_head import ConvFCBBoxHead
from mmpose_lite.models.heads.roi.candidates import join_rois, shapes_of_rois
from mmpose_lite.models.heads.roi.sampling import positives, sample_rois
from mmpose_lite.ops.iou import aligned_iou
from mmpose_lite.registry import ASSIGNERS, BOX_SAMPLERS, HEADS
from tests.det_batches import det_batch, iou, slow_decode, slow_nms

C = 3
STDS = (0.1, 0.1, 0.2, 0.2)
SIZE = (64, 48)
BBOX_HEAD = dict(
    type='Shared2FCBBoxHead',
    in_channels=4,
    fc_out_channels=8,
    roi_feat_size=2,
    bbox_coder=dict(type='DeltaXYWHBBoxCoder', target_stds=STDS),
    loss_cls=dict(type='CrossEntropyLoss'),
    loss_bbox=dict(type='L1Loss'),
)
BOXES = [[[8.0, 8.0, 28.0, 30.0], [36.0, 10.0, 60.0, 40.0]], [[5.0, 5.0, 25.0, 20.0]]]
LABELS = [[0, 2], [1]]


def box_head(**args: Any) -> ConvFCBBoxHead:
    return HEADS.build(BBOX_HEAD | args, num_classes=C)


def build(**args: Any) -> torch.nn.Module:
    defaults = dict(
        bbox_roi_extractor=dict(
            type='SingleRoIExtractor',
            roi_layer=dict(type='RoIAlign', output_size=2),
            out_channels=4,
            featmap_strides=(4, 8),
            finest_scale=8,
        ),
        bbox_head=BBOX_HEAD,
        assigner=dict(type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.5, min_pos_iou=0.5, match_low_quality=False),
        sampler=dict(type='RandomSampler', num=16, pos_fraction=0.5),
        nms=dict(type='HardNMS', iou_threshold=0.5),
    )
    return HEADS.build(dict(type='StandardRoIHead', num_classes=C, **(defaults | args)))


def feats(B: int = 2) -> list[Tensor]:
    return [torch.randn(B, 4, 48 // s, 64 // s) for s in (4, 8)]


def proposals(count: int = 40) -> list[Tensor]:
    corners = torch.rand(2, count, 2) * torch.tensor([50.0, 36.0])
    return list(torch.cat([corners, corners + 6 + 14 * torch.rand(2, count, 2)], dim=-1))


# The sample


def make(name: str, **args: Any) -> Any:
    registry = ASSIGNERS if 'Assigner' in name else BOX_SAMPLERS
    return registry.build(dict(type=name, **args))


def test_a_sample_says_what_each_box_is_to_be() -> None:
    assigner = make('MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.5, match_low_quality=False, ignore_iof_thr=0.5)
    sampler = make('RandomSampler', num=8, pos_fraction=0.5)
    near, far, in_crowd = [9.0, 8.0, 28.0, 31.0], [30.0, 0.0, 35.0, 6.0], [52.0, 33.0, 62.0, 45.0]
    batch = det_batch(
        [[*BOXES[0], [50.0, 30.0, 64.0, 48.0]], []], labels=[[*LABELS[0], 1], []], ignored=[[False, False, True], []]
    )
    sample = sample_rois([torch.tensor([near, far, in_crowd]), torch.tensor([near])], Objects.of(batch), assigner, sampler)
    assert sample.num_rows == [6, 4]  # 3 rows of objects, of which the last stands for nothing, go in front
    of_first = [i for i in range(6) if sample.is_valid[i]]
    found = {tuple(sample.rois[i].tolist()): sample.labels(C)[i].item() for i in of_first}
    assert found == {(0, *BOXES[0][0]): 0, (0, *BOXES[0][1]): 2, (0, *near): 0, (0, *far): C}
    assert {tuple(sample.rois[i, 1:].tolist()) for i in of_first if sample.is_gt[i]} == {tuple(b) for b in BOXES[0]}
    for i in of_first:
        if sample.is_positive[i]:
            row = int(sample.gt_rows[i])
            assert sample.gt_boxes[i].tolist() == BOXES[0][row]
            assert sample.gt_labels[i] == LABELS[0][row]
    assert sample.labels(C)[6:][sample.is_valid[6:]].tolist() == [C]
    assert sample.rois[6:][sample.is_valid[6:]].tolist() == [[1, *near]]


def test_boxes_that_cannot_be_used_are_not_taken() -> None:
    assigner = make('MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.5)
    sampler = make('RandomSampler', num=64, pos_fraction=0.5, add_gt_as_proposals=False)
    usable = torch.rand(2, 40) > 0.5
    sample = sample_rois(proposals(), Objects.of(det_batch(BOXES)), assigner, sampler, is_usable=list(usable))
    assert sample.is_valid.sum() == usable.sum()


def test_boxes_that_cannot_be_used_do_not_win_an_object() -> None:
    """The best box of object 0 is one that a cascade does not use, the best of object 1 the last."""
    objects = [[0.0, 0.0, 60.0, 60.0], [0.0, 20.0, 60.0, 80.0]]
    boxes = torch.tensor([[0.0, 0.0, 60.0, 62.0], [0.0, 11.0, 60.0, 71.0], [0.0, 20.0, 60.0, 81.0]])
    assert iou(boxes[1].tolist(), objects[1]) > iou(boxes[1].tolist(), objects[0]) > 0.5
    assigner = make('MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.5, min_pos_iou=0.5)
    sampler = make('RandomSampler', num=8, pos_fraction=0.5, add_gt_as_proposals=False)
    usable = [torch.tensor([False, True, True])]
    sample = sample_rois([boxes], Objects.of(det_batch([objects], size=(80, 80))), assigner, sampler, is_usable=usable)
    found = {int(roi[2]): int(row) for roi, row, positive in zip(sample.rois, sample.gt_rows, sample.is_positive) if positive}
    assert found == {11: 0, 20: 1}


@pytest.mark.parametrize('device', ['cpu', 'meta'])
def test_positives_are_all_there(device: str) -> None:
    assigner = make('MaxIoUAssigner', pos_iou_thr=0.3, neg_iou_thr=0.3)
    sampler = make('RandomSampler', num=12, pos_fraction=0.5)
    sample = sample_rois(proposals(), Objects.of(det_batch(BOXES, labels=LABELS)), assigner, sampler)
    if device == 'cpu':
        chosen = positives(sample)
        assert chosen.is_positive.all()
        assert torch.equal(chosen.rois, sample.rois[sample.is_positive])
        assert chosen.num_rows == [int(part.sum()) for part in sample.is_positive.split(sample.num_rows)]
        return
    on_meta = sample._replace(**{k: v.to('meta') for k, v in sample._asdict().items() if isinstance(v, Tensor)})
    chosen = positives(on_meta)
    assert chosen.num_rows == [6, 6]
    assert len(chosen.rois) == 12


def test_assignments_with_rows_that_are_no_objects() -> None:
    assignment = Assignment(torch.tensor([0, 2]), torch.tensor([0.0, 0.6]), 2)
    assert assignment.with_gts(torch.tensor([True, False])).gt_inds.tolist() == [1, -1, 0, 2]
    assigner = make('MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.3)  # min_pos_iou 0: any best prior would do
    priors = torch.tensor([[0.0, 0, 10, 10], [20.0, 20, 30, 30]])
    gts = torch.tensor([[0.0, 0, 10, 9], [20.0, 20, 30, 30]])
    assert assigner.assign(priors, gts, is_object=torch.tensor([True, False])).gt_inds.tolist() == [1, 0]


# The box head


def test_layers_in_the_order_of_the_options() -> None:
    head = box_head(type='ConvFCBBoxHead', num_shared_convs=1, num_cls_convs=1, num_cls_fcs=1, num_reg_fcs=2, conv_out_channels=6)
    head.init_weights()
    x = torch.randn(5, 4, 2, 2)
    raw = head(x)
    shared = functional.relu(functional.conv2d(x, head.shared_convs[0].conv.weight, head.shared_convs[0].conv.bias, padding=1))
    cls = functional.relu(functional.conv2d(shared, head.cls_convs[0].conv.weight, head.cls_convs[0].conv.bias, padding=1))
    cls = functional.relu(functional.linear(cls.flatten(1), head.cls_fcs[0].weight, head.cls_fcs[0].bias))
    reg = shared.flatten(1)
    for fc in head.reg_fcs:
        reg = functional.relu(functional.linear(reg, fc.weight, fc.bias))
    torch.testing.assert_close(raw.cls_logits, functional.linear(cls, head.fc_cls.weight, head.fc_cls.bias))
    torch.testing.assert_close(raw.deltas, functional.linear(reg, head.fc_reg.weight, head.fc_reg.bias))
    assert raw.deltas.shape == (5, 4 * C)
    assert 0.007 < head.fc_cls.weight.std() < 0.013
    assert 0.0007 < head.fc_reg.weight.std() < 0.0013


@pytest.mark.parametrize('agnostic', [False, True])
@pytest.mark.parametrize('decoded', [False, True])
def test_box_losses_against_a_loop(agnostic: bool, decoded: bool) -> None:
    loss_bbox = dict(type='GIoULoss') if decoded else dict(type='SmoothL1Loss')
    head = box_head(reg_class_agnostic=agnostic, reg_decoded_bbox=decoded, loss_bbox=loss_bbox)
    assigner = make('MaxIoUAssigner', pos_iou_thr=0.3, neg_iou_thr=0.3, match_low_quality=False)
    sampler = make('RandomSampler', num=100, pos_fraction=0.5)
    sample = sample_rois(proposals(20), Objects.of(det_batch(BOXES, labels=LABELS)), assigner, sampler)
    raw = head(torch.randn(len(sample.rois), 4, 2, 2))
    losses = head.loss(raw, sample)
    loss_cls, loss_box, right, count = 0.0, 0.0, 0, 0
    for row in range(len(sample.rois)):
        if not sample.is_valid[row]:
            continue
        count += 1
        label = int(sample.gt_labels[row]) if sample.is_positive[row] else C
        loss_cls -= raw.cls_logits[row].log_softmax(0)[label]
        right += int(raw.cls_logits[row].argmax() == label)
        if label < C:
            deltas = raw.deltas[row] if agnostic else raw.deltas[row, 4 * label : 4 * label + 4]
            prior, gt = sample.rois[row, 1:], sample.gt_boxes[row]
            assert max(iou(prior.tolist(), b) for of_image in BOXES for b in of_image) >= 0.3
            if decoded:
                pred, target = head.bbox_coder.decode(prior, deltas), gt
            else:
                pred, target = deltas, head.bbox_coder.encode(prior, gt)
            loss_box += head.loss_bbox(pred[None], target[None], reduction='sum')
    assert 3 < sample.is_positive.sum() < count < len(sample.rois)
    torch.testing.assert_close(losses['loss_cls'], loss_cls / count)
    torch.testing.assert_close(losses['loss_bbox'], loss_box / count)
    torch.testing.assert_close(losses['acc_cls'], torch.tensor(right / count))


@pytest.mark.parametrize('agnostic', [False, True])
def test_decoding_and_refining(agnostic: bool) -> None:
    head = box_head(reg_class_agnostic=agnostic)
    rois = join_rois([torch.tensor(b) for b in BOXES])
    deltas = torch.randn(3, 4 if agnostic else 4 * C)
    shapes = torch.tensor([[48.0, 64.0], [48.0, 64.0], [18.0, 24.0]])
    boxes = head.decode(deltas, rois, shapes)
    labels = torch.tensor([2, C, 1])
    raw = BoxOutput(torch.tensor([[0.0, 0, 0, 9], [0, 5, 0, 9], [0, 0, 7, 9]]), deltas)
    refined, by_score = head.refine(raw, rois, shapes, labels), head.refine(raw, rois, shapes)
    for row, (label, (h, w)) in enumerate(zip(labels.tolist(), shapes.tolist())):
        for c in range(C):
            of_class = deltas[row] if agnostic else deltas[row, 4 * c : 4 * c + 4]
            x1, y1, x2, y2 = slow_decode(rois[row, 1:].tolist(), of_class.tolist(), STDS)
            expected = torch.tensor([min(max(v, 0), limit) for v, limit in zip((x1, y1, x2, y2), (w, h, w, h))])
            torch.testing.assert_close(boxes[row] if agnostic else boxes[row, c], expected)
            if c == (label if label < C else 1):  # the background moves like the class of the best score
                torch.testing.assert_close(refined[row], torch.cat([rois[row, :1], expected]))
            if c == row:
                torch.testing.assert_close(by_score[row, 1:], expected)


@pytest.mark.parametrize(
    ('args', 'message'),
    [(dict(num_cls_fcs=-1), 'must be 0 or more'), (dict(num_shared_fcs=1, num_reg_convs=1), 'must be 0 behind shared layers')],
)
def test_box_head_errors(args: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        box_head(type='ConvFCBBoxHead', **args)


# The second stage


def test_candidates_and_suppression_against_a_loop() -> None:
    head, maps, boxes = build(score_thr=0.2, max_per_img=7).eval(), feats(), proposals()
    torch.nn.init.normal_(head.bbox_head.fc_cls.weight)
    batch = det_batch([[], []], size=SIZE)
    for image, found in enumerate(head.candidates(maps, boxes, batch)):
        rois = torch.cat([torch.full((40, 1), float(image)), boxes[image]], dim=1)
        raw = head(maps, rois)
        torch.testing.assert_close(found.scores, raw.cls_logits.softmax(dim=1)[:, :C])
        kept = head.suppress(found)
        expected = []
        for c in range(C):
            rows = (found.scores[:, c] > 0.2).nonzero().flatten()
            of_class, scores = found.boxes[rows, c], found.scores[rows, c]
            expected += [(scores[i].item(), c, of_class[i].tolist()) for i in slow_nms(of_class, scores, 0.5)]
        expected.sort(key=lambda item: -item[0])
        assert len(expected) > 7
        for ours, (score, c, box) in zip(zip(kept.scores, kept.labels, kept.boxes), expected[:7], strict=True):
            assert (ours[0].item(), ours[1].item()) == (pytest.approx(score), c)
            assert ours[2].tolist() == pytest.approx(box)
    assert [len(c.scores) for c in head.candidates(maps, [boxes[0], boxes[1][:0]], batch)] == [40, 0]


@pytest.mark.parametrize('boxes', [BOXES, [[], []], [[], BOXES[1]]])
def test_gradients_with_and_without_objects(boxes: list) -> None:
    head = build()
    head.init_weights()
    labels = [[0] * len(b) for b in boxes]
    losses = head.loss(feats(), proposals(), det_batch(boxes, labels=labels, size=SIZE))
    assert list(losses) == ['loss_cls', 'loss_bbox', 'acc_cls']
    assert all(torch.isfinite(v) for v in losses.values())
    (losses['loss_cls'] + losses['loss_bbox']).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in head.parameters())
    if not any(boxes):
        assert losses['loss_bbox'] == 0
        assert head.bbox_head.fc_reg.weight.grad.abs().sum() == 0


def test_small_objects_weigh_more() -> None:
    samples = det_batch(BOXES, labels=LABELS, img_shapes=[(48, 64), (24, 32)])
    plain, weighted = box_head(), box_head(small_box_weight=True)
    assigner = make('MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.5)
    sampler = make('RandomSampler', num=32, pos_fraction=0.5)
    sample = sample_rois(proposals(), Objects.of(samples), assigner, sampler)
    raw = BoxOutput(torch.randn(len(sample.rois), C + 1), torch.randn(len(sample.rois), 4 * C))
    expected = 0.0
    for row in sample.is_positive.nonzero()[:, 0].tolist():
        (x1, y1, x2, y2), (h, w) = sample.gt_boxes[row].tolist(), ((48, 64), (24, 32))[int(sample.rois[row, 0])]
        alone = sample._replace(is_positive=torch.arange(len(sample.rois)) == row)
        expected += (2 - (x2 - x1) * (y2 - y1) / (w * h)) * plain.loss(raw, alone)['loss_bbox'].item()
    ours = weighted.loss(raw, sample, shapes_of_rois(samples, sample.rois))
    assert ours['loss_bbox'].item() == pytest.approx(expected, rel=1e-4)
    with pytest.raises(ValueError, match=r'`image_shapes` \(R, 2\) must be given with `small_box_weight`'):
        weighted.loss(raw, sample)
    losses = build(bbox_head=BBOX_HEAD | dict(small_box_weight=True)).loss(feats(), proposals(), samples)
    assert losses['loss_bbox'] > 0


ON_DELTAS = ['L1Loss', 'MSELoss', 'SmoothL1Loss', 'BalancedL1Loss', 'GHMR']
ON_BOXES = ['IoULoss', 'GIoULoss', 'DIoULoss', 'CIoULoss', 'BoundedIoULoss']


@pytest.mark.parametrize('name', ON_DELTAS + ON_BOXES)
def test_every_loss_on_boxes_pulls_them_to_their_objects(name: str) -> None:
    torch.manual_seed(0)
    head = box_head(loss_bbox=dict(type=name), reg_decoded_bbox=name in ON_BOXES)
    assigner = make('MaxIoUAssigner', pos_iou_thr=0.3, neg_iou_thr=0.3, match_low_quality=False)
    sampler = make('RandomSampler', num=100, pos_fraction=0.5, add_gt_as_proposals=False)
    sample = sample_rois(proposals(), Objects.of(det_batch(BOXES, labels=LABELS)), assigner, sampler)
    raw = BoxOutput(torch.zeros(len(sample.rois), C + 1), torch.zeros(len(sample.rois), 4 * C).requires_grad_())
    head.loss(raw, sample)['loss_bbox'].backward()
    moved = raw._replace(deltas=raw.deltas.detach() - 1e-3 * raw.deltas.grad.sign())
    before, after = (head.refine(r, sample.rois, torch.tensor([[48.0, 64.0]]), sample.labels(C))[:, 1:] for r in (raw, moved))
    gain = aligned_iou(after, sample.gt_boxes) - aligned_iou(before, sample.gt_boxes)
    assert sample.is_positive.sum() > 3
    assert (gain[sample.is_positive] > 0).all()


@pytest.mark.parametrize('name', ON_BOXES)
def test_a_loss_on_boxes_is_not_given_deltas(name: str) -> None:
    message = f'Shared2FCBBoxHead: `reg_decoded_bbox` must be True with a `loss_bbox` on boxes, {name}, got False'
    with pytest.raises(ValueError, match=message):
        box_head(loss_bbox=dict(type=name))


@pytest.mark.parametrize(
    'loss_cls',
    [dict(type='FocalLoss'), dict(type='GHMC'), dict(type='CrossEntropyLoss', use_sigmoid=True)],
    ids=lambda c: c['type'],
)
def test_losses_on_sigmoids_make_scores_of_sigmoids(loss_cls: dict[str, Any]) -> None:
    head, logits = box_head(loss_cls=loss_cls), torch.randn(5, C + 1)
    torch.testing.assert_close(head.scores(logits), 1 / (1 + (-logits[:, :C]).exp()))
    labels = torch.tensor([0, 2, -1, 1, -1])
    raw = BoxOutput(logits, torch.zeros(5, 4 * C))
    if loss_cls['type'] == 'CrossEntropyLoss':  # the sum over classes, the background one of them
        target = functional.one_hot(labels.where(labels >= 0, C), C + 1).float()
        binary = functional.binary_cross_entropy_with_logits(logits, target, reduction='none').sum(dim=1)
        torch.testing.assert_close(head.class_losses(raw, labels), binary)
    assert head.class_losses(raw, labels).shape == (5,)


def test_no_proposals_at_all() -> None:
    none = [torch.zeros(0, 4)] * 2
    losses = build().loss(feats(), none, det_batch([[], []], size=SIZE))
    (losses['loss_cls'] + losses['loss_bbox']).backward()
    assert losses['loss_cls'] == 0
    assert build().loss(feats(), none, det_batch(BOXES, labels=LABELS, size=SIZE))['loss_cls'] > 0


@pytest.mark.parametrize('loss_cls', [dict(type='CrossEntropyLoss'), dict(type='HardExampleCrossEntropyLoss', num_hard=2)])
def test_the_hardest_are_taken(loss_cls: dict[str, Any]) -> None:
    sampler = dict(type='OHEMSampler', num=6, pos_fraction=0.5, add_gt_as_proposals=False)
    head, maps, boxes = build(sampler=sampler, bbox_head=BBOX_HEAD | dict(loss_cls=loss_cls)), feats(), proposals()
    torch.nn.init.normal_(head.bbox_head.fc_cls.weight)
    objects = Objects.of(det_batch([[], []], size=SIZE))  # all are negatives
    sample = head._sample(maps, boxes, objects)
    for image in range(2):
        raw = head(maps, torch.cat([torch.full((40, 1), float(image)), boxes[image]], dim=1))
        hardest = raw.cls_logits.log_softmax(dim=1)[:, C].argsort()[:6]
        taken = sample.rois[sample.rois[:, 0] == image][:, 1:]
        assert {tuple(b) for b in taken.tolist()} == {tuple(b) for b in boxes[image][hardest].tolist()}
    raw = head(maps, sample.rois)
    of_boxes = functional.cross_entropy(raw.cls_logits, torch.full((12,), C), reduction='none')
    counted = of_boxes.topk(2).values if 'num_hard' in loss_cls else of_boxes
    loss = head.bbox_head.loss(raw, sample)['loss_cls']
    torch.testing.assert_close(loss, counted.mean())


@pytest.mark.parametrize('sampler', [dict(type='OHEMSampler'), dict(type='CombinedSampler')])
def test_a_sampler_and_a_loss_that_does_not_rank_boxes_are_refused(sampler: dict[str, Any]) -> None:
    if sampler['type'] == 'CombinedSampler':
        sampler = dict(sampler, pos_sampler=dict(type='RandomSampler'), neg_sampler=dict(type='OHEMSampler'))
    args = dict(
        sampler=dict(sampler, num=6, pos_fraction=0.5), bbox_head=BBOX_HEAD | dict(loss_cls=dict(type='OhemCrossEntropy'))
    )
    with pytest.raises(
        ValueError, match=rf'StandardRoIHead: `sampler` {sampler["type"]} .* `bbox_head.loss_cls` OhemCrossEntropy'
    ):
        build(**args)
