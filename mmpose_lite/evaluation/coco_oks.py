"""OKS-AP of COCO for any set of keypoints."""

# Letters: N instances of one image, P predicted instances of the whole dataset, G annotations, K keypoints.
import importlib.util
import json
import os
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger

from mmpose_lite.errors import MetricError
from mmpose_lite.evaluation.coco_eval import STAT_NAMES, coco_ground_truth, coco_keypoint_stats, instance_scores
from mmpose_lite.evaluation.metas import meta_of
from mmpose_lite.evaluation.report import examples, mismatch, text_table
from mmpose_lite.ops.oks import keypoint_similarity, oks_nms, pairwise_oks, soft_oks_nms
from mmpose_lite.registry import METRICS
from mmpose_lite.structures import KeypointMeta
from mmpose_lite.structures.coco_file import read_json

_BACKENDS = ('auto', 'pycocotools', 'faster')
_SCORE_MODES = ('bbox', 'keypoint', 'bbox_keypoint')
_NMS_MODES = ('none', 'oks_nms', 'soft_oks_nms')
_MATCH_THR = 0.5


@dataclass
class _Predictions:
    """P predicted instances and the images they were looked for in."""

    seen_images: list[Hashable]
    image_ids: list[Hashable]
    category_ids: list[Hashable]
    keypoints: np.ndarray  # (P, K, 2) px
    keypoint_scores: np.ndarray  # (P, K)
    bbox_scores: np.ndarray  # (P,)
    areas: np.ndarray  # (P,) px^2

    def groups(self) -> dict[tuple[Hashable, Hashable], list[int]]:
        """Return the indices of the instances of each (image, category)."""
        groups = defaultdict(list)
        for index, key in enumerate(zip(self.image_ids, self.category_ids)):
            groups[key].append(index)
        return groups


@METRICS.register_module()
class CocoMetric(BaseMetric):
    """Average precision and recall by object keypoint similarity (OKS), computed by pycocotools or faster-coco-eval.

    Source: https://cocodataset.org/#keypoints-eval.
    Keys: `STAT_NAMES`, each in [0, 1]. A figure of an area range without instances is left out (COCOeval says -1).
    Differs from mmpose's metric of this name: the sigmas come from the dataset's KeypointMeta; the category is that of the
    data sample (mmpose writes 1) and suppression stays within a category; ids that do not match are an error. What the dataset
    leaves out by `category_ids` is not asked for.

    The log also gets one row per keypoint. There each labelled instance is matched to the prediction of its image and
    category with the highest OKS, if that is at least 0.5 (one prediction may serve two instances). `similarity` is the mean of
    exp(-d^2 / (2 area (2 sigma)^2)) over the matched instances that label the keypoint, `error` the mean of d / sqrt(area).

    Args:
        ann_file: COCO-style file, or its path under `data_root`. `area`, `bbox`, `num_keypoints`, `iscrowd` may be absent,
            see `coco_ground_truth`. Only read when there is something to evaluate.
        data_root: folder that a relative `ann_file` starts from.
        backend: 'pycocotools', 'faster' (faster-coco-eval, same numbers) or 'auto' (the latter when it is installed).
        score_mode: 'bbox', 'keypoint' or 'bbox_keypoint', see `instance_scores`.
        keypoint_score_thr: keypoints up to this score do not enter the mean of 'bbox_keypoint'.
        nms_mode: 'none', 'oks_nms' or 'soft_oks_nms' per image and category. The soft one keeps 20 instances at their own
            scores, as in mmpose.
        nms_thr: OKS above which an instance is dropped, or the divisor of the soft decay.
        outfile_prefix: write COCO results to `{outfile_prefix}.keypoints.json`.
        format_only: write that file and evaluate nothing.
        collect_device: 'cpu' or 'gpu', where the results of several processes are put together.
        collect_dir: folder for that, when on the CPU; a temporary one by default.
        prefix: first part of the keys.

    Raises:
        ValueError: an option is unknown; or, when evaluating, predictions and `ann_file` do not belong together (image ids,
            category ids, number of keypoints, nothing labelled), or predictions are not finite. The message holds a table.
        FileNotFoundError: there is no `ann_file`.
        ImportError: `backend='faster'` and faster-coco-eval is not installed.
    """

    default_prefix = 'coco'
    measures = KeypointMeta

    def __init__(
        self,
        ann_file: str,
        *,
        data_root: str = '',
        backend: str = 'auto',
        score_mode: str = 'bbox_keypoint',
        keypoint_score_thr: float = 0.2,
        nms_mode: str = 'oks_nms',
        nms_thr: float = 0.9,
        outfile_prefix: str | None = None,
        format_only: bool = False,
        collect_device: str = 'cpu',
        collect_dir: str | None = None,
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix, collect_dir=collect_dir)
        for name, value, allowed in (
            ('backend', backend, _BACKENDS),
            ('score_mode', score_mode, _SCORE_MODES),
            ('nms_mode', nms_mode, _NMS_MODES),
        ):
            if value not in allowed:
                raise ValueError(f'CocoMetric: `{name}` must be one of {list(allowed)}, got {value!r}.')
        if format_only and outfile_prefix is None:
            raise ValueError('CocoMetric: `format_only` needs `outfile_prefix`, the path of the results without its ending.')
        self.ann_file = Path(os.path.join(data_root, ann_file))
        if not format_only and not self.ann_file.is_file():
            raise FileNotFoundError(
                f'CocoMetric: `ann_file` {str(self.ann_file)!r} does not exist (data_root={data_root!r}, ann_file={ann_file!r}).'
            )
        has_faster = importlib.util.find_spec('faster_coco_eval') is not None
        if backend == 'faster' and not has_faster:
            raise ImportError("CocoMetric: `backend='faster'` needs `pip install faster-coco-eval`; 'auto' does without it.")
        self.backend = 'faster' if has_faster and backend != 'pycocotools' else 'pycocotools'
        self.score_mode = score_mode
        self.keypoint_score_thr = keypoint_score_thr
        self.nms_mode = nms_mode
        self.nms_thr = nms_thr
        self.outfile_prefix = outfile_prefix
        self.format_only = format_only
        self._ground_truth: dict[str, list[dict]] | None = None

    def result_names(self) -> tuple[str, ...]:
        """Return the names of the figures; one without instances is left out of the results."""
        return () if self.format_only else STAT_NAMES

    def process(self, data_batch: object, data_samples: Sequence[dict]) -> None:
        """Keep the predicted instances of each data sample as plain arrays.

        Args:
            data_batch: not used.
            data_samples: each with `img_id` and `pred_instances` (`keypoints` (N, K, 2), `keypoint_scores` (N, K), optionally
                `bbox_scores` (N,)); optionally `category_id`, `ann_id`, and `bbox_scale`, the (w, h) px that was cropped, from
                which suppression takes the area when N = 1 (as mmpose does; the extent of the keypoints otherwise). A keypoint
                that was not found has the score 0; suppression does not look at it.
        """
        for sample in data_samples:
            instances = sample['pred_instances']
            keypoints = np.asarray(instances['keypoints'])
            keypoint_scores = np.asarray(instances['keypoint_scores'])
            N = len(keypoints)
            scale = sample.get('bbox_scale')
            cropped = scale is not None and N == 1
            areas = np.prod(scale).reshape(1) if cropped else _extents(keypoints, keypoint_scores != 0)
            self.results.append(
                dict(
                    img_id=_plain(sample['img_id']),
                    ann_id=_plain(sample.get('ann_id', 0)),
                    category_id=_plain(sample.get('category_id')),
                    keypoints=keypoints,
                    keypoint_scores=keypoint_scores,
                    bbox_scores=np.asarray(instances.get('bbox_scores', np.ones(N, dtype=np.float32))),
                    areas=areas,
                )
            )

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Return the figures by their `result_names`; an empty dict when `format_only`."""
        if not results:
            raise MetricError('CocoMetric: there is nothing to evaluate. The dataset is empty, or `process` was never called.')
        meta = self._meta()
        if not self.format_only and self._ground_truth is None:
            self._ground_truth = self._load_ground_truth(meta)
        self._check_keypoints(results, meta)
        predictions = self._join(results)
        if not self.format_only:
            self._check_ids(predictions)
        scores = instance_scores(
            predictions.bbox_scores,
            predictions.keypoint_scores,
            mode=self.score_mode,
            keypoint_score_thr=self.keypoint_score_thr,
        )
        keep = self._suppress(predictions, scores, meta)
        detections = _coco_results(predictions, scores, keep)
        logger = MMLogger.get_current_instance()
        if self.outfile_prefix is not None:
            path = Path(f'{self.outfile_prefix}.keypoints.json')
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(self._written(detections)))
            logger.info(f'CocoMetric: {len(detections)} instances written to {path}.')
        if self.format_only:
            return {}
        figures = dict(zip(self.result_names(), self._figures(self._ground_truth, detections, meta), strict=True))
        self._log(predictions, keep, figures, meta)
        return {name: value for name, value in figures.items() if value != -1}

    def _written(self, detections: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the instances as the file of results has them."""
        return detections

    def _figures(
        self, ground_truth: Mapping[str, list[dict]], detections: list[dict[str, Any]], meta: KeypointMeta
    ) -> list[float]:
        """Return the figures in the order of `result_names`; -1 where there are no such instances."""
        return coco_keypoint_stats(ground_truth, detections, sigmas=meta.sigmas, backend=self.backend).tolist()

    def _meta(self) -> KeypointMeta:
        return meta_of(self, KeypointMeta)

    def _load_ground_truth(self, meta: KeypointMeta) -> dict[str, list[dict]]:
        content = read_json(self.ann_file, given_as='`ann_file`')
        if not content.get('annotations'):
            raise MetricError(
                f'CocoMetric: `ann_file` {self.ann_file} has no annotations to compare with. Use `format_only=True` to write '
                'results only.'
            )
        used = self.dataset_meta.get('category_ids')
        if used is not None:
            content = dict(
                content,
                annotations=[a for a in content['annotations'] if a.get('category_id') in used],
                categories=[category for category in content.get('categories') or () if category.get('id') in used],
            )
        for annotation in content['annotations']:
            if annotation.get('keypoints') and isinstance(annotation['keypoints'][0], list):  # K lists [x, y, v]
                annotation['keypoints'] = list(chain.from_iterable(annotation['keypoints']))
        lengths = Counter(len(a['keypoints']) for a in content['annotations'] if a.get('keypoints'))
        wrong = [a for a in content['annotations'] if len(a.get('keypoints') or ()) not in (0, 3 * meta.num_keypoints)]
        if wrong:
            counts = ', '.join(f'{length / 3:g} ({count} annotations)' for length, count in sorted(lengths.items()))
            raise mismatch(
                'CocoMetric: the annotations must have the keypoints of the dataset.',
                [
                    (
                        'keypoints (K)',
                        f'{meta.num_keypoints} (meta {meta.name!r})',
                        counts,
                        f'ids {examples(a.get("id") for a in wrong)}',
                    )
                ],
                reference=f'ann_file {self.ann_file}',
                advice='set `meta` to the one of this annotation file, or `ann_file` to the one of this dataset.',
            )
        ground_truth = coco_ground_truth(content)
        flat = [a for a in ground_truth['annotations'] if a['area'] <= 0 and any(a['keypoints'][2::3])]
        if flat:
            MMLogger.get_current_instance().warning(
                f'CocoMetric: {len(flat)} labelled annotations of {self.ann_file} have no area and are ignored (give them an '
                f'`area` or a `bbox`); image ids {examples(a["image_id"] for a in flat)}.'
            )
        return ground_truth

    def _check_keypoints(self, results: Sequence[Mapping], meta: KeypointMeta) -> None:
        """Raise ValueError unless all predictions are (N, K, 2) with the K of the dataset, and finite."""
        K = meta.num_keypoints
        wrong = [
            r for r in results if r['keypoints'].shape[1:] != (K, 2) or r['keypoint_scores'].shape != r['keypoints'].shape[:2]
        ]
        if wrong:
            raise mismatch(
                'CocoMetric: predictions must have the keypoints of the dataset.',
                [
                    ('keypoints (N, K, 2)', wrong[0]['keypoints'].shape, f'K = {K} (meta {meta.name!r})', ''),
                    (
                        'keypoint scores (N, K)',
                        wrong[0]['keypoint_scores'].shape,
                        '',
                        f'image ids {examples(_unique(r["img_id"] for r in wrong))}',
                    ),
                ],
                reference='dataset',
                advice='give the head as many output channels as `meta` has keypoints, and test with the `meta` of the training.',
            )
        broken = [
            r for r in results if not all(np.isfinite(r[key]).all() for key in ('keypoints', 'keypoint_scores', 'bbox_scores'))
        ]
        if broken:
            image_ids = examples(_unique(r['img_id'] for r in broken))
            raise MetricError(
                f'CocoMetric: predicted keypoints and scores must be finite; NaN or infinity in {len(broken)} of {len(results)} '
                f'data samples, image ids {image_ids}. The network has diverged or its checkpoint is broken.'
            )

    def _join(self, results: Sequence[Mapping]) -> _Predictions:
        """Return all instances, in an order that does not depend on the number of processes."""
        results = sorted(results, key=lambda r: r['ann_id'])
        categories = None if self._ground_truth is None else [c['id'] for c in self._ground_truth['categories']]
        only = 1 if categories is None else categories[0] if len(categories) == 1 else None
        counts = [len(r['keypoints']) for r in results]
        category_ids = [only if r['category_id'] is None else r['category_id'] for r in results]
        return _Predictions(
            seen_images=[r['img_id'] for r in results],
            image_ids=[r['img_id'] for r, count in zip(results, counts) for _ in range(count)],
            category_ids=[c for c, count in zip(category_ids, counts) for _ in range(count)],
            keypoints=np.concatenate([r['keypoints'] for r in results]).astype(np.float64),
            keypoint_scores=np.concatenate([r['keypoint_scores'] for r in results]).astype(np.float64),
            bbox_scores=np.concatenate([r['bbox_scores'] for r in results]).astype(np.float64),
            areas=np.concatenate([r['areas'] for r in results]).astype(np.float64),
        )

    def _check_ids(self, predictions: _Predictions) -> None:
        """Raise ValueError, with all differences in one table, unless predictions can be matched to the annotations."""
        known_images = [image['id'] for image in self._ground_truth['images']]
        known_categories = [category['id'] for category in self._ground_truth['categories']]
        labelled = self._labelled()
        labelled_images = _unique(a['image_id'] for a in labelled)
        labelled_categories = _unique(a['category_id'] for a in labelled)
        seen, categories = _unique(predictions.seen_images), _unique(predictions.category_ids)
        unknown_images = _without(seen, known_images)
        unknown_categories = _without(categories, known_categories)
        rows, advice = [], []
        if not labelled:
            rows.append(('labelled instances', '', 0, f'{len(self._ground_truth["annotations"])} annotations'))
            advice.append(
                'check that annotations have v > 0, no num_keypoints of 0, an area, listed images and categories, no iscrowd'
            )
        if unknown_images:
            both = f'predicted {examples(unknown_images)}; ann_file {examples(known_images)}'
            rows.append(('image ids', f'{len(seen)}, {len(unknown_images)} of them unknown', len(known_images), both))
            advice.append('evaluate with the `ann_file` of the dataset that was predicted')
        elif labelled and not _common(seen, labelled_images):
            both = f'predicted {examples(seen)}; labelled {examples(labelled_images)}'
            rows.append(('labelled images', f'0 of {len(seen)}', len(labelled_images), both))
            advice.append('evaluate images that are labelled in `ann_file`')
        if unknown_categories:
            rows.append(
                ('category ids', examples(categories), examples(known_categories), f'unknown: {examples(unknown_categories)}')
            )
            advice.append(
                'let the dataset give each data sample the `category_id` of its annotation, or take fewer by `category_ids`'
            )
        elif labelled and categories and not _common(categories, labelled_categories):
            rows.append(('labelled category ids', examples(categories), examples(labelled_categories), ''))
            advice.append('predict the categories that are labelled in `ann_file`')
        if rows:
            raise mismatch(
                'CocoMetric: the predictions do not belong to the annotations.',
                rows,
                reference=f'ann_file {self.ann_file}',
                advice='; '.join(advice) + '.',
            )
        missed = _without(labelled_images, seen)
        if missed:
            MMLogger.get_current_instance().warning(
                f'CocoMetric: {len(missed)} of {len(labelled_images)} labelled images of {self.ann_file} were not predicted; '
                f'their instances count as missed; image ids {examples(missed)}.'
            )

    def _labelled(self) -> list[dict]:
        """Return the annotations that COCOeval asks for."""
        images = {image['id'] for image in self._ground_truth['images']}
        categories = {category['id'] for category in self._ground_truth['categories']}
        return [
            a
            for a in self._ground_truth['annotations']
            if a['num_keypoints'] > 0 and not a['iscrowd'] and a['image_id'] in images and a['category_id'] in categories
        ]

    def _suppress(self, predictions: _Predictions, scores: np.ndarray, meta: KeypointMeta) -> list[int]:
        """Return the indices of the instances that survive `nms_mode`."""
        if self.nms_mode == 'none':
            return list(range(len(scores)))
        keep: list[int] = []
        for indices in predictions.groups().values():
            if len(indices) > 1:
                keypoints, group_scores, areas, found = (
                    torch.from_numpy(array[indices])
                    for array in (predictions.keypoints, scores, predictions.areas, predictions.keypoint_scores != 0)
                )
                options = dict(sigmas=meta.sigmas, areas=areas, thr=self.nms_thr, visible=found)
                if self.nms_mode == 'oks_nms':
                    kept = oks_nms(keypoints, group_scores, **options)
                else:
                    kept, _ = soft_oks_nms(keypoints, group_scores, **options)
                indices = [indices[i] for i in kept.tolist()]
            keep.extend(indices)
        return keep

    def _log(self, predictions: _Predictions, keep: Sequence[int], figures: Mapping[str, float], meta: KeypointMeta) -> None:
        rows = [(name, f'{figures[name]:.4f}' if figures[name] != -1 else 'no such instances') for name in STAT_NAMES]
        rows += [('labelled instances', len(self._labelled())), ('predicted instances', len(keep))]
        logger = MMLogger.get_current_instance()
        logger.info(text_table(('OKS', 'value'), rows, title=f'CocoMetric ({self.backend})'))
        header = ('keypoint', 'labelled', 'matched', 'similarity', 'error')
        logger.info(text_table(header, self._per_keypoint(predictions, keep, meta), title='matched at OKS >= 0.5'))

    def _per_keypoint(self, predictions: _Predictions, keep: Sequence[int], meta: KeypointMeta) -> list[tuple]:
        """Return rows of (name, labelled, matched, mean similarity, mean error); see the class."""
        annotations = self._labelled()
        points = np.array([a['keypoints'] for a in annotations], dtype=np.float64).reshape(len(annotations), -1, 3)
        gt, visible = torch.from_numpy(points[..., :2]), torch.from_numpy(points[..., 2] > 0)
        areas = torch.tensor([a['area'] for a in annotations], dtype=torch.float64)
        pred = torch.from_numpy(predictions.keypoints)
        kept, groups = set(keep), predictions.groups()
        of_group = defaultdict(list)
        for g, annotation in enumerate(annotations):
            of_group[annotation['image_id'], annotation['category_id']].append(g)
        best, best_oks = torch.zeros(len(gt), dtype=torch.int64), torch.zeros(len(gt), dtype=torch.float64)
        for key, g in of_group.items():
            p = [i for i in groups.get(key, ()) if i in kept]
            if p:
                similar = pairwise_oks(pred[p], gt[g], sigmas=meta.sigmas, areas=areas[g], visible=visible[g])
                best_oks[g], index = similar.max(0)
                best[g] = torch.tensor(p)[index]
        matched = best_oks >= _MATCH_THR
        pred, gt, areas, counts = pred[best[matched]], gt[matched], areas[matched], visible[matched]
        similarity = keypoint_similarity(pred, gt, sigmas=meta.sigmas, areas=areas).where(counts, 0).sum(0)
        errors = ((pred - gt).norm(dim=-1) / areas.sqrt()[:, None]).where(counts, 0).sum(0)
        return [
            (name, n, m, f'{s / m:.4f}' if m else '-', f'{e / m:.4f}' if m else '-')
            for name, n, m, s, e in zip(
                meta.keypoints, visible.sum(0).tolist(), counts.sum(0).tolist(), similarity.tolist(), errors.tolist()
            )
        ]


def _extents(keypoints: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Return (N,) px^2: the box around the found keypoints (N, K, 2) of each instance; around all where none is found."""
    counts = (found | ~found.any(axis=1, keepdims=True))[..., None]
    low, high = np.where(counts, keypoints, np.inf).min(axis=1), np.where(counts, keypoints, -np.inf).max(axis=1)
    return (high - low).prod(axis=-1)


def _plain(value: Any) -> Any:
    """Return a NumPy or tensor scalar as a Python number."""
    return value.item() if hasattr(value, 'item') else value


def _unique(values: Iterable[Hashable]) -> list:
    """Return the different values in the order they come."""
    return list(dict.fromkeys(values))


def _without(values: Sequence[Hashable], known: Sequence[Hashable]) -> list:
    known = set(known)
    return [value for value in values if value not in known]


def _common(values: Sequence[Hashable], others: Sequence[Hashable]) -> set:
    return set(values) & set(others)


def _coco_results(predictions: _Predictions, scores: np.ndarray, keep: Sequence[int]) -> list[dict[str, Any]]:
    """Return COCO's result dicts of the instances `keep`; a keypoint is (x, y, score)."""
    triplets = np.concatenate([predictions.keypoints, predictions.keypoint_scores[..., None]], axis=-1)[list(keep)]
    return [
        dict(
            image_id=predictions.image_ids[index],
            category_id=predictions.category_ids[index],
            keypoints=keypoints,
            score=float(scores[index]),
        )
        for index, keypoints in zip(keep, triplets.reshape(len(keep), 3 * triplets.shape[1]).tolist())
    ]
