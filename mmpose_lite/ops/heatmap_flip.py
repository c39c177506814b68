"""Heatmaps of a mirrored image, brought back to the image."""

# Letters: B batch, K keypoints, H x W heatmap cells.
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def flip_heatmaps(heatmaps: Tensor, flip_indices: Sequence[int] | np.ndarray | Tensor, *, shift: bool = False) -> Tensor:
    """Return what the maps of a mirrored image say about the image itself, to be averaged with the image's own maps.

    With cells of s px, x px stands at x / s cells. The mirrored point w - 1 - x comes back at x / s - (s - 1) / s cells, for
    s = 4 nearly one cell too far left, which `shift` corrects. UDP's cells, (w - 1) / (W - 1) px, come back exactly: do not
    shift them.

    Args:
        heatmaps: (B, K, H, W), any range.
        flip_indices: K channels, entry k is the one that k becomes under a flip: `KeypointMeta.flip_indices`.
        shift: move the result right by one cell; column 0 stays.

    Raises:
        ValueError: `flip_indices` does not have K entries.
    """
    index = torch.as_tensor(flip_indices, dtype=torch.int64, device=heatmaps.device)
    if heatmaps.ndim != 4 or index.shape != heatmaps.shape[1:2]:
        raise ValueError(
            'flip_heatmaps: `heatmaps` (B, K, H, W) and `flip_indices` (K,) must have one K, '
            f'got {tuple(heatmaps.shape)} and {tuple(index.shape)}.'
        )
    flipped = heatmaps.index_select(1, index).flip(-1)
    return torch.cat((flipped[..., :1], flipped[..., :-1]), dim=-1) if shift else flipped
