"""CocoMetric against pycocotools run by hand, and its errors."""

import copy
import json
import math

import numpy as np
import pytest
import torch

from mmpose_lite.errors import MetricError
from mmpose_lite.evaluation import CocoMetric
from mmpose_lite.evaluation.coco_eval import STAT_NAMES, coco_ground_truth, instance_scores
from mmpose_lite.registry import METRICS
from mmpose_lite.structures import KeypointMeta


def make_content(K=17, num_images=6, people=3, category_id=1, seed=0):
    """A COCO-style file of people from 20 to 150 px, some keypoints unlabelled, one crowd and one empty annotation."""
    rng = np.random.default_rng(seed)
    annotations = []
    for image_id in range(100, 100 + num_images):
        for person in range(people):
            size = rng.uniform(40, 150)
            corner = rng.uniform((400 * person, 0), (400 * person + 300, 300))
            visible = rng.integers(0, 3, K)
            visible[0] = 2
            points = np.column_stack([corner + rng.uniform(0, size, (K, 2)), visible])
            points[visible == 0] = 0
            annotations.append(
                dict(
                    id=len(annotations),  # counts from 0, which COCOeval by itself does not survive
                    image_id=image_id,
                    category_id=category_id,
                    keypoints=points.ravel().tolist(),
                    num_keypoints=int((visible > 0).sum()),
                    bbox=[*corner.tolist(), size, size],
                    area=0.6 * size * size,
                    iscrowd=0,
                )
            )
    if num_images > 2:
        annotations[1]['iscrowd'] = 1
        annotations[2].update(keypoints=[0] * (3 * K), num_keypoints=0)
    return dict(
        images=[dict(id=i, width=1600, height=600, file_name=f'{i}.jpg') for i in range(100, 100 + num_images)],
        categories=[dict(id=category_id, name='person')],
        annotations=annotations,
    )


def write(tmp_path, content, name='ann.json'):
    (tmp_path / name).write_text(json.dumps(content))
    return str(tmp_path / name)


def predict(content, noise=0.0, seed=1, **extra):
    """One data sample per annotation with keypoints, its prediction `noise` px away; scores differ."""
    rng = np.random.default_rng(seed)
    samples = []
    for a in content['annotations']:
        points = np.asarray(a['keypoints'], dtype=np.float32).reshape(1, -1, 3)
        if not (points[..., 2] > 0).any():
            continue
        K = points.shape[1]
        samples.append(
            dict(
                img_id=a['image_id'],
                ann_id=a['id'],
                category_id=a['category_id'],
                pred_instances=dict(
                    keypoints=points[..., :2] + rng.normal(0, noise or 1e-9, (1, K, 2)).astype(np.float32),
                    keypoint_scores=rng.uniform(0.1, 1, (1, K)).astype(np.float32),
                    bbox_scores=rng.uniform(0.3, 1, 1).astype(np.float32),
                ),
                **extra,
            )
        )
    return samples


def run(ann_file, samples, K=17, **options):
    metric = METRICS.build(dict(type='CocoMetric', ann_file=ann_file, **options))
    metric.dataset_meta = dict(keypoint_meta=KeypointMeta.load('coco17' if K == 17 else dict(keypoints=K)))
    for start in range(0, len(samples), 4):
        metric.process(None, samples[start : start + 4])
    assert len(metric.results) == len(samples)
    return metric.evaluate(len(samples))


def coco_by_hand(content, samples, sigmas):
    """pycocotools as its own documentation uses it; box score times mean keypoint score above 0.2, in a plain loop."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    content = copy.deepcopy(content)
    for number, annotation in enumerate(content['annotations']):
        annotation['id'] = number + 1
    gt = COCO()
    gt.dataset = content
    gt.createIndex()
    detections = []
    for sample in samples:
        instances = sample['pred_instances']
        for points, scores, box_score in zip(instances['keypoints'], instances['keypoint_scores'], instances['bbox_scores']):
            good = [float(s) for s in scores if s > 0.2]
            flat = [float(x) for p, s in zip(points, scores) for x in (*p, s)]
            score = float(box_score) * (sum(good) / len(good) if good else 0)
            detections.append(dict(image_id=sample['img_id'], category_id=sample['category_id'], keypoints=flat, score=score))
    evaluation = COCOeval(gt, gt.loadRes(detections), 'keypoints')
    evaluation.params.kpt_oks_sigmas = np.array(sigmas)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation.stats


@pytest.mark.parametrize('backend', ['pycocotools', 'faster'])
@pytest.mark.parametrize('K', [1, 2, 17, 133])
def test_perfect_predictions_reach_one(tmp_path, K, backend):
    if backend == 'faster':
        pytest.importorskip('faster_coco_eval')
    content = make_content(K, category_id=7)
    result = run(write(tmp_path, content), predict(content), K=K, backend=backend)
    assert list(result) == [f'coco/{name}' for name in STAT_NAMES]
    assert all(value == pytest.approx(1.0, abs=1e-9) for value in result.values())


@pytest.mark.parametrize('backend', ['pycocotools', 'faster'])
@pytest.mark.parametrize(('K', 'noise'), [(1, 4.0), (2, 4.0), (17, 6.0), (133, 6.0)])
def test_equals_coco_by_hand(tmp_path, K, noise, backend):
    if backend == 'faster':
        pytest.importorskip('faster_coco_eval')
    content = make_content(K, num_images=12)
    samples = predict(content, noise)
    result = run(write(tmp_path, content), samples, K=K, backend=backend, nms_mode='none')
    sigmas = KeypointMeta.load('coco17' if K == 17 else dict(keypoints=K)).sigmas
    np.testing.assert_allclose(list(result.values()), coco_by_hand(content, samples, sigmas), atol=1e-6)
    assert 0.02 < result['coco/AP'] < 0.98


@pytest.mark.parametrize('backend', ['pycocotools', 'faster'])
def test_real_annotations_with_detected_boxes(shared, backend):
    """Several shifted guesses per person, false alarms included, on COCO's own annotations."""
    if backend == 'faster':
        pytest.importorskip('faster_coco_eval')
    path = shared / 'data' / 'coco_sample' / 'test_coco.json'
    content = json.loads(path.read_text())
    before = path.read_bytes()
    samples = [s for seed, noise in enumerate((0.0, 5.0, 12.0, 60.0)) for s in predict(content, noise, seed=seed)]
    result = run('test_coco.json', samples, data_root=str(path.parent), backend=backend, nms_mode='none')
    expected = coco_by_hand(content, sorted(samples, key=lambda s: s['ann_id']), KeypointMeta.load('coco17').sigmas)
    np.testing.assert_allclose(list(result.values()), expected, atol=1e-6)
    assert 0.05 < result['coco/AP'] < 0.95
    perfect = run('test_coco.json', predict(content), data_root=str(path.parent), backend=backend)
    assert perfect['coco/AP'] == pytest.approx(1.0)
    assert path.read_bytes() == before


def test_shifted_predictions_by_hand(tmp_path):
    """All keypoints at OKS 0.72: right at 0.5 ... 0.7, wrong at 0.75 ... 0.95."""
    content = make_content(4, num_images=2)
    samples = predict(content)
    for annotation, sample in zip(content['annotations'], samples):
        distance = math.sqrt(-math.log(0.72) * 2 * annotation['area'] * (2 * 0.079) ** 2)
        sample['pred_instances']['keypoints'] = sample['pred_instances']['keypoints'] + np.float32([distance, 0])
    result = run(write(tmp_path, content), samples, K=4, nms_mode='none')
    assert result['coco/AP .5'] == pytest.approx(1)
    assert result['coco/AP .75'] == 0
    assert result['coco/AP'] == pytest.approx(0.5)
    assert result['coco/AR'] == pytest.approx(0.5)


def test_absent_area_range_is_left_out(tmp_path):
    content = make_content(4, num_images=2)
    for annotation in content['annotations']:
        annotation['area'] = 100.0
    result = run(write(tmp_path, content), predict(content), K=4)
    assert list(result) == [f'coco/{name}' for name in STAT_NAMES if '(' not in name]


def test_absent_fields_are_derived(tmp_path):
    full = make_content(5)
    for annotation in full['annotations']:
        points = np.reshape(annotation['keypoints'], (-1, 3))
        points = points[points[:, 2] > 0, :2]
        if len(points):
            size = np.ptp(points, axis=0)
            annotation.update(bbox=[*points.min(0).tolist(), *size.tolist()], area=float(size.prod()))
    bare = copy.deepcopy(full)
    for annotation in bare['annotations']:
        for key in ('area', 'bbox', 'num_keypoints', *(() if annotation['iscrowd'] else ('iscrowd',))):
            del annotation[key]
    bare['images'], bare['categories'] = [], []
    ann_file = write(tmp_path, bare)
    samples = predict(full, 4.0)
    assert run(ann_file, samples, K=5) == run(write(tmp_path, full, 'full.json'), samples, K=5)
    assert json.loads((tmp_path / 'ann.json').read_text()) == bare


def test_ground_truth_is_a_copy_and_ignores_what_has_no_area():
    content = make_content(1)
    for annotation in content['annotations']:
        del annotation['area'], annotation['bbox']
    content['annotations'].append(dict(image_id=100, category_id=1))  # a plain box annotation without keypoints
    before = copy.deepcopy(content)
    made = coco_ground_truth(content)
    assert content == before
    assert [a['num_keypoints'] for a in made['annotations']] == [0] * len(made['annotations'])
    assert [a['id'] for a in made['annotations']] == list(range(1, len(made['annotations']) + 1))
    assert made['annotations'][-1]['keypoints'] == [0, 0, 0]


def test_score_modes():
    boxes, scores = np.array([0.5, 0.8]), np.array([[0.9, 0.3, 0.1], [0.1, 0.2, 0.0]])
    for mode, expected in (('bbox', [0.5, 0.8]), ('keypoint', [1.3 / 3, 0.1]), ('bbox_keypoint', [0.3, 0])):
        assert instance_scores(boxes, scores, mode=mode, keypoint_score_thr=0.2).tolist() == pytest.approx(expected)


@pytest.mark.parametrize('nms_mode', ['none', 'oks_nms', 'soft_oks_nms'])
def test_suppression(tmp_path, nms_mode):
    """30 copies of one person: one survives, 20 do (the soft one's limit), or all."""
    content = make_content(17, num_images=1, people=1)
    sample = predict(content)[0]
    instances = {key: np.repeat(value, 30, axis=0) for key, value in sample['pred_instances'].items()}
    prefix = tmp_path / 'out' / 'val'
    run(
        write(tmp_path, content),
        [dict(sample, pred_instances=instances)],
        nms_mode=nms_mode,
        outfile_prefix=str(prefix),
    )
    written = json.loads((tmp_path / 'out' / 'val.keypoints.json').read_text())
    assert len(written) == {'none': 30, 'oks_nms': 1, 'soft_oks_nms': 20}[nms_mode]


def test_suppression_uses_the_area_of_the_crop(tmp_path):
    """Two guesses 5 px apart are one person in a crop of 400 px and two in a crop of 20 px."""
    content = make_content(17, num_images=1, people=1)
    for scale, left in (((400.0, 400.0), 1), ((20.0, 20.0), 2)):
        samples = predict(content, bbox_scale=scale) + predict(content, bbox_scale=scale)
        samples[1]['pred_instances']['keypoints'] = samples[1]['pred_instances']['keypoints'] + 5
        run(write(tmp_path, content), samples, outfile_prefix=str(tmp_path / 'out'))
        assert len(json.loads((tmp_path / 'out.keypoints.json').read_text())) == left


def test_result_file_is_what_pycocotools_reads(tmp_path):
    from pycocotools.coco import COCO

    content = make_content(3, category_id=5)
    samples = predict(content, 2.0)
    ann_file = write(tmp_path, content)
    assert run(ann_file, samples, K=3, format_only=True, outfile_prefix=str(tmp_path / 'only')) == {}
    read = COCO(ann_file).loadRes(str(tmp_path / 'only.keypoints.json'))
    assert len(read.anns) == len(samples)
    assert {a['category_id'] for a in read.anns.values()} == {5}
    assert run('nowhere.json', samples, K=3, format_only=True, outfile_prefix=str(tmp_path / 'only')) == {}


def test_plain_inference_samples(tmp_path):
    """Neither box scores nor category nor annotation ids; tensors; several people per sample, one sample empty."""
    content = make_content(17)
    by_image = {}
    for sample in predict(content):
        by_image.setdefault(sample['img_id'], []).append(sample['pred_instances'])
    samples = [
        dict(
            img_id=torch.tensor(img_id),
            pred_instances={
                key: torch.from_numpy(np.concatenate([i[key] for i in instances])) for key in ('keypoints', 'keypoint_scores')
            },
        )
        for img_id, instances in by_image.items()
    ]
    assert run(write(tmp_path, content), samples)['coco/AP'] == pytest.approx(1.0)
    samples[0]['pred_instances'] = dict(keypoints=np.zeros((0, 17, 2)), keypoint_scores=np.zeros((0, 17)))
    assert 0 < run(write(tmp_path, content), samples)['coco/AP'] < 1


@pytest.mark.parametrize('backend', ['pycocotools', 'faster'])
def test_nobody_found_is_zero(tmp_path, backend):
    if backend == 'faster':
        pytest.importorskip('faster_coco_eval')
    content = make_content(17)
    nobody = dict(keypoints=np.zeros((0, 17, 2)), keypoint_scores=np.zeros((0, 17)))
    samples = [dict(img_id=image['id'], pred_instances=nobody) for image in content['images']]
    result = run(write(tmp_path, content), samples, backend=backend)
    assert set(result.values()) == {0.0}


def test_two_processes_give_the_same_figures(tmp_path):
    """The results of two ranks, joined in rank order instead of dataset order."""
    content = make_content(17, num_images=8)
    samples = predict(content, 6.0)
    for sample in samples:
        sample['pred_instances']['bbox_scores'][:] = 1  # equal scores: order must not matter
        sample['pred_instances']['keypoint_scores'][:] = 1
    ann_file = write(tmp_path, content)
    ranks = [CocoMetric(ann_file) for _ in range(2)]
    for rank, metric in enumerate(ranks):
        metric.process(None, samples[rank::2])
    metric = CocoMetric(ann_file)
    metric.dataset_meta = dict(keypoint_meta=KeypointMeta.load('coco17'))
    joined = metric.compute_metrics(ranks[0].results + ranks[1].results)
    assert {f'coco/{k}': v for k, v in joined.items()} == run(ann_file, samples)


def test_evaluating_twice_gives_the_same(tmp_path):
    content = make_content(17)
    samples = predict(content, 5.0)
    metric = CocoMetric(write(tmp_path, content))
    metric.dataset_meta = dict(keypoint_meta='coco17')
    values = []
    for _ in range(2):
        metric.process(None, samples)
        values.append(metric.evaluate(len(samples)))
    assert values[0] == values[1]


def test_tables_are_logged_and_pycocotools_is_silent(tmp_path, capsys):
    content = make_content(3)
    metric = CocoMetric(write(tmp_path, content), backend='pycocotools')
    metric.dataset_meta = dict(keypoint_meta=dict(keypoints=['nose', 'left_hand', 'right_hand'], sigmas=0.05))
    metric.process(None, predict(content))
    logged = []
    from mmengine.logging import MMLogger

    logger = MMLogger.get_current_instance()
    logger.info, keep = logged.append, logger.info
    try:
        metric.compute_metrics(metric.results)
    finally:
        logger.info = keep
    assert capsys.readouterr().out == ''
    text = '\n'.join(logged)
    assert 'CocoMetric (pycocotools)' in text
    labelled = sum(a['keypoints'][5] > 0 for a in content['annotations'] if a['num_keypoints'] and not a['iscrowd'])
    row = next(line for line in text.splitlines() if 'left_hand' in line)
    assert row.replace(' ', '') == f'|left_hand|{labelled}|{labelled}|1.0000|0.0000|'


# Errors.


def test_unknown_image_ids(tmp_path):
    content = make_content(3)
    samples = predict(content)
    for sample in samples:
        sample['img_id'] = str(sample['img_id'])
    with pytest.raises(
        ValueError, match=r"(?s)do not belong to the annotations.*image ids .* of them unknown .*'100'.*; ann_file 100"
    ):
        run(write(tmp_path, content), samples, K=3)


def test_images_without_labels(tmp_path):
    content = make_content(3)
    samples = [s for s in predict(content) if s['img_id'] == 100]
    content['annotations'] = [a for a in content['annotations'] if a['image_id'] != 100]
    with pytest.raises(ValueError, match=r'(?s)labelled images .* 0 of 1 .*evaluate images that are labelled'):
        run(write(tmp_path, content), samples, K=3)


def test_unknown_category(tmp_path):
    content = make_content(3, category_id=3)
    samples = [dict(s, category_id=1) for s in predict(content)]
    with pytest.raises(ValueError, match=r'(?s)category ids .*unknown: 1 .*What to do: let the dataset give'):
        run(write(tmp_path, content), samples, K=3)


def test_known_but_unlabelled_category(tmp_path):
    content = make_content(3)
    content['categories'].append(dict(id=2, name='cat'))
    samples = [dict(s, category_id=2) for s in predict(content)]
    with pytest.raises(ValueError, match=r'labelled category ids \| 2 +\| 1 '):
        run(write(tmp_path, content), samples, K=3)


def test_other_number_of_keypoints(tmp_path):
    content = make_content(14)
    with pytest.raises(ValueError, match=r'(?s)must have the keypoints of the dataset.*\(1, 14, 2\).*K = 17'):
        run(write(tmp_path, make_content(17)), predict(content))
    with pytest.raises(ValueError, match=r"(?s)annotations must have the keypoints.*17 \(meta 'coco17'\).*14 \(18 annotations\)"):
        run(write(tmp_path, content), predict(make_content(17)))


def test_a_list_for_each_keypoint_is_as_good_as_one_for_all(tmp_path):
    content = make_content(3)
    samples = predict(content)
    flat = run(write(tmp_path, content), samples, K=3)
    for annotation in content['annotations']:
        annotation['keypoints'] = np.reshape(annotation['keypoints'], (3, 3)).tolist()
    assert run(write(tmp_path, content), samples, K=3) == flat


def test_nothing_labelled(tmp_path):
    content = make_content(3)
    samples = predict(content)
    for annotation in content['annotations']:
        annotation.update(num_keypoints=0)
    with pytest.raises(ValueError, match=r'labelled instances +\| +\| 0 '):
        run(write(tmp_path, content), samples, K=3)
    with pytest.raises(MetricError, match=r'ann.json has no annotations'):
        run(write(tmp_path, dict(content, annotations=[])), samples, K=3)


@pytest.mark.parametrize('key', ['keypoints', 'keypoint_scores', 'bbox_scores'])
def test_nan(tmp_path, key):
    content = make_content(3)
    samples = predict(content)
    for sample in samples[:2]:
        sample['pred_instances'][key][:] = np.nan
    with pytest.raises(MetricError, match=r'NaN or infinity in 2 of 17 data samples, image ids 100\. The network has diverged'):
        run(write(tmp_path, content), samples, K=3)


def test_wrong_calls(tmp_path, monkeypatch):
    ann_file = write(tmp_path, make_content(3))
    with pytest.raises(FileNotFoundError, match=r"`ann_file` 'a/b\.json' does not exist \(data_root='a', ann_file='b\.json'\)"):
        CocoMetric('b.json', data_root='a')
    for name in ('backend', 'score_mode', 'nms_mode'):
        with pytest.raises(ValueError, match=rf"`{name}` must be one of .*, got 'x'"):
            CocoMetric(ann_file, **{name: 'x'})
    with pytest.raises(ValueError, match='`format_only` needs `outfile_prefix`'):
        CocoMetric(ann_file, format_only=True)
    metric = CocoMetric(ann_file)
    with pytest.raises(ValueError, match='nothing to evaluate'):
        metric.compute_metrics([])
    metric.process(None, predict(make_content(3)))
    with pytest.raises(RuntimeError, match="`dataset_meta` has no 'keypoint_meta'"):
        metric.compute_metrics(metric.results)
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    assert CocoMetric(ann_file).backend == 'pycocotools'
    with pytest.raises(ImportError, match='pip install faster-coco-eval'):
        CocoMetric(ann_file, backend='faster')


@pytest.mark.parametrize('K_of_others', [17, 5])
def test_categories_that_the_dataset_leaves_out_are_not_asked_for(tmp_path, K_of_others):
    content = make_content()
    others = make_content(K=K_of_others, category_id=2, seed=3)
    alone = run(write(tmp_path, content, 'alone.json'), predict(content, noise=3))
    content['categories'] += others['categories']
    content['annotations'] += [dict(a, id=1000 + a['id']) for a in others['annotations']]
    people = dict(content, annotations=[a for a in content['annotations'] if a['category_id'] == 1])
    metric = METRICS.build(dict(type='CocoMetric', ann_file=write(tmp_path, content)))
    metric.dataset_meta = dict(keypoint_meta=KeypointMeta.load('coco17'), category_ids={1})
    samples = predict(people, noise=3)
    metric.process(None, samples)
    assert metric.evaluate(len(samples)) == alone


@pytest.mark.parametrize('backend', ['pycocotools', 'auto'])
def test_coordinates_that_are_null_where_nothing_is_labelled(tmp_path, backend):
    content = make_content()
    samples, expected = predict(content, noise=3), None
    for unlabelled in (0, None):
        for annotation in content['annotations']:
            points = np.array(annotation['keypoints'], dtype=object).reshape(-1, 3)
            points[points[:, 2] == 0, :2] = unlabelled
            annotation['keypoints'] = points.ravel().tolist()
        (tmp_path / 'ann.json').write_bytes(b'\xef\xbb\xbf' + json.dumps(content).encode())  # and a mark as Windows writes it
        figures = run(str(tmp_path / 'ann.json'), samples, backend=backend)
        expected = figures if expected is None else expected
        assert figures == expected
