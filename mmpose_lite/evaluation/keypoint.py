"""Metrics that compare each ground-truth instance with the prediction made for it: PCK, PCKh, AUC, EPE, NME.

They fit the top-down family, where prediction i belongs to ground truth i. Averages follow mmpose: first over the instances
that label a keypoint, then over the keypoints that any instance labels. Only labelled keypoints (visible > 0) count.
"""

# Letters: N instances, K keypoints.
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger

from mmpose_lite.errors import MetricError
from mmpose_lite.evaluation.report import examples, mismatch, text_table
from mmpose_lite.registry import METRICS
from mmpose_lite.structures import KeypointMeta

_NORM_NAMES = {'bbox': 'PCK', 'head': 'PCKh', 'torso': 'tPCK'}
_TORSO = ('left_shoulder', 'right_hip')
_NORM_MODES = ('use_norm_item', 'keypoint_distance')


def keypoint_distances(pred: np.ndarray, gt: np.ndarray, visible: np.ndarray, norm_sizes: np.ndarray) -> np.ndarray:
    """Return (N, K) distances in units of `norm_sizes`, NaN where the keypoint does not count.

    Differs: an instance whose size is 0 or negative does not count at all (mmpose calls a negative one all correct).

    Args:
        pred: (N, K, 2) px.
        gt: (N, K, 2) px.
        visible: (N, K), above 0 where labelled.
        norm_sizes: (N,) px.
    """
    counts = (visible > 0) & (norm_sizes > 0)[:, None]
    distances = np.linalg.norm(pred.astype(np.float64) - gt, axis=-1)
    return np.divide(distances, norm_sizes[:, None], out=np.full(distances.shape, np.nan), where=counts)


def keypoint_means(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return (K,) means of (N, K) `values` over the instances where `counts`; NaN for a keypoint that never counts."""
    totals = np.where(counts, values, 0.0).sum(0)
    return np.divide(totals, counts.sum(0), out=np.full(totals.shape, np.nan), where=counts.any(0))


def keypoint_pck(distances: np.ndarray, thr: float) -> np.ndarray:
    """Return (K,) shares of (N, K) distances below `thr` (strictly); NaN for a keypoint that never counts."""
    return keypoint_means(distances < thr, ~np.isnan(distances))


def keypoint_auc(distances: np.ndarray, num_thrs: int = 20) -> np.ndarray:
    """Return (K,) means of the PCK over the thresholds i / num_thrs, i = 0 ... num_thrs - 1; NaN as in `keypoint_pck`.

    The first threshold, 0, is never passed, so perfect predictions reach 1 - 1 / num_thrs.

    Args:
        distances: (N, K) in units of the largest threshold, NaN where the keypoint does not count.
        num_thrs: number of thresholds.
    """
    return np.mean([keypoint_pck(distances, i / num_thrs) for i in range(num_thrs)], axis=0)


def _paired_instances(sample: Mapping[str, Any], metric: str) -> dict[str, Any]:
    """Return the plain arrays of one data sample: `img_id`, `pred` and `gt` (N, K, 2), `visible` (N, K).

    Raises:
        MetricError: predictions and ground truth of the image are not one to one, or predictions are not finite.
    """
    img_id = sample.get('img_id')
    gt_instances = sample.get('gt_instances') or {}
    if 'keypoints' not in gt_instances or 'keypoints_visible' not in gt_instances:
        raise MetricError(
            f'{metric}: data samples need `gt_instances` with `keypoints` and `keypoints_visible`, image id {img_id!r} has '
            f'{sorted(gt_instances)}. Evaluate a dataset with annotations, or drop this metric from the config.'
        )
    pred = np.asarray(sample['pred_instances']['keypoints'])
    gt = np.asarray(gt_instances['keypoints'])
    visible = np.asarray(gt_instances['keypoints_visible']) > 0
    if pred.shape != gt.shape or visible.shape != gt.shape[:2]:
        raise mismatch(
            f'{metric}: predictions and ground truth of an image must be the same instances with the same keypoints.',
            [
                ('instances (N)', pred.shape[0], gt.shape[0], f'image id {img_id!r}'),
                ('keypoints (K)', pred.shape[1:], gt.shape[1:], f'visible {visible.shape}'),
            ],
            reference='ground truth',
            advice='give the head as many output channels as `meta` has keypoints; use CocoMetric for networks that find '
            'the people themselves.',
        )
    if not np.isfinite(pred).all():
        raise MetricError(
            f'{metric}: predicted keypoints must be finite, image id {img_id!r} has NaN or infinity. The network has '
            'diverged or its checkpoint is broken.'
        )
    return dict(img_id=img_id, pred=pred, gt=gt, visible=visible)


def _stack(results: Sequence[Mapping[str, Any]], metric: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return `pred`, `gt` (N, K, 2) and `visible` (N, K) of all images.

    Raises:
        MetricError: there are none, K is not the same everywhere, or nothing is labelled.
    """
    if not results:
        raise MetricError(f'{metric}: there is nothing to evaluate. The dataset is empty, or `process` was never called.')
    ks = sorted({r['gt'].shape[1] for r in results})
    if len(ks) > 1:
        raise mismatch(
            f'{metric}: all images must have the same number of keypoints.',
            [('keypoints (K)', ks, ks, examples(next(r['img_id'] for r in results if r['gt'].shape[1] == k) for k in ks))],
            reference='ground truth',
            advice='evaluate datasets of different keypoints one by one, or map them to one `meta`.',
        )
    pred, gt, visible = (np.concatenate([r[key] for r in results]) for key in ('pred', 'gt', 'visible'))
    if not visible.any():
        raise mismatch(
            f'{metric}: the ground truth must label a keypoint at least.',
            [('instances', len(pred), len(gt), ''), ('labelled keypoints', '', 0, examples(r['img_id'] for r in results))],
            reference='ground truth',
            advice='check the visibility flags of the annotation file (tools/check_dataset.py counts them).',
        )
    return pred, gt, visible


def _keypoint_names(dataset_meta: Mapping[str, Any] | None, num_keypoints: int, metric: str) -> tuple[str, ...]:
    """Return the names of the dataset's meta, or numbers when it has none."""
    if not dataset_meta or 'keypoint_meta' not in dataset_meta:
        return tuple(f'keypoint {k}' for k in range(num_keypoints))
    meta = KeypointMeta.load(dataset_meta['keypoint_meta'])
    if meta.num_keypoints != num_keypoints:
        raise mismatch(
            f'{metric}: predictions must have the keypoints of the dataset.',
            [('keypoints (K)', num_keypoints, meta.num_keypoints, f'meta {meta.name!r}')],
            reference='dataset meta',
            advice='set `meta` in the config to the one that fits the network and the annotation file.',
        )
    return meta.keypoints


def _norm_sizes(metric: BaseMetric, norm_item: str, gt_instances: Mapping[str, Any], result: Mapping[str, Any]) -> np.ndarray:
    """Return (N,) sizes in px of the instances of one image; see `PCKAccuracy` for `norm_item`."""
    owner = type(metric).__name__
    if norm_item == 'torso':
        names = _keypoint_names(metric.dataset_meta, result['gt'].shape[1], owner)
        if not set(_TORSO) <= set(names):
            raise MetricError(f"{owner}: `norm_item='torso'` needs the keypoints {_TORSO}, the dataset has {names}.")
        return _lengths(result, [names.index(name) for name in _TORSO])
    field = {'bbox': 'bboxes', 'head': 'head_sizes'}[norm_item]
    if field not in gt_instances:
        raise mismatch(
            f'{owner}: `norm_item={norm_item!r}` needs `gt_instances.{field}`.',
            [('instance fields', '', ', '.join(sorted(gt_instances)), f'image id {result["img_id"]!r}')],
            reference='ground truth',
            advice=f'let the dataset give `{field}` and PackPoseInputs pack it, or choose another `norm_item`.',
        )
    values = np.asarray(gt_instances[field], dtype=np.float64)
    return (values[:, 2:] - values[:, :2]).max(1) if norm_item == 'bbox' else values.reshape(-1)


def _lengths(result: Mapping[str, Any], ends: Sequence[int]) -> np.ndarray:
    """Return (N,) px between two true keypoints; 0 where one is not labelled, or where they are less than a pixel apart."""
    lengths = np.linalg.norm(np.diff(result['gt'][:, ends].astype(np.float64), axis=1)[:, 0], axis=-1)
    return np.where(result['visible'][:, ends].all(1) & (lengths >= 1), lengths, 0.0)


def _normalised(metric: BaseMetric, what: str, results: Sequence[Mapping[str, Any]]) -> tuple[tuple[str, ...], np.ndarray]:
    """Return K names and the (N, K) distances of all images, in units of their `norm_sizes`.

    Raises:
        MetricError: see `_stack`; or no size is positive.
    """
    owner = type(metric).__name__
    pred, gt, visible = _stack(results, owner)
    names = _keypoint_names(metric.dataset_meta, pred.shape[1], owner)
    norm_sizes = np.concatenate([r['norm_sizes'] for r in results])
    distances = keypoint_distances(pred, gt, visible, norm_sizes)
    if np.isnan(distances).all():
        raise mismatch(
            f'{owner}: no labelled keypoint belongs to an instance with a positive {what} size.',
            [(f'{what} sizes above 0', '', 0, examples(norm_sizes.tolist()))],
            reference='ground truth',
            advice='check the annotation file, or choose another size.',
        )
    return names, distances


def _log_per_keypoint(title: str, names: Sequence[str], distances: np.ndarray, columns: Mapping[str, np.ndarray]) -> None:
    """Log one row per keypoint: its name, how often it counts, and the (K,) `columns`."""
    counts = (~np.isnan(distances)).sum(0)
    rows = [
        (name, counts[k], *(f'{column[k]:.4g}' if counts[k] else '-' for column in columns.values()))
        for k, name in enumerate(names)
    ]
    MMLogger.get_current_instance().info(text_table(('keypoint', 'labelled', *columns), rows, title=title))


@METRICS.register_module()
class PCKAccuracy(BaseMetric):
    """Share of keypoints that are closer to the truth than `thr` times the size of the instance.

    Source: Yang and Ramanan, Articulated pose estimation with flexible mixtures-of-parts, CVPR 2011, Sec. 5.1; PCKh:
    Andriluka et al., 2D human pose estimation: new benchmark, CVPR 2014.
    Differs: the box size is its longer side (mmpose takes the larger of x2 and y2 of the corners); a torso that is
    unlabelled or shorter than a pixel leaves its instance out (mmpose measures the predicted torso instead).

    Keys: `PCK@thr` (norm_item 'bbox'), `PCKh@thr` ('head'), `tPCK@thr` ('torso'), each in [0, 1].

    Args:
        thr: one threshold or several, as a share of the size.
        norm_item: the size: 'bbox', the longer side of `gt_instances.bboxes`; 'head', `gt_instances.head_sizes`;
            'torso', from left shoulder to right hip.
        collect_device: 'cpu' or 'gpu', where the results of several processes are put together.
        collect_dir: folder for that, when on the CPU; a temporary one by default.
        prefix: first part of the keys.

    Raises:
        MetricError: the metric cannot compare predictions with the ground truth; the message holds a table.
    """

    default_prefix = 'pck'
    measures = KeypointMeta

    def __init__(
        self,
        thr: float | Sequence[float] = 0.05,
        *,
        norm_item: str = 'bbox',
        collect_device: str = 'cpu',
        collect_dir: str | None = None,
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix, collect_dir=collect_dir)
        self.thrs = (thr,) if isinstance(thr, int | float) else tuple(thr)
        if not self.thrs or min(self.thrs) <= 0:
            raise ValueError(f'{type(self).__name__}: `thr` must be one or more positive numbers, got {thr!r}.')
        if norm_item not in _NORM_NAMES:
            raise ValueError(f'{type(self).__name__}: `norm_item` must be one of {list(_NORM_NAMES)}, got {norm_item!r}.')
        self.norm_item = norm_item

    def result_names(self) -> tuple[str, ...]:
        """Return 'PCK@0.05' ..., one for each threshold."""
        return tuple(f'{_NORM_NAMES[self.norm_item]}@{thr:g}' for thr in self.thrs)

    def process(self, data_batch: object, data_samples: Sequence[dict]) -> None:
        """Keep the arrays of each data sample and the size (N,) that normalises it."""
        for sample in data_samples:
            result = _paired_instances(sample, type(self).__name__)
            result['norm_sizes'] = _norm_sizes(self, self.norm_item, sample['gt_instances'], result)
            self.results.append(result)

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Return {'PCK@0.05': share, ...}; logs the figures of every keypoint."""
        names, distances = _normalised(self, self.norm_item, results)
        columns = {name: keypoint_pck(distances, thr) for name, thr in zip(self.result_names(), self.thrs)}
        mean_errors = keypoint_means(distances, ~np.isnan(distances))
        title = f'{type(self).__name__}, sizes: {self.norm_item}'
        _log_per_keypoint(title, names, distances, {**columns, f'mean error / {self.norm_item}': mean_errors})
        return {key: self._average(column, distances, names) for key, column in columns.items()}

    def _average(self, pck: np.ndarray, distances: np.ndarray, names: Sequence[str]) -> float:
        """Return the mean of (K,) `pck` over the keypoints that count."""
        return float(np.nanmean(pck))


@METRICS.register_module()
class MpiiPCKAccuracy(PCKAccuracy):
    """PCKh as the MPII benchmark counts it: every labelled keypoint counts once, pelvis and thorax are left out.

    Source: Andriluka et al., CVPR 2014, and the evaluation code of human-pose.mpi-inf.mpg.de.
    Differs: shares in [0, 1] (mmpose: per cent); nothing is added to predictions, since the dataset counts pixels from 0.
    """

    def __init__(
        self,
        thr: float | Sequence[float] = (0.5, 0.1),
        *,
        norm_item: str = 'head',
        collect_device: str = 'cpu',
        collect_dir: str | None = None,
        prefix: str | None = None,
    ) -> None:
        super().__init__(thr, norm_item=norm_item, collect_device=collect_device, collect_dir=collect_dir, prefix=prefix)

    def _average(self, pck: np.ndarray, distances: np.ndarray, names: Sequence[str]) -> float:
        counts = (~np.isnan(distances)).sum(0) * [name not in ('pelvis', 'thorax') for name in names]
        if not counts.any():
            raise MetricError('MpiiPCKAccuracy: only pelvis and thorax are labelled, which the benchmark leaves out.')
        return float((np.nan_to_num(pck) * counts).sum() / counts.sum())


@METRICS.register_module()
class AUC(BaseMetric):
    """Area under the curve of the PCK over thresholds from 0 to `norm_factor` px; perfect is 1 - 1 / num_thrs.

    Key: `AUC`, in [0, 1). Semantics as in mmpose's metric of this name; see `keypoint_auc`.

    Args:
        norm_factor: largest threshold, px.
        num_thrs: number of thresholds.
        collect_device: 'cpu' or 'gpu', where the results of several processes are put together.
        collect_dir: folder for that, when on the CPU; a temporary one by default.
        prefix: first part of the key.

    Raises:
        MetricError: the metric cannot compare predictions with the ground truth; the message holds a table.
    """

    default_prefix = 'auc'
    measures = KeypointMeta

    def __init__(
        self,
        norm_factor: float = 30,
        *,
        num_thrs: int = 20,
        collect_device: str = 'cpu',
        collect_dir: str | None = None,
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix, collect_dir=collect_dir)
        if norm_factor <= 0 or num_thrs < 1:
            raise ValueError(f'AUC: `norm_factor` and `num_thrs` must be positive, got {norm_factor} and {num_thrs}.')
        self.norm_factor = norm_factor
        self.num_thrs = num_thrs

    def result_names(self) -> tuple[str, ...]:
        """Return 'AUC'."""
        return ('AUC',)

    def process(self, data_batch: object, data_samples: Sequence[dict]) -> None:
        """Keep the arrays of each data sample."""
        self.results.extend(_paired_instances(sample, 'AUC') for sample in data_samples)

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Return {'AUC': area}; logs the area of every keypoint."""
        pred, gt, visible = _stack(results, 'AUC')
        names = _keypoint_names(self.dataset_meta, pred.shape[1], 'AUC')
        distances = keypoint_distances(pred, gt, visible, np.full(len(pred), float(self.norm_factor)))
        areas = keypoint_auc(distances, self.num_thrs)
        _log_per_keypoint(f'AUC up to {self.norm_factor:g} px', names, distances, {'AUC': areas})
        return {'AUC': float(np.nanmean(areas))}


@METRICS.register_module()
class EPE(BaseMetric):
    """End-point error: mean distance in px over all labelled keypoints of all instances.

    Key: `EPE`, px; lower is better.

    Raises:
        MetricError: the metric cannot compare predictions with the ground truth; the message holds a table.
    """

    default_prefix = 'epe'
    measures = KeypointMeta

    def result_names(self) -> tuple[str, ...]:
        """Return 'EPE'."""
        return ('EPE',)

    def process(self, data_batch: object, data_samples: Sequence[dict]) -> None:
        """Keep the arrays of each data sample."""
        self.results.extend(_paired_instances(sample, 'EPE') for sample in data_samples)

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Return {'EPE': px}; logs the mean error of every keypoint."""
        pred, gt, visible = _stack(results, 'EPE')
        names = _keypoint_names(self.dataset_meta, pred.shape[1], 'EPE')
        distances = keypoint_distances(pred, gt, visible, np.ones(len(pred)))
        mean_errors = keypoint_means(distances, ~np.isnan(distances))
        _log_per_keypoint('EPE', names, distances, {'mean error (px)': mean_errors})
        return {'EPE': float(np.nanmean(distances))}


@METRICS.register_module()
class NME(BaseMetric):
    """Normalised mean error: mean distance, as a share of the size of the instance, over all labelled keypoints of all instances.

    Key: `NME`; lower is better. Arguments are those of mmpose's metric of this name.
    Differs: an instance without a size (see `PCKAccuracy`; or one of whose two keypoints is not labelled, or that are less than a
    pixel apart) does not count.

    Args:
        norm_mode: 'use_norm_item', or 'keypoint_distance': the distance of two keypoints, as usual for faces.
        norm_item: of the first, see `PCKAccuracy`.
        keypoint_indices: of the second, the two keypoints, by number or by name, such as the outer corners of the eyes.
        collect_device: 'cpu' or 'gpu', where the results of several processes are put together.
        collect_dir: folder for that, when on the CPU; a temporary one by default.
        prefix: first part of the key.

    Raises:
        ValueError: an argument is out of range.
        MetricError: the metric cannot compare predictions with the ground truth; the message holds a table.
    """

    default_prefix = 'nme'
    measures = KeypointMeta

    def __init__(
        self,
        norm_mode: str = 'use_norm_item',
        *,
        norm_item: str = 'bbox',
        keypoint_indices: Sequence[int | str] | None = None,
        collect_device: str = 'cpu',
        collect_dir: str | None = None,
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix, collect_dir=collect_dir)
        if norm_mode not in _NORM_MODES or norm_item not in _NORM_NAMES:
            raise ValueError(
                f'NME: `norm_mode` must be one of {_NORM_MODES} and `norm_item` one of {tuple(_NORM_NAMES)}, '
                f'got {norm_mode!r} and {norm_item!r}.'
            )
        by_distance = norm_mode == 'keypoint_distance'
        if (keypoint_indices is not None and len(set(keypoint_indices)) == 2) != by_distance:
            raise ValueError(
                f"NME: `keypoint_indices` must be two keypoints with norm_mode='keypoint_distance', and None else, got "
                f'{keypoint_indices!r}.'
            )
        self.norm_item = norm_item
        self.keypoint_indices = None if keypoint_indices is None else tuple(keypoint_indices)

    def result_names(self) -> tuple[str, ...]:
        """Return 'NME'."""
        return ('NME',)

    def process(self, data_batch: object, data_samples: Sequence[dict]) -> None:
        """Keep the arrays of each data sample and the size (N,) that normalises it."""
        for sample in data_samples:
            result = _paired_instances(sample, 'NME')
            if self.keypoint_indices is None:
                result['norm_sizes'] = _norm_sizes(self, self.norm_item, sample['gt_instances'], result)
            else:
                result['norm_sizes'] = _lengths(result, self._ends(result['gt'].shape[1]))
            self.results.append(result)

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Return {'NME': share}; logs the mean error of every keypoint."""
        what = self.norm_item if self.keypoint_indices is None else ' to '.join(map(str, self.keypoint_indices))
        names, distances = _normalised(self, what, results)
        mean_errors = keypoint_means(distances, ~np.isnan(distances))
        _log_per_keypoint(f'NME, sizes: {what}', names, distances, {'mean error / size': mean_errors})
        return {'NME': float(np.nanmean(distances))}

    def _ends(self, num_keypoints: int) -> list[int]:
        """Return the indices of the two keypoints."""
        names = _keypoint_names(self.dataset_meta, num_keypoints, 'NME')
        known = {end: k for k, name in enumerate(names) for end in (k, name)}
        wrong = [end for end in self.keypoint_indices if end not in known]
        if wrong:
            raise MetricError(f'NME: `keypoint_indices` must be of the {num_keypoints} keypoints {names}, got {wrong}.')
        return [known[end] for end in self.keypoint_indices]
