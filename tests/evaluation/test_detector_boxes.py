"""A detector's boxes from file to figures: rescoring and OKS suppression, against mmpose's rules written as loops."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmpose_lite.datasets import CocoKeypointDataset
from mmpose_lite.datasets.transforms import GetBBoxCenterScale
from mmpose_lite.evaluation import CocoMetric

SIGMAS = np.array([0.26, 0.25, 0.25, 0.35, 0.35, 0.79, 0.79, 0.72, 0.72, 0.62, 0.62, 1.07, 1.07, 0.87, 0.87, 0.89, 0.89]) / 10
THR, SCORE_THR = 0.9, 0.2


def predictions(folder: Path) -> tuple[CocoKeypointDataset, list[dict[str, Any]]]:
    """Return the detections of the sample, each predicted as the labelled person of the nearest box, with noise."""
    rng = np.random.default_rng(0)
    dataset = CocoKeypointDataset(
        'test_coco.json', data_root=str(folder), bbox_file='test_coco_det_AP_H_56.json', category_ids=[1], test_mode=True
    )
    people = list(CocoKeypointDataset('test_coco.json', data_root=str(folder)))
    samples = []
    for item in dataset:
        item = GetBBoxCenterScale()(item)
        near = min(
            (person for person in people if person['img_id'] == item['img_id']),
            key=lambda person: np.abs(person['bboxes'] - item['bboxes']).sum(),
        )
        pred = dict(
            keypoints=near['keypoints'] + rng.normal(0, 1.0, (1, 17, 2)),
            keypoint_scores=rng.uniform(0, 1, (1, 17)) * rng.choice([0.15, 1.0], p=[0.1, 0.9]),
            bbox_scores=item['bbox_scores'],
        )
        samples.append({key: item[key] for key in ('img_id', 'ann_id', 'category_id', 'bbox_scale')} | dict(pred_instances=pred))
    return dataset, samples


def slow_score(pred: dict[str, np.ndarray]) -> float:
    """Return the box score times the mean of the keypoint scores above the threshold; 0 if there are none."""
    above = [score for score in pred['keypoint_scores'][0] if score > SCORE_THR]
    return float(pred['bbox_scores'][0]) * sum(above) / len(above) if above else 0.0


def slow_oks(a: dict[str, Any], b: dict[str, Any]) -> float:
    area = (np.prod(a['bbox_scale']) + np.prod(b['bbox_scale'])) / 2
    squared = ((a['pred_instances']['keypoints'][0] - b['pred_instances']['keypoints'][0]) ** 2).sum(-1)
    return float(np.mean(np.exp(-squared / (2 * area * (2 * SIGMAS) ** 2))))


def slow_suppression(samples: list[dict[str, Any]], mode: str) -> list[tuple[int, float]]:
    """Return (annotation id, score) of what is left of the samples of one image."""
    rest = [(sample, slow_score(sample['pred_instances'])) for sample in samples]
    scores = {sample['ann_id']: score for sample, score in rest}
    kept: list[dict[str, Any]] = []
    while rest and not (mode == 'soft_oks_nms' and len(kept) == 20):
        best, _ = max(rest, key=lambda entry: entry[1])
        kept.append(best)
        rest = [entry for entry in rest if entry[0] is not best]
        if mode == 'oks_nms':
            rest = [entry for entry in rest if slow_oks(best, entry[0]) <= THR]
        else:
            rest = [(sample, score * np.exp(-(slow_oks(best, sample) ** 2) / THR)) for sample, score in rest]
    return [(sample['ann_id'], scores[sample['ann_id']]) for sample in kept]


@pytest.mark.parametrize('mode', ['oks_nms', 'soft_oks_nms'])
def test_rescoring_and_suppression(shared: Path, tmp_path: Path, mode: str) -> None:
    folder = shared / 'data/coco_sample'
    dataset, samples = predictions(folder)
    metric = CocoMetric(
        str(folder / 'test_coco.json'),
        nms_mode=mode,
        nms_thr=THR,
        keypoint_score_thr=SCORE_THR,
        outfile_prefix=str(tmp_path / 'val'),
    )
    metric.dataset_meta = dataset.metainfo
    metric.process(None, samples)
    figures = metric.evaluate(len(samples))
    written = json.loads((tmp_path / 'val.keypoints.json').read_text())
    by_place = {tuple(sample['pred_instances']['keypoints'].ravel().round(4)): sample['ann_id'] for sample in samples}
    found = {}
    for result in written:
        points = np.reshape(result['keypoints'], (17, 3))[:, :2]
        found.setdefault(result['image_id'], []).append((by_place[tuple(points.ravel().round(4))], result['score']))
    assert len(found) == 4
    for image_id, kept in found.items():
        expected = slow_suppression([sample for sample in samples if sample['img_id'] == image_id], mode)
        assert sorted(i for i, _ in kept) == sorted(i for i, _ in expected)
        assert dict(kept) == pytest.approx(dict(expected), rel=1e-5)
    assert len(written) < len(samples) == 118
    assert figures['coco/AR'] > 0.9  # nobody was suppressed for good
