import pytest
import torch

from mmpose_lite.ops.heatmap_accuracy import heatmap_accuracy


def peaks(points: list[list[tuple[int, int]]], size: tuple[int, int] = (40, 20)) -> torch.Tensor:
    """Return (B, K, H, W) zeros with a 1 at each (x, y)."""
    maps = torch.zeros(len(points), len(points[0]), size[1], size[0])
    for b, sample in enumerate(points):
        for k, (x, y) in enumerate(sample):
            maps[b, k, y, x] = 1
    return maps


def test_counts_by_hand() -> None:
    """In a 40 x 20 map the threshold of 0.05 is below 2 cells in x and below 1 cell in y."""
    target = peaks([[(10, 10), (20, 5), (5, 5)], [(10, 10), (20, 5), (5, 5)]])
    pred = peaks([[(11, 10), (20, 6), (39, 19)], [(13, 10), (20, 5), (39, 19)]])
    weight = torch.tensor([[1.0, 1.0, 0.0], [1.0, 0.5, 0.0]])
    # keypoint 0: 1 of 2, keypoint 1: 1 of 2, keypoint 2: never labelled
    assert heatmap_accuracy(pred, target, weight).item() == pytest.approx(0.5)
    weight[1, 0] = 0
    assert heatmap_accuracy(pred, target, weight).item() == pytest.approx((1 + 0.5) / 2)


def test_ends() -> None:
    maps = peaks([[(10, 10), (20, 5)]])
    assert heatmap_accuracy(maps, maps, torch.ones(1, 2)).item() == 1
    assert heatmap_accuracy(-maps, maps, torch.ones(1, 2)).item() == 0  # no maximum above 0
    assert heatmap_accuracy(maps, maps, torch.zeros(1, 2)).item() == 0


def test_no_gradient_and_wrong_shapes() -> None:
    maps = peaks([[(10, 10), (20, 5)]]).requires_grad_()
    assert not heatmap_accuracy(maps, maps, torch.ones(1, 2)).requires_grad
    with pytest.raises(ValueError, match='do not fit together'):
        heatmap_accuracy(maps, maps, torch.ones(2, 1))
