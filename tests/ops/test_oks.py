"""OKS against a slow loop; its two suppressions against the published implementation."""

import math

import numpy as np
import pytest
import torch

from mmpose_lite.ops.oks import keypoint_similarity, oks, oks_nms, pairwise_oks, soft_oks_nms
from mmpose_lite.structures import KeypointMeta

COCO_SIGMAS = KeypointMeta.load('coco17').sigmas


def slow_oks(pred, gt, sigmas, area, visible):
    """The definition of cocodataset.org, one keypoint at a time."""
    total, labelled = 0.0, 0
    for p, g, sigma, v in zip(pred, gt, sigmas, visible):
        if v > 0:
            squared = (p[0] - g[0]) ** 2 + (p[1] - g[1]) ** 2
            total += math.exp(-squared / (2 * area * (2 * sigma) ** 2))
            labelled += 1
    return total / labelled if labelled else 0.0


@pytest.mark.parametrize('K', [1, 2, 17, 133])
def test_pairwise_equals_loop(K):
    rng = np.random.default_rng(K)
    sigmas = rng.uniform(0.02, 0.1, K)
    pred, gt = rng.uniform(0, 60, (2, 4, K, 2)), rng.uniform(0, 60, (2, 3, K, 2))
    areas, visible = rng.uniform(500, 9000, (2, 3)), rng.integers(0, 3, (2, 3, K))
    visible[0, 1] = 0  # nothing labelled
    got = pairwise_oks(
        torch.from_numpy(pred),
        torch.from_numpy(gt),
        sigmas=sigmas,
        areas=torch.from_numpy(areas),
        visible=torch.from_numpy(visible),
    )
    expected = [
        [[slow_oks(pred[b, n], gt[b, m], sigmas, areas[b, m], visible[b, m]) for m in range(3)] for n in range(4)]
        for b in range(2)
    ]
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-12, atol=1e-30)
    same_place = oks(
        torch.from_numpy(pred[:, :3]),
        torch.from_numpy(gt),
        sigmas=sigmas,
        areas=torch.from_numpy(areas),
        visible=torch.from_numpy(visible),
    )
    np.testing.assert_allclose(same_place.numpy(), got.numpy()[:, [0, 1, 2], [0, 1, 2]], rtol=1e-12)


def test_one_keypoint_by_hand():
    # d = 3 px, sigma 0.1, area 100: exponent 9 / (2 * 100 * 0.04) = 1.125
    pred, gt = torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 0.0]])
    value = oks(pred, gt, sigmas=(0.1,), areas=torch.tensor(100.0))
    assert value.item() == pytest.approx(math.exp(-1.125), rel=1e-6)


def test_an_unlabelled_nan_does_not_reach_the_result():
    gt = torch.tensor([[[0.0, 0.0], [math.nan, math.nan]]])
    visible = torch.tensor([[2, 0]])
    assert oks(torch.zeros(1, 2, 2), gt, sigmas=(0.1, 0.1), areas=torch.tensor([9.0]), visible=visible).tolist() == [1.0]


def test_shift_and_scale_leave_oks_unchanged():
    pred, gt = torch.rand(5, 17, 2, dtype=torch.float64) * 50, torch.rand(5, 17, 2, dtype=torch.float64) * 50
    areas = torch.full((5,), 2000.0, dtype=torch.float64)
    before = oks(pred, gt, sigmas=COCO_SIGMAS, areas=areas)
    after = oks(3 * pred + 7, 3 * gt + 7, sigmas=COCO_SIGMAS, areas=9 * areas)
    torch.testing.assert_close(before, after)


def test_shapes_are_checked():
    with pytest.raises(ValueError, match=r'must end in \(K, 2\), \(K, 2\) and \(K,\), got \(1, 3, 2\), \(1, 3, 2\) and \(2,\)'):
        keypoint_similarity(torch.zeros(1, 3, 2), torch.zeros(1, 3, 2), sigmas=(1.0, 1.0), areas=torch.ones(1))
    with pytest.raises(ValueError, match=r'one entry per instance \(4\), got \(3,\) and \(4,\)'):
        oks_nms(torch.zeros(4, 2, 2), torch.zeros(3), sigmas=(1.0, 1.0), areas=torch.ones(4))
    with pytest.raises(ValueError, match=r'`max_dets` at least 1, got 0\.9 and 0'):
        soft_oks_nms(torch.zeros(4, 2, 2), torch.zeros(4), sigmas=(1.0, 1.0), areas=torch.ones(4), max_dets=0)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_suppression_equals_published(shared, dtype):
    stored = np.load(shared / 'parity' / 'functions.npz')
    keypoints = torch.from_numpy(stored['oks.keypoints'][..., :2]).to(dtype)
    scores = torch.from_numpy(stored['oks.score']).to(dtype)
    areas = torch.full((len(scores),), 2500.0, dtype=dtype)  # people of 50 x 50 px; the file holds no areas
    keep = oks_nms(keypoints, scores, sigmas=COCO_SIGMAS, areas=areas, thr=0.9)
    assert keep.tolist() == stored['oks.nms_keep_thr0.9'].tolist()
    soft_keep, _ = soft_oks_nms(keypoints, scores, sigmas=COCO_SIGMAS, areas=areas, thr=0.9)
    assert soft_keep.tolist() == stored['oks.soft_keep_thr0.9'].tolist()


def slow_nms(keypoints, scores, sigmas, areas, visible, thr):
    """Greedy suppression, one pair at a time."""
    keep = []
    for i in sorted(range(len(scores)), key=lambda i: -scores[i]):
        mutual = [slow_oks(keypoints[i], keypoints[j], sigmas, (areas[i] + areas[j]) / 2, visible[i] * visible[j]) for j in keep]
        if all(value <= thr for value in mutual):
            keep.append(i)
    return keep


def crowd(num_people, K, seed):
    """Clusters of near-equal people, so that suppression has something to do."""
    rng = np.random.default_rng(seed)
    centres = rng.uniform(0, 200, (num_people // 3 + 1, K, 2))
    keypoints = centres[rng.integers(0, len(centres), num_people)] + rng.normal(0, 1.5, (num_people, K, 2))
    return keypoints, rng.uniform(0, 1, num_people), rng.uniform(800, 5000, num_people), rng.integers(0, 2, (num_people, K))


@pytest.mark.parametrize('K', [1, 17])
def test_hard_suppression_equals_loop(K):
    keypoints, scores, areas, visible = crowd(40, K, seed=3)
    sigmas = np.full(K, 0.07)
    keep = oks_nms(
        torch.from_numpy(keypoints),
        torch.from_numpy(scores),
        sigmas=sigmas,
        areas=torch.from_numpy(areas),
        thr=0.6,
        visible=torch.from_numpy(visible),
    )
    assert keep.tolist() == slow_nms(keypoints, scores, sigmas, areas, visible, 0.6)
    assert 0 < len(keep) < 40


def test_soft_suppression_by_hand():
    # Two equal people and one far away: the second of the equal ones decays by exp(-1 / 0.5) and falls behind.
    keypoints = torch.tensor([[[0.0, 0.0]], [[0.0, 0.0]], [[900.0, 0.0]]])
    keep, scores = soft_oks_nms(keypoints, torch.tensor([0.9, 0.8, 0.3]), sigmas=(0.1,), areas=torch.full((3,), 100.0), thr=0.5)
    assert keep.tolist() == [0, 2, 1]
    assert scores.tolist() == pytest.approx([0.9, 0.3, 0.8 * math.exp(-2)], rel=1e-6)
    few, _ = soft_oks_nms(keypoints, torch.tensor([0.9, 0.8, 0.3]), sigmas=(0.1,), areas=torch.full((3,), 100.0), max_dets=2)
    assert len(few) == 2


def test_permuted_people_give_the_same_kept_people():
    keypoints, scores, areas, _ = (torch.from_numpy(x) for x in crowd(30, 17, seed=5))
    order = torch.randperm(30)
    for suppress in (oks_nms, lambda *a, **k: soft_oks_nms(*a, **k)[0]):
        first = suppress(keypoints, scores, sigmas=COCO_SIGMAS, areas=areas)
        second = suppress(keypoints[order], scores[order], sigmas=COCO_SIGMAS, areas=areas[order])
        assert order[second].tolist() == first.tolist()


def test_no_people():
    empty = torch.zeros(0, 17, 2)
    assert oks_nms(empty, torch.zeros(0), sigmas=COCO_SIGMAS, areas=torch.zeros(0)).tolist() == []
    assert [x.tolist() for x in soft_oks_nms(empty, torch.zeros(0), sigmas=COCO_SIGMAS, areas=torch.zeros(0))] == [[], []]
    assert pairwise_oks(empty, torch.zeros(3, 17, 2), sigmas=COCO_SIGMAS, areas=torch.ones(3)).shape == (0, 3)


def test_gradient():
    pred, gt = (torch.rand(n, 4, 2, dtype=torch.float64, requires_grad=True) for n in (3, 2))
    areas = torch.tensor([1.0, 2.0], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda p, g: pairwise_oks(p, g, sigmas=(0.3, 0.2, 0.3, 0.4), areas=areas), (pred, gt))
