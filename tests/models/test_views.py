"""Tests at several scales and mirrored: what a detector is shown, and how what it finds is joined.

The networks here are made by hand. Of each cell of stride 8 they know whether the picture is bright there, and find a box around
the middle of a bright cell: 32 x 16 px of the input, for RetinaNet, FCOS and CenterNet alike.
"""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from mmpose_lite.errors import ConfigError
from mmpose_lite.models.estimators.single_stage import SingleStageDetector
from mmpose_lite.models.estimators.views import ViewOptions, joined, views
from mmpose_lite.ops.boxes import boxes_to_image
from mmpose_lite.registry import MODELS
from tests.det_batches import det_batch
from tests.models import test_two_stage as two_stage

SIZE = (128, 64)  # (w, h) px
STRIDE = 8
BACKBONE = dict(type='ResNet', depth=18, stem_channels=4, base_channels=4, out_indices=(1,))
NMS = dict(type='HardNMS', iou_threshold=0.5)
HEADS: dict[str, dict[str, Any]] = {
    'RetinaHead': dict(
        anchor_generator=dict(
            type='AnchorGenerator', strides=(STRIDE,), ratios=(0.5,), scales=(1.0,), base_sizes=(512**0.5,), center_offset=0.5
        ),
        bbox_coder=dict(type='DeltaXYWHBBoxCoder'),
        assigner=dict(type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.5),
        loss_cls=dict(type='FocalLoss'),
        loss_bbox=dict(type='L1Loss'),
        feat_channels=3,
        stacked_convs=0,
    ),
    'FCOSHead': dict(
        strides=(STRIDE,),
        regress_ranges=((-1, 1e8),),
        loss_cls=dict(type='FocalLoss'),
        loss_bbox=dict(type='IoULoss'),
        loss_centerness=dict(type='CrossEntropyLoss', use_sigmoid=True),
        feat_channels=3,
        stacked_convs=0,
    ),
    'CenterNetHead': dict(
        stride=STRIDE,
        feat_channels=3,
        loss_center_heatmap=dict(type='GaussianFocalLoss'),
        loss_wh=dict(type='L1Loss'),
        loss_offset=dict(type='L1Loss'),
    ),
}


class Means(nn.Module):
    """The mean of each cell, in place of a backbone."""

    def forward(self, inputs: torch.Tensor) -> tuple[torch.Tensor]:
        return (functional.avg_pool2d(inputs, STRIDE),)


def detector(head: str, **args: Any) -> SingleStageDetector:
    """Return the network made by hand: class 1 where a cell is 1, nothing where it is 0."""
    cfg = dict(type=head, in_channels=3, nms=NMS, **HEADS[head])
    model = MODELS.build(
        dict(type='SingleStageDetector', backbone=BACKBONE, bbox_head=cfg, meta=dict(classes=['a', 'b']), **args)
    )
    model.backbone = Means()
    for p in model.bbox_head.parameters():
        nn.init.zeros_(p)
    of_class, of_box, values = {
        'RetinaHead': ('retina_cls', 'retina_reg', (0.0, 0.0, 0.0, 0.0)),
        'FCOSHead': ('conv_cls', 'conv_reg', (16.0, 8.0, 16.0, 8.0)),
        'CenterNetHead': ('heatmap_head.2', 'wh_head.2', (4.0, 2.0)),
    }[head]
    with torch.no_grad():
        classifier = model.bbox_head.get_submodule(of_class)
        middle = classifier.weight.shape[-1] // 2
        classifier.weight[1, 0, middle, middle] = 16.0
        classifier.bias.copy_(torch.tensor([-12.0, -8.0]))
        biases = torch.tensor(values)
        model.bbox_head.get_submodule(of_box).bias.copy_(biases.log() if head == 'FCOSHead' else biases)
        if head == 'FCOSHead':
            model.bbox_head.scales[0].scale.fill_(1.0)
            model.bbox_head.conv_centerness.bias.fill_(8.0)
        if head == 'CenterNetHead':
            model.bbox_head.heatmap_head[0].weight[0, 0, 1, 1] = 1.0
            model.bbox_head.offset_head[2].bias.fill_(0.5)
    return model.eval()


def picture(cells: int) -> torch.Tensor:
    """Return an input (1, 3, H, W), bright in a square of so many cells a side, from (32, 32) px on."""
    inputs = torch.zeros(1, 3, *SIZE[::-1])
    inputs[..., 32 : 32 + STRIDE * cells, 32 : 32 + STRIDE * cells] = 1.0
    return inputs


def samples_of(width: int = SIZE[0]) -> Any:
    """Return what belongs to an image of that width, the rest of the input being filled up; its file has half the size."""
    samples = det_batch([[]], size=SIZE, img_shapes=[(SIZE[1], width)])
    samples.metainfo[0].update(ori_shape=(SIZE[1] // 2, width // 2), warp_matrix=[[2.0, 0, 0], [0, 2.0, 0]])
    return samples


@pytest.mark.parametrize('head', HEADS)
def test_one_view_is_the_plain_test(head: str) -> None:
    model, inputs, samples = detector(head), torch.rand(1, 3, *SIZE[::-1]), samples_of(88)
    for test_cfg in (None, dict(scales=(1.0,), flip_test=False, valid_ranges=[(0, 1e5)])):
        model.test_views = ViewOptions.of('', test_cfg)
        found = model(inputs, samples, mode='predict')[0].pred_instances
        (raw,) = model.bbox_head.candidates(model(inputs), samples)
        inside = (raw.boxes / 2).clamp(min=0).minimum(torch.tensor([44.0, 32.0, 44.0, 32.0]))
        inside = raw._replace(boxes=inside, scores=raw.scores.where(inside[:, 2] > inside[:, 0], -torch.inf))
        kept = model.bbox_head.suppress(inside)
        assert 0 < len(found) < len(raw.scores)
        np.testing.assert_array_equal(found.bboxes, kept.boxes)
        np.testing.assert_array_equal(found.scores, kept.scores)
        np.testing.assert_array_equal(found.labels, kept.labels)


# At half the size, the square of two cells is one cell, and what is found around it is twice as large in the image.
@pytest.mark.parametrize(
    ('scale', 'cells', 'expected'), [(1.0, 1, [20.0, 28.0, 52.0, 44.0]), (0.5, 2, [8.0, 24.0, 72.0, 56.0])], ids=['plain', 'half']
)
@pytest.mark.parametrize('width', [128, 112])
@pytest.mark.parametrize('head', HEADS)
def test_every_view_finds_the_box_where_it_is(head: str, width: int, scale: float, cells: int, expected: list[float]) -> None:
    model, inputs, samples = detector(head), picture(cells), samples_of(width)
    wanted = ViewOptions(scales=(scale,), flip_test=True)
    alone = [joined([model.look(view)], samples)[0] for view in views(inputs, samples, wanted)]
    model.test_views = wanted
    together = model(inputs, samples, mode='predict')[0].pred_instances
    for boxes, scores, labels in [*alone, (together.bboxes, together.scores, together.labels)]:
        likely = scores > 0.5
        np.testing.assert_allclose(boxes[likely], [[edge / 2 for edge in expected]], atol=1e-4)
        assert labels[likely].tolist() == [1]


def test_a_view_gives_the_sizes_of_its_range_alone() -> None:
    """What is found in the file has sqrt(w h) of 11.3 px at the scale 1 and 22.6 px at 0.5."""
    model, samples = detector('RetinaHead', test_cfg=dict(scales=(1.0, 0.5), valid_ranges=((20, 30), (20, 30)))), samples_of()
    (found,) = model.candidates(picture(2), samples)
    np.testing.assert_allclose(found.boxes[found.scores > 0.5], [[4.0, 12.0, 36.0, 28.0]], atol=1e-4)


def test_wrong_options_are_named() -> None:
    with pytest.raises(ValueError, match=r"SingleStageDetector: `test_cfg` takes \('scales', .*\), got \['flip'\]"):
        detector('FCOSHead', test_cfg=dict(flip=True))
    with pytest.raises(ValueError, match=r'SingleStageDetector: `test_cfg.scales` must be positive numbers, got \(0,\)'):
        detector('FCOSHead', test_cfg=dict(scales=0))
    with pytest.raises(ValueError, match=r'SingleStageDetector: `test_cfg.valid_ranges` needs .* for each of the 2 scales'):
        detector('FCOSHead', test_cfg=dict(scales=(1.0, 2.0), valid_ranges=[(0, 80)]))


@pytest.mark.parametrize(
    ('head', 'args'),
    [
        ('FCOSHead', dict(strides=(16,))),
        ('CenterNetHead', dict(stride=4)),
        ('RetinaHead', dict(anchor_generator=dict(HEADS['RetinaHead']['anchor_generator'], strides=(4,)))),
    ],
)
def test_strides_that_are_not_those_of_the_maps(head: str, args: dict[str, Any]) -> None:
    cfg = dict(HEADS[head], type=head, in_channels=8, nms=NMS) | args
    model = MODELS.build(dict(type='SingleStageDetector', backbone=BACKBONE, bbox_head=cfg, meta=dict(classes=['a'])))
    with pytest.raises(ConfigError, match=rf'{head}: the strides .* do not fit: the map of \d+ px has 8 cells .* strides \(8,\)'):
        model(picture(1))


def test_heads_that_do_not_find_objects_of_the_classes() -> None:
    model = dict(type='SingleStageDetector', backbone=BACKBONE, meta=dict(classes=['a']))
    wrong = dict(HEADS['FCOSHead'], type='FCOSHead', in_channels=8, nms=NMS, num_classes=80)
    with pytest.raises(
        ValueError, match=r'SingleStageDetector: `bbox_head.num_classes` must be the 1 classes of `meta`.* got 80'
    ):
        MODELS.build(dict(model, bbox_head=wrong))
    proposing = two_stage.config()['rpn_head']
    with pytest.raises(
        ValueError, match='SingleStageDetector: `bbox_head` must be a head with `candidates`, which RPNHead has not'
    ):
        MODELS.build(dict(model, bbox_head=proposing))


def test_views_of_a_head_that_suppresses_nothing_are_refused() -> None:
    cfg = dict(type='CenterNetHead', in_channels=3, **HEADS['CenterNetHead'])
    model = dict(type='SingleStageDetector', backbone=BACKBONE, bbox_head=cfg, meta=dict(classes=['a']))
    MODELS.build(dict(model, test_cfg=dict(scales=(2.0,))))  # one view needs none
    with pytest.raises(ValueError, match=r'`test_cfg` asks for 2 views, .* `bbox_head.nms` must be a suppression, .* got None'):
        MODELS.build(dict(model, test_cfg=dict(flip_test=True)))


@pytest.mark.parametrize('scale', [1.0, 1.5])
def test_views_and_their_frames(scale: float) -> None:
    H, W = 64, 96
    ramp = (torch.arange(W) + 0.5).expand(1, 3, H, W)  # a pixel's value is where its centre lies
    samples = det_batch([[]], size=(W, H), img_shapes=[(64, 80)])
    samples.metainfo[0]['warp_matrix'] = [[2.0, 0, 4], [0, 2.0, 0]]
    plain, mirrored = views(ramp, samples, ViewOptions(scales=(scale,), flip_test=True))
    for inputs, of_view, _, _ in (plain, mirrored):
        assert inputs.shape[2] % 32 == inputs.shape[3] % 32 == 0
        metainfo = of_view.metainfo[0]
        column = 30
        point = torch.tensor([[column + 0.5, 3.0, column + 0.5, 3.0]])
        x_image = boxes_to_image(point, metainfo['warp_matrix'])[0, 0]
        assert inputs[0, 0, 5, column].item() == pytest.approx(x_image.item() * 2 + 4, abs=1e-3)
        factor = inputs.shape[3] / W
        assert metainfo['img_shape'][1] == pytest.approx(80 * factor)
        right = int(80 * factor) + 1
        assert torch.equal(inputs[..., right:], plain.inputs[..., right:])  # what was filled up stays there
    assert samples.metainfo[0]['img_shape'] == (64, 80)
