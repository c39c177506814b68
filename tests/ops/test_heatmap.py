"""Gaussian maps and their maxima, against loops that follow the papers cell by cell."""

import math

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from mmpose_lite.ops.heatmap import (
    heatmap_maximum,
    patches_around,
    refine_dark,
    refine_quarter,
    refine_udp,
    render_gaussians,
)

W, H = 24, 32
SIGMA = 1.5


def render(points: list, visible: list | None = None, *, snap: bool = False, truncate: bool = False) -> tuple[Tensor, Tensor]:
    """Draw people given as (N, K, 2) nested lists on one image."""
    xy = torch.tensor(points, dtype=torch.float32)[None]
    flags = torch.ones(xy.shape[:3]) if visible is None else torch.tensor(visible, dtype=torch.float32)[None]
    maps, weights = render_gaussians(xy, flags, heatmap_size=(W, H), sigma=SIGMA, snap=snap, truncate=truncate)
    return maps[0], weights[0]


def gaussian(x: float, y: float) -> Tensor:
    """Return one (H, W) map by a loop over the cells."""
    return torch.tensor([[math.exp(-((c - x) ** 2 + (r - y) ** 2) / (2 * SIGMA**2)) for c in range(W)] for r in range(H)])


def blobs(centers: Tensor) -> Tensor:
    """Return maps (1, K, H, W) with a Gaussian at each (x, y)."""
    return torch.stack([gaussian(float(x), float(y)) for x, y in centers])[None]


@pytest.fixture
def centers() -> Tensor:
    """Points well inside the maps, between the cells."""
    return torch.rand(20, 2) * torch.tensor((W - 13.0, H - 13.0)) + 6


def test_a_gaussian_is_the_formula() -> None:
    maps, weights = render([[[7.3, 11.8]]])
    torch.testing.assert_close(maps[0], gaussian(7.3, 11.8))
    assert weights.tolist() == [[1]]


def test_snapped_to_the_nearest_cell_and_cut_to_a_square() -> None:
    maps, _ = render([[[7.3, 11.8]]], snap=True, truncate=True)
    assert maps[0, 12, 7] == 1
    full = gaussian(7, 12)
    for y, x in np.ndindex(H, W):
        inside = int(7 - 4.5) <= x < int(7 + 5.5) and int(12 - 4.5) <= y < int(12 + 5.5)  # 3 sigma are 4.5 cells
        assert maps[0, y, x] == pytest.approx(float(full[y, x]) if inside else 0, abs=1e-6)


def test_where_people_overlap_the_larger_value_stays() -> None:
    both, _ = render([[[8.0, 10.0]], [[11.0, 10.0]]])
    torch.testing.assert_close(both[0], torch.maximum(gaussian(8, 10), gaussian(11, 10)))


def test_hidden_keypoints_are_not_drawn() -> None:
    maps, weights = render([[[8.0, 10.0], [8.0, 10.0]], [[11.0, 10.0], [0.0, 0.0]]], [[0, 1], [1, 0]])
    torch.testing.assert_close(maps[0], gaussian(11, 10))
    torch.testing.assert_close(maps[1], gaussian(8, 10))
    assert weights.tolist() == [[0, 1], [1, 0]]


@pytest.mark.parametrize('point', [(-7.5, 5.0), (W + 6.0, 5.0), (5.0, -7.5), (5.0, H + 6.0), (1e9, -1e9)])
@pytest.mark.parametrize('cut', [False, True])
def test_far_outside_there_is_nothing_to_learn(point: tuple[float, float], cut: bool) -> None:
    maps, weights = render([[point]], snap=cut, truncate=cut)
    assert not maps.any()
    assert weights.tolist() == [[0]]


@pytest.mark.parametrize('point', [(-2.0, 5.0), (W + 1.0, 5.0), (5.0, H + 2.0)])
def test_just_outside_the_tail_is_drawn(point: tuple[float, float]) -> None:
    maps, weights = render([[point]])
    torch.testing.assert_close(maps[0], gaussian(*point))
    assert weights.tolist() == [[1]]


def test_a_point_that_is_no_number_is_left_out() -> None:
    maps, _ = render([[[math.nan, 4.0], [5.0, 6.0]]])
    assert not maps[0].any()
    torch.testing.assert_close(maps[1], gaussian(5, 6))


def test_batches_do_not_mix() -> None:
    points, visible = torch.rand(4, 2, 3, 2) * 20, (torch.rand(4, 2, 3) > 0.3).float()
    args = dict(heatmap_size=(W, H), sigma=SIGMA, snap=False, truncate=True)
    maps, weights = render_gaussians(points, visible, **args)
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(render_gaussians(points[order], visible[order], **args), (maps[order], weights[order]))


def test_maximum() -> None:
    maps = torch.rand(2, 3, 5, 7) * 0.9
    maps[0, 0, 3, 6] = 1.0
    maps[0, 1] = 0
    maps[1, 2] = -1
    points, scores = heatmap_maximum(maps)
    assert points[0, 0].tolist() == [6, 3]
    assert scores[0, 0] == 1
    assert points[0, 1].tolist() == points[1, 2].tolist() == [-1, -1]
    assert scores[1, 2] == -1
    for b, k in ((0, 2), (1, 0), (1, 1)):
        x, y = points[b, k].long().tolist()
        assert maps[b, k, y, x] == scores[b, k] == maps[b, k].max()


def test_patches() -> None:
    maps, points = torch.rand(1, 2, 4, 5), torch.tensor([[[0.0, 3.0], [-1.0, -1.0]]])
    patches = patches_around(maps, points, 1)
    padded = torch.nn.functional.pad(maps, (2, 2, 2, 2))
    assert torch.equal(patches[0, 0], padded[0, 0, 4:7, 1:4])
    assert torch.equal(patches[0, 1], padded[0, 1, 0:3, 0:3])


def test_quarter_cell_towards_the_higher_neighbour() -> None:
    maps = torch.zeros(1, 3, 7, 9)
    maps[0, 0, 3, 4], maps[0, 0, 3, 5], maps[0, 0, 2, 4] = 1, 0.5, 0.2  # right and up
    maps[0, 1, 3, 4] = 1  # neighbours equal
    maps[0, 2, 0, 8], maps[0, 2, 0, 7] = 1, 0.5  # in the corner
    points, _ = heatmap_maximum(maps)
    assert refine_quarter(points, maps)[0].tolist() == [[4.25, 2.75], [4, 3], [8, 0]]


@pytest.mark.parametrize(('refine', 'tolerance'), [(refine_quarter, 0.36), (refine_dark, 0.02), (refine_udp, 0.05)])
def test_finds_the_centre_between_the_cells(refine: object, tolerance: float, centers: Tensor) -> None:
    """Cells. A quarter cell is at most a quarter off along each axis; a Newton step is nearly exact."""
    maps = blobs(centers)
    points, _ = heatmap_maximum(maps)
    assert (refine(points, maps)[0] - centers).norm(dim=-1).max() < tolerance


@pytest.mark.parametrize('refine', [refine_quarter, refine_dark, refine_udp])
def test_a_shifted_map_gives_a_shifted_point(refine: object, centers: Tensor) -> None:
    maps = blobs(centers)
    rolled = maps.roll((2, -3), (-2, -1))
    points, moved = heatmap_maximum(maps)[0], heatmap_maximum(rolled)[0]
    shift = torch.tensor((-3.0, 2.0))
    torch.testing.assert_close(refine(moved, rolled), refine(points, maps) + shift, atol=1e-2, rtol=0)  # cells


@pytest.mark.parametrize('refine', [refine_quarter, refine_dark, refine_udp])
@pytest.mark.parametrize('size', [(1, 1), (1, 5), (2, 2), (5, 1)])
def test_maps_of_few_cells(refine: object, size: tuple[int, int]) -> None:
    maps = torch.rand(2, 3, *size)
    points, _ = heatmap_maximum(maps)
    refined = refine(points, maps)
    assert torch.isfinite(refined).all()
    assert refined.shape == points.shape


@pytest.mark.parametrize('refine', [refine_quarter, refine_dark, refine_udp])
def test_what_was_not_found_and_what_is_flat_stay_where_they_are(refine: object) -> None:
    empty, flat = torch.zeros(1, 2, H, W), torch.ones(1, 1, H, W)
    assert refine(heatmap_maximum(empty)[0], empty).tolist() == [[[-1, -1], [-1, -1]]]
    middle = torch.tensor([[[12.0, 16.0]]])
    torch.testing.assert_close(refine(middle, flat), middle, atol=1e-2, rtol=0)  # cells


@pytest.mark.parametrize('kernel_size', [9, 11, 17])
def test_dark_by_hand(kernel_size: int) -> None:
    """Blur, logarithm, Newton step: Eq. 3 to 9 of the paper, one keypoint at a time, with OpenCV's blur."""
    maps = torch.rand(1, 6, H, W) * 0.05 + blobs(torch.rand(6, 2) * 10 + 8)
    points, _ = heatmap_maximum(maps)
    for k, ours in enumerate(refine_dark(points, maps, kernel_size=kernel_size)[0].double()):
        blurred = cv2.GaussianBlur(maps[0, k].double().numpy(), (kernel_size, kernel_size), 0, borderType=cv2.BORDER_CONSTANT)
        p = np.log(np.maximum(blurred, 1e-10))
        x, y = points[0, k].long().tolist()
        gradient = np.array((p[y, x + 1] - p[y, x - 1], p[y + 1, x] - p[y - 1, x])) / 2
        dxy = (p[y + 1, x + 1] - p[y - 1, x + 1] - p[y + 1, x - 1] + p[y - 1, x - 1]) / 4
        hessian = np.array(
            (
                ((p[y, x + 2] - 2 * p[y, x] + p[y, x - 2]) / 4, dxy),
                (dxy, (p[y + 2, x] - 2 * p[y, x] + p[y - 2, x]) / 4),
            )
        )
        np.testing.assert_allclose(ours, (x, y) - np.linalg.solve(hessian, gradient), atol=1e-3)  # cells
