"""Fields, against a loop over cells, limbs and people."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from mmpose_lite.ops import paf
from mmpose_lite.ops.paf import add_background, flip_fields, mirrored_limbs, render_fields
from mmpose_lite.structures import KeypointMeta

W, H = 14, 11
LIMBS = ((0, 1), (2, 1))
WIDTH = 0.8  # cells


def render(points: Tensor, visible: Tensor | None = None) -> Tensor:
    visible = torch.ones(points.shape[:3]) if visible is None else visible
    return render_fields(points, visible, LIMBS, heatmap_size=(W, H), limb_width=WIDTH)


def by_loops(points: Tensor, visible: Tensor) -> np.ndarray:
    """Return the fields (2L, H, W) of one image's people (N, K, 2): Eq. 8 to 10 of the paper, limbs half a cell longer."""
    fields = np.zeros((2 * len(LIMBS), H, W))
    for limb, (a, b) in enumerate(LIMBS):
        for y, x in np.ndindex(H, W):
            vectors = []
            for person, flags in zip(points.double().tolist(), visible.tolist()):
                (ax, ay), (bx, by) = person[a], person[b]
                length = math.hypot(bx - ax, by - ay)
                if flags[a] < 0.5 or flags[b] < 0.5 or length == 0:
                    continue
                ux, uy = (bx - ax) / length, (by - ay) / length
                along, across = (x - ax) * ux + (y - ay) * uy, (x - ax) * uy - (y - ay) * ux
                if -0.5 <= along <= length + 0.5 and abs(across) <= WIDTH:
                    vectors.append((ux, uy))
            fields[2 * limb : 2 * limb + 2, y, x] = np.mean(vectors, axis=0) if vectors else 0
    return fields


@pytest.fixture
def people() -> tuple[Tensor, Tensor]:
    """Points (3, 4, 3, 2), some outside the map, and labels."""
    return torch.rand(3, 4, 3, 2) * (torch.tensor((W, H)) + 6) - 3, (torch.rand(3, 4, 3) > 0.2).float()


def test_fields_are_the_formula(people: tuple[Tensor, Tensor]) -> None:
    fields = render(*people)
    assert fields.shape == (3, 4, H, W)
    for image in range(3):
        np.testing.assert_allclose(fields[image], by_loops(people[0][image], people[1][image]), atol=1e-5)
    assert fields.abs().sum() > 50  # there was something to compare


def test_the_mean_is_over_the_people_whose_limb_is_there() -> None:
    right, down, far = [[2.0, 5.0], [8.0, 5.0]], [[5.0, 2.0], [5.0, 8.0]], [[11.0, 1.0], [11.0, 3.0]]
    third = [[0.0, 0.0]]
    fields = render(torch.tensor([[right + third, down + third, far + third]]))[0]
    assert fields[:2, 5, 5].tolist() == [0.5, 0.5]  # both, not a third of each
    assert fields[:2, 5, 3].tolist() == [1, 0]
    assert fields[:2, 3, 5].tolist() == [0, 1]


def test_a_limb_shorter_than_a_cell_is_drawn() -> None:
    for shift in torch.rand(50, 2):
        start = torch.tensor((5.0, 5.0)) + shift
        direction = torch.rand(2) - 0.5
        points = torch.stack((start, start + 1e-2 * direction, start))[None, None]
        fields = render(points)[0, :2]
        drawn = fields.norm(dim=0) > 0
        assert drawn.any()
        torch.testing.assert_close(
            fields[:, drawn].T, (direction / direction.norm()).expand(int(drawn.sum()), 2), atol=1e-3, rtol=0
        )


@pytest.mark.parametrize('end', [[3.0, 4.0], [math.nan, 4.0], [math.inf, 4.0], [-40.0, -30.0]])
def test_what_has_no_direction_or_no_cell_is_not_drawn(end: list[float]) -> None:
    start = [3.0, 4.0] if end[0] != -40 else [-20.0, -30.0]
    assert not render(torch.tensor([[[start, end, end]]])).any()


def test_an_end_without_label_takes_its_limbs_along() -> None:
    points = torch.tensor([[[[2.0, 5.0], [8.0, 5.0], [8.0, 9.0]]]])
    assert not render(points, torch.tensor([[[1.0, 0.0, 1.0]]])).any()
    fields = render(points, torch.tensor([[[0.0, 1.0, 1.0]]]))[0]
    assert not fields[:2].any()
    assert fields[2:].any()


def test_nobody() -> None:
    assert render(torch.zeros(2, 0, 3, 2)).tolist() == torch.zeros(2, 4, H, W).tolist()


def test_people_in_portions_give_the_same(people: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    at_once = render(*people)
    for numel in (1, 3 * 3 * 2 * H * W):
        monkeypatch.setattr(paf, '_CHUNK_NUMEL', numel)
        torch.testing.assert_close(render(*people), at_once)


def test_order_of_people_and_images_does_not_matter(people: tuple[Tensor, Tensor]) -> None:
    points, visible = people
    torch.testing.assert_close(render(points[:, [2, 0, 3, 1]], visible[:, [2, 0, 3, 1]]), render(points, visible))
    torch.testing.assert_close(render(points[[2, 0, 1]], visible[[2, 0, 1]]), render(points, visible)[[2, 0, 1]])


def test_a_shift_by_whole_cells_shifts_the_fields() -> None:
    points = torch.rand(1, 3, 3, 2) * 4 + 3
    torch.testing.assert_close(render(points + torch.tensor((2.0, 1.0)))[..., 1:, 2:], render(points)[..., :-1, :-2])


def test_mixed_precision_loses_no_digit(people: tuple[Tensor, Tensor]) -> None:
    with torch.autocast('cpu', dtype=torch.bfloat16):
        mixed = render(*people)
    assert torch.equal(mixed, render(*people))


class OperationNames(TorchDispatchMode):
    """Notes what is called."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: object, types: object, args: tuple = (), kwargs: dict | None = None) -> object:
        self.names.add(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def test_nothing_waits_for_the_device(people: tuple[Tensor, Tensor]) -> None:
    """Neither values read by the host nor lists sent to the device."""
    with OperationNames() as called:
        render(*people)
    assert 'baddbmm_' in called.names
    assert not called.names & {'_local_scalar_dense', 'nonzero', 'masked_select', 'lift_fresh'}


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_on_a_gpu(people: tuple[Tensor, Tensor]) -> None:
    points, visible = (values.cuda() for values in people)
    torch.cuda.set_sync_debug_mode('error')
    try:
        fields = render(points, visible)
    finally:
        torch.cuda.set_sync_debug_mode('default')
    torch.testing.assert_close(fields.cpu(), render(*people))


def test_background() -> None:
    maps = add_background(torch.tensor([0.25, 0.75, 1.5, -1.0]).view(2, 2, 1, 1))
    assert maps[:, :, 0, 0].tolist() == [[0.25, 0.75, 0.25], [1.5, -1.0, 0.0]]


META = KeypointMeta.load('openpose18')


def test_flipped_fields_are_those_of_the_flipped_people() -> None:
    """Limbs of the middle have no partner, those of the sides have, and one is listed from its end to its start."""
    limbs = (*META.limbs, (2, 5))  # from one shoulder to the other: its mirror image is itself, turned
    points, visible = torch.rand(2, 3, 18, 2) * (torch.tensor((W, H)) - 1.0), torch.ones(2, 3, 18)
    mirrored = torch.stack((W - 1 - points[..., 0], points[..., 1]), dim=-1)[:, :, META.flip_indices]
    size = dict(heatmap_size=(W, H), limb_width=WIDTH)
    here, there = (render_fields(p, visible, limbs, **size) for p in (points, mirrored))
    back = flip_fields(there, limbs, META.flip_indices)
    assert (back - here).abs().gt(1e-4).float().mean() < 1e-3  # a cell on the edge of a limb may fall to either side
    torch.testing.assert_close(flip_fields(back, limbs, META.flip_indices), there)
    assert mirrored_limbs(limbs, META.swaps)[-1] == (len(limbs) - 1, True)


def test_wrong_flips() -> None:
    with pytest.raises(ValueError, match=r'that of \(2, 3\), \(5, 6\), is missing\. Add it to the limbs of `meta`'):
        flip_fields(torch.zeros(1, 2, 3, 3), ((2, 3),), META.swaps)
    with pytest.raises(ValueError, match=r'`fields` must be \(B, 38, H, W\), got \(1, 37, 3, 3\)'):
        flip_fields(torch.zeros(1, 37, 3, 3), META.limbs, META.swaps)
