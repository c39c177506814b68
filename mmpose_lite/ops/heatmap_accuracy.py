"""How many heatmap maxima are where they should be: a number to watch while training, without leaving the device."""

# Letters: B batch, K keypoints, H x W heatmap cells.
import torch
from torch import Tensor

from mmpose_lite.ops.heatmap import heatmap_maximum


@torch.no_grad()
def heatmap_accuracy(pred: Tensor, target: Tensor, weight: Tensor, *, thr: float = 0.05) -> Tensor:
    """Return the mean over keypoints of the share of maxima nearer than `thr`, a scalar in [0, 1]; 0 when nothing is labelled.

    Differs: x counts in map widths and y in map heights; mmpose's `acc_pose` has the two swapped.

    Args:
        pred: (B, K, H, W) heatmaps.
        target: (B, K, H, W) heatmaps.
        weight: (B, K), above 0 where the keypoint is labelled.
        thr: distance in map sizes.

    Raises:
        ValueError: the shapes do not fit together.
    """
    if pred.shape != target.shape or weight.shape != pred.shape[:2]:
        raise ValueError(
            'heatmap_accuracy: `pred`, `target` (B, K, H, W) and `weight` (B, K) do not fit together, '
            f'got {tuple(pred.shape)}, {tuple(target.shape)} and {tuple(weight.shape)}.'
        )
    H, W = pred.shape[2:]
    offset = heatmap_maximum(pred)[0] - heatmap_maximum(target)[0]
    distance = torch.hypot(offset[..., 0] / W, offset[..., 1] / H)
    labelled = weight > 0
    hits = ((distance < thr) & labelled).sum(dim=0) / labelled.sum(dim=0).clamp(min=1)
    return hits.sum() / labelled.any(dim=0).sum().clamp(min=1)
