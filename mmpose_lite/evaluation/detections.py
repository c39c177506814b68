"""What metrics of objects share: whether predictions belong to the annotations that they are compared with."""

# Letters: N objects of one image.
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.logging import MMLogger

from mmpose_lite.errors import MetricError
from mmpose_lite.evaluation.report import examples, mismatch
from mmpose_lite.structures import ClassMeta


def predicted_objects(owner: str, sample: Mapping[str, Any]) -> dict[str, Any]:
    """Return `img_id` and the plain arrays `bboxes` (N, 4) xyxy px, `scores` (N,) and `labels` (N,) of a data sample.

    Raises:
        MetricError: the network predicts no objects.
    """
    found, image_id = sample.get('pred_instances') or {}, sample['img_id']
    missing = [key for key in ('bboxes', 'scores', 'labels') if key not in found]
    if missing:
        raise MetricError(
            f'{owner}: data samples need `pred_instances` with {missing}, image id {image_id!r} has {sorted(found)}; it measures '
            'detectors.'
        )
    arrays = {key: np.asarray(found[key]) for key in ('bboxes', 'scores', 'labels')}
    return dict(img_id=image_id.item() if hasattr(image_id, 'item') else image_id, **arrays)


def check_detections(
    owner: str, results: Sequence[Mapping[str, Any]], image_ids: Collection[Any], meta: ClassMeta, ann_file: Path
) -> None:
    """Raise MetricError unless all predictions are finite, of the dataset's classes and of the file's images, each image once.

    Args:
        owner: name of the metric.
        results: of images: img_id, bboxes (N, 4), scores (N,), labels (N,).
        image_ids: of the file.
        meta: the classes.
        ann_file: the file.
    """
    broken = [r['img_id'] for r in results if not (np.isfinite(r['bboxes']).all() and np.isfinite(r['scores']).all())]
    if broken:
        raise MetricError(
            f'{owner}: predicted boxes and scores must be finite; NaN or infinity in {len(broken)} of {len(results)} images, '
            f'ids {examples(broken)}. The network has diverged or its checkpoint is broken.'
        )
    seen = [r['img_id'] for r in results]
    unknown = list(dict.fromkeys(i for i in seen if i not in image_ids))
    wrong = sorted({int(v) for r in results for v in r['labels'][(r['labels'] < 0) | (r['labels'] >= meta.num_classes)]})
    twice = [i for i, count in Counter(seen).items() if count > 1]
    rows, advice = [], []
    if twice:
        rows.append(('images predicted again', len(twice), 0, examples(twice)))
        advice.append('let the dataset give each image once; of several processes, AspectRatioBatchSampler is for training')
    if unknown:
        both = f'predicted {examples(unknown)}; ann_file {examples(image_ids)}'
        rows.append(('image ids', f'{len(set(seen))}, {len(unknown)} of them unknown', len(image_ids), both))
        advice.append('evaluate with the `ann_file` of the dataset that was predicted')
    if wrong:
        rows.append(('labels', examples(wrong), f'0 ... {meta.num_classes - 1} ({meta.name})', ''))
        advice.append('give the heads as many classes as `meta` has')
    if rows:
        raise mismatch(
            f'{owner}: the predictions do not belong to the annotations.',
            rows,
            reference=f'ann_file {ann_file}',
            advice='; '.join(advice) + '.',
        )


def tell_missed(owner: str, results: Sequence[Mapping[str, Any]], with_objects: Iterable[Any], ann_file: Path) -> None:
    """Warn of images with objects (their ids) that were not predicted."""
    images = list(dict.fromkeys(with_objects))
    seen = {r['img_id'] for r in results}
    missed = [i for i in images if i not in seen]
    if missed:
        MMLogger.get_current_instance().warning(
            f'{owner}: {len(missed)} of {len(images)} images with objects of {ann_file} were not predicted; their objects count '
            f'as missed; image ids {examples(missed)}.'
        )
