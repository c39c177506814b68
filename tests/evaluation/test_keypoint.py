"""PCK, PCKh, AUC and EPE by hand and against slow loops, and their errors."""

import numpy as np
import pytest
import torch

from mmpose_lite.errors import MetricError
from mmpose_lite.evaluation import AUC, EPE, NME, PCKAccuracy
from mmpose_lite.registry import METRICS
from mmpose_lite.structures import KeypointMeta


def make_samples(K, num_images=20, seed=0, noise=8.0, tensors=False):
    """One person per image, boxes of about 100 x 60 px."""
    rng = np.random.default_rng(seed)
    samples = []
    for img_id in range(num_images):
        gt = rng.uniform(0, 100, (1, K, 2)).astype(np.float32)
        visible = rng.integers(0, 2, (1, K)).astype(np.float32)
        fields = dict(
            keypoints=gt,
            keypoints_visible=visible,
            bboxes=np.float32([[900, 5, 1000 + img_id, 65]]),
            head_sizes=np.float32([20 + img_id]),
        )
        if tensors:
            fields = {key: torch.from_numpy(value) for key, value in fields.items()}
        pred = gt + rng.normal(0, noise, gt.shape).astype(np.float32)
        samples.append(dict(img_id=img_id, gt_instances=fields, pred_instances=dict(keypoints=pred)))
    return samples


def run(samples, K=None, **cfg):
    metric = METRICS.build(cfg)
    if K is not None:
        metric.dataset_meta = dict(keypoint_meta=KeypointMeta.load(K if isinstance(K, str) else dict(keypoints=K)))
    for start in range(0, len(samples), 3):
        metric.process(None, samples[start : start + 3])
    assert len(metric.results) == len(samples)
    return metric.evaluate(len(samples))


def loop_distances(samples, size_of):
    """Lists, per keypoint, of the normalised distances of the instances that label it."""
    K = samples[0]['gt_instances']['keypoints'].shape[1]
    lists = [[] for _ in range(K)]
    for sample in samples:
        gt = sample['gt_instances']
        for k in range(K):
            if gt['keypoints_visible'][0][k] > 0:
                dx, dy = sample['pred_instances']['keypoints'][0][k] - np.asarray(gt['keypoints'][0][k])
                lists[k].append((dx**2 + dy**2) ** 0.5 / size_of(gt))
    return lists


def loop_pck(lists, thr):
    shares = [sum(d < thr for d in distances) / len(distances) for distances in lists if distances]
    return sum(shares) / len(shares)


@pytest.mark.parametrize('tensors', [False, True])
@pytest.mark.parametrize('K', [1, 2, 14, 133])
def test_pck_equals_loop(K, tensors):
    samples = make_samples(K, tensors=tensors)
    samples[3]['gt_instances']['keypoints_visible'][:] = 0
    result = run(samples, K, type='PCKAccuracy', thr=(0.05, 0.1, 0.2))
    lists = loop_distances(samples, lambda gt: max(float(gt['bboxes'][0][2] - gt['bboxes'][0][0]), 60.0))
    assert result == {f'pck/PCK@{thr:g}': pytest.approx(loop_pck(lists, thr)) for thr in (0.05, 0.1, 0.2)}
    assert 0 < result['pck/PCK@0.1'] < 1


def test_pck_by_hand():
    """Two people, two keypoints, box 100 px: the second keypoint is labelled once."""
    gt = np.zeros((2, 2, 2), dtype=np.float32)
    pred = np.float32([[[9, 0], [0, 30]], [[11, 0], [999, 999]]])
    fields = dict(
        keypoints=gt, keypoints_visible=np.float32([[1, 1], [1, 0]]), bboxes=np.float32([[0, 0, 100, 50], [7, 7, 27, 107]])
    )
    sample = dict(img_id=1, gt_instances=fields, pred_instances=dict(keypoints=pred))
    result = run([sample], type='PCKAccuracy', thr=(0.1, 0.31))
    assert result == {'pck/PCK@0.1': 0.25, 'pck/PCK@0.31': 1.0}  # (1/2 + 0) / 2, then both
    assert run([sample], type='PCKAccuracy', thr=0.09) == {'pck/PCK@0.09': 0.0}  # 9 px is not below 9 px
    assert run([sample], type='EPE') == {'epe/EPE': pytest.approx(50 / 3)}


@pytest.mark.parametrize('K', [1, 2, 133])
def test_perfect_predictions(K):
    samples = make_samples(K, noise=0)
    assert set(run(samples, K, type='PCKAccuracy').values()) == {1.0}
    assert run(samples, K, type='EPE') == {'epe/EPE': 0.0}
    assert run(samples, K, type='AUC') == {'auc/AUC': pytest.approx(0.95)}  # the first of 20 thresholds is 0


def test_scaling_everything_leaves_pck_unchanged():
    samples = make_samples(14)
    before = run(samples, type='PCKAccuracy', thr=0.1)
    for sample in samples:
        sample['pred_instances']['keypoints'] = sample['pred_instances']['keypoints'] * 4
        for key in ('keypoints', 'bboxes'):
            sample['gt_instances'][key] = sample['gt_instances'][key] * 4
    assert run(samples, type='PCKAccuracy', thr=0.1) == before


def test_pckh_equals_loop():
    samples = make_samples(16)
    result = run(samples, 'mpii16', type='PCKAccuracy', norm_item='head', thr=(0.5, 0.1), prefix='mpii')
    lists = loop_distances(samples, lambda gt: gt['head_sizes'][0])
    assert result == {f'mpii/PCKh@{thr:g}': pytest.approx(loop_pck(lists, thr)) for thr in (0.5, 0.1)}


def test_mpii_counts_every_keypoint_once_without_pelvis_and_thorax():
    samples = make_samples(16)
    lists = loop_distances(samples, lambda gt: gt['head_sizes'][0])
    names = KeypointMeta.load('mpii16').keypoints
    pooled = [d for name, distances in zip(names, lists) if name not in ('pelvis', 'thorax') for d in distances]
    result = run(samples, 'mpii16', type='MpiiPCKAccuracy')
    assert result == {f'pck/PCKh@{thr:g}': pytest.approx(np.mean(np.array(pooled) < thr)) for thr in (0.5, 0.1)}


def test_torso_from_left_shoulder_to_right_hip():
    samples = make_samples(17, num_images=3, noise=0)
    ends = [KeypointMeta.load('coco17').keypoints.index(name) for name in ('left_shoulder', 'right_hip')]
    for sample, visible in zip(samples, (1, 1, 0)):
        gt = sample['gt_instances']
        gt['keypoints'][0, ends] = [[0, 0], [30, 40]]  # 50 px
        gt['keypoints_visible'][0, ends] = visible
        sample['pred_instances']['keypoints'] = gt['keypoints'].copy()
    samples[0]['gt_instances']['keypoints_visible'][0, 0] = 1
    samples[1]['gt_instances']['keypoints_visible'][0, 0] = 1
    samples[0]['pred_instances']['keypoints'][0, 0] += [11, 0]  # 0.22 torsos
    samples[2]['pred_instances']['keypoints'][:] = 1e4  # its torso is not labelled: it does not count
    values = []
    for thr in (0.21, 0.23):
        values.append(run(samples, 'coco17', type='PCKAccuracy', norm_item='torso', thr=thr)[f'pck/tPCK@{thr}'])
    labelled = np.any([s['gt_instances']['keypoints_visible'][0] for s in samples[:2]], axis=0).sum()
    assert values == [pytest.approx(1 - 0.5 / labelled), 1.0]
    with pytest.raises(MetricError, match="`norm_item='torso'` needs the keypoints"):
        run(samples, 17, type='PCKAccuracy', norm_item='torso')


def test_auc_and_epe_equal_loops():
    samples = make_samples(21)
    lists = loop_distances(samples, lambda gt: 30.0)
    expected = sum(loop_pck(lists, i / 20) for i in range(20)) / 20
    assert run(samples, 'rhd21', type='AUC') == {'auc/AUC': pytest.approx(expected)}
    pooled = [30 * d for distances in lists for d in distances]
    assert run(samples, 'rhd21', type='EPE') == {'epe/EPE': pytest.approx(np.mean(pooled), rel=1e-6)}


def test_nme_equals_loops():
    samples = make_samples(5, noise=3)
    boxes = loop_distances(samples, lambda gt: max(float(gt['bboxes'][0][2] - gt['bboxes'][0][0]), 60.0))
    assert run(samples, type='NME') == {'nme/NME': pytest.approx(np.mean([d for ds in boxes for d in ds]))}
    meta = dict(keypoints=['chin', 'left_eye', 'nose', 'right_eye', 'ear'])
    both = [s for s in samples if s['gt_instances']['keypoints_visible'][0][[1, 3]].all()]
    assert 0 < len(both) < len(samples)
    eyes = loop_distances(both, lambda gt: np.linalg.norm(gt['keypoints'][0][1] - gt['keypoints'][0][3]))
    expected = pytest.approx(np.mean([d for ds in eyes for d in ds]))
    for ends in ((1, 3), ('left_eye', 'right_eye'), ('right_eye', 1)):
        metric = NME('keypoint_distance', keypoint_indices=ends)
        metric.dataset_meta = dict(keypoint_meta=meta)
        metric.process(None, samples)
        assert metric.evaluate(len(samples)) == {'nme/NME': expected}


def test_nme_by_hand():
    """Eyes 50 px apart, errors of 5 and 10 px; the third keypoint is not labelled, and of the second person an eye is not."""
    gt = np.float32([[[0, 0], [30, 40], [9, 9]], [[0, 0], [30, 40], [9, 9]]])
    pred = gt + np.float32([[[3, 4], [0, 10], [99, 99]], [[99, 99]] * 3])
    fields = dict(keypoints=gt, keypoints_visible=np.float32([[1, 1, 0], [1, 0, 1]]), bboxes=np.zeros((2, 4)))
    sample = dict(img_id=1, gt_instances=fields, pred_instances=dict(keypoints=pred))
    result = run([sample], type='NME', norm_mode='keypoint_distance', keypoint_indices=(0, 1))
    assert result == {'nme/NME': pytest.approx(0.15)}
    fields['keypoints_visible'] = np.float32([[1, 1, 0]] * 2)
    with pytest.raises(MetricError, match='no labelled keypoint belongs to an instance with a positive 0 to 2 size'):
        run([sample], type='NME', norm_mode='keypoint_distance', keypoint_indices=(0, 2))
    with pytest.raises(MetricError, match=r"must be of the 3 keypoints .* got \['eye'\]"):
        run([sample], type='NME', norm_mode='keypoint_distance', keypoint_indices=(0, 'eye'))


@pytest.mark.parametrize('kind', [PCKAccuracy, AUC, EPE, NME])
def test_two_processes_give_the_same_figures(kind):
    samples = make_samples(5)
    ranks = [kind(), kind()]
    for rank, metric in enumerate(ranks):
        metric.process(None, samples[rank::2])
    alone = kind()
    alone.process(None, samples)
    joined = kind().compute_metrics(ranks[0].results + ranks[1].results)
    assert joined == pytest.approx(alone.compute_metrics(alone.results))


def test_a_head_of_size_zero_does_not_count():
    samples = make_samples(3, noise=0)
    samples[0]['gt_instances']['head_sizes'][:] = 0
    samples[0]['pred_instances']['keypoints'][:] = 1e4
    assert run(samples, type='PCKAccuracy', norm_item='head') == {'pck/PCKh@0.05': 1.0}
    for sample in samples:
        sample['gt_instances']['head_sizes'][:] = 0
    with pytest.raises(ValueError, match=r'(?s)no labelled keypoint belongs to an instance with a positive head size.*0\.0'):
        run(samples, type='PCKAccuracy', norm_item='head')


# Errors.


@pytest.mark.parametrize('kind', ['PCKAccuracy', 'AUC', 'EPE', 'NME'])
def test_cannot_match(kind):
    samples = make_samples(4)
    samples[1]['pred_instances']['keypoints'] = samples[1]['pred_instances']['keypoints'][:, :3]
    with pytest.raises(ValueError, match=rf'(?s){kind}: predictions and ground truth.*keypoints \(K\) +\| \(3, 2\) +\| \(4, 2\)'):
        run(samples, type=kind)
    samples = make_samples(4)
    samples[1]['pred_instances']['keypoints'] = np.zeros((5, 4, 2))
    with pytest.raises(ValueError, match=r'instances \(N\) +\| 5 +\| 1 +\| image id 1 '):
        run(samples, type=kind)
    with pytest.raises(ValueError, match=r"(?s)must have the keypoints of the dataset.*\| 4 +\| 17 +\| meta 'coco17'"):
        run(make_samples(4), 'coco17', type=kind)
    with pytest.raises(ValueError, match='all images must have the same number of keypoints'):
        run(make_samples(4) + make_samples(5), type=kind)
    samples = make_samples(4)
    for sample in samples:
        sample['gt_instances']['keypoints_visible'][:] = 0
    with pytest.raises(ValueError, match=r'labelled keypoints +\| +\| 0 '):
        run(samples, type=kind)
    with pytest.raises(ValueError, match=rf'{kind}: there is nothing to evaluate'):
        run([], type=kind)
    samples = make_samples(4)
    samples[7]['pred_instances']['keypoints'][:] = np.nan
    with pytest.raises(MetricError, match='image id 7 has NaN or infinity'):
        run(samples, type=kind)
    with pytest.raises(ValueError, match=r'image id 3 has \[\]\. Evaluate a dataset with annotations'):
        run([dict(img_id=3, pred_instances=dict(keypoints=np.zeros((1, 4, 2))))], type=kind)


@pytest.mark.parametrize(('norm_item', 'field'), [('head', 'head_sizes'), ('bbox', 'bboxes')])
def test_missing_size(norm_item, field):
    samples = make_samples(4)
    del samples[0]['gt_instances'][field]
    with pytest.raises(ValueError, match=rf"(?s)`norm_item='{norm_item}'` needs `gt_instances\.{field}`.*What to do"):
        run(samples, type='PCKAccuracy', norm_item=norm_item)


def test_wrong_options():
    with pytest.raises(ValueError, match=r"`norm_item` must be one of \['bbox', 'head', 'torso'\], got 'hand'"):
        PCKAccuracy(norm_item='hand')
    for thr in ((), 0, (0.1, -1)):
        with pytest.raises(ValueError, match='`thr` must be one or more positive numbers'):
            PCKAccuracy(thr)
    for wrong in (dict(norm_mode='box'), dict(norm_item='hand')):
        with pytest.raises(ValueError, match='NME: `norm_mode` must be one of'):
            NME(**wrong)
    for norm_mode, ends in (('keypoint_distance', None), ('keypoint_distance', (1, 1)), ('use_norm_item', (1, 2))):
        with pytest.raises(ValueError, match='`keypoint_indices` must be two keypoints with'):
            NME(norm_mode, keypoint_indices=ends)
    with pytest.raises(ValueError, match='`norm_factor` and `num_thrs` must be positive, got 30 and 0'):
        AUC(num_thrs=0)
