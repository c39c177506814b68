"""From the scores of a box head, one per box and class, to detections."""

# Letters: N boxes, C classes, D detections.
from typing import NamedTuple

from torch import Tensor

from mmpose_lite.ops.nms.base import Suppression


class Detections(NamedTuple):
    """What is found in one image, best first."""

    boxes: Tensor  # (D, 4) xyxy
    scores: Tensor  # (D,)
    labels: Tensor  # (D,) int64, classes from 0
    indices: Tensor  # (D,) int64, which of the N boxes


def multiclass_nms(
    boxes_xyxy: Tensor,
    scores: Tensor,
    nms: Suppression,
    *,
    score_thr: float,
    pred_ious: Tensor | None = None,
    variances: Tensor | None = None,
    densities: Tensor | None = None,
) -> Detections:
    """Make a candidate of every box and class that scores above `score_thr`, and suppress them.

    Args:
        boxes_xyxy: (N, 4), or (N, C, 4) for a box per class.
        scores: (N, C), without the background.
        nms: the suppression; its `max_num` is the most detections of the image.
        score_thr: candidates score more.
        pred_ious: (N,) or (N, C); for the extras see `Suppression`.
        variances: (N, 4) or (N, C, 4).
        densities: (N,) or (N, C).

    Raises:
        ValueError: the shapes do not fit together, or an extra is missing.
    """
    if scores.ndim != 2 or boxes_xyxy.shape not in ((len(scores), 4), (*scores.shape, 4)):
        raise ValueError(
            'multiclass_nms: boxes and scores must be (N, 4) or (N, C, 4) and (N, C), '
            f'got {tuple(boxes_xyxy.shape)} and {tuple(scores.shape)}.'
        )
    rows, labels = (scores > score_thr).nonzero(as_tuple=True)

    def of_candidates(values: Tensor, per_box: int) -> Tensor:
        """Pick the values of the candidates; those of one box have `per_box` axes, and one more for classes in front or not."""
        return values[rows, labels] if values.ndim == per_box + 2 else values[rows]

    kept = nms(
        of_candidates(boxes_xyxy, 1),
        scores[rows, labels],
        labels,
        pred_ious=None if pred_ious is None else of_candidates(pred_ious, 0),
        variances=None if variances is None else of_candidates(variances, 1),
        densities=None if densities is None else of_candidates(densities, 0),
    )
    return Detections(kept.boxes, kept.scores, labels[kept.indices], rows[kept.indices])
