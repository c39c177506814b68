"""Resizing images and maps so that points keep their meaning, for tests at several scales."""

# Letters: B batch, C channels, H x W px or cells.
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate

FRAMES = ('origin', 'corners', 'middle')


def resize_maps(maps: Tensor, size: tuple[int, int], *, frame: str) -> Tensor:
    """Return (B, C, h, w) maps of another size, by bilinear interpolation; outside of them their border is repeated.

    Args:
        maps: (B, C, H, W).
        size: (w, h) of the result.
        frame: where a point x of the maps is in the result. 'origin': x * w / W, cell 0 stays in cell 0, as crops and MSRA
            heatmaps have it; 'corners': x * (w - 1) / (W - 1), all corner cells stay, as UDP has it; 'middle':
            (x + 0.5) * w / W - 0.5, cells are areas.

    Raises:
        ValueError: the frame is unknown.
    """
    if frame not in FRAMES:
        raise ValueError(f'resize_maps: `frame` must be one of {FRAMES}, got {frame!r}.')
    (H, W), (w, h) = maps.shape[-2:], size
    if (h, w) == (H, W):
        return maps
    if frame != 'origin':
        return interpolate(maps, size=(h, w), mode='bilinear', align_corners=frame == 'corners')
    x, y = (
        torch.arange(new, device=maps.device, dtype=maps.dtype) * (2 * old / new / max(old - 1, 1)) - 1
        for old, new in ((W, w), (H, h))
    )
    grid = torch.stack((x.expand(h, w), y[:, None].expand(h, w)), dim=-1)
    return grid_sample(maps, grid.expand(len(maps), -1, -1, -1), mode='bilinear', padding_mode='border', align_corners=True)


def mean_of_scales(maps: Sequence[Tensor], *, frame: str) -> Tensor:
    """Return the mean of heatmaps (B, K, H, W) of several sizes, at the size of the first; in float32."""
    height, width = maps[0].shape[-2:]
    return torch.stack([resize_maps(one.float(), (width, height), frame=frame) for one in maps]).mean(dim=0)
