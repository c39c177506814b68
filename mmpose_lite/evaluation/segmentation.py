"""Metrics of pixels: IoU, Dice, accuracy, precision, recall, and the F score of boundaries."""

# Letters: C classes, H x W pixels.
import math
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger

from mmpose_lite.errors import MetricError
from mmpose_lite.evaluation.metas import meta_of
from mmpose_lite.evaluation.report import text_table
from mmpose_lite.registry import METRICS
from mmpose_lite.structures import ClassMeta
from mmpose_lite.structures.class_meta import IGNORE_INDEX

# What mmseg's names of groups stand for: name of the mean -> key of `class_scores`.
_GROUPS: dict[str, dict[str, str]] = {
    'mIoU': dict(mIoU='IoU', mAcc='Acc'),
    'mDice': dict(mDice='Dice', mAcc='Acc'),
    'mFscore': dict(mFscore='Fscore', mPrecision='Precision', mRecall='Recall'),
}


def confusion_matrix(pred: np.ndarray, truth: np.ndarray, num_classes: int, *, ignore_index: int = IGNORE_INDEX) -> np.ndarray:
    """Return (C, C) int64: pixels by their true class (rows) and predicted class (columns).

    Args:
        pred: (H, W) uint8 labels below C.
        truth: (H, W) uint8 labels below C, or `ignore_index`: such pixels do not count.
        num_classes: C.
        ignore_index: see `truth`.

    Raises:
        ValueError: the sizes differ, or a label is no class.
    """
    if pred.shape != truth.shape:
        raise ValueError(f'confusion_matrix: `pred` and `truth` must have one shape (H, W), got {pred.shape} and {truth.shape}.')
    counts = np.bincount((truth.astype(np.int64) * 256 + pred).ravel(), minlength=1 << 16).reshape(256, 256)
    counts[ignore_index] = 0
    if counts[num_classes:].any() or counts[:, num_classes:].any():
        found = {*np.flatnonzero(counts.any(axis=1)).tolist(), *np.flatnonzero(counts.any(axis=0)).tolist()}
        wrong = sorted(found - {*range(num_classes)})
        raise ValueError(f'confusion_matrix: labels must be below {num_classes}, the number of classes, got {wrong}.')
    return counts[:num_classes, :num_classes].copy()  # a view would keep all of `counts`


def class_scores(matrix: np.ndarray) -> dict[str, np.ndarray]:
    """Return name -> (C,) scores in [0, 1] of a (C, C) confusion matrix; NaN for a class that is neither there nor predicted.

    'IoU', 'Dice' (the same as 'Fscore'), 'Acc' (the same as 'Recall': NaN for a class that is not there) and 'Precision' (NaN for
    one that is not predicted).
    """
    right, truth, pred = np.diag(matrix).astype(np.float64), matrix.sum(axis=1), matrix.sum(axis=0)

    def ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
        return np.divide(above, below, out=np.full(len(right), np.nan), where=below > 0)

    dice, recall = ratio(2 * right, truth + pred), ratio(right, truth)
    return dict(
        IoU=ratio(right, truth + pred - right), Dice=dice, Fscore=dice, Acc=recall, Recall=recall, Precision=ratio(right, pred)
    )


def boundary_f_scores(pred: np.ndarray, truth: np.ndarray, num_classes: int, *, tolerance: float) -> np.ndarray:
    """Return (C,) F scores in [0, 1] of the classes' boundaries; NaN for a class that has none on either side.

    Source: Csurka et al., What is a good evaluation measure for semantic segmentation?, BMVC 2013, Sec. 3. A boundary pixel is
    right if the other side has one within the tolerance; precision is the share of predicted ones that are, recall that of
    true ones. The border of the image, and that of ignored pixels, is no boundary.

    Args:
        pred: (H, W) uint8 labels.
        truth: (H, W) uint8 labels; IGNORE_INDEX for pixels that do not count.
        num_classes: C.
        tolerance: px.
    """
    ignored = truth == IGNORE_INDEX
    scores = np.full(num_classes, np.nan)
    for k in np.union1d(np.unique(pred), np.unique(truth[~ignored])):
        ours, theirs = (_boundary(labels == k, ignored) for labels in (pred, truth))
        if not (ours.any() or theirs.any()):
            continue
        right = (ours & (_distances(theirs) <= tolerance)).sum(), (theirs & (_distances(ours) <= tolerance)).sum()
        precision, recall = (r / max(b.sum(), 1) for r, b in zip(right, (ours, theirs)))
        scores[k] = 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0
    return scores


def _distances(boundary: np.ndarray) -> np.ndarray:
    """Return (H, W) float32 px to the nearest pixel of a boundary; very large where there is none."""
    return cv2.distanceTransform(1 - boundary, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)


def _boundary(mask: np.ndarray, ignored: np.ndarray) -> np.ndarray:
    """Return (H, W) uint8: the pixels of the mask beside one that is outside of it; an ignored one is neither in nor out."""
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    inside = (mask | ignored).astype(np.uint8)
    return ((mask & ~ignored) & (cv2.erode(inside, cross) == 0)).astype(np.uint8)


def _maps(sample: Mapping[str, Any], metric: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the predicted and the true labels of a data sample."""
    if 'gt_seg_map' not in sample:
        raise MetricError(
            f'{metric}: data samples need `gt_seg_map`, image {sample.get("img_path")} has none; evaluation needs LoadSegMap '
            'in its pipeline, after SegResize.'
        )
    pred, truth = np.asarray(sample['pred_seg_map']), np.asarray(sample['gt_seg_map'])
    if pred.shape != truth.shape:
        raise MetricError(
            f'{metric}: prediction {pred.shape} and truth {truth.shape} of {sample.get("img_path")} must have the size (h, w) '
            'of the image; in a pipeline of evaluation LoadSegMap stands after SegResize.'
        )
    return pred, truth


@METRICS.register_module()
class IoUMetric(BaseMetric):
    """Intersection over union and its relatives, of all pixels of the split together; shares in [0, 1].

    Keys: `aAcc`, the share of pixels that are right; for 'mIoU' `mIoU` and `mAcc`; for 'mDice' `mDice` and `mAcc`; for 'mFscore'
    `mFscore`, `mPrecision` and `mRecall`; with `classwise` also `IoU.{class}`, `Dice.{class}` or `Fscore.{class}`. Means are over
    the classes that occur in truth or prediction. Names are mmseg's, which gives per cent.

    Args:
        iou_metrics: one or some of 'mIoU', 'mDice', 'mFscore'.
        ignore_index: label of true pixels that do not count.
        classwise: also report every class.
        collect_device: 'cpu' or 'gpu', where the results of several processes are put together.
        collect_dir: folder for that, when on the CPU; a temporary one by default.
        prefix: first part of the keys.

    Attributes:
        confusion: (C, C) of the last evaluation, see `confusion_matrix`; on the main process.

    Raises:
        ValueError: an argument is out of range, or predictions and truth do not fit together.
    """

    default_prefix = 'seg'
    measures = ClassMeta

    def __init__(
        self,
        iou_metrics: str | Sequence[str] = ('mIoU',),
        *,
        ignore_index: int = IGNORE_INDEX,
        classwise: bool = True,
        collect_device: str = 'cpu',
        collect_dir: str | None = None,
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix, collect_dir=collect_dir)
        iou_metrics = (iou_metrics,) if isinstance(iou_metrics, str) else tuple(iou_metrics)
        if not iou_metrics or not set(iou_metrics) <= set(_GROUPS):
            raise ValueError(f'IoUMetric: `iou_metrics` must be some of {tuple(_GROUPS)}, got {iou_metrics}.')
        self.iou_metrics = iou_metrics
        self.ignore_index = ignore_index
        self.classwise = classwise
        self.confusion: np.ndarray | None = None

    def result_names(self) -> tuple[str, ...]:
        """Return the names of the scores, those of the classes last."""
        classes = meta_of(self, ClassMeta).classes if self.classwise else ()
        of_classes = (f'{group.removeprefix("m")}.{name}' for group in self.iou_metrics for name in classes)
        return ('aAcc', *self._means(), *of_classes)

    def _means(self) -> dict[str, str]:
        """Return the name of each mean, and that of the scores it is the mean of."""
        return {mean: of for group in self.iou_metrics for mean, of in _GROUPS[group].items()}

    def process(self, data_batch: object, data_samples: Sequence[dict]) -> None:
        """Keep the confusion matrix of each image: the few cells that are not 0, as most classes are not in it."""
        meta = meta_of(self, ClassMeta)
        for sample in data_samples:
            pred, truth = _maps(sample, 'IoUMetric')
            matrix = confusion_matrix(pred, truth, meta.num_classes, ignore_index=self.ignore_index).ravel()
            cells = np.flatnonzero(matrix)
            self.results.append((cells.astype(np.uint16), matrix[cells]))

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Return the scores by their keys; logs a table of the classes."""
        meta = meta_of(self, ClassMeta)
        self.confusion = np.zeros((meta.num_classes, meta.num_classes), dtype=np.int64)
        for cells, pixels in results:
            self.confusion.flat[cells] += pixels
        pixels = self.confusion.sum()
        if pixels == 0:
            raise MetricError('IoUMetric: no pixel of the split has a class, so there is nothing to compare.')
        scores = class_scores(self.confusion)
        by_class = {mean.removeprefix('m'): scores[of] for mean, of in self._means().items()}
        share = self.confusion.sum(axis=1) / pixels
        rows = [
            (name, *(f'{values[k]:.4f}' for values in by_class.values()), f'{share[k]:.4f}')
            for k, name in enumerate(meta.classes)
        ]
        title = f'{len(results)} images'
        MMLogger.get_current_instance().info(text_table(('class', *by_class, 'share of pixels'), rows, title=title))
        values = [np.trace(self.confusion) / pixels, *(np.nanmean(of_classes) for of_classes in by_class.values())]
        if self.classwise:
            values += [score for group in self.iou_metrics for score in by_class[group.removeprefix('m')]]
        return dict(zip(self.result_names(), map(float, values), strict=True))


@METRICS.register_module()
class BoundaryFScore(BaseMetric):
    """How well the outlines of the classes are met, which the IoU of large regions does not show.

    Keys: `mBF`, the mean over classes of `BF.{class}`, each the mean over the images that have the class, true or predicted, of
    its boundary's F score in [0, 1], see `boundary_f_scores`; NaN where no image has a boundary of it.

    Args:
        tolerance: px, as a share of the image's diagonal.
        collect_device: 'cpu' or 'gpu', where the results of several processes are put together.
        collect_dir: folder for that, when on the CPU; a temporary one by default.
        prefix: first part of the keys.

    Raises:
        ValueError: an argument is out of range, or predictions and truth do not fit together.
    """

    default_prefix = 'seg'
    measures = ClassMeta

    def __init__(
        self,
        tolerance: float = 0.0075,
        *,
        collect_device: str = 'cpu',
        collect_dir: str | None = None,
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix, collect_dir=collect_dir)
        if not 0 < tolerance < 1:
            raise ValueError(f'BoundaryFScore: `tolerance` must be in (0, 1), a share of the diagonal, got {tolerance}.')
        self.tolerance = tolerance

    def result_names(self) -> tuple[str, ...]:
        """Return 'mBF', and 'BF.{class}' of each class."""
        return ('mBF', *(f'BF.{name}' for name in meta_of(self, ClassMeta).classes))

    def process(self, data_batch: object, data_samples: Sequence[dict]) -> None:
        """Keep the scores of each image."""
        num_classes = meta_of(self, ClassMeta).num_classes
        for sample in data_samples:
            pred, truth = _maps(sample, 'BoundaryFScore')
            px = max(1.0, self.tolerance * float(np.hypot(*truth.shape)))
            self.results.append(boundary_f_scores(pred, truth, num_classes, tolerance=px))

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Return the scores by their keys."""
        if not results:
            raise MetricError(
                'BoundaryFScore: there is nothing to evaluate. The dataset is empty, or `process` was never called.'
            )
        scores = np.stack(results)
        counts = (~np.isnan(scores)).sum(axis=0)
        means = np.divide(np.nansum(scores, axis=0), counts, out=np.full(scores.shape[1], np.nan), where=counts > 0)
        mean = np.nanmean(means) if counts.any() else math.nan
        return dict(zip(self.result_names(), map(float, (mean, *means)), strict=True))
