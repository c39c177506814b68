"""Part affinity fields: on the cells of a limb, the unit vector from its first keypoint to its second.

Source: Cao et al., Realtime Multi-Person 2D Pose Estimation using Part Affinity Fields, CVPR 2017, Sec. 2.3, arXiv:1611.08050.
People are read from them by `paf_peaks.py`, `paf_limbs.py` and `paf_people.py`, in this order.
"""

# Letters: B batch, N people of one image, K keypoints, L limbs, H x W cells. Points (x, y) are in cells: 0 is a cell's centre.
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

_LEAST_LENGTH = 1e-6  # cells; a shorter limb has no direction
_CHUNK_NUMEL = 2**20  # values of one temporary tensor: 4 MB


def render_fields(
    points: Tensor,
    visible: Tensor,
    limbs: Sequence[tuple[int, int]],
    *,
    heatmap_size: tuple[int, int],
    limb_width: float,
) -> Tensor:
    """Draw the limbs of all people; where limbs of one kind overlap, their unit vectors are averaged.

    Source: the paper's Eq. 8 to 10: the mean is over the people whose limb covers the cell, not over all people.
    Differs: a limb reaches half a cell beyond its ends, so that one shorter than a cell is drawn too.

    Args:
        points: (B, N, K, 2) in cells.
        visible: (B, N, K); a limb with an end below 0.5, an end that is no number or without length is not drawn.
        limbs: L pairs of keypoints.
        heatmap_size: (w, h) of the fields.
        limb_width: greatest distance in cells from the line between the two keypoints.

    Returns:
        (B, 2L, H, W): x and y of limb l are channels 2l and 2l + 1.
    """
    W, H = heatmap_size
    B, N, L = points.shape[0], points.shape[1], len(limbs)
    start, end = (torch.stack([points[:, :, limb[i]] for limb in limbs], dim=1) for i in (0, 1))  # (B, L, N, 2)
    labelled = torch.stack([torch.minimum(visible[:, :, a], visible[:, :, b]) for a, b in limbs], dim=1) >= 0.5
    span = end - start
    length = span.norm(dim=-1)
    drawn = labelled & (length > _LEAST_LENGTH) & torch.isfinite(length)
    unit = torch.where(drawn[..., None], span / length[..., None], 0.0)
    middle = torch.where(drawn[..., None], (start + end) / 2, 0.0)
    ux, uy = unit[..., None].unbind(-2)  # (B, L, N, 1)
    # Along and across the limb, in units of what is still inside: each is a sum of a term of the column and one of the row.
    x = torch.arange(W, device=points.device, dtype=points.dtype) - middle[..., :1]
    y = torch.arange(H, device=points.device, dtype=points.dtype) - middle[..., 1:]
    reach = length[..., None] / 2 + 0.5
    along = x * ux / reach, y * uy / reach
    across = x * uy / limb_width, torch.where(drawn[..., None], -y * ux / limb_width, 2.0)  # 2: all of the map is outside
    terms = torch.cat((unit, torch.ones_like(unit[..., :1])), dim=-1).mT  # (B, L, 3, N): what a covered cell adds to its sums
    sums = points.new_zeros(B * L, 3, H * W)
    people = max(1, _CHUNK_NUMEL // max(B * L * H * W, 1))
    for n in range(0, N, people):
        column, row, column_across, row_across = (t[:, :, n : n + people] for t in (*along, *across))
        covered = (column[..., None, :] + row[..., None]).abs_() <= 1
        covered &= (column_across[..., None, :] + row_across[..., None]).abs_() <= 1
        # In place: such an operation is never run in a lower precision.
        sums.baddbmm_(terms[..., n : n + people].flatten(0, 1), covered.to(points.dtype).flatten(0, 1).flatten(2))
    fields = sums[:, :2] / sums[:, 2:].clamp(min=1)
    return fields.reshape(B, 2 * L, H, W)


def add_background(heatmaps: Tensor) -> Tensor:
    """Return (B, K + 1, H, W): the maps (B, K, H, W) and, last, one that is 1 where none of them is above 0."""
    return torch.cat((heatmaps, 1 - heatmaps.amax(dim=1, keepdim=True).clamp(0, 1)), dim=1)


def mirrored_limbs(limbs: Sequence[tuple[int, int]], flip_indices: Sequence[int] | np.ndarray) -> list[tuple[int, bool]]:
    """Return for each limb the one that it becomes under a flip, and whether that one runs from its end to its start.

    Raises:
        ValueError: a limb becomes one that is not in `limbs`.
    """
    places = {limb: i for i, limb in enumerate(limbs)}
    mirrored = []
    for a, b in limbs:
        there = int(flip_indices[a]), int(flip_indices[b])
        if there not in places and there[::-1] not in places:
            raise ValueError(
                f'mirrored_limbs: `limbs` must hold the mirror image of each limb, but that of {(a, b)}, {there}, is missing. '
                'Add it to the limbs of `meta`, or do not flip.'
            )
        mirrored.append((places[there], False) if there in places else (places[there[::-1]], True))
    return mirrored


def flip_fields(fields: Tensor, limbs: Sequence[tuple[int, int]], flip_indices: Sequence[int] | np.ndarray) -> Tensor:
    """Return what the fields of a mirrored image say about the image itself, to be averaged with the image's own fields.

    Args:
        fields: (B, 2L, H, W), any range; W cells span the image's width, so that cell i becomes cell W - 1 - i.
        limbs: L pairs of keypoints.
        flip_indices: K entries, `KeypointMeta.flip_indices`.

    Raises:
        ValueError: the fields do not have 2 L channels, or a limb's mirror image is missing.
    """
    if fields.ndim != 4 or fields.shape[1] != 2 * len(limbs):
        raise ValueError(f'flip_fields: `fields` must be (B, {2 * len(limbs)}, H, W), got {tuple(fields.shape)}.')
    mirrored = mirrored_limbs(limbs, flip_indices)
    channels = torch.tensor([2 * i + axis for i, _ in mirrored for axis in (0, 1)], device=fields.device)
    signs = torch.tensor([sign for _, turned in mirrored for sign in ((1, -1) if turned else (-1, 1))], device=fields.device)
    return fields.index_select(1, channels).flip(-1) * signs.to(fields.dtype)[:, None, None]
