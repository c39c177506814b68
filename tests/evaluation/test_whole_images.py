"""CocoMetric on whole images: many people in a sample, or none."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmpose_lite.evaluation.coco_oks import _extents
from mmpose_lite.registry import DATASETS, METRICS
from tests.coco_folder import ABSENT, META, person, write_coco

OPTIONS = dict(score_mode='bbox', nms_mode='none')


def build(folder: Path, ann_file: str, meta: Any) -> Any:
    cfg = dict(type='CocoKeypointDataset', data_mode='bottomup', ann_file=ann_file, data_root=str(folder), meta=meta)
    return DATASETS.build(dict(cfg, data_prefix=dict(img=''), test_mode=True))


def given_back(dataset: Any, noise: float = 0.0) -> list[dict]:
    """Return one data sample per image that predicts its ground truth, each keypoint `noise` px away, in another order."""
    rng = np.random.default_rng(3)
    samples = []
    for item in dataset:
        N, K = item['keypoints_visible'].shape
        order = rng.permutation(N)
        instances = dict(
            keypoints=(item['keypoints'] + rng.normal(0, noise or 1e-9, (N, K, 2)))[order].astype(np.float32),
            keypoint_scores=np.ones((N, K), np.float32),
            bboxes=item['bboxes'][order],
            bbox_scores=rng.uniform(0.3, 1, N).astype(np.float32),
        )
        samples.append({key: item[key] for key in ('img_id', 'category_id') if key in item} | dict(pred_instances=instances))
    return samples


def run(dataset: Any, samples: list[dict], **options: Any) -> dict[str, float]:
    metric = METRICS.build(dict(type='CocoMetric', ann_file=dataset.ann_file, **{**OPTIONS, **options}))
    metric.dataset_meta = dataset.metainfo
    for start in range(0, len(samples), 3):
        metric.process(None, samples[start : start + 3])
    assert len(metric.results) == len(samples)  # one result per image, however many people it has
    return metric.evaluate(len(samples))


def test_real_annotations_given_back_reach_one(shared: Path) -> None:
    dataset = build(shared / 'data' / 'coco_sample', 'test_coco.json', 'coco17')
    figures = run(dataset, given_back(dataset))
    assert figures['coco/AP'] == pytest.approx(1.0, abs=1e-9)
    assert figures['coco/AR'] == pytest.approx(1.0, abs=1e-9)
    assert run(dataset, given_back(dataset), nms_mode='oks_nms')['coco/AP'] == pytest.approx(1.0, abs=1e-9)
    assert run(dataset, given_back(dataset, noise=8.0))['coco/AP'] < 0.9


@pytest.mark.parametrize('noise', [3.0, 8.0])
def test_equals_pycocotools_on_the_same_results(shared: Path, tmp_path: Path, noise: float) -> None:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    dataset = build(shared / 'data' / 'coco_sample', 'test_coco.json', 'coco17')
    samples = given_back(dataset, noise)
    figures = run(dataset, samples, backend='pycocotools')
    entries = []
    for sample in samples:
        people = sample['pred_instances']
        for points, score in zip(people['keypoints'], people['bbox_scores']):
            flat = np.column_stack((points, np.ones(len(points)))).ravel().tolist()
            entries.append(dict(image_id=sample['img_id'], category_id=1, keypoints=flat, score=float(score)))
    (tmp_path / 'results.json').write_text(json.dumps(entries))
    ground_truth = COCO(dataset.ann_file)
    evaluation = COCOeval(ground_truth, ground_truth.loadRes(str(tmp_path / 'results.json')), 'keypoints')
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert 0.1 < evaluation.stats[0] < 0.99
    names = ('AP', 'AP .5', 'AP .75', 'AP (M)', 'AP (L)', 'AR')
    np.testing.assert_allclose([figures[f'coco/{name}'] for name in names], evaluation.stats[:6], atol=1e-12)


def test_images_without_people_and_crowds(tmp_path: Path) -> None:
    """Somebody found where nobody is costs precision; in a crowd it does not; an image with nobody found is no error."""
    crowd = person(9, 3, iscrowd=1, keypoints=[0] * 9, bbox=[0, 0, 120, 90], area=9000)
    write_coco(tmp_path, [person(1, 1), person(2, 1), person(3, 2), crowd])
    dataset = build(tmp_path, 'people.json', META)
    samples = given_back(dataset)
    assert [len(sample['pred_instances']['keypoints']) for sample in samples] == [2, 1, 0, 0]
    assert run(dataset, samples)['coco/AP'] == pytest.approx(1.0)
    somebody = dict(samples[1]['pred_instances'], bbox_scores=np.array([2.0], np.float32))
    in_the_crowd = [*samples[:2], dict(samples[2], pred_instances=somebody), samples[3]]
    assert run(dataset, in_the_crowd)['coco/AP'] == pytest.approx(1.0)
    nobody_is_there = [*samples[:3], dict(samples[3], pred_instances=somebody)]
    # Best score first: false, true, true, true. Precision is 3/4 at every recall.
    assert run(dataset, nobody_is_there)['coco/AP'] == pytest.approx(0.75)


def test_the_category_is_found_where_there_is_one(tmp_path: Path) -> None:
    write_coco(tmp_path, [person(1, 1), person(2, 2, category_id=ABSENT)])
    dataset = build(tmp_path, 'people.json', META)
    samples = given_back(dataset)
    assert samples[0]['category_id'] == 1
    assert run(dataset, samples)['coco/AP'] == pytest.approx(1.0)
    for sample in samples:
        del sample['category_id']
    assert run(dataset, samples)['coco/AP'] == pytest.approx(1.0)


def test_suppression_looks_at_found_keypoints_only(tmp_path: Path) -> None:
    """Two people of whom one joint each is found: those not found all stand at 0, 0 and say nothing about the two."""
    write_coco(
        tmp_path,
        [person(1, 1, keypoints=[20, 20, 2, 30, 30, 2, 0, 0, 0]), person(2, 1, keypoints=[80, 60, 2, 90, 70, 2] + [0] * 3)],
    )
    dataset = build(tmp_path, 'people.json', META)
    samples = given_back(dataset)
    for people in (sample['pred_instances'] for sample in samples):
        people['keypoint_scores'][..., 2] = 0
        people['keypoints'][..., 2, :] = 0
    assert run(dataset, samples, nms_mode='oks_nms', nms_thr=0.3)['coco/AP'] == pytest.approx(1.0)
    twice = samples[0]['pred_instances']
    doubled = {name: np.concatenate([array, array]) for name, array in twice.items()}
    doubled['keypoints'] = doubled['keypoints'] + np.array([0, 0, 0.1, 0.1], np.float32)[:, None, None]
    doubled['bbox_scores'] = np.array([0.9, 0.8, 0.7, 0.6], np.float32)
    figures = run(dataset, [dict(samples[0], pred_instances=doubled), *samples[1:]], nms_mode='oks_nms')
    assert figures['coco/AP'] == pytest.approx(1.0)


def test_areas_of_found_keypoints() -> None:
    keypoints = np.array([[[10.0, 10.0], [14.0, 15.0], [0.0, 0.0]], [[1.0, 2.0], [3.0, 6.0], [2.0, 2.0]]])
    assert _extents(keypoints, np.array([[True, True, False], [False] * 3])).tolist() == [20.0, 8.0]
    assert _extents(keypoints[:0], np.zeros((0, 3), bool)).shape == (0,)
