"""Mask heads, and what they learn from."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from mmpose_lite.models.heads.roi.mask_head import FCNMaskHead
from mmpose_lite.models.heads.roi.mask_targets import mask_targets
from mmpose_lite.models.heads.roi.sampling import RoISample
from mmpose_lite.ops.masks import pack_masks
from mmpose_lite.registry import HEADS
from mmpose_lite.structures import SampleBatch

LOSS = dict(type='CrossEntropyLoss', use_sigmoid=True)


def build(**args: object) -> FCNMaskHead:
    return HEADS.build(
        dict(type='FCNMaskHead', in_channels=4, conv_out_channels=4, num_convs=2, num_classes=3, loss_mask=LOSS) | args
    )


def sample(rois: list[list[float]], gt_rows: list[int], num_rows: list[int]) -> RoISample:
    R = len(rois)
    yes = torch.ones(R, dtype=torch.bool)
    boxes = torch.tensor(rois)
    return RoISample(
        boxes, boxes[:, 1:], torch.zeros(R).long(), torch.tensor(gt_rows), yes, yes, yes, torch.zeros(R), num_rows, R
    )


def test_targets_are_masks_seen_through_boxes() -> None:
    rng = np.random.default_rng(0)
    masks = np.zeros((3, 24, 29), bool)
    masks[0, 4:20, 3:11] = True
    masks[1] = rng.random((24, 29)) < 0.5
    masks[2, :12] = True
    batch = SampleBatch(dict(masks=torch.from_numpy(pack_masks(masks))), [2, 0, 1], [{}] * 3)
    rois = [
        [0, 3.0, 4.0, 11.0, 20.0],
        [0, -1.0, 0.0, 15.0, 24.0],
        [0, 2.5, 3.5, 20.5, 21.0],
        [1, 0.0, 0, 4, 4],
        [2, 0.0, 0, 29, 24],
    ]
    targets = mask_targets(batch, sample(rois, [0, 0, 1, 0, 0], [3, 1, 1]), (4, 6))
    assert targets.shape == (5, 4, 6)
    assert targets[0].all()  # the box of the object itself
    assert not targets[3].any()  # an image without objects
    assert torch.equal(targets[4], torch.tensor([1.0, 1, 0, 0])[:, None].expand(4, 6))
    # The mean of bilinear samples, by a loop over the cells of the third one.
    x1, y1, x2, y2 = rois[2][1:]
    n_y, n_x = -(-(y2 - y1) // 4), -(-(x2 - x1) // 6)
    padded = torch.from_numpy(masks[1]).float()[None, None]
    for i in range(4):
        for j in range(6):
            ys = [y1 + (i + (k + 0.5) / n_y) * (y2 - y1) / 4 for k in range(int(n_y))]
            xs = [x1 + (j + (k + 0.5) / n_x) * (x2 - x1) / 6 for k in range(int(n_x))]
            grid = torch.tensor([[[2 * x / 29 - 1, 2 * y / 24 - 1] for x in xs] for y in ys])
            share = functional.grid_sample(padded, grid[None], align_corners=False, padding_mode='border').mean()
            assert targets[2, i, j] == (share >= 0.5)


def test_the_loss_is_of_the_objects_class_and_of_positives() -> None:
    head = build()
    logits, targets = torch.randn(4, 3, 6, 6, requires_grad=True), (torch.rand(4, 6, 6) > 0.5).float()
    labels, is_positive = torch.tensor([2, 0, 1, 1]), torch.tensor([True, True, False, True])
    loss = head.loss(logits, targets, labels, is_positive)
    assert list(loss) == ['loss_mask']
    own = torch.stack([logits[i, c] for i, c in enumerate(labels.tolist())])
    expected = functional.binary_cross_entropy_with_logits(own[is_positive], targets[is_positive])
    torch.testing.assert_close(loss['loss_mask'], expected)
    torch.testing.assert_close(head.probs(logits, labels), own.sigmoid())
    agnostic = build(class_agnostic=True)
    torch.testing.assert_close(agnostic.probs(logits[:, :1], labels), logits[:, 0].sigmoid())


def test_nothing_is_learnt_without_positives() -> None:
    head = build()
    for R in (0, 2):
        head.zero_grad()
        loss = head.loss(head(torch.randn(R, 4, 5, 5)), torch.zeros(R, 10, 10), torch.zeros(R).long(), torch.zeros(R).bool())
        loss['loss_mask'].backward()
        assert loss['loss_mask'] == 0
        assert all(p.grad is not None and p.grad.abs().sum() == 0 for p in head.parameters())


def test_layers_and_initial_values() -> None:
    head = build(conv_out_channels=4, with_conv_res=True)
    head.init_weights()
    x, before = torch.randn(2, 4, 5, 5), torch.randn(2, 4, 5, 5)
    y = x + functional.relu(functional.conv2d(before, head.conv_res.conv.weight, head.conv_res.conv.bias))
    for conv in head.convs:
        y = functional.relu(functional.conv2d(y, conv.conv.weight, conv.conv.bias, padding=1))
    torch.testing.assert_close(head.features(x, before), y)
    up = functional.relu(functional.conv_transpose2d(y, head.upsample.weight, head.upsample.bias, stride=2))
    torch.testing.assert_close(head.logits(y), functional.conv2d(up, head.conv_logits.weight, head.conv_logits.bias))
    assert head(x).shape == (2, 3, 10, 10)
    wide = build(in_channels=32, conv_out_channels=32)
    wide.init_weights()
    assert wide.convs[0].conv.weight.std().item() == pytest.approx((2 / (32 * 9)) ** 0.5, rel=0.1)


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (dict(num_convs=0, conv_out_channels=8), '`num_convs` must be 1 or more'),
        (dict(with_conv_res=True, conv_out_channels=8), '`with_conv_res` needs'),
    ],
)
def test_errors(args: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(**args)
