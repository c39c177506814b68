"""What a detector got right, got wrong and missed in one image, at one threshold of score and IoU."""

# Letters: N detections, M annotated objects.
from typing import NamedTuple

import numpy as np
import torch

from mmpose_lite.ops.iou import pairwise_iou


class Outcomes(NamedTuple):
    """Of N detections and M objects; a detection is found, ignored, or wrong."""

    is_found: np.ndarray  # (N,) bool: the first to meet an object of its class
    is_ignored: np.ndarray  # (N,) bool: not looked at: below the score, or over an ignored object
    is_missed: np.ndarray  # (M,) bool: no detection meets the object, which is not an ignored one


def match_objects(
    bboxes: np.ndarray,
    scores: np.ndarray,
    labels: np.ndarray,
    gt_bboxes: np.ndarray,
    gt_labels: np.ndarray,
    gt_ignored: np.ndarray,
    *,
    iou_thr: float = 0.5,
    score_thr: float = 0.3,
) -> Outcomes:
    """Match detections with objects as COCOeval does: best score first, each to the free object of its class it overlaps most.

    One that meets no free object, but lies in an ignored one of its class by `iou_thr` of its own area, is ignored.

    Args:
        bboxes: (N, 4) xyxy px.
        scores: (N,).
        labels: (N,).
        gt_bboxes: (M, 4) xyxy px.
        gt_labels: (M,).
        gt_ignored: (M,) bool.
        iou_thr: a match has at least this IoU.
        score_thr: detections below it are left out.
    """
    is_found, is_ignored = np.zeros(len(bboxes), bool), scores < score_thr
    is_free = ~gt_ignored
    boxes, objects = (torch.as_tensor(np.asarray(array, np.float64)).reshape(-1, 4) for array in (bboxes, gt_bboxes))
    ious = pairwise_iou(boxes, objects).numpy()
    shares = pairwise_iou(boxes, objects, kind='iof').numpy()
    for i in np.argsort(-scores, kind='stable'):
        if is_ignored[i]:
            continue
        of_class = gt_labels == labels[i]
        overlaps = np.where(of_class & is_free, ious[i], -1.0)
        best = int(overlaps.argmax()) if len(overlaps) else -1
        if best >= 0 and overlaps[best] >= iou_thr:
            is_found[i], is_free[best] = True, False
        elif (shares[i, of_class & gt_ignored] >= iou_thr).any():
            is_ignored[i] = True
    return Outcomes(is_found, is_ignored, is_free)
