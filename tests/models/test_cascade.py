"""Second stages in several steps: Cascade R-CNN, with masks, and Hybrid Task Cascade."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from mmpose_lite.models.heads.roi.candidates import join_rois
from mmpose_lite.ops.masks import pack_masks
from mmpose_lite.registry import HEADS
from mmpose_lite.structures import SampleBatch
from tests.det_batches import det_batch

C, T = 2, 3
SIZE = (64, 48)
BOXES = [[[8.0, 8.0, 28.0, 30.0], [36.0, 10.0, 60.0, 40.0]], [[5.0, 5.0, 25.0, 20.0]]]
LABELS = [[0, 1], [1]]
STDS = ((0.1, 0.1, 0.2, 0.2), (0.05, 0.05, 0.1, 0.1), (0.033, 0.033, 0.067, 0.067))


def extractor(output_size: int) -> dict[str, Any]:
    roi_layer = dict(type='RoIAlign', output_size=output_size)
    return dict(type='SingleRoIExtractor', roi_layer=roi_layer, out_channels=4, featmap_strides=(4, 8), finest_scale=8)


def box_head(stds: tuple[float, ...]) -> dict[str, Any]:
    return dict(
        type='Shared2FCBBoxHead',
        in_channels=4,
        fc_out_channels=8,
        roi_feat_size=2,
        reg_class_agnostic=True,
        bbox_coder=dict(type='DeltaXYWHBBoxCoder', target_stds=stds),
        loss_cls=dict(type='CrossEntropyLoss'),
        loss_bbox=dict(type='SmoothL1Loss'),
    )


def mask_head(**args: Any) -> dict[str, Any]:
    loss = dict(type='CrossEntropyLoss', use_sigmoid=True)
    return dict(type='FCNMaskHead', in_channels=4, conv_out_channels=4, num_convs=1, loss_mask=loss) | args


def build(kind: str = 'CascadeRoIHead', **args: Any) -> nn.Module:
    defaults = dict(
        type=kind,
        bbox_roi_extractor=extractor(2),
        bbox_head=[box_head(stds) for stds in STDS],
        assigner=[
            dict(type='MaxIoUAssigner', pos_iou_thr=thr, neg_iou_thr=thr, min_pos_iou=thr, match_low_quality=False)
            for thr in (0.5, 0.6, 0.7)
        ],
        sampler=dict(type='RandomSampler', num=64, pos_fraction=0.25),
        nms=dict(type='HardNMS', iou_threshold=0.5),
        num_classes=C,
    )
    head = HEADS.build(defaults | args)
    head.init_weights()
    return head


def with_masks(**args: Any) -> dict[str, Any]:
    return dict(mask_roi_extractor=extractor(4), mask_head=[mask_head() for _ in range(T)]) | args


def htc(**args: Any) -> nn.Module:
    semantic = dict(
        type='FusedSemanticHead',
        num_ins=2,
        fusion_level=1,
        in_channels=4,
        conv_out_channels=4,
        num_classes=5,
        num_convs=1,
        loss_seg=dict(type='CrossEntropyLoss', ignore_index=255, loss_weight=0.2),
    )
    pool = dict(type='SingleRoIExtractor', roi_layer=dict(type='RoIAlign', output_size=4), out_channels=4, featmap_strides=(8,))
    heads = [mask_head(with_conv_res=stage > 0) for stage in range(T)]
    defaults = with_masks(mask_head=heads, semantic_head=semantic, semantic_roi_extractor=pool)
    return build('HybridTaskCascadeRoIHead', **(defaults | args))


def feats(B: int = 2) -> list[Tensor]:
    return [torch.randn(B, 4, 48 // s, 64 // s) for s in (4, 8)]


def proposals(count: int = 30) -> list[Tensor]:
    corners = torch.rand(2, count, 2) * torch.tensor([50.0, 36.0])
    near = torch.tensor([BOXES[0][0], BOXES[1][0]])[:, None] + 3 * torch.randn(2, 10, 4)
    return list(torch.cat([near, torch.cat([corners, corners + 6 + 14 * torch.rand(2, count, 2)], dim=-1)], dim=1))


def batch(boxes: list = BOXES, labels: list = LABELS) -> SampleBatch:
    plain = det_batch(boxes, labels=labels, size=SIZE)
    masks = torch.zeros(sum(plain.counts), 48, 64, dtype=torch.bool)
    for mask, (x1, y1, x2, y2) in zip(masks, (b for of_image in boxes for b in of_image)):
        mask[int(y1) : int(y2), int(x1) : int(x2)] = True
    names = ('bboxes_input', 'labels', 'is_ignored')
    fields = {name: getattr(plain, name) for name in names} | dict(masks=torch.from_numpy(pack_masks(masks.numpy())))
    semantic = torch.randint(0, 5, (2, 6, 8), dtype=torch.uint8)
    semantic[:, 0] = 255
    return SampleBatch(fields, plain.counts, plain.metainfo, maps=dict(gt_semantic_seg=semantic))


NO_SEMANTIC = dict(semantic_head=None, semantic_roi_extractor=None)
STAGE_LOSSES = ['loss_cls', 'loss_bbox', 'acc_cls']
BUILDERS = {
    'cascade': build,
    'cascade_mask': lambda: build(**with_masks()),
    'htc': htc,
    'htc_without_semantics': lambda: htc(**NO_SEMANTIC),
}


@pytest.mark.parametrize('kind', BUILDERS)
@pytest.mark.parametrize('empty', [False, True])
def test_losses_and_gradients(kind: str, empty: bool) -> None:
    head = BUILDERS[kind]()
    samples = batch([[], []], [[], []]) if empty else batch()
    losses = head.loss(feats(), proposals(), samples)
    of_stage = [*STAGE_LOSSES, *(['loss_mask'] if kind != 'cascade' else [])]
    names = [f's{stage}.{name}' for stage in range(T) for name in of_stage]
    assert list(losses) == (['loss_semantic_seg'] if kind == 'htc' else []) + names
    assert all(torch.isfinite(v) for v in losses.values())
    sum(v for k, v in losses.items() if 'loss' in k).backward()
    missing = [name for name, p in head.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert not missing
    if empty:
        assert all(v == 0 for k, v in losses.items() if k.endswith(('loss_bbox', 'loss_mask')))


def spy(monkeypatch: pytest.MonkeyPatch, head: nn.Module) -> list[Any]:
    """Return a list that fills with the samples that the stages of the head draw."""
    drawn: list[Any] = []
    draw = head._sample
    monkeypatch.setattr(head, '_sample', lambda *args: drawn.append(draw(*args)) or drawn[-1])
    return drawn


def test_each_stage_learns_from_the_boxes_that_the_one_before_has_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    head, maps, samples = build(), feats(), batch()
    for of_stage in head.bbox_head:
        nn.init.normal_(of_stage.fc_reg.weight, std=0.5)
    drawn = spy(monkeypatch, head)
    head.loss(maps, proposals(), samples)
    assert len(drawn) == T
    for stage in (1, 2):
        before, sample = drawn[stage - 1], drawn[stage]
        raw = head(maps, before.rois, stage - 1)
        moved = head.bbox_head[stage - 1].bbox_coder.decode(before.rois[:, 1:], raw.deltas, max_shape=(48, 64))
        usable = before.is_valid & ~before.is_gt
        objects = {tuple(b) for of_image in BOXES for b in of_image}
        expected = {tuple(b) for b in moved[usable].tolist()} | objects
        taken = {tuple(b) for b in sample.rois[sample.is_valid, 1:].tolist()}
        assert taken <= expected
        assert len(taken) > 20
        assert not ({tuple(b) for b in sample.rois[sample.is_gt & sample.is_valid, 1:].tolist()} - objects)


@pytest.mark.parametrize('layer', ['RoIAlign', 'RoIPool'])
def test_a_cascade_that_has_diverged_says_so_by_its_loss(layer: str) -> None:
    head = build(bbox_roi_extractor=extractor(2) | dict(roi_layer=dict(type=layer, output_size=2)))
    nn.init.constant_(head.bbox_head[0].fc_reg.bias, torch.nan)
    losses = head.loss(feats(), proposals(), batch())
    assert losses['s0.loss_cls'].isfinite()
    assert not losses['s0.loss_bbox'].isfinite()
    with torch.no_grad():
        found = [head.suppress(candidates) for candidates in head.eval().candidates(feats(), proposals(), batch())]
    assert [len(of_image.boxes) for of_image in found] == [0, 0]


def test_stages_are_weighted() -> None:
    torch.manual_seed(1)
    head = build()
    maps, boxes, samples = feats(), proposals(), batch()
    torch.manual_seed(2)
    ours = head.loss(maps, boxes, samples)
    head.stage_loss_weights = (1.0, 1.0, 1.0)
    torch.manual_seed(2)
    plain = head.loss(maps, boxes, samples)
    for stage, weight in enumerate((1.0, 0.5, 0.25)):
        torch.testing.assert_close(ours[f's{stage}.loss_cls'], weight * plain[f's{stage}.loss_cls'])
        torch.testing.assert_close(ours[f's{stage}.acc_cls'], plain[f's{stage}.acc_cls'])


def test_testing_averages_logits_on_the_boxes_of_the_last_stage() -> None:
    head, maps, boxes = build().eval(), feats(), proposals()
    for of_stage in head.bbox_head:
        nn.init.normal_(of_stage.fc_reg.weight, std=0.5)
        nn.init.normal_(of_stage.fc_cls.weight)
    found = head.candidates(maps, boxes, det_batch([[], []], size=SIZE))
    rois, logits = join_rois(boxes), 0
    for stage, of_stage in enumerate(head.bbox_head):
        raw = of_stage(head.bbox_roi_extractor[stage](maps, rois))
        logits = logits + raw.cls_logits / T
        moved = of_stage.bbox_coder.decode(rois[:, 1:], raw.deltas, max_shape=(48, 64))
        rois = torch.cat([rois[:, :1], moved], dim=1)
    torch.testing.assert_close(torch.cat([f.boxes for f in found]), moved)
    torch.testing.assert_close(torch.cat([f.scores for f in found]), logits.softmax(dim=1)[:, :C])


def test_masks_are_averaged_over_the_stages() -> None:
    head, maps = build(**with_masks()).eval(), feats()
    boxes, labels = [torch.tensor(b) for b in BOXES], [torch.tensor(x) for x in LABELS]
    ours = head.masks(maps, boxes, labels)
    assert [tuple(m.shape) for m in ours] == [(2, 8, 8), (1, 8, 8)]
    rois = join_rois(boxes)
    of_stages = [m(e(maps, rois)).sigmoid() for m, e in zip(head.mask_head, head.mask_roi_extractor)]
    mean = sum(of_stages) / T
    torch.testing.assert_close(torch.cat(ours), torch.stack([mean[i, c] for i, c in enumerate((0, 1, 1))]))
    assert [len(m) for m in head.masks(maps, [b[:0] for b in boxes], [x[:0] for x in labels])] == [0, 0]


def test_masks_of_a_hybrid_cascade_flow_and_fuse() -> None:
    head, maps = htc().eval(), feats()
    extended = head.extend(maps)
    semantic = head.semantic_head(maps)
    torch.testing.assert_close(extended[-1], semantic.feat)
    rois = join_rois([torch.tensor(b) for b in BOXES])
    pooled = head.semantic_roi_extractor([semantic.feat], rois)
    x = head.mask_roi_extractor[2](maps, rois) + pooled
    first, second, third = head.mask_head
    features = third.features(x, second.features(x, first.features(x)))
    torch.testing.assert_close(head.mask_logits(extended, rois, 2), third.logits(features))
    boxes = head.bbox_roi_extractor[0](maps, rois) + functional.adaptive_avg_pool2d(pooled, 2)
    torch.testing.assert_close(head(extended, rois, 0).cls_logits, head.bbox_head[0](boxes).cls_logits)
    third.conv_res = None  # which takes in nothing of the heads before
    first.features = second.features = lambda x, before: pytest.fail('computed for nothing')
    torch.testing.assert_close(head.mask_logits(extended, rois, 2), third(x))
    head.mask_info_flow, head.semantic_fusion = False, ()
    plain = third(head.mask_roi_extractor[2](maps, rois))
    torch.testing.assert_close(head.mask_logits(extended, rois, 2), plain)


def test_a_hybrid_cascade_without_a_semantic_branch() -> None:
    """It reads no map of classes and no maps but the neck's; masks flow from head to head."""
    head, maps = htc(**NO_SEMANTIC), feats()
    names = ('bboxes_input', 'labels', 'is_ignored', 'masks')
    samples = batch()
    bare = SampleBatch({name: getattr(samples, name) for name in names}, samples.counts, samples.metainfo)
    assert head.loss(maps, proposals(), bare)['s2.loss_mask'] > 0
    assert head.extend(maps) is maps
    rois = join_rois([torch.tensor(b) for b in BOXES])
    boxes = head.bbox_roi_extractor[1](maps, rois)
    torch.testing.assert_close(head(maps, rois, 1).cls_logits, head.bbox_head[1](boxes).cls_logits)
    x = head.mask_roi_extractor[1](maps, rois)
    first, second, _ = head.mask_head
    expected = second.logits(second.features(x, first.features(x)))
    torch.testing.assert_close(head.mask_logits(maps, rois, 1), expected)
    assert not torch.allclose(expected, second(x))


@pytest.mark.parametrize('flow', [True, False])
def test_masks_of_a_hybrid_cascade_run_each_head_once(flow: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    head, runs = htc(mask_info_flow=flow).eval(), []
    maps, rois = head.extend(feats()), join_rois([torch.tensor(b) for b in BOXES])
    expected = [head.mask_logits(maps, rois, stage) for stage in range(T)]
    for of_stage in head.mask_head:
        features = of_stage.features
        monkeypatch.setattr(of_stage, 'features', lambda x, before, f=features: runs.append(before) or f(x, before))
    torch.testing.assert_close(head.mask_logits_of_stages(maps, rois), expected)
    assert [before is not None for before in runs] == [False, flow, flow]
    labels = [torch.tensor(x) for x in LABELS]
    mean = torch.stack(expected).sigmoid().mean(dim=0)
    found = torch.cat(head.masks(maps, [torch.tensor(b) for b in BOXES], labels))
    torch.testing.assert_close(found, mean[torch.arange(3), torch.cat(labels)])


@pytest.mark.parametrize('interleaved', [True, False])
def test_interleaved_masks_learn_from_moved_boxes(interleaved: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    head = htc(interleaved=interleaved)
    for of_stage in head.bbox_head:
        nn.init.normal_(of_stage.fc_reg.weight, std=0.5)
    drawn = spy(monkeypatch, head)
    seen = []
    logits = head.mask_logits
    monkeypatch.setattr(head, 'mask_logits', lambda maps, rois, stage: seen.append(rois) or logits(maps, rois, stage))
    head.loss(feats(), proposals(), batch())
    assert len(drawn) == (2 * T if interleaved else T)
    for stage, rois in enumerate(seen):
        sample = drawn[2 * stage + 1] if interleaved else drawn[stage]
        assert torch.equal(rois, sample.rois[sample.is_positive])


def test_the_semantic_branch_by_hand() -> None:
    head, maps = htc().semantic_head, feats()
    small = functional.interpolate(maps[0], size=(6, 8), mode='bilinear', align_corners=True)
    x = head.lateral_convs[0](small) + head.lateral_convs[1](maps[1])
    x = head.convs[0](x)
    out = head(maps)
    torch.testing.assert_close(out.logits, head.conv_logits(x))
    torch.testing.assert_close(out.feat, head.conv_embedding(x))
    labels = batch().gt_semantic_seg
    expected = 0.2 * functional.cross_entropy(out.logits, labels.long(), ignore_index=255, reduction='sum') / labels.numel()
    torch.testing.assert_close(head.loss(out.logits, labels)['loss_semantic_seg'], expected)


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (dict(stage_loss_weights=(1.0,)), '`stage_loss_weights` needs one entry per stage'),
        (dict(bbox_head=[box_head(STDS[0])]), '`bbox_head` must be one config or one per stage'),
        (
            dict(
                sampler=[dict(type=name, num=8, pos_fraction=0.5) for name in ('RandomSampler', 'RandomSampler', 'OHEMSampler')],
                bbox_head=[*map(box_head, STDS[:2]), box_head(STDS[2]) | dict(loss_cls=dict(type='OhemCrossEntropy'))],
            ),
            'CascadeRoIHead: `sampler` OHEMSampler ranks boxes by the loss of each, but `bbox_head.loss_cls` OhemCrossEntropy',
        ),
    ],
)
def test_errors(args: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(**args)


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (dict(semantic_fusion=('box',)), '`semantic_fusion` must be some of'),
        (dict(semantic_head=None), 'must be given together'),
    ],
)
def test_errors_of_the_hybrid_cascade(args: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        htc(**args)
    with pytest.raises(ValueError, match='`fusion_level` must be one of the 2 levels'):
        HEADS.build(dict(type='FusedSemanticHead', num_ins=2, fusion_level=2, loss_seg=dict(type='CrossEntropyLoss')))
