import math

import pytest
import torch
from torch import Tensor

from mmpose_lite.ops.iou import KINDS, IoUKind, aligned_iou, pairwise_iou


def random_boxes(*shape: int, generator: torch.Generator | None = None, dtype: torch.dtype = torch.float64) -> Tensor:
    corners = torch.rand(*shape, 2, generator=generator, dtype=dtype) * 20
    return torch.cat([corners, corners + 1 + 10 * torch.rand(*shape, 2, generator=generator, dtype=dtype)], dim=-1)


def overlap(a: list[float], b: list[float], kind: str) -> float:
    """The formulas of the papers in plain numbers."""
    width_a, height_a, width_b, height_b = a[2] - a[0], a[3] - a[1], b[2] - b[0], b[3] - b[1]
    both = max(min(a[2], b[2]) - max(a[0], b[0]), 0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    if kind == 'iof':
        return both / (width_a * height_a)
    union = width_a * height_a + width_b * height_b - both
    iou = both / union
    if kind == 'iou':
        return iou
    hull_width, hull_height = max(a[2], b[2]) - min(a[0], b[0]), max(a[3], b[3]) - min(a[1], b[1])
    if kind == 'giou':
        return iou - (hull_width * hull_height - union) / (hull_width * hull_height)
    apart = math.dist(((a[0] + a[2]) / 2, (a[1] + a[3]) / 2), ((b[0] + b[2]) / 2, (b[1] + b[3]) / 2))
    diou = iou - apart**2 / (hull_width**2 + hull_height**2)
    if kind == 'diou':
        return diou
    v = 4 / math.pi**2 * (math.atan(width_b / height_b) - math.atan(width_a / height_a)) ** 2
    return diou - (v * v / (1 - iou + v) if iou > 0.5 else 0)


@pytest.mark.parametrize('kind', KINDS)
def test_against_plain_numbers(kind: IoUKind) -> None:
    boxes = random_boxes(30)
    others = torch.cat([random_boxes(20), boxes[:20] + torch.rand(20, 4, dtype=torch.float64)])  # far and near ones
    expected = [[overlap(a, b, kind) for b in others.tolist()] for a in boxes.tolist()]
    found = pairwise_iou(boxes, others, kind=kind, eps=1e-12)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), atol=1e-9, rtol=0)
    torch.testing.assert_close(aligned_iou(boxes, others[:30], kind=kind, eps=1e-12), found[:, :30].diagonal())
    if kind == 'ciou':
        assert (found != pairwise_iou(boxes, others, kind='diou', eps=1e-12)).any(), 'no pair reaches the aspect term'


def test_by_hand() -> None:
    boxes, others = torch.tensor([[0.0, 0.0, 4.0, 2.0]]), torch.tensor([[2.0, 0.0, 6.0, 2.0], [8.0, 0.0, 12.0, 2.0]])
    torch.testing.assert_close(pairwise_iou(boxes, others), torch.tensor([[4 / 12, 0.0]]))
    torch.testing.assert_close(pairwise_iou(boxes, others, kind='iof'), torch.tensor([[0.5, 0.0]]))
    torch.testing.assert_close(pairwise_iou(boxes, others, kind='giou'), torch.tensor([[4 / 12, -8 / 24]]))
    torch.testing.assert_close(pairwise_iou(boxes, others, kind='diou'), torch.tensor([[4 / 12 - 4 / 40, -64 / 148]]))


@pytest.mark.parametrize('kind', KINDS)
def test_leading_axes_and_empty_sides(kind: IoUKind) -> None:
    boxes, others = random_boxes(2, 5), random_boxes(2, 3)
    found = pairwise_iou(boxes, others, kind=kind)
    assert found.shape == (2, 5, 3)
    torch.testing.assert_close(found[1], pairwise_iou(boxes[1], others[1], kind=kind))
    assert pairwise_iou(boxes[0, :0], others[0], kind=kind).shape == (0, 3)
    assert pairwise_iou(boxes, others[:, :0], kind=kind).shape == (2, 5, 0)


def test_pairs_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    boxes, others = random_boxes(2, 50), random_boxes(2, 7)
    whole = pairwise_iou(boxes, others)
    monkeypatch.setattr('mmpose_lite.ops.iou._PAIRS_AT_ONCE', 60)
    torch.testing.assert_close(pairwise_iou(boxes, others), whole)
    boxes.requires_grad_()
    pairwise_iou(boxes, others).sum().backward()
    assert boxes.grad.any()


@pytest.mark.parametrize('kind', KINDS)
def test_degenerate_boxes(kind: IoUKind) -> None:
    """No area: no overlap, not even with itself; and no NaN, in value or gradient."""
    boxes = torch.tensor(
        [[3.0, 3.0, 3.0, 3.0], [3.0, 3.0, 3.0, 9.0], [9.0, 9.0, 3.0, 3.0], [0.0, 0.0, 9.0, 9.0]]
    ).requires_grad_()
    found = pairwise_iou(boxes, boxes.detach(), kind=kind)
    found.sum().backward()
    assert found.isfinite().all()
    assert boxes.grad.isfinite().all()
    if kind in ('iou', 'iof'):
        expected = torch.zeros(4, 4)
        expected[3, 3] = 1
        torch.testing.assert_close(found, expected)
    proper = found[[0, 1, 3]][:, [0, 1, 3]]  # the right edge not left of the left one
    assert (proper <= 1).all()
    assert (proper >= -1 - (kind == 'ciou')).all()


@pytest.mark.parametrize('kind', KINDS)
def test_a_box_with_itself_and_moved_boxes(kind: IoUKind) -> None:
    boxes, others = random_boxes(6), random_boxes(6)
    torch.testing.assert_close(aligned_iou(boxes, boxes, kind=kind), torch.ones(6, dtype=torch.float64), atol=1e-6, rtol=0)
    torch.testing.assert_close(aligned_iou(boxes + 7, others + 7, kind=kind), aligned_iou(boxes, others, kind=kind))
    if kind != 'iof':
        torch.testing.assert_close(aligned_iou(boxes, others, kind=kind), aligned_iou(others, boxes, kind=kind))


def test_half_precision_does_not_overflow() -> None:
    boxes = torch.tensor([[0.0, 0.0, 1000.0, 800.0]], dtype=torch.float16)  # its area is beyond the greatest half
    for kind in KINDS:
        assert aligned_iou(boxes, boxes, kind=kind).item() == pytest.approx(1.0)


def test_errors() -> None:
    with pytest.raises(ValueError, match=r'boxes must be \(\.\.\., 4\), got \(3, 5\) and \(3, 4\)'):
        aligned_iou(torch.ones(3, 5), torch.ones(3, 4))
    with pytest.raises(ValueError, match=r'\(\.\.\., N, 4\) and \(\.\.\., M, 4\), got \(4,\) and \(3, 4\)'):
        pairwise_iou(torch.ones(4), torch.ones(3, 4))
    with pytest.raises(ValueError, match=r"`kind` must be one of .*, got 'eiou'"):
        aligned_iou(torch.ones(3, 4), torch.ones(3, 4), kind='eiou')
