"""Every suppression against a loop over boxes that follows its paper line by line."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mmpose_lite.ops.nms import NMSResult, Suppression, multiclass_nms
from mmpose_lite.ops.nms.base import mutual_overlaps
from mmpose_lite.ops.nms.decay import METHODS, Decay, take_in_rounds, take_one_by_one
from mmpose_lite.registry import NMS
from tests.parity import functions

Box = list[float]
Kept = list[tuple[Box, float, int]]  # box, score, index; in the order of keeping


def iou(a: Box, b: Box) -> float:
    both = max(min(a[2], b[2]) - max(a[0], b[0]), 0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both
    return both / union if union else 0.0


def diou(a: Box, b: Box) -> float:
    apart = math.dist(((a[0] + a[2]) / 2, (a[1] + a[3]) / 2), ((b[0] + b[2]) / 2, (b[1] + b[3]) / 2))
    return iou(a, b) - apart**2 / math.dist((min(a[0], b[0]), min(a[1], b[1])), (max(a[2], b[2]), max(a[3], b[3]))) ** 2


def greedy(
    boxes: list[Box], scores: list[float], overlap: Callable[[Box, Box], float], suppresses: Callable[[int, float], bool]
) -> list[tuple[int, list[int]]]:
    """Return each kept box, by falling score, with those it suppresses; `suppresses(kept, overlap)`."""
    left = sorted(range(len(boxes)), key=lambda i: -scores[i])
    found = []
    while left:
        best, *rest = left
        gone = [i for i in rest if suppresses(best, overlap(boxes[best], boxes[i]))]
        found.append((best, gone))
        left = [i for i in rest if i not in gone]
    return found


def hard_loop(boxes: list[Box], scores: list[float], extra: Any) -> Kept:
    return [(boxes[i], scores[i], i) for i, _ in greedy(boxes, scores, iou, lambda _, o: o > 0.5)]


def diou_loop(boxes: list[Box], scores: list[float], extra: Any) -> Kept:
    return [(boxes[i], scores[i], i) for i, _ in greedy(boxes, scores, diou, lambda _, o: o >= 0.5)]


def adaptive_loop(boxes: list[Box], scores: list[float], extra: Any) -> Kept:
    return [(boxes[i], scores[i], i) for i, _ in greedy(boxes, scores, iou, lambda i, o: o >= max(0.5, extra[i]))]


def iou_guided_loop(boxes: list[Box], scores: list[float], extra: Any) -> Kept:
    return [(boxes[i], max(scores[j] for j in (i, *gone)), i) for i, gone in greedy(boxes, extra, iou, lambda _, o: o > 0.5)]


def weighted_loop(boxes: list[Box], scores: list[float], extra: Any) -> Kept:
    kept: Kept = []
    for i, gone in greedy(boxes, scores, iou, lambda _, o: o > 0.5):
        weights = {j: scores[j] * (1.0 if j == i else iou(boxes[i], boxes[j])) for j in (i, *gone)}
        box = [sum(w * boxes[j][edge] for j, w in weights.items()) / sum(weights.values()) for edge in range(4)]
        kept.append((box, scores[i], i))
    return kept


def soft_loop(boxes: list[Box], scores: list[float], factor: Callable[[int, float], float], min_score: float = 1e-3) -> Kept:
    scores, left, kept = list(scores), list(range(len(boxes))), []
    while left:
        best = max(left, key=lambda i: scores[i])  # the first of equal ones
        if scores[best] < min_score:
            break
        kept.append((boxes[best], scores[best], best))
        left.remove(best)
        for i in left:
            scores[i] *= factor(best, iou(boxes[best], boxes[i]))
    return kept


def linear_loop(boxes: list[Box], scores: list[float], extra: Any) -> Kept:
    return soft_loop(boxes, scores, lambda _, o: 1 - o if o >= 0.3 else 1)


def gaussian_loop(boxes: list[Box], scores: list[float], extra: Any) -> Kept:
    return soft_loop(boxes, scores, lambda _, o: math.exp(-o * o / 0.5))


def naive_loop(boxes: list[Box], scores: list[float], extra: Any) -> Kept:
    return soft_loop(boxes, scores, lambda _, o: 0 if o >= 0.3 else 1)


def adaptive_linear_loop(boxes: list[Box], scores: list[float], extra: Any) -> Kept:
    return soft_loop(boxes, scores, lambda i, o: 1 - o if o >= max(0.5, extra[i]) else 1)


def adaptive_gaussian_loop(boxes: list[Box], scores: list[float], extra: Any) -> Kept:
    return soft_loop(boxes, scores, lambda i, o: math.exp(-o * o / 0.5) if o >= max(0.5, extra[i]) else 1)


def softer_loop(boxes: list[Box], scores: list[float], extra: Any) -> Kept:
    kept: Kept = []
    for box, score, i in linear_loop(boxes, scores, None):
        near = {j: math.exp(-((1 - iou(box, boxes[j])) ** 2) / 0.02) for j in range(len(boxes)) if iou(box, boxes[j]) > 0}
        mean = []
        for edge in range(4):
            weights = {j: p / extra[j][edge] for j, p in near.items()}
            mean.append(sum(w * boxes[j][edge] for j, w in weights.items()) / sum(weights.values()))
        kept.append((mean, score, i))
    return kept


def matrix_loop(boxes: list[Box], scores: list[float], f: Callable[[float], float]) -> Kept:
    order = sorted(range(len(boxes)), key=lambda i: -scores[i])
    worst = [max((iou(boxes[i], boxes[k]) for k in order[:rank]), default=0.0) for rank, i in enumerate(order)]
    kept: Kept = []
    for rank, j in enumerate(order):
        factors = (f(iou(boxes[i], boxes[j])) / f(worst[better]) for better, i in enumerate(order[:rank]))
        score = scores[j] * min(factors, default=1.0)
        if score >= 0.05:
            kept.append((boxes[j], score, j))
    return kept


def matrix_gaussian_loop(boxes: list[Box], scores: list[float], extra: Any) -> Kept:
    return matrix_loop(boxes, scores, lambda o: math.exp(-2 * o * o))


def matrix_linear_loop(boxes: list[Box], scores: list[float], extra: Any) -> Kept:
    return matrix_loop(boxes, scores, lambda o: 1 - o)


LOOPS: dict[str, tuple[dict[str, Any], Callable[[list[Box], list[float], Any], Kept]]] = {
    'hard': (dict(type='HardNMS'), hard_loop),
    'cluster': (dict(type='ClusterNMS'), hard_loop),
    'diou': (dict(type='DIoUNMS'), diou_loop),
    'soft linear': (dict(type='SoftNMS'), linear_loop),
    'soft gaussian': (dict(type='SoftNMS', method='gaussian'), gaussian_loop),
    'soft naive': (dict(type='SoftNMS', method='naive'), naive_loop),
    'adaptive': (dict(type='AdaptiveNMS'), adaptive_loop),
    'adaptive linear': (dict(type='AdaptiveNMS', method='linear'), adaptive_linear_loop),
    'adaptive gaussian': (dict(type='AdaptiveNMS', method='gaussian'), adaptive_gaussian_loop),
    'IoU-guided': (dict(type='IoUGuidedNMS'), iou_guided_loop),
    'weighted': (dict(type='WeightedNMS'), weighted_loop),
    'softer': (dict(type='SofterNMS'), softer_loop),
    'matrix gaussian': (
        dict(type='MatrixNMS', method='gaussian'),
        lambda b, s, _: matrix_loop(b, s, lambda o: math.exp(-2 * o * o)),
    ),
    'matrix linear': (dict(type='MatrixNMS', method='linear'), lambda b, s, _: matrix_loop(b, s, lambda o: 1 - o)),
}
VARIANTS = [cfg for cfg, _ in LOOPS.values()]
each_variant = pytest.mark.parametrize('cfg', VARIANTS, ids=list(LOOPS))


def scene(count: int, *, objects: int = 0, seed: int = 0, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    """Return boxes around some objects, scores and labels of two classes."""
    generator = torch.Generator().manual_seed(seed)
    objects = objects or max(count // 6, 1)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=dtype)

    corners, sizes = uniform(objects, 2) * 300, 30 + 90 * uniform(objects, 2)
    boxes = torch.cat([corners, corners + sizes], dim=1).repeat(-(-count // objects), 1)[:count] + 24 * uniform(count, 4) - 12
    return boxes, uniform(count), torch.randint(2, (count,), generator=generator)


def extras(boxes: Tensor) -> dict[str, Tensor]:
    """Return one of each extra for the boxes."""
    generator = torch.Generator().manual_seed(1)
    shape = boxes.shape[:-1]
    variances = 0.1 + torch.rand(boxes.shape, generator=generator, dtype=torch.float64)
    ious, densities = (torch.rand(shape, generator=generator, dtype=torch.float64) for _ in range(2))
    return dict(pred_ious=ious.to(boxes), variances=variances.to(boxes), densities=densities.to(boxes))


def build(cfg: dict[str, Any], **args: Any) -> Suppression:
    return NMS.build(dict(cfg, **args))


def assert_same(found: NMSResult, expected: Kept) -> None:
    assert found.indices.tolist() == [i for _, _, i in expected]
    np.testing.assert_allclose(found.scores.numpy(), [score for _, score, _ in expected], rtol=1e-9)
    np.testing.assert_allclose(found.boxes.numpy(), np.reshape([box for box, _, _ in expected], (-1, 4)), atol=1e-8)


@pytest.mark.parametrize('name', LOOPS)
@pytest.mark.parametrize('seed', [0, 1])
def test_is_the_loop_of_the_paper(name: str, seed: int) -> None:
    cfg, loop = LOOPS[name]
    boxes, scores, _ = scene(70, seed=seed)
    given = extras(boxes)
    nms = build(cfg)
    extra = given[nms.extra].tolist() if nms.extra else None
    expected = sorted(loop(boxes.tolist(), scores.tolist(), extra), key=lambda kept: -kept[1])
    assert len(expected) < 70, 'nothing is suppressed'
    assert_same(nms(boxes, scores, **given), expected)


@each_variant
def test_classes_leave_each_other_alone(cfg: dict[str, Any]) -> None:
    boxes, scores, labels = scene(80)
    given = extras(boxes)
    nms = build(cfg)
    expected: Kept = []
    for label in (0, 1):
        rows = (labels == label).nonzero()[:, 0]
        alone = nms(boxes[rows], scores[rows], **{name: values[rows] for name, values in given.items()})
        expected += zip(alone.boxes.tolist(), alone.scores.tolist(), rows[alone.indices].tolist())
    expected.sort(key=lambda kept: -kept[1])
    for names in (labels, 7 - 300 * labels):  # any integers
        assert_same(nms(boxes, scores, names, **given), expected)
    assert nms(boxes, scores, **given).scores.sum() < sum(score for _, score, _ in expected), 'labels change nothing'


@pytest.mark.parametrize(
    ('key', 'cfg'),
    [
        ('hard', dict(type='HardNMS', iou_threshold=0.5)),
        ('hard', dict(type='ClusterNMS', iou_threshold=0.5)),
        ('soft_linear', dict(type='SoftNMS', method='linear', iou_threshold=0.3)),
        ('soft_gaussian', dict(type='SoftNMS', method='gaussian')),
    ],
)
def test_is_the_reference(shared: Path, key: str, cfg: dict[str, Any]) -> None:
    stored = functions(shared)
    boxes, scores = torch.from_numpy(stored['nms.boxes']), torch.from_numpy(stored['nms.scores'])
    found = build(cfg)(boxes, scores)
    np.testing.assert_array_equal(found.indices.numpy(), stored[f'nms.{key}_keep'])
    np.testing.assert_allclose(found.boxes.numpy(), stored[f'nms.{key}'][:, :4])
    np.testing.assert_allclose(found.scores.numpy(), stored[f'nms.{key}'][:, 4], rtol=1e-5)


@pytest.mark.parametrize('by_distance', [False, True])
@pytest.mark.parametrize('method', METHODS)
@pytest.mark.parametrize(('count', 'objects'), [(300, 0), (300, 3), (1100, 0)])  # few on one another, many, more than fit at once
def test_one_by_one_and_in_rounds_agree(method: str, by_distance: bool, count: int, objects: int) -> None:
    boxes, scores, labels = scene(count, objects=objects, dtype=torch.float32)
    boxes[:, ::2] *= 3
    scores = (scores * 500).ceil() / 500  # some are equal
    scores[::50] = torch.tensor([-0.1, 0.0]).repeat(count)[: len(scores[::50])]  # never taken
    thresholds = 0.2 + 0.5 * torch.rand(count)
    decay = Decay(method, by_distance=by_distance)
    for names in (None, labels):
        indices, taken = take_one_by_one(boxes, scores, names, decay, thresholds, 1e-3)
        rounds_indices, rounds_taken = take_in_rounds(boxes, scores, names, decay, thresholds, 1e-3)
        assert 0 < len(indices) < count
        torch.testing.assert_close(taken, rounds_taken, atol=1e-6, rtol=1e-5)
        assert (taken.diff() <= 0).all()
        moved = indices != rounds_indices  # only where rounding has swapped neighbours
        torch.testing.assert_close(taken[moved], rounds_taken[moved], atol=1e-6, rtol=1e-5)
        assert moved.float().mean() < 0.02
        few = take_one_by_one(boxes, scores, names, decay, thresholds, 1e-3, 7)[0]
        assert few.tolist() == indices[:7].tolist()


@each_variant
def test_permuted_boxes_give_permuted_results(cfg: dict[str, Any]) -> None:
    boxes, scores, labels = scene(60)
    given, order = extras(boxes), torch.randperm(60)
    found = build(cfg)(boxes, scores, labels, **given)
    again = build(cfg)(boxes[order], scores[order], labels[order], **{name: values[order] for name, values in given.items()})
    assert order[again.indices].tolist() == found.indices.tolist()
    torch.testing.assert_close(again.boxes, found.boxes)


@pytest.mark.parametrize('name', ['IoU-guided', 'weighted', 'softer'])
def test_pairs_in_parts(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    boxes, scores, labels = scene(80)
    nms = build(LOOPS[name][0])
    whole = nms(boxes, scores, labels, **extras(boxes))
    monkeypatch.setattr('mmpose_lite.ops.nms.averaging._PAIRS_AT_ONCE', 150)
    torch.testing.assert_close(nms(boxes, scores, labels, **extras(boxes)), whole)


@each_variant
def test_edges(cfg: dict[str, Any]) -> None:
    nms = build(cfg)
    for count in (0, 1):
        boxes, scores, labels = scene(count)
        for names in (labels, None):
            found = nms(boxes, scores, names, **extras(boxes))
            assert found.boxes.shape == (count, 4)
            assert found.scores.tolist() == pytest.approx(scores.tolist())
            assert found.indices.tolist() == list(range(count))
            assert found.indices.dtype == torch.int64
    boxes, scores, labels = scene(60)
    found = nms(boxes, scores, labels, **extras(boxes))
    best = build(cfg, max_num=3)(boxes, scores, labels, **extras(boxes))
    assert best.indices.tolist() == found.indices[:3].tolist()
    torch.testing.assert_close(best.boxes, found.boxes[:3])
    torch.testing.assert_close(best.scores, found.scores[:3])


@each_variant
def test_what_is_not_finite_is_left_out(cfg: dict[str, Any]) -> None:
    nms = build(cfg)
    boxes, scores, labels = scene(40)
    given = extras(boxes)
    found = nms(boxes, scores, labels, **given)
    more = torch.cat([boxes[:5], boxes])
    more[0, 2], more[1, 0] = math.inf, math.nan
    more_scores = torch.cat([scores[:5], scores])
    more_scores[2], more_scores[3], more_scores[4] = math.nan, math.inf, -math.inf
    longer = {name: torch.cat([values[:5], values]) for name, values in given.items()}
    again = nms(more, more_scores, torch.cat([labels[:5], labels]), **longer)
    assert (again.indices - 5).tolist() == found.indices.tolist()
    torch.testing.assert_close(again.boxes, found.boxes)
    if nms.extra:
        given[nms.extra][found.indices[0]] = math.nan
        assert found.indices[0] not in nms(boxes, scores, labels, **given).indices
    assert len(nms(boxes, scores * math.nan, labels, **given).indices) == 0


@each_variant
def test_identical_boxes_leave_the_first_of_the_best(cfg: dict[str, Any]) -> None:
    boxes = torch.tensor([10.0, 20.0, 50.0, 80.0]).repeat(5, 1)
    equal = torch.full((5,), 0.5)
    found = build(cfg, **(dict(iou_threshold=0.5) if 'Matrix' not in cfg['type'] else {}))(
        boxes, torch.tensor([0.2, 0.9, 0.4, 0.9, 0.1]), pred_ious=equal, variances=torch.ones(5, 4), densities=equal
    )
    assert found.scores[0].item() == pytest.approx(0.9)
    if cfg.get('method') == 'gaussian':
        assert len(found.indices) > 1  # a gaussian leaves something even of a copy
    else:
        assert len(found.indices) == 1
    first = 0 if cfg['type'] == 'IoUGuidedNMS' else 1  # which looks at the IoUs, which are equal, and takes over the best score
    assert found.indices[0].item() == first
    torch.testing.assert_close(found.boxes[0], boxes[0])


@pytest.mark.parametrize('name', [name for name in LOOPS if name.startswith(('soft', 'adaptive', 'diou', 'hard', 'cluster'))])
def test_equal_scores_keep_the_order_of_the_input(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg, loop = LOOPS[name]
    boxes, scores, _ = scene(150, objects=12)
    given = extras(boxes)
    nms = build(cfg)
    extra = given[nms.extra].tolist() if nms.extra else None
    for equal in (torch.full_like(scores, 0.7), (scores * 8).ceil() / 8):
        expected = [i for _, _, i in loop(boxes.tolist(), equal.tolist(), extra)]
        assert nms(boxes, equal, **given).indices.tolist() == expected
        monkeypatch.setattr('mmpose_lite.ops.nms.decay._ALL_AT_ONCE', 0)
        monkeypatch.setattr('mmpose_lite.ops.nms.decay._CANDIDATES', (2, 4, 16))
        assert nms(boxes, equal, **given).indices.tolist() == expected


@each_variant
def test_degenerate_boxes_suppress_nothing(cfg: dict[str, Any]) -> None:
    boxes = torch.tensor(
        [[5.0, 5.0, 5.0, 5.0], [5.0, 5.0, 5.0, 5.0], [0.0, 0.0, 10.0, 10.0], [9.0, 9.0, 1.0, 1.0], [30.0, 0.0, 30.0, 9.0]]
    )
    scores = torch.tensor([0.9, 0.8, 0.7, 0.6, 0.5])
    found = build(cfg)(boxes, scores, pred_ious=scores, variances=torch.ones(5, 4), densities=scores)
    assert found.indices.tolist() == [0, 1, 2, 3, 4]
    torch.testing.assert_close(found.scores, scores)
    torch.testing.assert_close(found.boxes, boxes)


@each_variant
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32])
def test_types_are_kept_and_no_gradient_flows(cfg: dict[str, Any], dtype: torch.dtype) -> None:
    boxes, scores, labels = scene(30, dtype=torch.float32)
    boxes, scores = boxes.to(dtype).requires_grad_(), scores.to(dtype).requires_grad_()
    found = build(cfg)(boxes, scores, labels, **{name: values.detach() for name, values in extras(boxes).items()})
    assert found.boxes.dtype == found.scores.dtype == dtype
    assert not found.boxes.requires_grad
    assert not found.scores.requires_grad
    assert len(found.indices) > 0


@each_variant
def test_autocast_changes_nothing(cfg: dict[str, Any]) -> None:
    boxes, scores, labels = scene(60, dtype=torch.float32)
    found = build(cfg)(boxes, scores, labels, **extras(boxes))
    with torch.autocast('cpu'):
        again = build(cfg)(boxes, scores, labels, **extras(boxes))
    torch.testing.assert_close(again, found)


def test_in_rounds_under_autocast() -> None:
    boxes, scores, _ = scene(60, dtype=torch.float32)
    nms = build(dict(type='SoftNMS', method='gaussian'))
    with pytest.MonkeyPatch.context() as patch, torch.autocast('cpu'):
        patch.setattr('mmpose_lite.ops.nms.decay.take_one_by_one', lambda *args: take_in_rounds(*args[:6]))
        in_rounds = nms(boxes, scores)
    assert in_rounds.indices.tolist() == nms(boxes, scores).indices.tolist()


@each_variant
def test_the_input_is_left_alone(cfg: dict[str, Any]) -> None:
    boxes, scores, labels = scene(30, dtype=torch.float32)
    before = boxes.clone(), scores.clone()
    build(cfg)(boxes, scores, labels, **extras(boxes))
    torch.testing.assert_close((boxes, scores), before)


def test_negative_scores_are_an_order_too() -> None:
    boxes, scores, _ = scene(40)
    for cfg in (dict(type='HardNMS'), dict(type='DIoUNMS'), dict(type='ClusterNMS')):
        logits = scores.logit() - 9
        assert build(cfg)(boxes, logits).indices.tolist() == build(cfg)(boxes, scores).indices.tolist()


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
@pytest.mark.parametrize('name', ['SoftNMS', 'MatrixNMS'])
def test_the_least_score_is_kept(name: str, dtype: torch.dtype) -> None:
    """0.7 is less as a float32 than as a Python number."""
    boxes = torch.tensor([[0.0, 0.0, 9.0, 9.0], [20.0, 0.0, 29.0, 9.0], [40.0, 0.0, 49.0, 9.0]])
    scores = torch.tensor([0.7, 0.9, 0.6], dtype=dtype)
    assert build(dict(type=name, min_score=0.7))(boxes, scores).indices.tolist() == [1, 0]


@each_variant
def test_huge_boxes_are_left_out(cfg: dict[str, Any]) -> None:
    boxes = torch.tensor([[0.0, 0.0, 3e25, 3e25], [0.0, 0.0, 9.0, 9.0], [-1e30, 0.0, 1e30, 1e30]])
    scores = torch.tensor([0.9, 0.8, 0.7])
    found = build(cfg)(boxes, scores, pred_ious=scores, variances=torch.ones(3, 4), densities=scores)
    assert found.indices.tolist() == [1]


def test_averaged_boxes_by_hand() -> None:
    boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 8.0], [50.0, 0.0, 60.0, 10.0]])
    scores = torch.tensor([0.8, 0.5, 0.3])
    found = build(dict(type='WeightedNMS'))(boxes, scores)
    torch.testing.assert_close(found.boxes[0], torch.tensor([0, 0, 10, (0.8 * 10 + 0.5 * 0.8 * 8) / (0.8 + 0.5 * 0.8)]))
    torch.testing.assert_close(found.boxes[1], boxes[2])
    variances = torch.ones(3, 4)
    variances[0] = 1e6  # unsure: nearly all comes from the other box
    found = build(dict(type='SofterNMS', sigma_t=1.0))(boxes, scores, variances=variances)
    torch.testing.assert_close(found.boxes[0], boxes[1], atol=1e-3, rtol=0)
    assert found.indices[0] == 0


def test_density_lets_two_objects_stand_close() -> None:
    boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 6.0]])  # IoU 0.6
    scores = torch.tensor([0.9, 0.8])
    nms = build(dict(type='AdaptiveNMS', iou_threshold=0.5))
    assert nms(boxes, scores, densities=torch.tensor([0.7, 0.0])).indices.tolist() == [0, 1]
    assert nms(boxes, scores, densities=torch.tensor([0.0, 0.7])).indices.tolist() == [0]  # it is the kept box that decides


@pytest.mark.parametrize(
    ('name', 'extra', 'shape'),
    [('IoUGuidedNMS', 'pred_ious', '(N,)'), ('SofterNMS', 'variances', '(N, 4)'), ('AdaptiveNMS', 'densities', '(N,)')],
)
def test_a_missing_extra_is_named(name: str, extra: str, shape: str) -> None:
    boxes, scores, labels = scene(6)
    given = extras(boxes)
    wrong = given.pop(extra)[:5]
    with pytest.raises(
        ValueError, match=rf'{name}: `{extra}` {shape.replace("(", "[(]").replace(")", "[)]")} must be given: .*head'
    ):
        build(dict(type=name))(boxes, scores, labels, **given)
    with pytest.raises(ValueError, match=rf'{name}: `{extra}` must be .* for N = 6 boxes, got \(5'):
        build(dict(type=name))(boxes, scores, labels, **{extra: wrong})


@each_variant
def test_errors_that_all_share(cfg: dict[str, Any]) -> None:
    name = cfg['type']
    with pytest.raises(ValueError, match=rf'{name}: boxes, scores and labels must be .*, got \(3, 5\), \(3,\) and None'):
        build(cfg)(torch.ones(3, 5), torch.ones(3))
    with pytest.raises(ValueError, match=rf'{name}: boxes, scores and labels must be .*, got \(3, 4\), \(3,\) and \(2,\)'):
        build(cfg)(torch.ones(3, 4), torch.ones(3), torch.ones(2))
    with pytest.raises(ValueError, match=f'{name}: `max_num` must be 1 or more, or None for all boxes, got 0'):
        build(cfg, max_num=0)
    if name != 'MatrixNMS':
        with pytest.raises(ValueError, match=rf'{name}: `iou_threshold` must be in \(0, 1\], got 0'):
            build(cfg, iou_threshold=0)


@pytest.mark.parametrize('name', ['SoftNMS', 'SofterNMS', 'AdaptiveNMS', 'MatrixNMS'])
def test_errors_of_decays(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}: `method` must be .*, got 'hard'"):
        build(dict(type=name, method='hard'))
    with pytest.raises(ValueError, match=f'{name}: `sigma` must be above 0.*, got 0'):
        build(dict(type=name, sigma=0))
    with pytest.raises(ValueError, match=f'{name}: .*`min_score` (must be )?0 or more, got .*-1'):
        build(dict(type=name, min_score=-1))
    with pytest.raises(ValueError, match='SofterNMS: `sigma_t` must be above 0, got 0'):
        build(dict(type='SofterNMS', sigma_t=0))


def test_multiclass_against_a_loop() -> None:
    boxes, _, _ = scene(40)
    scores = torch.rand(40, 3, dtype=torch.float64)
    variances = torch.rand(40, 3, 4, dtype=torch.float64) + 0.1
    per_class = boxes[:, None] + torch.rand(40, 3, 4, dtype=torch.float64)
    for nms in (build(dict(type='SoftNMS')), build(dict(type='SofterNMS'))):
        for given in (boxes, per_class):
            found = multiclass_nms(given, scores, nms, score_thr=0.4, variances=variances)
            expected: list[tuple[float, int, int, Box]] = []
            for c in range(3):
                rows = (scores[:, c] > 0.4).nonzero()[:, 0]
                of_class = (given if given.ndim == 2 else given[:, c])[rows]
                alone = nms(of_class, scores[rows, c], variances=variances[rows, c])
                for box, score, i in zip(*alone):
                    expected.append((score.item(), c, rows[i].item(), box.tolist()))
            expected.sort(key=lambda detection: -detection[0])
            assert found.labels.tolist() == [c for _, c, _, _ in expected]
            assert found.indices.tolist() == [i for _, _, i, _ in expected]
            np.testing.assert_allclose(found.scores.numpy(), [score for score, _, _, _ in expected])
            np.testing.assert_allclose(found.boxes.numpy(), [box for _, _, _, box in expected])


def test_multiclass_options_and_edges() -> None:
    boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 9.0]])
    scores = torch.tensor([[0.9, 0.1], [0.2, 0.8]])
    nms = build(dict(type='HardNMS'))
    assert multiclass_nms(boxes, scores, nms, score_thr=0.5).labels.tolist() == [0, 1]
    assert multiclass_nms(boxes, scores, build(dict(type='HardNMS', max_num=1)), score_thr=0.0).indices.tolist() == [0]
    assert [len(part) for part in multiclass_nms(boxes, scores, nms, score_thr=0.95)] == [0] * 4
    assert [len(part) for part in multiclass_nms(boxes[:0], scores[:0], nms, score_thr=0.0)] == [0] * 4
    ious = torch.tensor([0.5, 0.9])
    guided = multiclass_nms(boxes, scores, build(dict(type='IoUGuidedNMS')), score_thr=0.15, pred_ious=ious)
    assert guided.indices.tolist() == [1, 1]
    assert guided.scores.tolist() == pytest.approx([0.9, 0.8])
    with pytest.raises(ValueError, match=r'boxes and scores must be .*, got \(2, 8\) and \(2, 2\)'):
        multiclass_nms(torch.ones(2, 8), scores, nms, score_thr=0.5)


@pytest.mark.parametrize('name', ['ClusterNMS', 'MatrixNMS'])
def test_many_boxes_are_taken_label_by_label(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    corners, labels = 40 * torch.rand(60, 2), torch.randint(4, (60,)) * 7
    boxes, scores = torch.cat([corners, corners + 5 + 20 * torch.rand(60, 2)], dim=1), (20 * torch.rand(60)).floor() / 20 + 0.1
    nms, largest = NMS.build(dict(type=name)), []
    together = nms(boxes, scores, labels)
    monkeypatch.setattr('mmpose_lite.ops.nms.parallel._MOST_TOGETHER', 59)
    monkeypatch.setattr(
        'mmpose_lite.ops.nms.parallel.mutual_overlaps', lambda b, *args: largest.append(len(b)) or mutual_overlaps(b, *args)
    )
    found = nms(boxes, scores, labels)
    assert max(largest) == labels.unique(return_counts=True)[1].max()
    assert (len(found.indices) < 60) == (name == 'ClusterNMS')  # the other lowers scores, here above its least one
    by_index, expected = (result.indices.argsort() for result in (found, together))
    for ours, theirs in zip(found, together):
        torch.testing.assert_close(ours[by_index], theirs[expected])
    assert (found.scores.diff() <= 0).all()
    ties = found.scores.diff() == 0
    assert (found.indices.diff()[ties] > 0).all()
