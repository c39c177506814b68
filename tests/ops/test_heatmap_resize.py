import pytest
import torch

from mmpose_lite.ops.heatmap_resize import FRAMES, resize_maps


def ramp(width: int, height: int) -> torch.Tensor:
    """Return (1, 2, H, W): channel 0 holds each cell's x, channel 1 its y."""
    y, x = torch.meshgrid(torch.arange(height, dtype=torch.float64), torch.arange(width, dtype=torch.float64), indexing='ij')
    return torch.stack((x, y))[None]


@pytest.mark.parametrize('size', [(18, 20), (6, 5), (12, 10), (13, 7)])
@pytest.mark.parametrize('frame', FRAMES)
def test_every_cell_shows_its_point(frame: str, size: tuple[int, int]) -> None:
    """On a ramp the value is the place it was taken from, up to the border, which is repeated."""
    resized = resize_maps(ramp(12, 10), size, frame=frame)[0]
    for axis, (old, new) in enumerate(zip((12, 10), size)):
        cells = torch.arange(new, dtype=torch.float64)
        expected = {
            'origin': cells * old / new,
            'corners': cells * (old - 1) / (new - 1),
            'middle': (cells + 0.5) * old / new - 0.5,
        }[frame].clamp(0, old - 1)
        torch.testing.assert_close(resized[axis], (expected if axis == 0 else expected[:, None]).expand(size[1], size[0]))


def test_edges() -> None:
    maps = torch.rand(2, 3, 4, 5)
    assert resize_maps(maps, (5, 4), frame='origin') is maps
    one = torch.rand(2, 3, 1, 1)
    for frame in FRAMES:
        torch.testing.assert_close(resize_maps(one, (3, 2), frame=frame), one.expand(2, 3, 2, 3))
    with pytest.raises(ValueError, match=r"`frame` must be one of \('origin', 'corners', 'middle'\), got 'centre'"):
        resize_maps(maps, (3, 2), frame='centre')
