"""RoIAlign on the CPU gives torchvision's numbers, forwards and backwards."""

import pytest
import torch
import torchvision
from torch import Tensor

from mmpose_lite.ops.roi_align import pyramid_roi_align

SCALES, SHAPES = (0.25, 0.125), ((20, 24), (10, 12))


def boxes() -> Tensor:
    """Return (R, 5) of two images: small, large, across the border, outside, flat, turned round, on whole cells."""
    corners = torch.rand(30, 2) * 80
    plain = torch.cat([corners, corners + 1 + 60 * torch.rand(30, 2)], dim=1)
    odd = torch.tensor(
        [
            [-30.0, -20.0, 20.0, 30.0],
            [80.0, 60.0, 140.0, 120.0],
            [200.0, 200.0, 240.0, 230.0],
            [-90.0, -90.0, -40.0, -50.0],
            [10.0, 10.0, 10.0, 40.0],
            [40.0, 40.0, 20.0, 30.0],
            [8.0, 16.0, 64.0, 72.0],
            [0.0, 0.0, 96.0, 80.0],
            [3.0, 3.0, 95.0, 5.0],
        ]
    )
    both = torch.cat([plain, odd])
    return torch.cat([(torch.arange(len(both)) % 2)[:, None].float(), both], dim=1)


def theirs(feats: list[Tensor], rois: Tensor, levels: Tensor, size: tuple[int, int], ratio: int, aligned: bool) -> Tensor:
    of_levels = [
        torchvision.ops.roi_align(feat, rois.to(feat.dtype), size, scale, ratio, aligned) for feat, scale in zip(feats, SCALES)
    ]
    return torch.stack(of_levels)[levels, torch.arange(len(rois))]


@pytest.mark.parametrize('ratio', [0, 1, 3])
@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize('size', [(7, 7), (2, 3)])
def test_values_and_gradients(ratio: int, aligned: bool, size: tuple[int, int]) -> None:
    feats = [torch.randn(2, 5, *shape, requires_grad=True) for shape in SHAPES]
    rois = boxes()
    levels = torch.arange(len(rois)) % 3 % 2
    ours = pyramid_roi_align(feats, rois, levels, SCALES, size, sampling_ratio=ratio, aligned=aligned)
    expected = theirs(feats, rois, levels, size, ratio, aligned)
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-5)
    weight = torch.randn_like(expected)
    for a, b in zip(torch.autograd.grad((ours * weight).sum(), feats), torch.autograd.grad((expected * weight).sum(), feats)):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_boxes_that_are_not_finite_are_seen_in_the_result() -> None:
    feats, rois = [torch.randn(2, 5, *shape) for shape in SHAPES], boxes()
    levels = torch.arange(len(rois)) % 2
    fine = pyramid_roi_align(feats, rois, levels, SCALES, (2, 2))
    wrong = rois.clone()
    wrong[3, 1], wrong[5, 4] = torch.nan, torch.inf
    found = pyramid_roi_align(feats, wrong, levels, SCALES, (2, 2))
    others = torch.tensor([i not in (3, 5) for i in range(len(rois))])
    torch.testing.assert_close(found[others], fine[others])
    assert found[~others].isnan().all()


def test_many_boxes_are_those_of_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    feats, rois = [torch.randn(2, 5, *shape, requires_grad=True) for shape in SHAPES], boxes()
    levels, weight = torch.arange(len(rois)) % 2, torch.randn(len(rois), 5, 3, 2)
    found = []
    for at_once in (len(rois), 7):
        monkeypatch.setattr('mmpose_lite.ops.roi_align._BOXES_AT_ONCE', at_once)
        pooled = pyramid_roi_align(feats, rois, levels, SCALES, (3, 2))
        found.append((pooled, *torch.autograd.grad((pooled * weight).sum(), feats)))
    torch.testing.assert_close(found[1], found[0])


def test_double_precision_and_memory_format() -> None:
    feats = [torch.randn(2, 5, *shape, dtype=torch.float64) for shape in SHAPES]
    rois = boxes().double()
    levels = torch.zeros(len(rois), dtype=torch.int64)
    ours = pyramid_roi_align(feats, rois, levels, SCALES, (3, 3))
    torch.testing.assert_close(ours, theirs(feats, rois, levels, (3, 3), 0, True), atol=1e-6, rtol=1e-6)
    channels_last = [feat.to(memory_format=torch.channels_last) for feat in feats]
    assert torch.equal(ours, pyramid_roi_align(channels_last, rois, levels, SCALES, (3, 3)))


def test_no_boxes() -> None:
    feats = [torch.randn(2, 5, *shape, requires_grad=True) for shape in SHAPES]
    none = pyramid_roi_align(feats, torch.zeros(0, 5), torch.zeros(0, dtype=torch.int64), SCALES, (3, 4))
    assert none.shape == (0, 5, 3, 4)
    none.sum().backward()
    assert all(feat.grad is not None and feat.grad.abs().sum() == 0 for feat in feats)
