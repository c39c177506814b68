import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mmpose_lite.errors import ConfigError
from mmpose_lite.models.losses.reduction import reduce_loss
from mmpose_lite.registry import LOSSES
from tests.parity import functions

HEATMAP_LOSSES = ['KeypointMSELoss', 'KeypointOHKMMSELoss', 'AdaptiveWingLoss']
COORDINATE_LOSSES = ['SmoothL1Loss', 'L1Loss']


def build(name: str, **args: object) -> nn.Module:
    if name == 'KeypointOHKMMSELoss':
        args.setdefault('topk', 2)
    return LOSSES.build(dict(type=name, **args))


def heatmaps(*shape: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    return torch.randn(shape, dtype=dtype).requires_grad_(), torch.rand(shape, dtype=dtype)


@pytest.mark.parametrize(
    ('key', 'cfg'),
    [
        ('keypoint_mse', dict(type='KeypointMSELoss', use_target_weight=True)),
        ('keypoint_ohkm_top8', dict(type='KeypointOHKMMSELoss', use_target_weight=True, topk=8)),
        ('adaptive_wing', dict(type='AdaptiveWingLoss')),
    ],
)
def test_heatmap_losses_are_the_reference(shared: Path, key: str, cfg: dict) -> None:
    stored = functions(shared)
    pred, target, weight = (torch.from_numpy(stored[f'loss.heatmap.{name}']) for name in ('pred', 'target', 'weight'))
    loss = LOSSES.build(cfg)(pred, target, weight)
    assert loss.item() == pytest.approx(float(stored[f'loss.{key}']), rel=1e-5)


def test_coordinate_losses_are_the_reference(shared: Path) -> None:
    stored = functions(shared)
    pred, target = (torch.from_numpy(stored[f'loss.box.{name}']) for name in ('pred', 'target'))
    assert build('L1Loss')(pred, target).item() == pytest.approx(float(stored['loss.box.l1']), rel=1e-5)
    smooth = build('SmoothL1Loss', beta=1 / 9)(pred, target)
    assert smooth.item() == pytest.approx(float(stored['loss.box.smooth_l1']), rel=1e-5)


def test_mse_is_the_mean_over_all_cells() -> None:
    pred, target = torch.zeros(1, 2, 1, 3), torch.tensor([[[[1.0, 2.0, 0.0]], [[3.0, 0.0, 0.0]]]])
    weight = torch.tensor([[1.0, 0.5]])
    assert build('KeypointMSELoss')(pred, target, weight).item() == pytest.approx(14 / 6)  # weights are not asked for
    assert build('KeypointMSELoss', use_target_weight=True)(pred, target, weight).item() == pytest.approx((5 + 4.5) / 6)
    mask = torch.tensor([[[[0.0, 1.0, 1.0]]]])
    assert build('KeypointMSELoss')(pred, target, mask=mask).item() == pytest.approx(4 / 6)


def test_mse_skips_each_empty_channel() -> None:
    pred, target = torch.ones(1, 2, 1, 2), torch.zeros(1, 2, 1, 2)
    target[0, 1, 0, 0] = 1
    assert build('KeypointMSELoss', skip_empty_channel=True)(pred, target).item() == pytest.approx(1 / 4)
    assert build('KeypointMSELoss')(pred, target).item() == pytest.approx(3 / 4)


def test_ohkm_keeps_the_hardest_keypoints_of_each_sample() -> None:
    error = torch.tensor([[1.0, 3.0, 2.0], [0.0, 0.0, 4.0]])  # of every cell
    pred = error[..., None, None].expand(2, 3, 2, 2)
    loss = build('KeypointOHKMMSELoss', topk=2)(pred, torch.zeros_like(pred))
    assert loss.item() == pytest.approx(((9 + 4) / 2 + (16 + 0) / 2) / 2)
    weight = torch.tensor([[1.0, 0.0, 0.5], [1.0, 1.0, 1.0]])
    loss = build('KeypointOHKMMSELoss', topk=2, use_target_weight=True)(pred, torch.zeros_like(pred), weight)
    assert loss.item() == pytest.approx(((1 + 1) / 2 + (16 + 0) / 2) / 2)


@pytest.mark.parametrize('target', [0.0, 0.3, 1.0])
def test_adaptive_wing_follows_the_paper(target: float) -> None:
    """Equation 4 in plain numbers: below theta the logarithm, above it a line that joins in value and slope."""
    omega, theta, epsilon, alpha = 14.0, 0.5, 1.0, 2.1
    power = alpha - target

    def paper(error: float) -> float:
        if error < theta:
            return omega * math.log(1 + (error / epsilon) ** power)
        slope = omega / (1 + (theta / epsilon) ** power) * power * (theta / epsilon) ** (power - 1) / epsilon
        return slope * error - (theta * slope - omega * math.log(1 + (theta / epsilon) ** power))

    loss = build('AdaptiveWingLoss', reduction='none')
    for error in (0.0, 0.2, 0.499999, 0.500001, 0.9, 3.0):
        truth = torch.full((1, 1, 1, 1), target, dtype=torch.float64)
        assert loss(truth - error, truth).item() == pytest.approx(paper(error), abs=1e-9)
    assert paper(0.499999) == pytest.approx(paper(0.500001), abs=1e-4)


def test_smooth_l1_by_hand() -> None:
    pred, target = torch.tensor([[0.5, 0.0], [-3.0, 0.0]]), torch.zeros(2, 2)
    assert build('SmoothL1Loss')(pred, target).item() == pytest.approx((0.125 + 2.5) / 4)
    assert build('SmoothL1Loss', beta=0)(pred, target).item() == build('L1Loss')(pred, target).item() == pytest.approx(3.5 / 4)
    weighted = build('L1Loss', loss_weight=10)(pred, target, torch.tensor([2.0, 0.0]), avg_factor=torch.tensor(1.0))
    assert weighted.item() == pytest.approx(10.0)


@pytest.mark.parametrize('reduction', ['mean', 'sum', 'none'])
@pytest.mark.parametrize('name', HEATMAP_LOSSES)
def test_gradients_of_heatmap_losses(name: str, reduction: str) -> None:
    pred, target = heatmaps(2, 3, 3, 4)
    loss = build(name, use_target_weight=True, reduction=reduction, loss_weight=0.7)
    weight = torch.rand(2, 3, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda p: loss(p, target, weight), pred)


@pytest.mark.parametrize('reduction', ['mean', 'sum', 'none'])
@pytest.mark.parametrize('name', COORDINATE_LOSSES)
def test_gradients_of_coordinate_losses(name: str, reduction: str) -> None:
    pred, target = heatmaps(5, 4)
    loss = build(name, reduction=reduction, loss_weight=0.7)
    assert torch.autograd.gradcheck(lambda p: loss(p, target, target[:, 0]), pred)


@pytest.mark.parametrize('name', HEATMAP_LOSSES)
def test_heatmap_losses_without_labels_are_zero_with_gradient(name: str) -> None:
    for batch in (2, 0):
        pred, target = heatmaps(batch, 3, 4, 5)
        loss = build(name, use_target_weight=True)(pred, target, torch.zeros(batch, 3))
        loss.backward()
        assert loss.item() == 0
        assert pred.grad.shape == pred.shape
        assert not pred.grad.any()


@pytest.mark.parametrize('name', COORDINATE_LOSSES)
def test_coordinate_losses_without_labels_are_zero_with_gradient(name: str) -> None:
    for n, avg_factor in ((3, 0.0), (3, torch.tensor(0)), (0, None), (0, 0)):
        pred, target = heatmaps(n, 4)
        loss = build(name)(pred, target, torch.zeros(n), avg_factor=avg_factor)
        loss.backward()
        assert loss.item() == 0
        assert not pred.grad.any()


@pytest.mark.parametrize('name', HEATMAP_LOSSES)
def test_permuting_the_batch_changes_nothing(name: str) -> None:
    pred, target = heatmaps(4, 3, 4, 5)
    weight = torch.rand(4, 3)
    loss, order = build(name, use_target_weight=True), torch.randperm(4)
    torch.testing.assert_close(loss(pred, target, weight), loss(pred[order], target[order], weight[order]))


@pytest.mark.parametrize('name', HEATMAP_LOSSES + COORDINATE_LOSSES)
def test_loss_weight_and_reductions(name: str) -> None:
    pred, target = heatmaps(2, 3, 4, 5)
    each = build(name, reduction='none')(pred, target)
    torch.testing.assert_close(build(name)(pred, target), each.mean())
    torch.testing.assert_close(build(name, loss_weight=2.5, reduction='sum')(pred, target), 2.5 * each.sum())
    torch.testing.assert_close(build(name)(pred, target, avg_factor=7.0), each.sum() / 7)


@pytest.mark.parametrize('name', HEATMAP_LOSSES)
def test_nonfinite_predictions_are_not_hidden(name: str) -> None:
    pred, target = heatmaps(2, 3, 4, 5)
    assert not torch.isfinite(build(name)(pred * math.inf, target))


def test_reduce_loss_against_a_loop() -> None:
    loss, weight = torch.rand(3, 4), torch.rand(3)
    total = sum(float(loss[i, j]) * float(weight[i]) for i, j in np.ndindex(3, 4))
    assert reduce_loss(loss, weight).item() == pytest.approx(total / 12)
    assert reduce_loss(loss, weight, avg_factor=2).item() == pytest.approx(total / 2, rel=1e-5)
    assert reduce_loss(loss, weight, reduction='none').shape == (3, 4)
    assert reduce_loss(loss, weight[:, None].expand(3, 4)).item() == pytest.approx(total / 12)


@pytest.mark.parametrize('name', HEATMAP_LOSSES + COORDINATE_LOSSES)
def test_errors_that_all_losses_share(name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name}: `reduction` must be one of .*got 'max'"):
        build(name, reduction='max')
    with pytest.raises(
        ValueError, match=rf'{name}: `pred` and `target` must have one shape, got \(2, 3, 4, 5\) and \(2, 3, 5, 4\)'
    ):
        build(name)(torch.rand(2, 3, 4, 5), torch.rand(2, 3, 5, 4))


@pytest.mark.parametrize('name', HEATMAP_LOSSES)
def test_errors_of_keypoint_weights(name: str) -> None:
    maps = torch.rand(2, 3, 4, 5)
    with pytest.raises(ValueError, match=rf'{name}: `weight` \(B, K\) is needed'):
        build(name, use_target_weight=True)(maps, maps)
    with pytest.raises(ValueError, match=rf'{name}: `weight` must be \(B, K\) = \(2, 3\), got \(3, 2\)'):
        build(name, use_target_weight=True)(maps, maps, torch.ones(3, 2))


def test_other_errors() -> None:
    maps = torch.rand(2, 3, 4, 5)
    with pytest.raises(ConfigError, match='`topk` must be at most the 3 keypoints, got 4'):
        build('KeypointOHKMMSELoss', topk=4)(maps, maps)
    with pytest.raises(ValueError, match='`topk` must be 1 or more, got 0'):
        build('KeypointOHKMMSELoss', topk=0)
    with pytest.raises(ValueError, match='`beta` must be 0 or more, got -1'):
        build('SmoothL1Loss', beta=-1)
    with pytest.raises(ValueError, match=r'`weight` of shape \(4,\) does not fit a loss of \(3, 4\)'):
        reduce_loss(torch.rand(3, 4), torch.rand(4))
    with pytest.raises(ValueError, match='`avg_factor` needs'):
        reduce_loss(torch.rand(3), reduction='sum', avg_factor=2)
