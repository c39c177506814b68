"""R-FCN: position-sensitive maps, pooled and averaged."""

from pathlib import Path

import pytest
import torch
from torch.nn import functional

from mmpose_lite.engine.config import load_config
from mmpose_lite.models.heads.roi.rfcn_head import RFCNRoIHead
from mmpose_lite.registry import HEADS, MODELS
from tests.det_batches import det_batch


def build(sampler: str = 'RandomSampler', **args: object) -> RFCNRoIHead:
    cfg = dict(
        type='RFCNRoIHead',
        num_classes=2,
        bbox_roi_extractor=dict(
            type='SingleRoIExtractor',
            roi_layer=dict(type='PSRoIAlign', output_size=3, sampling_ratio=2),
            out_channels=7,
            featmap_strides=(4, 8),
            finest_scale=16,
        ),
        bbox_head=dict(
            type='PositionSensitiveBBoxHead',
            in_channels=4,
            feat_channels=6,
            num_parts=3,
            bbox_coder=dict(type='DeltaXYWHBBoxCoder'),
            loss_cls=dict(type='CrossEntropyLoss'),
            loss_bbox=dict(type='SmoothL1Loss'),
            **args,
        ),
        assigner=dict(type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.5, match_low_quality=False),
        sampler=dict(type=sampler, num=16, pos_fraction=0.5),
        nms=dict(type='HardNMS'),
    )
    head = HEADS.build(cfg)
    head.init_weights()
    return head


FEATS = [(2, 4, 16, 16), (2, 4, 8, 8), (2, 4, 4, 4)]  # the last one is of the proposals alone
PROPOSALS = [torch.tensor([[2.0, 3, 30, 34], [10, 12, 22, 22], [0, 0, 60, 60]]), torch.tensor([[4.0, 4, 40, 40]])]


def test_a_box_gets_the_mean_of_what_its_parts_say() -> None:
    head = build()
    feats = [torch.randn(shape) for shape in FEATS]
    rois = torch.tensor([[0, 2.0, 3, 14, 16], [1, 4, 4, 60, 60]])
    raw = head(feats, rois)
    box_head = head.bbox_head
    for i, (level, stride) in enumerate(((0, 4), (1, 8))):
        hidden = functional.conv2d(feats[level], box_head.conv_new.weight, box_head.conv_new.bias).relu()
        maps = functional.conv2d(hidden, box_head.conv_maps.weight, box_head.conv_maps.bias)
        image, (x1, y1, x2, y2) = int(rois[i, 0]), (rois[i, 1:] / stride).tolist()
        for result in range(7):
            parts = []
            for row in range(3):
                for column in range(3):
                    of_part = maps[image, (result * 3 + row) * 3 + column][None, None]
                    edges = [x1 + (x2 - x1) * column / 3, y1 + (y2 - y1) * row / 3]
                    at = [[e + s * (k + 0.5) / 6 - 0.5 for k in (0, 1)] for e, s in zip(edges, (x2 - x1, y2 - y1))]
                    side = of_part.shape[-1]
                    grid = torch.tensor([[[x, y] for x in at[0]] for y in at[1]]).clamp(0, side - 1)
                    values = functional.grid_sample(of_part, grid[None] * 2 / (side - 1) - 1, align_corners=True)
                    parts.append(values.mean().item())
            found = torch.cat([raw.cls_logits[i], raw.deltas[i]])[result].item()
            assert found == pytest.approx(sum(parts) / 9, abs=1e-6)


@pytest.mark.parametrize('sampler', ['RandomSampler', 'OHEMSampler'])
def test_training_and_testing(sampler: str) -> None:
    head = build(sampler)
    feats = [torch.randn(shape) for shape in FEATS]
    for boxes in ([[[2.0, 2, 28, 33]], []], [[], []]):
        head.zero_grad()
        losses = head.loss(feats, PROPOSALS, det_batch(boxes))
        assert list(losses) == ['loss_cls', 'loss_bbox', 'acc_cls']
        assert (losses['loss_bbox'] > 0) == bool(boxes[0])
        (losses['loss_cls'] + losses['loss_bbox']).backward()
        assert all(p.grad is not None and p.grad.any() for p in head.parameters())
    found = head.candidates(feats, PROPOSALS, det_batch([[], []]))
    assert [tuple(c.boxes.shape) for c in found] == [(3, 4), (1, 4)]
    assert head.suppress(found[0]).boxes.shape[1] == 4


def test_number_of_parts() -> None:
    with pytest.raises(ValueError, match='PositionSensitiveBBoxHead: `num_parts` must be 1 or more, got 0'):
        HEADS.build(
            dict(
                type='PositionSensitiveBBoxHead',
                num_classes=2,
                num_parts=0,
                bbox_coder=dict(type='DeltaXYWHBBoxCoder'),
                loss_cls=dict(type='CrossEntropyLoss'),
                loss_bbox=dict(type='L1Loss'),
            )
        )


def test_the_config(repo: Path) -> None:
    with torch.device('meta'):
        model = MODELS.build(load_config(repo / 'configs/detection/rfcn_resnet50_fpn_coco.py').model)
    extractor, head = model.roi_head.bbox_roi_extractor, model.roi_head.bbox_head
    assert head.num_results == 85
    assert head.conv_maps.out_channels == 85 * 9 == head.num_results * extractor.roi_layers[0].output_size[0] ** 2
