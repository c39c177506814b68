import numpy as np
import pytest
import torch

from mmpose_lite.ops.heatmap_flip import flip_heatmaps

SWAPS = [0, 2, 1]


def test_against_a_loop() -> None:
    maps = torch.rand(2, 3, 4, 5)
    flipped = flip_heatmaps(maps, SWAPS)
    shifted = flip_heatmaps(maps, SWAPS, shift=True)
    for b, k, y, x in np.ndindex(2, 3, 4, 5):
        assert flipped[b, k, y, x] == maps[b, SWAPS[k], y, 4 - x]
        assert shifted[b, k, y, x] == flipped[b, k, y, max(x - 1, 0)]


@pytest.mark.parametrize('indices', [SWAPS, tuple(SWAPS), np.array(SWAPS), torch.tensor(SWAPS)])
def test_twice_is_identity(indices: object) -> None:
    maps = torch.rand(2, 3, 4, 5)
    assert torch.equal(flip_heatmaps(flip_heatmaps(maps, indices), indices), maps)


@pytest.mark.parametrize('width', [1, 2])
def test_narrow_maps(width: int) -> None:
    maps = torch.rand(1, 3, 1, width)
    shifted = flip_heatmaps(maps, SWAPS, shift=True)
    assert torch.equal(shifted, maps[:, SWAPS].flip(-1)[..., :1].expand_as(maps))


def test_the_input_is_left_alone_and_gets_gradient() -> None:
    maps = torch.rand(1, 3, 2, 4, requires_grad=True)
    before = maps.detach().clone()
    flip_heatmaps(maps, SWAPS, shift=True).sum().backward()
    assert torch.equal(maps.detach(), before)
    assert torch.equal(maps.grad[0, 0, 0], torch.tensor([0.0, 1.0, 1.0, 2.0]))


def test_shift_brings_the_mirrored_point_nearer() -> None:
    """With 4 px cells a point at x px, mirrored at w - 1 - x, comes back 3/4 cell left of x / 4; with shift, 1/4 right."""
    w, x = 64, 28.0
    cells = torch.arange(w // 4)

    def peak(center: float) -> torch.Tensor:
        return torch.exp(-((cells - center) ** 2) / 2)[None, None, None]

    def mass_center(maps: torch.Tensor) -> float:
        return float((maps * cells).sum() / maps.sum())

    mirrored = peak((w - 1 - x) / 4)
    assert mass_center(flip_heatmaps(mirrored, [0])) == pytest.approx(x / 4 - 0.75, abs=0.02)
    assert mass_center(flip_heatmaps(mirrored, [0], shift=True)) == pytest.approx(x / 4 + 0.25, abs=0.02)


@pytest.mark.parametrize('indices', [[0, 1], [0, 2, 1, 3]])
def test_wrong_count(indices: list[int]) -> None:
    with pytest.raises(ValueError, match=r'must have one K, got \(2, 3, 4, 5\)'):
        flip_heatmaps(torch.rand(2, 3, 4, 5), indices)
