"""A whole detector of two stages, thin."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from pycocotools import mask as mask_tools

from mmpose_lite.errors import ConfigError
from mmpose_lite.models.estimators.two_stage import TwoStageDetector
from mmpose_lite.models.estimators.views import ViewOptions, views
from mmpose_lite.ops.nms import Detections
from mmpose_lite.registry import MODELS
from mmpose_lite.structures import SampleBatch
from tests.det_batches import det_batch, iou

META = dict(classes=['cat', 'dog'])
SIZE = (64, 64)


def config(*, roi_args: dict[str, Any] | None = None, **args: Any) -> dict[str, Any]:
    strides = (4, 8, 16, 32)
    cfg = dict(
        type='TwoStageDetector',
        meta=META,
        data_preprocessor=dict(type='PoseDataPreprocessor'),
        backbone=dict(type='ResNet', depth=18, stem_channels=8, base_channels=8, out_indices=(0, 1, 2, 3)),
        neck=dict(type='FPN', in_channels=(8, 16, 32, 64), out_channels=8, num_outs=4),
        rpn_head=dict(
            type='RPNHead',
            in_channels=8,
            feat_channels=8,
            anchor_generator=dict(type='AnchorGenerator', scales=(4,), ratios=(1.0,), strides=strides),
            bbox_coder=dict(type='DeltaXYWHBBoxCoder'),
            assigner=dict(type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.3, min_pos_iou=0.3),
            sampler=dict(type='RandomSampler', num=64, pos_fraction=0.5, add_gt_as_proposals=False),
            loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=True),
            loss_bbox=dict(type='L1Loss'),
            nms=dict(type='HardNMS', iou_threshold=0.7),
            nms_pre_train=200,
            max_per_img_train=100,
        ),
        roi_head=dict(
            type='StandardRoIHead',
            bbox_roi_extractor=dict(
                type='SingleRoIExtractor',
                roi_layer=dict(type='RoIAlign', output_size=3),
                out_channels=8,
                featmap_strides=strides[:3],
                finest_scale=16,
            ),
            bbox_head=dict(
                type='Shared2FCBBoxHead',
                in_channels=8,
                fc_out_channels=16,
                roi_feat_size=3,
                bbox_coder=dict(type='DeltaXYWHBBoxCoder', target_stds=(0.1, 0.1, 0.2, 0.2)),
                loss_cls=dict(type='CrossEntropyLoss'),
                loss_bbox=dict(type='L1Loss'),
            ),
            assigner=dict(type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.5, min_pos_iou=0.5, match_low_quality=False),
            sampler=dict(type='RandomSampler', num=32, pos_fraction=0.25),
            nms=dict(type='HardNMS', iou_threshold=0.5),
            score_thr=0.0,
        ),
        **args,
    )
    cfg['roi_head'] |= roi_args or {}
    return cfg


def build(**args: Any) -> TwoStageDetector:
    model = MODELS.build(config(**args))
    model.init_weights()
    return model


def batch() -> SampleBatch:
    return det_batch([[[8.0, 8.0, 40.0, 44.0], [30.0, 20.0, 60.0, 60.0]], []], labels=[[1, 0], []], size=SIZE)


def test_losses_reach_every_weight() -> None:
    model = build()
    losses = model(torch.randn(2, 3, 64, 64), batch(), mode='loss')
    assert list(losses) == ['loss_rpn_cls', 'loss_rpn_bbox', 'loss_cls', 'loss_bbox', 'acc_cls']
    total, _ = model.parse_losses(losses)
    total.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert model.class_meta.classes == ('cat', 'dog')
    assert model.roi_head.bbox_head.fc_cls.out_features == 3


def test_mixed_precision_gives_nearly_the_same_losses() -> None:
    model, inputs = build(), torch.randn(2, 3, 64, 64)
    model.train()
    values = {}
    for enabled in (False, True):
        torch.manual_seed(0)
        with torch.autocast('cpu', dtype=torch.bfloat16, enabled=enabled):
            losses = model(inputs, batch(), mode='loss')
        assert all(v.dtype == torch.float32 for v in losses.values())
        values[enabled] = sum(v.item() for k, v in losses.items() if 'loss' in k)
    assert values[True] == pytest.approx(values[False], rel=0.1)


def test_predictions_are_boxes_of_the_original_image() -> None:
    model = build().eval()
    inputs, samples = torch.randn(2, 3, 64, 64), batch()
    plain = model(inputs, samples, mode='predict')
    for metainfo in samples.metainfo:  # an original of 128 x 32 px that was mirrored
        metainfo.update(ori_shape=(32, 128), warp_matrix=[[-0.5, 0, 64], [0, 2, 0]])
    moved = model(inputs, samples, mode='predict')
    for before, after in zip(plain, moved, strict=True):
        ours, theirs = after.pred_instances, before.pred_instances
        assert 0 < len(ours) <= 100
        assert ours.bboxes.dtype == np.float32
        assert ours.labels.dtype == np.int64
        assert (np.diff(ours.scores) <= 0).all()
        assert (ours.bboxes >= 0).all()
        assert (ours.bboxes <= [128, 32, 128, 32]).all()
        # IoUs do not change with scale along the axes, so the same boxes are kept.
        expected = theirs.bboxes[:, [2, 1, 0, 3]] * [-2, 0.5, -2, 0.5] + [128, 0, 128, 0]
        np.testing.assert_allclose(ours.bboxes, expected, atol=1e-3)
        assert after.img_id == before.img_id


def test_permuted_images_give_permuted_predictions() -> None:
    model = build().eval()
    inputs, samples = torch.randn(2, 3, 64, 64), batch()
    ours = model(inputs, samples, mode='predict')
    swapped = SampleBatch({}, [0, 0], samples.metainfo[::-1])
    theirs = model(inputs.flip(0), swapped, mode='predict')[::-1]
    for a, b in zip(ours, theirs):
        np.testing.assert_allclose(a.pred_instances.scores, b.pred_instances.scores, rtol=1e-4)
    alone = model(inputs[:1], SampleBatch({}, [0], samples.metainfo[:1]), mode='predict')[0]
    np.testing.assert_allclose(ours[0].pred_instances.scores, alone.pred_instances.scores, rtol=1e-4)


def mask_parts() -> dict[str, Any]:
    loss = dict(type='CrossEntropyLoss', use_sigmoid=True)
    return dict(
        mask_roi_extractor=dict(
            type='SingleRoIExtractor',
            roi_layer=dict(type='RoIAlign', output_size=4),
            out_channels=8,
            featmap_strides=(4, 8, 16),
            finest_scale=16,
        ),
        mask_head=dict(type='FCNMaskHead', in_channels=8, conv_out_channels=8, num_convs=1, loss_mask=loss),
    )


def test_masks_are_of_the_original_image() -> None:
    model = build(roi_args=mask_parts()).eval()
    samples = batch()
    for metainfo in samples.metainfo:
        metainfo.update(ori_shape=(32, 128), warp_matrix=[[0.5, 0, 0], [0, 2, 0]])
    for sample in model(torch.randn(2, 3, 64, 64), samples, mode='predict'):
        found = sample.pred_instances
        assert len(found) > 0
        for (x1, y1, x2, y2), rle in zip(found.bboxes, found.masks, strict=True):
            mask = mask_tools.decode(rle)
            assert mask.shape == (32, 128)
            rows, columns = mask.nonzero()
            if len(rows):  # at most a cell of the mask beyond the box, of which there are 8
                assert rows.min() + 1 >= y1 - (y2 - y1) / 8
                assert rows.max() <= y2 + (y2 - y1) / 8
                assert columns.min() + 1 >= x1 - (x2 - x1) / 8
                assert columns.max() <= x2 + (x2 - x1) / 8


def test_a_test_with_flips_and_scales_joins_the_boxes_of_all_passes() -> None:
    model = build(test_cfg=dict(scales=(1.0, 1.5), flip_test=True)).eval()
    inputs, samples = torch.randn(2, 3, 64, 64), batch()
    samples.metainfo[1].update(img_shape=(64, 40), ori_shape=(64, 40))
    seen = []
    model.roi_head.suppress = lambda found, suppress=model.roi_head.suppress: seen.append(found) or suppress(found)
    joined = model(inputs, samples, mode='predict')
    model.test_views = ViewOptions()
    model(inputs, samples, mode='predict')
    plain = seen[2:]
    for image in range(2):
        assert len(seen[image].scores) > 2 * len(plain[image].scores)
        torch.testing.assert_close(seen[image].boxes[: len(plain[image].boxes)], plain[image].boxes)
        h, w = samples.metainfo[image]['ori_shape']
        assert (seen[image].boxes <= torch.tensor([w, h, w, h])).all()
    assert (joined[1].pred_instances.bboxes[:, 2:] > joined[1].pred_instances.bboxes[:, :2]).all()
    # The mirrored pass alone is the plain one of a mirrored image, filled up at the right as any other.
    for image, w in enumerate((64, 40)):
        seen.clear()
        sample, of_image = SampleBatch({}, [0], samples.metainfo[image : image + 1]), inputs[image : image + 1]
        model.test_views = ViewOptions(flip_test=True)
        model(of_image, sample, mode='predict')
        model.test_views = ViewOptions()
        model(torch.cat([of_image[..., :w].flip(-1), of_image[..., w:]], dim=-1), sample, mode='predict')
        both, mirrored = seen
        count = len(mirrored.scores)
        torch.testing.assert_close(both.scores[-count:], mirrored.scores)
        expected = mirrored.boxes[..., [2, 1, 0, 3]] * torch.tensor([-1.0, 1, -1, 1]) + torch.tensor([w, 0, w, 0])
        torch.testing.assert_close(both.boxes[-count:], expected, atol=1e-3, rtol=1e-4)
    assert len(joined) == 2


@pytest.mark.parametrize('class_agnostic', [False, True])
def test_each_scale_of_a_test_keeps_the_sizes_of_its_range(class_agnostic: bool) -> None:
    """SNIP: size is sqrt(w h) in px of the original image, which here is 128 x 32 of the input's 64 x 64."""
    ranges = ((30.0, math.inf), (0.0, 20.0))
    cfg = config(test_cfg=dict(scales=(1.0, 2.0), flip_test=True, valid_ranges=ranges))
    cfg['roi_head'] |= dict(max_per_img=2000, bbox_head=cfg['roi_head']['bbox_head'] | dict(reg_class_agnostic=class_agnostic))
    model = MODELS.build(cfg).eval()
    inputs, samples = torch.randn(1, 3, 64, 64), det_batch([[]], size=SIZE)
    samples.metainfo[0].update(ori_shape=(32, 128), warp_matrix=[[0.5, 0, 0], [0, 2, 0]])
    with torch.no_grad():
        (found,) = model.candidates(inputs, samples)
        passes = [len(look.found[0].scores) for look in model._looks(inputs, samples)]
    assert len(passes) == 4  # each scale, and its mirror image
    of_scales = found.boxes.split([sum(passes[:2]), sum(passes[2:])]), found.scores.split([sum(passes[:2]), sum(passes[2:])])
    for boxes, scores, (low, high) in zip(*of_scales, ranges):
        assert boxes.ndim == (2 if class_agnostic else 3)
        sizes = ((boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])).sqrt()
        taken = ((sizes >= low) & (sizes <= high)).view(len(scores), -1).expand_as(scores)
        assert 0 < taken.sum() < taken.numel()
        assert torch.equal(scores > 0, taken)
        assert torch.equal(scores == -torch.inf, ~taken)
    kept = model(inputs, samples, mode='predict')[0].pred_instances
    sizes = np.sqrt((kept.bboxes[:, 2:] - kept.bboxes[:, :2]).prod(axis=1))
    assert ((sizes <= 20.001) | (sizes >= 29.999)).all()
    assert (sizes <= 20).any()
    assert (sizes >= 30).any()


def test_masks_are_those_of_the_scales_that_an_object_is_taken_from() -> None:
    model = build(roi_args=mask_parts(), test_cfg=dict(scales=(1.0, 2.0), valid_ranges=((0, 20), (10, 30)))).eval()
    inputs, samples = torch.randn(1, 3, 64, 64), det_batch([[]], size=SIZE)
    boxes = torch.tensor([[4.0, 4, 12, 12], [4, 4, 19, 19], [4, 4, 29, 29], [4, 4, 54, 54]])  # sides of 8, 15, 25 and 50
    kept = [Detections(boxes, torch.ones(4), torch.zeros(4).long(), torch.zeros(4).long())]
    with torch.no_grad():
        looks = model._looks(inputs, samples)
        first, second = (model.mask_probs([look], kept)[0] for look in looks)
        found = model.mask_probs(looks, kept)[0]
    assert not torch.allclose(first, second)
    both = (first + second) / 2  # also of the last, which is in no range
    torch.testing.assert_close(found, torch.stack([first[0], both[1], second[2], both[3]]))


def test_masks_of_a_mirrored_pass_are_turned_back() -> None:
    model = build(roi_args=mask_parts()).eval()
    inputs, samples = torch.randn(1, 3, 64, 64), det_batch([[]], size=SIZE)
    plain, mirrored = (model.look(view) for view in views(inputs, samples, ViewOptions(flip_test=True)))
    boxes = torch.tensor([[4.0, 8.0, 40.0, 50.0]])
    kept = [Detections(boxes, torch.ones(1), torch.zeros(1).long(), torch.zeros(1).long())]
    both = model.mask_probs([plain, mirrored], kept)[0]
    unturned = mirrored._replace(view=mirrored.view._replace(mirrored=False))
    of_mirrored = model.mask_probs([unturned], kept)[0].flip(-1)
    torch.testing.assert_close(both, (model.mask_probs([plain], kept)[0] + of_mirrored) / 2)


def test_modes_and_errors() -> None:
    model = build().eval()
    raw = model(torch.randn(1, 3, 64, 64))
    assert [tuple(x.shape) for x in raw.deltas] == [(1, 4, 64 // s, 64 // s) for s in (4, 8, 16, 32)]
    with pytest.raises(ValueError, match='`mode` must be one of'):
        model(torch.randn(1, 3, 64, 64), mode='test')
    with pytest.raises(ValueError, match=r'`test_cfg` takes .* got \[.scale.\]'):
        build(test_cfg=dict(scale=2))
    with pytest.raises(ValueError, match='must be positive numbers'):
        build(test_cfg=dict(scales=(0.0,)))
    for ranges in (((0, 80),), ((0, 80), (80, 40)), ((0, 80), (-1, 40))):
        with pytest.raises(ValueError, match=r'`test_cfg.valid_ranges` needs 0 <= lowest < highest for each of the 2 scales'):
            build(test_cfg=dict(scales=(1.0, 2.0), valid_ranges=ranges))
    with pytest.raises(ValueError, match="mode 'loss' needs `data_samples`"):
        model(torch.randn(1, 3, 64, 64), mode='loss')


def test_parts_that_do_not_fit() -> None:
    parts = config()
    rpn, roi = parts['rpn_head'], parts['roi_head']
    with pytest.raises(ValueError, match=r'StandardRoIHead: `bbox_head.num_classes` must be the 2 classes of all, got 80; leave'):
        build(roi_args=dict(bbox_head=dict(roi['bbox_head'], num_classes=80)))
    masks = mask_parts()
    with pytest.raises(ValueError, match=r'StandardRoIHead: `mask_head.num_classes` must be the 2 classes of all, got 3'):
        build(roi_args=masks | dict(mask_head=dict(masks['mask_head'], num_classes=3)))
    with pytest.raises(ValueError, match=r'TwoStageDetector: `roi_head.num_classes` must be the 2 classes of `meta`.* got 3'):
        build(roi_args=dict(num_classes=3))
    with pytest.raises(
        ValueError, match='TwoStageDetector: `rpn_head` must be a head with `proposals`, which StandardRoIHead has'
    ):
        MODELS.build(dict(parts, rpn_head=dict(roi, num_classes=2)))
    with pytest.raises(ConfigError, match='a `mask_head` learns from masks, and the batch has none: set `with_masks=True`'):
        build(roi_args=masks)(torch.randn(2, 3, 64, 64), batch(), mode='loss')
    more = dict(roi['bbox_roi_extractor'], featmap_strides=(4, 8, 16, 32, 64))
    with pytest.raises(
        ValueError, match=r'SingleRoIExtractor: `featmap_strides` must be of the 4 maps at most, got \(4, 8, 16, 32'
    ):
        build(roi_args=dict(bbox_roi_extractor=more))(torch.randn(2, 3, 64, 64), batch(), mode='loss')
    for name, wrong in (
        ('RPNHead', dict(rpn_head=dict(rpn, anchor_generator=dict(rpn['anchor_generator'], strides=(8, 16, 32, 64))))),
        ('SingleRoIExtractor', dict(roi_head=dict(roi, bbox_roi_extractor=dict(more, featmap_strides=(8, 16, 32))))),
    ):
        model = MODELS.build(dict(parts, **wrong)).eval()
        message = (
            rf'{name}: the strides \(8, 16, 32.* do not fit: the map of 8 px has 16 cells along 64 px of the input.*\(4, 8, 16'
        )
        for mode in ('loss', 'predict'):
            with pytest.raises(ConfigError, match=message):
                model(torch.randn(2, 3, 64, 64), batch(), mode=mode)


def test_it_learns_one_image_by_heart() -> None:
    model = build()
    inputs = torch.zeros(1, 3, 64, 64)
    inputs[0, :, 8:44, 8:40] = 1.0
    inputs[0, 0, 20:60, 34:60] = -2.0
    boxes = [[8.0, 8.0, 40.0, 44.0], [34.0, 20.0, 60.0, 60.0]]
    samples = det_batch([boxes], labels=[[1, 0]], size=SIZE)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.02, total_iters=200)
    for _ in range(200):  # with every torch, and from any seed: 60 were a matter of luck
        loss, _ = model.parse_losses(model(inputs, samples, mode='loss'))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5)
        optimizer.step()
        schedule.step()
    model.eval()
    found = model(inputs, samples, mode='predict')[0].pred_instances
    for box, label in zip(boxes, (1, 0)):
        best = found[found.labels == label][0]
        assert best.scores[0] > 0.5
        assert iou(best.bboxes[0].tolist(), box) > 0.7
