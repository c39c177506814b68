"""1-D coordinate labels (SimCC): one vector of bins for x and one for y of each keypoint."""

# Letters: B batch, K keypoints, Wx and Wy bins along x and y, W bins along either. Points are in bins: 0 is the first.
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

Labels = tuple[Tensor, Tensor]  # (B, K, Wx) and (B, K, Wy)


def simcc_maximum(labels: Labels) -> tuple[Tensor, Tensor]:
    """Return the bins (B, K, 2) of the two maxima and the smaller of their values (B, K).

    Both bins are -1 where a label is the same everywhere, as that of a keypoint which is not drawn.
    Differs: mmpose's are -1 where that value is not above 0. Softmax does not see where 0 is, and Adam can move all logits below.
    """
    (x_value, x), (y_value, y) = (label.max(dim=-1) for label in labels)
    flat = (labels[0].amin(dim=-1) == x_value) | (labels[1].amin(dim=-1) == y_value)
    scores = torch.minimum(x_value, y_value)
    points = torch.stack((x, y), dim=-1).to(scores.dtype)
    return torch.where(flat[..., None], -1.0, points), scores


def marginal_weights(map_size: Sequence[int], num_bins: Sequence[int]) -> Labels:
    """Return matrices (Wx, H * W), (Wy, H * W) that take a flat map to the sums of its columns and rows, stretched to the bins.

    Between the centres of two columns (rows) a bin is their linear interpolation. The mean over the bins, which softmax does not
    see, is 0: the greatest logit, which is the keypoint's score, begins above it.

    Args:
        map_size: (w, h) of the map in cells.
        num_bins: (Wx, Wy).
    """
    W, H = map_size
    columns, rows = (
        functional.interpolate(torch.eye(cells)[None], size=bins, mode='linear')[0].T for cells, bins in zip(map_size, num_bins)
    )
    columns, rows = (weights - weights.mean(dim=0) for weights in (columns, rows))
    return columns.repeat(1, H), rows.repeat_interleave(W, dim=1)


def _blur(label: Tensor, kernel_size: int) -> Tensor:
    """Return (B, K, W) smoothed by a Gaussian (zeros outside), scaled to the maximum it had."""
    sigma = 0.3 * ((kernel_size - 1) * 0.5 - 1) + 0.8  # OpenCV's rule for a kernel size without sigma
    taps = torch.arange(kernel_size, device=label.device, dtype=label.dtype) - kernel_size // 2
    kernel = torch.exp(-(taps**2) / (2 * sigma**2))
    rows = label.flatten(0, 1)[:, None]
    blurred = functional.conv1d(rows, (kernel / kernel.sum())[None, None], padding=kernel_size // 2).view(label.shape)
    peak = blurred.amax(dim=-1, keepdim=True)
    return blurred * (label.amax(dim=-1, keepdim=True) / torch.where(peak == 0, 1.0, peak))


def refine_simcc_dark(bins: Tensor, label: Tensor, *, kernel_size: int) -> Tensor:
    """Move each maximum to the top of the parabola through the logarithm of the blurred label (steps of two bins).

    Source: Zhang et al., DARK, CVPR 2020, arXiv:1910.06278, in one dimension, as in mmpose.
    Differs: a bin stays where there is no maximum (-1), the parabola does not open downwards, or its top is more than the two
    bins away that it is made of; at the label's ends the published step then goes anywhere.

    Args:
        bins: (B, K), whole numbers or -1.
        label: (B, K, W), any range.
        kernel_size: of the blur, odd.
    """
    logs = functional.pad(_blur(label, kernel_size).clamp(1e-3, 50.0).log(), (2, 2), mode='replicate')
    index = bins.long().clamp(min=0)[..., None] + torch.arange(5, device=bins.device)
    before2, before, here, after, after2 = logs.gather(-1, index).unbind(-1)
    slope, curvature = 0.5 * (after - before), 1e-9 + 0.25 * (after2 - 2 * here + before2)
    step = slope / torch.where(curvature == 0, 1.0, curvature)
    return torch.where((bins >= 0) & (curvature < 0) & (step.abs() <= 2), bins - step, bins)


def flip_simcc(labels: Labels, flip_indices: Sequence[int] | np.ndarray | Tensor, *, shift: int = 0) -> Labels:
    """Return what the labels of a mirrored image say about the image itself, to be averaged with the image's own labels.

    With r bins to a px, x px stands in bin r x. The mirrored point w - 1 - x comes back in bin r x + r - 1, r - 1 bins too far
    right, which `shift` corrects.

    Args:
        labels: (B, K, Wx) and (B, K, Wy), any range.
        flip_indices: K channels, entry k is the one that k becomes under a flip: `KeypointMeta.flip_indices`.
        shift: move the result left by so many bins; the last ones repeat the last.

    Raises:
        ValueError: `flip_indices` does not have K entries.
    """
    x, y = labels
    index = torch.as_tensor(flip_indices, dtype=torch.int64, device=x.device)
    if x.ndim != 3 or y.shape[:2] != x.shape[:2] or index.shape != x.shape[1:2]:
        raise ValueError(
            'flip_simcc: `labels` (B, K, Wx), (B, K, Wy) and `flip_indices` (K,) must have one K, '
            f'got {tuple(x.shape)}, {tuple(y.shape)} and {tuple(index.shape)}.'
        )
    x = x.index_select(1, index).flip(-1)
    if shift:
        x = functional.pad(x[..., shift:], (0, shift), mode='replicate')
    return x, y.index_select(1, index)


@torch.no_grad()
def simcc_accuracy(pred: Labels, target: Labels, weight: Tensor, *, thr: float = 0.05) -> Tensor:
    """Return the mean over keypoints of the share of maxima nearer than `thr`, a scalar in [0, 1]; 0 when nothing is labelled.

    Differs: x counts in widths and y in heights; mmpose's `acc_pose` has the two swapped.

    Args:
        pred: (B, K, Wx) and (B, K, Wy).
        target: the same shapes.
        weight: (B, K), above 0 where the keypoint is labelled.
        thr: distance in lengths of the labels.
    """
    offset = simcc_maximum(pred)[0] - simcc_maximum(target)[0]
    distance = torch.hypot(offset[..., 0] / pred[0].shape[-1], offset[..., 1] / pred[1].shape[-1])
    labelled = weight > 0
    hits = ((distance < thr) & labelled).sum(dim=0) / labelled.sum(dim=0).clamp(min=1)
    return hits.sum() / labelled.any(dim=0).sum().clamp(min=1)
