"""The losses of maps of whole images, against loops over their cells."""

from typing import Any

import pytest
import torch
from torch import Tensor

from mmpose_lite.models.losses import MaskedFocalL2Loss, MaskedMSELoss
from mmpose_lite.registry import LOSSES

LOSS_TYPES = ('MaskedMSELoss', 'MaskedFocalL2Loss')


def maps() -> tuple[Tensor, Tensor, Tensor]:
    """Return predictions and targets (2, 3, 4, 5), half of the targets 0, some negative, and a mask."""
    target = torch.rand(2, 3, 4, 5) * 2 - 1
    target[target.abs() < 0.5] = 0
    return torch.randn(2, 3, 4, 5), target, (torch.rand(2, 4, 5) > 0.4).to(torch.uint8)


def slow(cls: type, pred: Tensor, target: Tensor, mask: Tensor) -> float:
    total = 0.0
    B, C, H, W = pred.shape
    for b in range(B):
        for c in range(C):
            for y in range(H):
                for x in range(W):
                    p, t = pred[b, c, y, x].item(), target[b, c, y, x].item()
                    error = (p - t) ** 2
                    if cls is MaskedFocalL2Loss and abs(t) >= 0.01:
                        along = p if t > 0 else -p
                        error *= abs(1 - (along - 0.1)) ** 2
                    elif cls is MaskedFocalL2Loss:
                        error *= (abs(p) + 0.02) ** 2
                    total += error * mask[b, y, x].item()
    return total


@pytest.mark.parametrize('cls', [MaskedMSELoss, MaskedFocalL2Loss])
def test_the_value_is_that_of_a_loop(cls: type) -> None:
    pred, target, mask = maps()
    expected = slow(cls, pred, target, mask)
    assert cls()(pred, target, mask).item() == pytest.approx(expected / 2, rel=1e-5)
    assert cls(loss_weight=0.5)(pred, target, mask).item() == pytest.approx(expected / 4, rel=1e-5)
    assert cls(reduction='mean')(pred, target, mask).item() == pytest.approx(expected / pred.numel(), rel=1e-5)


@pytest.mark.parametrize('cls', [MaskedMSELoss, MaskedFocalL2Loss])
def test_without_a_mask_all_cells_count(cls: type) -> None:
    pred, target, mask = maps()
    assert torch.equal(cls()(pred, target), cls()(pred, target, torch.ones_like(mask)))


def test_focal_for_heatmaps_is_as_published() -> None:
    """For targets and predictions from 0 on: |1 - s_d|^gamma with s_d = s - alpha in the foreground, 1 - s - beta elsewhere."""
    target = torch.rand(1, 2, 3, 4).round(decimals=1)
    pred = torch.rand(1, 2, 3, 4)
    s_d = torch.where(target >= 0.01, pred - 0.1, 1 - pred - 0.02)
    expected = ((pred - target) ** 2 * (1 - s_d).abs() ** 2).sum()
    torch.testing.assert_close(MaskedFocalL2Loss()(pred, target), expected)


def test_focal_with_gamma_0_is_the_plain_loss() -> None:
    pred, target, mask = maps()
    torch.testing.assert_close(MaskedFocalL2Loss(gamma=0.0)(pred, target, mask), MaskedMSELoss()(pred, target, mask))


def test_focal_weighs_a_right_field_little_whatever_its_sign() -> None:
    loss = MaskedFocalL2Loss()
    target = torch.tensor([1.0, -1.0]).view(1, 2, 1, 1)
    near, far = loss(0.9 * target, target) / 0.1**2, loss(0.1 * target, target) / 0.9**2  # factors
    assert near < 0.1 * far
    assert torch.equal(loss(0.9 * target, target), loss(-0.9 * target, -target))


@pytest.mark.parametrize('kind', LOSS_TYPES)
@pytest.mark.parametrize('reduction', ['image', 'mean'])
def test_gradient(kind: str, reduction: str) -> None:
    pred, target, mask = (t.double() for t in maps())
    loss = LOSSES.build(dict(type=kind, reduction=reduction))
    assert torch.autograd.gradcheck(lambda p: loss(p, target, mask), pred.requires_grad_())


@pytest.mark.parametrize('kind', LOSS_TYPES)
@pytest.mark.parametrize('reduction', ['image', 'mean'])
def test_what_is_masked_gives_no_gradient(kind: str, reduction: str) -> None:
    pred, target, mask = maps()
    loss = LOSSES.build(dict(type=kind, reduction=reduction))
    pred.requires_grad_()
    loss(pred, target, mask).backward()
    left_out = (mask == 0)[:, None].expand_as(pred)
    assert (pred.grad[left_out] == 0).all()
    assert (pred.grad[~left_out] != 0).all()
    pred.grad = None
    value = loss(pred, target, torch.zeros_like(mask))
    value.backward()
    assert value == 0
    assert (pred.grad == 0).all()


@pytest.mark.parametrize('kind', LOSS_TYPES)
def test_no_image_gives_zero(kind: str) -> None:
    pred = torch.zeros(0, 3, 4, 5, requires_grad=True)
    assert LOSSES.build(dict(type=kind))(pred, pred.detach(), torch.zeros(0, 4, 5)) == 0


@pytest.mark.parametrize('kind', LOSS_TYPES)
def test_twice_the_images_cost_the_same(kind: str) -> None:
    arguments = maps()
    loss = LOSSES.build(dict(type=kind))
    torch.testing.assert_close(loss(*arguments), loss(*(t.repeat(2, *[1] * (t.ndim - 1)) for t in arguments)))


@pytest.mark.parametrize(
    ('cfg', 'message'),
    [
        (
            dict(type='MaskedMSELoss', reduction='sum'),
            r"MaskedMSELoss: `reduction` must be one of \('image', 'mean'\), got 'sum'",
        ),
        (dict(type='MaskedFocalL2Loss', gamma=-1), '`gamma`, `alpha` and `beta` must be 0 or more .* got -1'),
        (dict(type='MaskedFocalL2Loss', target_thr=0), '`target_thr` above 0'),
    ],
)
def test_wrong_arguments(cfg: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LOSSES.build(cfg)


def test_wrong_shapes() -> None:
    pred, target, mask = maps()
    with pytest.raises(ValueError, match='`pred` and `target` must have one shape'):
        MaskedMSELoss()(pred, target[:, :2], mask)
    with pytest.raises(ValueError, match=r'`mask` must be \(B, H, W\) = \(2, 4, 5\), got \(2, 1, 4, 5\)'):
        MaskedMSELoss()(pred, target, mask[:, None])
