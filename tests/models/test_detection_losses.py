"""Losses of detectors: on classes, on boxes. Each against plain numbers, and against stored ones where there are some."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mmpose_lite.models.losses import small_box_weight
from mmpose_lite.registry import LOSSES
from tests.parity import functions

OVERLAP = ['IoULoss', 'GIoULoss', 'DIoULoss', 'CIoULoss']
COORDINATES = ['L1Loss', 'SmoothL1Loss', 'MSELoss', 'BalancedL1Loss', 'BoxKLLoss', 'BoundedIoULoss']
CLASSES = ['CrossEntropyLoss', 'FocalLoss', 'GHMC', 'HardExampleCrossEntropyLoss']


def build(name: str, **args: Any) -> nn.Module:
    return LOSSES.build(dict(type=name, **args))


def boxes(count: int) -> tuple[Tensor, Tensor]:
    """Return boxes and their targets, most of which they overlap."""
    corners = 20 * torch.rand(count, 2, dtype=torch.float64)
    target = torch.cat([corners, corners + 4 + 9 * torch.rand(count, 2, dtype=torch.float64)], dim=1)
    return (target + 3 * torch.rand(count, 4, dtype=torch.float64)).requires_grad_(), target


def classes(count: int, num_classes: int = 4, background: bool = True) -> tuple[Tensor, Tensor]:
    logits = 2 * torch.randn(count, num_classes, dtype=torch.float64)
    return logits.requires_grad_(), torch.randint(num_classes + background, (count,))


def extra_of(name: str, pred: Tensor) -> dict[str, Tensor]:
    return dict(log_variances=torch.linspace(-1, 1, pred.numel(), dtype=pred.dtype).view_as(pred)) if name == 'BoxKLLoss' else {}


def softplus(x: float) -> float:
    return math.log1p(math.exp(-abs(x))) + max(x, 0)


def cross_entropy(logits: list[float], target: int) -> float:
    return math.log(sum(math.exp(x) for x in logits)) - logits[target]


def binary_cross_entropy(logit: float, target: float) -> float:
    return softplus(logit) - target * logit


@pytest.mark.parametrize(
    ('key', 'cfg'),
    [
        ('iou', dict(type='IoULoss')),
        ('iou_linear', dict(type='IoULoss', mode='linear')),
        ('giou', dict(type='GIoULoss')),
        ('diou', dict(type='DIoULoss')),
        ('ciou', dict(type='CIoULoss')),
        ('l1', dict(type='L1Loss')),
        ('smooth_l1', dict(type='SmoothL1Loss', beta=1 / 9)),
        ('balanced_l1', dict(type='BalancedL1Loss')),
    ],
)
def test_box_losses_are_the_reference(shared: Path, key: str, cfg: dict[str, Any]) -> None:
    stored = functions(shared)
    pred, target = (torch.from_numpy(stored[f'loss.box.{name}']) for name in ('pred', 'target'))
    assert LOSSES.build(cfg)(pred, target).item() == pytest.approx(float(stored[f'loss.box.{key}']), rel=1e-5)


def test_class_losses_are_the_reference(shared: Path) -> None:
    stored = functions(shared)
    logits, target = (torch.from_numpy(stored[f'loss.cls.{name}']) for name in ('logits', 'target'))
    assert build('FocalLoss')(logits, target).item() == pytest.approx(float(stored['loss.sigmoid_focal']), rel=1e-5)
    logits, label = (torch.from_numpy(stored[f'loss.seg.{name}']) for name in ('logits', 'label'))
    loss = build('CrossEntropyLoss', ignore_index=255)
    assert loss(logits, label).item() == pytest.approx(float(stored['loss.seg.cross_entropy']), rel=1e-5)


def test_softmax_cross_entropy_against_a_loop() -> None:
    logits, target = classes(12, background=False)
    target[2], target[5] = 255, -100  # the first is ignored below
    target[5] = 1
    weight, factors = torch.rand(12, dtype=torch.float64), [0.5, 2.0, 0.0, 1.5]
    counts = [t != 255 for t in target.tolist()]

    def each(i: int, class_weight: list[float] | None) -> float:
        t = int(target[i])
        return 0.0 if t == 255 else cross_entropy(logits[i].tolist(), t) * (class_weight[t] if class_weight else 1)

    def loss(**args: Any) -> float:
        weighted = args.pop('weight', None)
        return build('CrossEntropyLoss', ignore_index=255, **args).double()(logits, target, weighted).item()

    plain = [each(i, None) for i in range(12)]
    weighted = [each(i, factors) for i in range(12)]
    assert loss() == pytest.approx(sum(plain) / 12)
    assert loss(avg_non_ignore=True) == pytest.approx(sum(plain) / sum(counts))
    assert loss(class_weight=factors) == pytest.approx(sum(weighted) / 12)
    divisor = sum(factors[t] for t in target.tolist() if t != 255)
    assert loss(class_weight=factors, avg_class_weight=True) == pytest.approx(sum(weighted) / divisor)
    assert loss(reduction='sum', weight=weight) == pytest.approx(sum(w * p for w, p in zip(weight.tolist(), plain)))
    assert loss(weight=weight, loss_weight=3.0) == pytest.approx(3 * sum(w * p for w, p in zip(weight.tolist(), plain)) / 12)
    none = build('CrossEntropyLoss', ignore_index=255)(logits, target, reduction='none')
    assert none.tolist() == pytest.approx(plain)
    found = build('CrossEntropyLoss', ignore_index=255)(logits, target, avg_factor=torch.tensor(5))
    assert found.item() == pytest.approx(sum(plain) / 5)


def test_sigmoid_cross_entropy_against_a_loop() -> None:
    logits, target = classes(10)
    logits = logits.detach()
    target[:3] = torch.tensor([4, 255, -1])  # background, and two that do not count
    factors = [0.5, 2.0, 1.0, 1.5]
    weight = torch.rand(10, dtype=torch.float64)

    def each(i: int, c: int, pos_weight: float = 1.0) -> float:
        t, x = int(target[i]), logits[i, c].item()
        if t in (255, -1):
            return 0.0
        return pos_weight * softplus(-x) if t == c else softplus(x)

    cells = [(i, c) for i in range(10) for c in range(4)]
    loss = build('CrossEntropyLoss', use_sigmoid=True, ignore_index=255)
    total = sum(each(i, c) for i, c in cells)
    assert loss(logits, target).item() == pytest.approx(total / 40)
    assert loss(logits, target, reduction='none').shape == (10, 4)
    averaged = build('CrossEntropyLoss', use_sigmoid=True, ignore_index=255, avg_non_ignore=True)
    assert averaged(logits, target).item() == pytest.approx(total / 32)
    positive = build('CrossEntropyLoss', use_sigmoid=True, ignore_index=255, class_weight=factors)
    assert positive(logits, target).item() == pytest.approx(sum(each(i, c, factors[c]) for i, c in cells) / 40)
    expected = sum(each(i, c) * float(weight[i]) for i, c in cells) / 40
    assert loss(logits, target, weight).item() == pytest.approx(expected)
    assert loss(logits, target, weight[:, None].expand(10, 4)).item() == pytest.approx(expected)
    soft = torch.rand(10, 4, dtype=torch.float64)
    soft[0] = 255
    expected = sum(binary_cross_entropy(logits[i, c].item(), float(soft[i, c])) for i, c in cells[4:])
    assert loss(logits, soft).item() == pytest.approx(expected / 40)
    assert averaged(logits, soft).item() == pytest.approx(expected / 36)


def test_one_channel_as_class_or_as_mask() -> None:
    """As an index 0 is the only class, 1 the background; in the logits' shape 1 is the foreground."""
    logits = torch.tensor([[2.0], [-1.0]])
    loss = build('CrossEntropyLoss', use_sigmoid=True, reduction='none')
    torch.testing.assert_close(loss(logits, torch.tensor([0, 1])), loss(logits, torch.tensor([[1.0], [0.0]])))


@pytest.mark.parametrize('alpha', [0.25, (0.1, 0.9, 0.5, 0.3)])
@pytest.mark.parametrize('gamma', [0.0, 1.5, 2.0])
def test_focal_against_a_loop(gamma: float, alpha: float | tuple[float, ...]) -> None:
    logits, target = classes(10)
    target[:3] = torch.tensor([4, -100, 2])
    factors = [0.5, 2.0, 1.0, 0.0]

    def each(i: int, c: int) -> float:
        t, p = int(target[i]), 1 / (1 + math.exp(-logits[i, c].item()))
        a = alpha if isinstance(alpha, float) else alpha[c]
        if t < 0:
            return 0.0
        return -a * (1 - p) ** gamma * math.log(p) if t == c else -(1 - a) * p**gamma * math.log(1 - p)

    loss = build('FocalLoss', gamma=gamma, alpha=alpha).double()
    cells = [(i, c) for i in range(10) for c in range(4)]
    total = sum(each(i, c) for i, c in cells)
    assert loss(logits, target).item() == pytest.approx(total / 40)
    assert loss(logits, target, avg_factor=3).item() == pytest.approx(total / 3)
    averaged = build('FocalLoss', gamma=gamma, alpha=alpha, avg_non_ignore=True).double()
    assert averaged(logits, target).item() == pytest.approx(total / 36)
    weighted = build('FocalLoss', gamma=gamma, alpha=alpha, class_weight=factors).double()
    assert weighted(logits, target).item() == pytest.approx(sum(each(i, c) * factors[c] for i, c in cells) / 40)
    one_hot = torch.stack([target == c for c in range(4)], dim=1).double()
    one_hot[target < 0] = -100
    found = loss(logits, one_hot)
    torch.testing.assert_close(found, loss(logits, target))
    (gradient,) = torch.autograd.grad(found, logits)
    assert gradient.isfinite().all()  # what is ignored is no number to compute with
    assert not gradient[target < 0].any()
    if gamma == 0:
        binary = build('CrossEntropyLoss', use_sigmoid=True)(logits, target)
        halved = build('FocalLoss', gamma=0, alpha=0.5).double()(logits, target)
        torch.testing.assert_close(halved, binary / 2)


@pytest.mark.parametrize(
    ('cfg'),
    [
        dict(type='CrossEntropyLoss', class_weight=(1.0, 2.0, 0.5, 1.0), avg_class_weight=True, ignore_index=255),
        dict(type='CrossEntropyLoss', use_sigmoid=True, class_weight=(1.0, 2.0, 0.5, 1.0), ignore_index=255),
        dict(type='FocalLoss', alpha=(0.1, 0.9, 0.5, 0.3), class_weight=(1.0, 2.0, 0.5, 1.0), ignore_index=255),
        dict(type='GHMC'),
    ],
)
def test_maps_are_rows_of_pixels(cfg: dict[str, Any]) -> None:
    logits, target, weight = torch.randn(2, 4, 3, 5), torch.randint(4, (2, 3, 5)), torch.rand(2, 3, 5)
    target[0, 0, 0] = 255 if 'ignore_index' in cfg else -100
    loss = LOSSES.build(cfg)
    rows = logits.permute(0, 2, 3, 1).reshape(-1, 4), target.reshape(-1), weight.reshape(-1)
    torch.testing.assert_close(loss(logits, target, weight), loss(*rows))


@pytest.mark.parametrize('momentum', [0.0, 0.75])
def test_ghm_classes_against_a_loop(momentum: float) -> None:
    loss = build('GHMC', bins=5, momentum=momentum, loss_weight=2.0).double()
    running = [0.0] * 5
    for _ in range(3):
        logits, target = classes(20)
        target[0] = -1
        weight = (torch.rand(20) > 0.3).float()
        cells = [(i, c) for i in range(20) for c in range(4) if weight[i] > 0 and target[i] >= 0]

        def gradient(i: int, c: int, logits: Tensor = logits, target: Tensor = target) -> float:
            return abs(1 / (1 + math.exp(-logits[i, c].item())) - float(target[i] == c))

        members = [[cell for cell in cells if b / 5 <= gradient(*cell) < (b + 1) / 5] for b in range(5)]
        for b in range(5):
            if members[b]:
                running[b] = momentum * running[b] + (1 - momentum) * len(members[b])
        filled = sum(1 for group in members if group)
        expected = sum(
            binary_cross_entropy(logits[i, c].item(), float(target[i] == c)) * len(cells) / running[b] / filled
            for b, group in enumerate(members)
            for i, c in group
        )
        assert loss(logits, target, weight).item() == pytest.approx(2 * expected / len(cells))
    assert ('acc_sum' in loss.state_dict()) == (momentum > 0)
    if momentum:
        assert loss.acc_sum.tolist() == pytest.approx(running)
        loss.eval()(logits, target)
        assert loss.acc_sum.tolist() == pytest.approx(running)


def test_ghm_counts_beyond_what_float32_can() -> None:
    """An image of 1333 x 800 px has 16 million logits in RetinaNet, nearly all of them in the first bin."""
    num = 2**24 + 2**20
    with torch.no_grad():
        weights = build('GHMC').weights(torch.zeros(1).expand(num), torch.ones(1).bool().expand(num), torch.tensor(num))
    assert weights[0] == 1


def test_ghm_regression_against_a_loop() -> None:
    pred, target = (0.1 * torch.randn(15, 4, dtype=torch.float64) for _ in range(2))
    weight = (torch.rand(15, 4) > 0.3).double()
    mu, bins = 0.02, 10
    errors = [float(d) for d, w in zip((pred - target).flatten(), weight.flatten()) if w > 0]
    index = [min(int(abs(d) / math.hypot(d, mu) * bins), bins - 1) for d in errors]
    filled = len(set(index))
    expected = sum((math.hypot(d, mu) - mu) * len(errors) / index.count(b) / filled for d, b in zip(errors, index))
    assert build('GHMR')(pred, target, weight, avg_factor=3).item() == pytest.approx(expected / len(errors))
    of_boxes = (torch.rand(15) > 0.3).double()
    assert build('GHMR')(pred, target, of_boxes) == build('GHMR')(pred, target, of_boxes[:, None].expand(-1, 4))


def test_hard_examples_against_a_loop() -> None:
    logits, target = classes(20, background=False)
    target[3] = -100
    losses = sorted(cross_entropy(row, t) for row, t in zip(logits.tolist(), target.tolist()) if t >= 0)
    loss = build('HardExampleCrossEntropyLoss', num_hard=6)(logits, target)
    loss.backward()
    assert loss.item() == pytest.approx(sum(losses[-6:]) / 6)
    assert int((logits.grad != 0).any(dim=1).sum()) == 6
    everything = build('HardExampleCrossEntropyLoss', num_hard=99)(logits, target)
    assert everything.item() == pytest.approx(sum(losses) / 19)
    weight = torch.zeros(20, dtype=torch.float64)
    weight[:2] = 0.5
    of_two = sum(cross_entropy(logits[i].tolist(), int(target[i])) for i in range(2)) / 2
    assert build('HardExampleCrossEntropyLoss')(logits, target, weight).item() == pytest.approx(of_two / 2)
    each = build('HardExampleCrossEntropyLoss', num_hard=1, loss_weight=3.0)(logits, target, reduction='none')
    assert sorted(each.tolist()) == pytest.approx([0, *(3 * loss for loss in losses)])  # also of those that are easy
    with pytest.raises(ValueError, match="HardExampleCrossEntropyLoss: `reduction` must be None or 'none', got 'sum'"):
        build('HardExampleCrossEntropyLoss')(logits, target, reduction='sum')


def test_balanced_l1_follows_the_paper() -> None:
    alpha, gamma = 0.5, 1.5
    b = math.exp(gamma / alpha) - 1

    def paper(error: float) -> float:
        if error < 1:
            return alpha / b * (b * error + 1) * math.log(b * error + 1) - alpha * error
        return gamma * error + gamma / b - alpha

    for error in (0.0, 0.1, 0.5, 0.999999, 1.000001, 4.0):
        pred = torch.tensor([[error]], dtype=torch.float64, requires_grad=True)
        loss = build('BalancedL1Loss')(pred, torch.zeros_like(pred))
        loss.backward()
        assert loss.item() == pytest.approx(paper(error), abs=1e-12)
        if error > 0:
            assert pred.grad.item() == pytest.approx(min(alpha * math.log(b * error + 1), gamma), abs=1e-5)
    near, far = (build('BalancedL1Loss', beta=0.3)(torch.tensor([[e]]), torch.zeros(1, 1)).item() for e in (0.29999, 0.30001))
    assert near == pytest.approx(far, abs=1e-4)


@pytest.mark.parametrize(('error', 'log_variance'), [(0.5, 0.0), (0.5, 1.2), (-0.9, -2.0), (3.0, 0.7), (-1.5, -0.4)])
def test_box_kl_follows_the_paper(error: float, log_variance: float) -> None:
    far = abs(error) > 1
    expected = math.exp(-log_variance) * (abs(error) - 0.5 if far else error**2 / 2) + log_variance / 2
    pred, target = torch.tensor([[error]], dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)
    loss = build('BoxKLLoss', loss_weight=2.0)(pred, target, log_variances=torch.full_like(pred, log_variance))
    assert loss.item() == pytest.approx(2 * expected)


def test_box_kl_is_least_at_the_squared_error() -> None:
    """The variance that is learnt is that of the error."""
    target = torch.zeros(400, 1, dtype=torch.float64)
    pred = 0.3 * torch.randn(400, 1, dtype=torch.float64)
    log_variance = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([log_variance], max_iter=50)

    def step() -> Tensor:
        optimizer.zero_grad()
        loss = build('BoxKLLoss')(pred, target, log_variances=log_variance.expand(400, 1))
        loss.backward()
        return loss

    optimizer.step(step)
    near = pred.abs() < 1  # all of them: the parabola
    assert near.all()
    assert log_variance.exp().item() == pytest.approx(pred.square().mean().item(), rel=1e-4)


def test_overlap_losses_by_hand() -> None:
    pred, target = torch.tensor([[0.0, 0.0, 4.0, 2.0]]), torch.tensor([[2.0, 0.0, 6.0, 2.0]])
    iou = 4 / 12
    assert build('IoULoss')(pred, target).item() == pytest.approx(-math.log(iou))
    assert build('IoULoss', mode='linear')(pred, target).item() == pytest.approx(1 - iou)
    assert build('IoULoss', mode='square')(pred, target).item() == pytest.approx(1 - iou**2)
    assert build('GIoULoss')(pred, target).item() == pytest.approx(1 - iou)  # they fill the enclosing box
    assert build('DIoULoss')(pred, target).item() == pytest.approx(1 - iou + 4 / 40)
    apart = torch.tensor([[50.0, 0.0, 54.0, 2.0]])
    assert build('IoULoss')(pred, apart).item() == pytest.approx(-math.log(1e-6))


def test_bounded_iou_of_one_coordinate_at_a_time() -> None:
    target = torch.tensor([[10.0, 20.0, 30.0, 60.0]])
    wrong = dict(
        shifted=([14.0, 20.0, 34.0, 60.0], 1 - 12 / 28),
        lower=([10.0, 42.0, 30.0, 82.0], 1.0),
        wider=([5.0, 20.0, 35.0, 60.0], 1 - 20 / 30),
        flatter=([10.0, 39.0, 30.0, 41.0], 1 - 2 / 40),
    )
    for beta in (0.2, 0.5):
        for box, bound in wrong.values():
            expected = bound - beta / 2 if bound >= beta else bound**2 / 2 / beta
            found = build('BoundedIoULoss', beta=beta, eps=0)(torch.tensor([box]), target)
            assert found.item() == pytest.approx(expected / 4)
    assert build('BoundedIoULoss')(target, target).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize('name', OVERLAP[1:])
def test_boxes_that_do_not_touch_are_drawn_together(name: str) -> None:
    pred = torch.tensor([[0.0, 0.0, 4.0, 2.0]], requires_grad=True)
    build(name)(pred, torch.tensor([[50.0, 0.0, 54.0, 2.0]])).backward()
    assert (pred.grad[0, 2] < 0).all()  # the right edge is pushed to the right


def test_small_boxes_count_up_to_twice() -> None:
    sizes = torch.tensor([[0.0, 0.0, 640.0, 480.0], [0.0, 0.0, 320.0, 240.0], [3.0, 3.0, 3.0, 3.0], [-9.0, -9.0, 700.0, 500.0]])
    torch.testing.assert_close(small_box_weight(sizes, (640, 480)), torch.tensor([1.0, 1.75, 2.0, 1.0]))
    of_each = torch.tensor([[640.0, 480.0], [320.0, 480.0], [640.0, 480.0], [640.0, 480.0]])
    torch.testing.assert_close(small_box_weight(sizes, of_each), torch.tensor([1.0, 1.5, 2.0, 1.0]))


@pytest.mark.parametrize('reduction', ['mean', 'sum', 'none'])
@pytest.mark.parametrize('name', OVERLAP + COORDINATES + ['GHMR'])
def test_gradients_of_box_losses(name: str, reduction: str) -> None:
    pred, target = boxes(6)
    loss = build(name, reduction=reduction, loss_weight=0.7)
    weight = 0.5 + torch.rand(6, 4, dtype=torch.float64)
    if name == 'CIoULoss':  # its alpha is a constant for the gradient: compare below an IoU of 0.5, where it is 0
        pred = (target + 0.6 * (target[:, 2:] - target[:, :2]).repeat(1, 2)).detach().requires_grad_()
    inputs = [pred, *extra_of(name, pred).values()]
    for tensor in inputs:
        tensor.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda p, *extra: loss(p, target, weight, **(dict(log_variances=extra[0]) if extra else {})), inputs
    )


@pytest.mark.parametrize('use_sigmoid', [False, True])
@pytest.mark.parametrize('name', CLASSES)
def test_gradients_of_class_losses(name: str, use_sigmoid: bool) -> None:
    logits, target = classes(6, background=use_sigmoid and name != 'HardExampleCrossEntropyLoss')
    args = dict(use_sigmoid=use_sigmoid) if name == 'CrossEntropyLoss' else {}
    target %= 4 if name == 'HardExampleCrossEntropyLoss' else 5
    target[0] = -100
    loss = build(name, **args).double()
    if name == 'GHMC':  # its weights are constants for the gradient: the more bins, the less they jump
        loss = build(name, bins=1)
    weight = 0.5 + torch.rand(6, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda p: loss(p, target, weight), logits)


def _zero_with_gradient(loss: Tensor, pred: Tensor) -> None:
    loss.backward()
    assert loss.item() == 0
    assert pred.grad.shape == pred.shape
    assert not pred.grad.any()


@pytest.mark.parametrize('name', OVERLAP + COORDINATES + ['GHMR'])
def test_box_losses_without_boxes_are_zero_with_gradient(name: str) -> None:
    for count, avg_factor in ((3, 0.0), (3, torch.tensor(0)), (0, None), (0, 0)):
        pred, target = boxes(count)
        weight = torch.zeros(count, 4)
        _zero_with_gradient(build(name)(pred, target, weight, avg_factor=avg_factor, **extra_of(name, pred)), pred)


@pytest.mark.parametrize('args', [dict(), dict(avg_non_ignore=True), dict(use_sigmoid=True, avg_non_ignore=True)])
@pytest.mark.parametrize('name', CLASSES)
def test_class_losses_without_samples_are_zero_with_gradient(name: str, args: dict[str, Any]) -> None:
    if name in ('GHMC', 'HardExampleCrossEntropyLoss'):
        args = {}
    loss = build(name, **args)
    for count in (3, 0):
        logits, _ = classes(count)
        _zero_with_gradient(loss(logits, torch.full((count,), -100)), logits)
        logits, target = classes(count, background=False)
        _zero_with_gradient(loss(logits, target, torch.zeros(count), avg_factor=0), logits)
    if name != 'HardExampleCrossEntropyLoss':
        logits = torch.randn(0, 3, 4, 5, requires_grad=True)
        _zero_with_gradient(loss(logits, torch.zeros(0, 4, 5, dtype=torch.int64)), logits)


@pytest.mark.parametrize('name', OVERLAP)
def test_weights_and_reductions_of_overlap_losses(name: str) -> None:
    pred, target = boxes(5)
    weight = torch.rand(5, 4, dtype=torch.float64)
    each = build(name, reduction='none')(pred, target)
    assert each.shape == (5,)
    torch.testing.assert_close(build(name)(pred, target), each.mean())
    torch.testing.assert_close(build(name, reduction='none')(pred, target, weight), each * weight.mean(dim=1))
    torch.testing.assert_close(build(name)(pred, target, weight[:, 0]), (each * weight[:, 0]).mean())
    torch.testing.assert_close(build(name, loss_weight=3.0)(pred, target, reduction='sum'), 3 * each.sum())
    torch.testing.assert_close(build(name)(pred, target, avg_factor=2), each.sum() / (2 + 1.2e-7))
    torch.testing.assert_close(build(name)(target, target).item(), 0.0, atol=1e-6, rtol=0)


@pytest.mark.parametrize('name', OVERLAP)
def test_a_collapsed_box_gives_finite_gradients(name: str) -> None:
    pred = torch.tensor([[5.0, 5.0, 5.0, 5.0], [9.0, 9.0, 2.0, 2.0]], requires_grad=True)
    loss = build(name)(pred, torch.tensor([[0.0, 0.0, 10.0, 10.0], [3.0, 3.0, 3.0, 3.0]]))
    loss.backward()
    assert loss.isfinite()
    assert pred.grad.isfinite().all()


@pytest.mark.parametrize('name', ['FocalLoss', 'GHMC', 'CrossEntropyLoss'])
def test_half_precision_is_lifted(name: str) -> None:
    logits, target = torch.tensor([[-9.0, 8.0, 3.0]]).half(), torch.tensor([1])
    args = dict(use_sigmoid=True) if name == 'CrossEntropyLoss' else {}
    found = build(name, **args)(logits, target)
    torch.testing.assert_close(found.float(), build(name, **args)(logits.float(), target), rtol=1e-2, atol=1e-6)


@pytest.mark.parametrize('gamma', [0.0, 0.5, 2.0])
def test_a_certain_sample_gives_focal_loss_a_finite_gradient(gamma: float) -> None:
    logits = torch.tensor([[200.0, -200.0]], requires_grad=True)  # the probabilities are 1 and 0 to the last bit
    loss = build('FocalLoss', gamma=gamma)(logits, torch.tensor([0]))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad.tolist() == [[0, 0]]


@pytest.mark.parametrize('name', ['FocalLoss', 'GHMC'])
def test_easy_samples_keep_a_gradient_in_half_precision(name: str) -> None:
    logits = torch.full((1, 1), -9.0).half().requires_grad_()
    build(name)(logits, torch.tensor([1])).backward(torch.tensor(1e6))
    assert logits.grad.abs().item() > 0


def test_nothing_of_the_losses_is_in_a_checkpoint() -> None:
    for name in CLASSES:
        args = dict(class_weight=(1.0, 2.0)) if name in ('CrossEntropyLoss', 'FocalLoss') else {}
        assert not build(name, **args).state_dict()


@pytest.mark.parametrize('name', OVERLAP + COORDINATES + ['GHMR'])
def test_errors_of_box_losses(name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name}: `reduction` must be one of .*got 'max'"):
        build(name, reduction='max')
    with pytest.raises(ValueError, match=rf'{name}: `pred` and `target` must have one shape, got \(2, 4\) and \(3, 4\)'):
        build(name)(torch.ones(2, 4), torch.ones(3, 4), **extra_of(name, torch.ones(2, 4)))


@pytest.mark.parametrize(
    ('cfg', 'message'),
    [
        (dict(type='IoULoss', mode='cubic'), r"IoULoss: `mode` must be one of .*, got 'cubic'"),
        (dict(type='BalancedL1Loss', beta=0), r'BalancedL1Loss: .* must be above 0, got 0\.5, 1\.5 and 0'),
        (dict(type='BoundedIoULoss', beta=0), 'BoundedIoULoss: `beta` must be above 0, got 0'),
        (dict(type='FocalLoss', use_sigmoid=False), 'FocalLoss: `use_sigmoid` must be True'),
        (dict(type='FocalLoss', gamma=-1), 'FocalLoss: `gamma` must be 0 or more, got -1'),
        (dict(type='FocalLoss', alpha=1.5), r'FocalLoss: `alpha` must be in \[0, 1\].*, got 1\.5'),
        (dict(type='FocalLoss', class_weight=(-1.0,)), r'FocalLoss: `class_weight` must be .*, got \(-1\.0,\)'),
        (dict(type='CrossEntropyLoss', class_weight=()), r'CrossEntropyLoss: `class_weight` must be .*, got \(\)'),
        (dict(type='CrossEntropyLoss', avg_class_weight=True), 'CrossEntropyLoss: `avg_class_weight` must be False without'),
        (dict(type='CrossEntropyLoss', reduction='max'), "CrossEntropyLoss: `reduction` must be one of .*, got 'max'"),
        (dict(type='GHMC', use_sigmoid=False), 'GHMC: `use_sigmoid` must be True'),
        (dict(type='GHMC', bins=0), 'GHMC: `bins` must be 1 or more, got 0'),
        (dict(type='GHMR', momentum=1), r'GHMR: `momentum` must be in \[0, 1\), got 1'),
        (dict(type='GHMR', mu=0), 'GHMR: `mu` must be above 0, got 0'),
        (dict(type='HardExampleCrossEntropyLoss', num_hard=0), '`num_hard` must be 1 or more, got 0'),
    ],
)
def test_errors_of_arguments(cfg: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LOSSES.build(cfg)


@pytest.mark.parametrize(
    ('call', 'message'),
    [
        (
            lambda: build('CrossEntropyLoss')(torch.ones(3, 4), torch.ones(4, dtype=torch.int64)),
            r'`target` must have the shape of the logits \(3, 4\) without the axis of classes, got \(4,\)',
        ),
        (
            lambda: build('FocalLoss')(torch.ones(3, 4), torch.ones(3, 5)),
            r'FocalLoss: `pred` and `target` must have one shape, got \(3, 4\) and \(3, 5\)',
        ),
        (
            lambda: build('FocalLoss')(torch.ones(3, 4), torch.ones(3, dtype=torch.int64), torch.ones(4)),
            r'FocalLoss: `weight` must have the shape of the logits \(3, 4\) with or without .*, got \(4,\)',
        ),
        (
            lambda: build('FocalLoss', class_weight=(1.0, 2.0))(torch.ones(3, 4), torch.ones(3, dtype=torch.int64)),
            r'FocalLoss: `class_weight` needs one entry per channel \(4\), got 2',
        ),
        (
            lambda: build('FocalLoss', alpha=(0.1, 0.2))(torch.ones(3, 4), torch.ones(3, dtype=torch.int64)),
            r'FocalLoss: `alpha` needs one entry per channel \(4\), got 2',
        ),
        (
            lambda: build('HardExampleCrossEntropyLoss')(torch.ones(3, 4, 5), torch.ones(3, 5)),
            r'must be \(N, C\) and \(N,\), got \(3, 4, 5\) and \(3, 5\)',
        ),
        (
            lambda: build('BoxKLLoss')(torch.ones(3, 4), torch.ones(3, 4), log_variances=torch.ones(3, 1)),
            r'BoxKLLoss: .* must have one shape, got \(3, 4\) and \(3, 1\)',
        ),
    ],
)
def test_errors_of_shapes(call: Callable[[], Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
