"""Object keypoint similarity (OKS) and the two suppressions built on it, as batched tensor functions.

Source: COCO keypoint evaluation, https://cocodataset.org/#keypoints-eval. Of a prediction and a ground truth,
OKS = mean over labelled keypoints of exp(-d^2 / (2 area (2 sigma)^2)), d in px.
"""

# Letters: N, M instances, K keypoints, P kept instances.
import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

_EPS = float(np.finfo(np.float64).eps)  # added to areas, as COCO's own evaluation does
_LOG2_E = math.log2(math.e)
_MIN_EXPONENT = -100.0  # 2^-100 = 8e-31 stands for all that is smaller: subnormal float32 numbers make sums ten times slower


def keypoint_similarity(pred: Tensor, gt: Tensor, *, sigmas: Sequence[float] | Tensor, areas: Tensor) -> Tensor:
    """Return (..., K) similarities in [0, 1] of every keypoint, whether labelled or not.

    Args:
        pred: (..., K, 2) px.
        gt: (..., K, 2) px; its leading axes broadcast against those of `pred`.
        sigmas: (K,) constants of the keypoints, positive.
        areas: (...) px^2, of the ground truth; broadcasts likewise.

    Raises:
        ValueError: the last two axes are not (K, 2) everywhere, or `sigmas` does not have K entries.
    """
    sigmas = torch.as_tensor(sigmas, dtype=pred.dtype, device=pred.device)
    if pred.shape[-2:] != gt.shape[-2:] or pred.shape[-1] != 2 or sigmas.shape != pred.shape[-2:-1]:
        raise ValueError(
            'keypoint_similarity: `pred`, `gt` and `sigmas` must end in (K, 2), (K, 2) and (K,), '
            f'got {tuple(pred.shape)}, {tuple(gt.shape)} and {tuple(sigmas.shape)}.'
        )
    # Keypoints go first: the loops of the kernels then run over instances, of which there are more.
    (pred_x, pred_y), (gt_x, gt_y) = (points.movedim((-1, -2), (0, 1)).contiguous() for points in (pred, gt))
    squared = (pred_x - gt_x).square_().add_((pred_y - gt_y).square_())  # in place: fresh pages cost more than the arithmetic
    rate = (-0.125 * _LOG2_E / sigmas.square()).view(-1, *[1] * (squared.dim() - 1))
    return (squared.mul_(rate) / (areas + _EPS)).clamp_(min=_MIN_EXPONENT).exp2_().movedim(0, -1)


def oks(
    pred: Tensor,
    gt: Tensor,
    *,
    sigmas: Sequence[float] | Tensor,
    areas: Tensor,
    visible: Tensor | None = None,
) -> Tensor:
    """Return (...) OKS in [0, 1] of instances that stand at the same place; leading axes broadcast.

    Differs: COCO compares an unlabelled instance by its doubled box, in order to ignore what falls there; here it scores 0.

    Args:
        pred: (..., K, 2) px.
        gt: (..., K, 2) px.
        sigmas: (K,) constants of the keypoints, positive.
        areas: (...) px^2, of the ground truth.
        visible: (..., K), above 0 where the ground truth is labelled (COCO's v); None counts every keypoint.

    Raises:
        ValueError: the shapes do not fit together.
    """
    similarity = keypoint_similarity(pred, gt, sigmas=sigmas, areas=areas)
    if visible is None:
        return similarity.mean(-1)
    labelled = visible > 0
    return similarity.where(labelled, 0).sum(-1) / labelled.sum(-1).clamp(min=1)


def pairwise_oks(
    pred: Tensor,
    gt: Tensor,
    *,
    sigmas: Sequence[float] | Tensor,
    areas: Tensor,
    visible: Tensor | None = None,
) -> Tensor:
    """Return (..., N, M) OKS of each of N predictions with each of M ground truths.

    Args:
        pred: (..., N, K, 2) px.
        gt: (..., M, K, 2) px.
        sigmas: (K,) constants of the keypoints, positive.
        areas: (..., M) px^2, of the ground truths.
        visible: (..., M, K), above 0 where the ground truth is labelled; None counts every keypoint.

    Raises:
        ValueError: the shapes do not fit together.
    """
    return oks(
        pred[..., :, None, :, :],
        gt[..., None, :, :, :],
        sigmas=sigmas,
        areas=areas[..., None, :],
        visible=None if visible is None else visible[..., None, :, :],
    )


def _mutual_oks(
    keypoints: Tensor, scores: Tensor, sigmas: Sequence[float] | Tensor, areas: Tensor, visible: Tensor | None
) -> np.ndarray:
    """Return the symmetric (N, N) OKS of predictions among themselves: mean area of the two, keypoints visible in both."""
    N = len(keypoints)
    if scores.shape != (N,) or areas.shape != (N,):
        raise ValueError(
            f'OKS suppression: `scores` and `areas` need one entry per instance ({N}), '
            f'got {tuple(scores.shape)} and {tuple(areas.shape)}.'
        )
    return (
        oks(
            keypoints[:, None],
            keypoints[None],
            sigmas=sigmas,
            areas=(areas[:, None] + areas[None]) / 2,
            visible=None if visible is None else (visible[:, None] > 0) & (visible[None] > 0),
        )
        .cpu()
        .numpy()
    )


def oks_nms(
    keypoints: Tensor,
    scores: Tensor,
    *,
    sigmas: Sequence[float] | Tensor,
    areas: Tensor,
    thr: float = 0.9,
    visible: Tensor | None = None,
) -> Tensor:
    """Drop every instance whose OKS with a kept one of a higher score is above `thr`.

    Source: Papandreou et al., Towards accurate multi-person pose estimation, CVPR 2017, Sec. 3.3, arXiv:1701.01779.
    Differs: equal scores keep the order they came in (mmpose reverses it).

    Args:
        keypoints: (N, K, 2) px.
        scores: (N,).
        sigmas: (K,) constants of the keypoints, positive.
        areas: (N,) px^2; a pair is compared at the mean of its two areas.
        thr: OKS in [0, 1].
        visible: (N, K), above 0 where a keypoint counts; a pair is compared where both count. None counts all.

    Returns:
        (P,) int64 indices of the kept instances, best first, on the device of `keypoints`.

    Raises:
        ValueError: the shapes do not fit together.
    """
    similar = _mutual_oks(keypoints, scores, sigmas, areas, visible) > thr
    dropped = np.zeros(len(similar), dtype=bool)
    keep = []
    for i in scores.argsort(descending=True, stable=True).tolist():
        if not dropped[i]:
            keep.append(i)
            dropped |= similar[i]
    return torch.tensor(keep, dtype=torch.int64, device=keypoints.device)


def soft_oks_nms(
    keypoints: Tensor,
    scores: Tensor,
    *,
    sigmas: Sequence[float] | Tensor,
    areas: Tensor,
    thr: float = 0.9,
    max_dets: int = 20,
    visible: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Take the best instance again and again; each time the rest lose score by exp(-OKS^2 / thr).

    Source: Bodla et al., Soft-NMS, ICCV 2017, Eq. 3, arXiv:1704.04503, with OKS in place of IoU.
    Differs: equal scores keep the order they came in; the decayed scores are returned too (mmpose throws them away).

    Args:
        keypoints: (N, K, 2) px.
        scores: (N,), not negative.
        sigmas: (K,) constants of the keypoints, positive.
        areas: (N,) px^2; a pair is compared at the mean of its two areas.
        thr: positive; smaller decays faster.
        max_dets: at most this many are taken.
        visible: (N, K), above 0 where a keypoint counts; a pair is compared where both count. None counts all.

    Returns:
        (P,) int64 indices in the order they were taken, and (P,) the scores they had then; on the device of `keypoints`.

    Raises:
        ValueError: the shapes do not fit together, or `thr` or `max_dets` is not positive.
    """
    if thr <= 0 or max_dets < 1:
        raise ValueError(f'soft_oks_nms: `thr` must be above 0 and `max_dets` at least 1, got {thr} and {max_dets}.')
    decay = np.exp(-np.square(_mutual_oks(keypoints, scores, sigmas, areas, visible)) / thr)
    remaining = scores.cpu().numpy().astype(np.float64)
    keep, kept_scores = [], []
    for _ in range(min(len(remaining), max_dets)):
        i = int(remaining.argmax())
        keep.append(i)
        kept_scores.append(remaining[i])
        remaining *= decay[i]
        remaining[keep] = -np.inf
    device = keypoints.device
    return torch.tensor(keep, dtype=torch.int64, device=device), torch.tensor(kept_scores, dtype=scores.dtype, device=device)
