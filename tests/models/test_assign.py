"""Anchors, assignment, sampling and coding of boxes, without a head."""

import itertools
import math
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mmpose_lite.models.assign import AnchorGenerator, Assignment, DeltaXYWHBBoxCoder, MaxIoUAssigner, Sampled
from mmpose_lite.models.assign.anchors import inside_image
from mmpose_lite.models.assign.box_coder import clip_boxes
from mmpose_lite.registry import ASSIGNERS, BOX_CODERS, BOX_SAMPLERS, PRIOR_GENERATORS
from tests.parity import functions

SAMPLERS = ['RandomSampler', 'OHEMSampler', 'InstanceBalancedPosSampler', 'IoUBalancedNegSampler']


def random_boxes(count: int, *, size: float = 60.0) -> Tensor:
    corners = size * torch.rand(count, 2)
    return torch.cat([corners, corners + 4 + 20 * torch.rand(count, 2)], dim=1)


def assigner(**args: Any) -> MaxIoUAssigner:
    return ASSIGNERS.build(dict(type='MaxIoUAssigner', **dict(dict(pos_iou_thr=0.7, neg_iou_thr=0.3, min_pos_iou=0.3), **args)))


def sampler(name: str, **args: Any) -> Any:
    return BOX_SAMPLERS.build(dict(type=name, **dict(dict(num=32, pos_fraction=0.25), **args)))


# Anchors


def test_anchors_are_the_reference(shared: Path) -> None:
    stored = functions(shared)
    generator = PRIOR_GENERATORS.build(dict(type='AnchorGenerator', strides=(4, 8, 16), ratios=(0.5, 1.0, 2.0), scales=(8,)))
    for level, anchors in enumerate(generator([(6, 8), (3, 4), (2, 2)])):
        torch.testing.assert_close(anchors, torch.from_numpy(stored[f'box.anchors.{level}']))


@pytest.mark.parametrize('scale_major', [True, False])
def test_anchors_against_a_loop(scale_major: bool) -> None:
    strides, sizes, ratios, scales, shapes = (8, 16), (10.0, 24.0), (0.5, 3.0), (1.0, 2.0, 4.0), [(2, 3), (1, 2)]
    generator = AnchorGenerator(
        strides=strides, ratios=ratios, scales=scales, base_sizes=sizes, scale_major=scale_major, center_offset=0.5
    )
    pairs = list(itertools.product(ratios, scales)) if scale_major else [(r, s) for s in scales for r in ratios]
    assert generator.num_base_anchors == 6
    for anchors, stride, size, (H, W) in zip(generator(shapes), strides, sizes, shapes):
        expected = []
        for y, x, (ratio, scale) in itertools.product(range(H), range(W), pairs):
            w, h = size * scale / math.sqrt(ratio), size * scale * math.sqrt(ratio)
            cx, cy = (x + 0.5) * stride, (y + 0.5) * stride
            expected.append([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2])
        torch.testing.assert_close(anchors, torch.tensor(expected))


def test_octaves_are_scales() -> None:
    octaves = AnchorGenerator(strides=(8,), ratios=(1.0,), octave_base_scale=4, scales_per_octave=3)
    scales = AnchorGenerator(strides=(8,), ratios=(1.0,), scales=[4, 4 * 2 ** (1 / 3), 4 * 2 ** (2 / 3)])
    torch.testing.assert_close(octaves.base_anchors, scales.base_anchors)


def test_which_anchors_are_on_the_image() -> None:
    generator = AnchorGenerator(strides=(8,), ratios=(1.0, 2.0), scales=(1.0,))
    flags = generator.valid_flags([(3, 4)], (9, 24))[0].view(3, 4, 2)  # px; two rows of cells, three columns
    expected = torch.zeros(3, 4, 2, dtype=torch.bool)
    expected[:2, :3] = True
    assert torch.equal(flags, expected)
    anchors = torch.tensor([[-1.0, 0.0, 5.0, 5.0], [0.0, 0.0, 30.0, 5.0], [0.0, 0.0, 29.0, 19.0], [0.0, -9.0, 1.0, 1.0]])
    assert inside_image(anchors, (20, 30)).tolist() == [False, False, True, False]
    assert inside_image(anchors, (20, 30), border=2).tolist() == [True, True, True, False]


def test_anchors_follow_the_module_but_not_into_checkpoints() -> None:
    generator = AnchorGenerator(strides=(8,), ratios=(1.0,), scales=(1.0,))
    assert not generator.state_dict()
    assert generator.double()([(1, 1)])[0].dtype == torch.float64


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (dict(scales=None), r'either `scales` or both .* must be given, got None, None and None'),
        (dict(octave_base_scale=4), 'either `scales` or both'),
        (dict(scales=None, octave_base_scale=4), 'either `scales` or both'),
        (dict(base_sizes=(8, 16)), r'`base_sizes` needs one entry per stride \(1\), got \(8, 16\)'),
        (dict(ratios=()), r'`ratios` must be one or more numbers above 0, got \(\)'),
        (dict(strides=[(8, 8)]), r'`strides` must be one or more numbers above 0, got \[\(8, 8\)\]'),
        (dict(scales=(0,)), r'`scales` must be one or more numbers above 0, got \(0,\)'),
        (dict(center_offset=2), r'`center_offset` must be in \[0, 1\], got 2'),
    ],
)
def test_errors_of_anchors(args: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AnchorGenerator(**dict(dict(strides=(8,), ratios=(1.0,), scales=(1.0,)), **args))


def test_one_shape_per_level_is_needed() -> None:
    generator = AnchorGenerator(strides=(8, 16), ratios=(1.0,), scales=(1.0,))
    for call in (generator, lambda shapes: generator.valid_flags(shapes, (8, 8))):
        with pytest.raises(ValueError, match=r'needs one \(H, W\) per stride \(2\), got \[\(1, 1\)\]'):
            call([(1, 1)])


# Box coder


def test_coder_is_the_reference(shared: Path) -> None:
    stored = {key: torch.from_numpy(value) for key, value in functions(shared).items() if key.startswith(('box.', 'loss.box'))}
    coder = BOX_CODERS.build(dict(type='DeltaXYWHBBoxCoder', target_stds=(0.1, 0.1, 0.2, 0.2)))
    priors, boxes = stored['loss.box.pred'], stored['loss.box.target']
    torch.testing.assert_close(coder.encode(priors, boxes), stored['box.delta'])
    decoded = coder.decode(priors, stored['box.delta'] * 1.3, max_shape=(90, 95))
    torch.testing.assert_close(decoded, stored['box.decoded'])


def test_coder_by_hand_and_back() -> None:
    coder = DeltaXYWHBBoxCoder(target_means=(0.5, 0.0, 0.0, 0.0), target_stds=(0.1, 0.2, 1.0, 0.5))
    prior, box = torch.tensor([[0.0, 0.0, 10.0, 20.0]]), torch.tensor([[5.0, 10.0, 25.0, 20.0]])
    deltas = torch.tensor([[(1.0 - 0.5) / 0.1, 0.25 / 0.2, math.log(2), math.log(0.5) / 0.5]])
    torch.testing.assert_close(coder.encode(prior, box), deltas)
    priors, boxes = random_boxes(40), random_boxes(40)
    torch.testing.assert_close(coder.decode(priors, coder.encode(priors, boxes)), boxes, atol=1e-3, rtol=0)
    per_class = coder.encode(priors[:, None], boxes.view(10, 4, 4).repeat(4, 1, 1))
    assert per_class.shape == (40, 4, 4)
    back = coder.decode(priors[:, None], per_class)
    torch.testing.assert_close(back, boxes.view(10, 4, 4).repeat(4, 1, 1), atol=1e-3, rtol=0)


def test_decoding_is_bounded() -> None:
    coder, prior = DeltaXYWHBBoxCoder(), torch.tensor([[40.0, 40.0, 60.0, 60.0]])
    wild = torch.tensor([[0.0, 0.0, 50.0, -50.0]])
    ratio = 1000 / 16
    expected = torch.tensor([[50 - 10 * ratio, 50 - 10 / ratio, 50 + 10 * ratio, 50 + 10 / ratio]])
    torch.testing.assert_close(coder.decode(prior, wild), expected)
    cut = torch.tensor([[0.0, 50 - 10 / ratio, 80.0, 50 + 10 / ratio]])
    torch.testing.assert_close(coder.decode(prior, wild, max_shape=(70, 80)), cut)
    torch.testing.assert_close(coder.decode(prior, wild, max_shape=torch.tensor([[70, 80]])), cut)
    free = DeltaXYWHBBoxCoder(clip_border=False)
    torch.testing.assert_close(free.decode(prior, wild, max_shape=(70, 80)), expected)
    clamped = DeltaXYWHBBoxCoder(add_ctr_clamp=True, ctr_clamp=4)
    moved = clamped.decode(prior, torch.tensor([[3.0, -3.0, 0.0, 0.0]]))
    torch.testing.assert_close(moved, torch.tensor([[44.0, 36.0, 64.0, 56.0]]))


def test_degenerate_boxes_do_not_make_nan() -> None:
    points = torch.tensor([[5.0, 5.0, 5.0, 5.0], [9.0, 9.0, 2.0, 2.0], [0.0, 0.0, 10.0, 10.0]])
    coder = DeltaXYWHBBoxCoder()
    assert coder.encode(points[:, None], points).isfinite().all()
    assert coder.encode(points[:0], points[:0]).shape == (0, 4)
    assert coder.decode(points[:0], points[:0], max_shape=(9, 9)).shape == (0, 4)


def test_half_precision_deltas_are_decoded_in_full() -> None:
    prior = torch.tensor([[1000.0, 1000.0, 1101.0, 1103.0]])
    decoded = DeltaXYWHBBoxCoder().decode(prior, torch.zeros(1, 4).half())
    torch.testing.assert_close(decoded, prior)


def test_clipping_of_several_images() -> None:
    boxes = torch.tensor([-5.0, -5.0, 50.0, 50.0]).expand(2, 3, 4)
    cut = clip_boxes(boxes, torch.tensor([[[10, 20]], [[30, 40]]]))
    torch.testing.assert_close(cut[0], torch.tensor([0.0, 0.0, 20.0, 10.0]).expand(3, 4))
    torch.testing.assert_close(cut[1], torch.tensor([0.0, 0.0, 40.0, 30.0]).expand(3, 4))


def test_errors_of_the_coder() -> None:
    for args in (dict(target_means=(0.0,)), dict(target_stds=(1.0, 1.0, 0.0, 1.0))):
        with pytest.raises(ValueError, match='must be four numbers each, the latter above 0, got'):
            DeltaXYWHBBoxCoder(**args)


# Assigner


def assign_by_loop(priors: Tensor, objects: Tensor, ignored: Tensor, **args: Any) -> list[int]:
    """The three rules, prior by prior."""
    options = dict(pos_iou_thr=0.7, neg_iou_thr=0.3, min_pos_iou=0.3, ignore_iof_thr=-1.0, ignore_wrt_candidates=True)
    options |= dict(match_low_quality=True, gt_max_assign_all=True) | args

    def both(a: list[float], b: list[float]) -> float:
        return max(min(a[2], b[2]) - max(a[0], b[0]), 0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0)

    def area(a: list[float]) -> float:
        return (a[2] - a[0]) * (a[3] - a[1])

    def lies_in_a_region(prior: list[float]) -> bool:
        whole = [area(prior if options['ignore_wrt_candidates'] else region) for region in ignored.tolist()]
        return any(both(prior, region) / size > options['ignore_iof_thr'] for region, size in zip(ignored.tolist(), whole))

    low, high = options['neg_iou_thr'] if isinstance(options['neg_iou_thr'], tuple) else (0, options['neg_iou_thr'])
    table = []
    for prior in priors.tolist():
        row = [both(prior, o) / (area(prior) + area(o) - both(prior, o)) for o in objects.tolist()]
        table.append([-1.0] * len(row) if options['ignore_iof_thr'] >= 0 and lies_in_a_region(prior) else row)
    found = []
    for row in table:
        best = max(row)
        found.append(row.index(best) + 1 if best >= options['pos_iou_thr'] else 0 if low <= best < high else -1)
    for i in range(len(objects)):
        column = [row[i] for row in table]
        if options['match_low_quality'] and max(column) >= options['min_pos_iou']:
            ties = [n for n, iou in enumerate(column) if iou == max(column)]
            for n in ties if options['gt_max_assign_all'] else ties[:1]:
                found[n] = i + 1
    return found


@pytest.mark.parametrize(
    'args',
    [
        dict(),
        dict(pos_iou_thr=0.5, neg_iou_thr=0.5, min_pos_iou=0.5, match_low_quality=False),
        dict(pos_iou_thr=0.5, neg_iou_thr=(0.1, 0.5), min_pos_iou=0.0),
        dict(ignore_iof_thr=0.5),
        dict(ignore_iof_thr=0.3, ignore_wrt_candidates=False),
        dict(gt_max_assign_all=False),
    ],
)
def test_assigner_against_a_loop(args: dict[str, Any]) -> None:
    priors, objects, ignored = random_boxes(150), random_boxes(7), random_boxes(3)
    priors = torch.cat([priors, priors[:20], objects + 1, random_boxes(20, size=400)]).double()  # ties, and far ones
    objects[6] = objects[0]  # two that compete for the same priors
    objects, ignored = objects.double(), ignored.double()
    expected = assign_by_loop(priors, objects, ignored, **args)
    found = assigner(**args).assign(priors, objects, ignored_xyxy=ignored)
    assert found.gt_inds.tolist() == expected
    assert found.num_gts == 7
    assert {-1, 0, 2} <= set(expected) or args.get('neg_iou_thr') == 0.5


def test_assigner_is_the_reference(shared: Path) -> None:
    stored = {key: torch.from_numpy(value) for key, value in functions(shared).items() if key.startswith('box.assign')}
    found = assigner().assign(stored['box.assign.priors'], stored['box.assign.gt'])
    assert torch.equal(found.gt_inds, stored['box.assign.index'])


def test_nothing_to_assign() -> None:
    priors, objects = random_boxes(5), random_boxes(2)
    nobody = assigner().assign(priors, objects[:0])
    assert nobody.gt_inds.tolist() == [0] * 5
    assert nobody.max_ious.tolist() == [0] * 5
    assert nobody.num_gts == 0
    nowhere = assigner().assign(priors[:0], objects)
    assert nowhere.gt_inds.shape == (0,)
    assert nowhere.num_gts == 2
    hard = assigner(pos_iou_thr=0.5, neg_iou_thr=(0.1, 0.5))  # of images with objects, background is near one
    for nothing in (dict(), dict(is_object=torch.zeros(2, dtype=torch.bool))):
        assert hard.assign(priors, objects if nothing else objects[:0], **nothing).gt_inds.tolist() == [0] * 5
    crowd = assigner(ignore_iof_thr=0.5).assign(priors, objects[:0], ignored_xyxy=priors[1:2])
    assert crowd.gt_inds[1] == -1  # a crowd is no background, whether there is somebody else or not
    assert crowd.gt_inds[0] == 0 or crowd.max_ious[0] == -1


def test_objects_are_put_before_the_priors() -> None:
    found = assigner().assign(random_boxes(5), random_boxes(3)).with_gts()
    assert found.gt_inds[:3].tolist() == [1, 2, 3]
    assert found.max_ious[:3].tolist() == [1, 1, 1]
    assert len(found.gt_inds) == len(found.max_ious) == 8


def test_degenerate_objects_get_no_prior() -> None:
    for min_pos_iou in (0.3, 0.0):
        found = assigner(min_pos_iou=min_pos_iou).assign(random_boxes(20), torch.tensor([[5.0, 5.0, 5.0, 5.0]]))
        assert (found.gt_inds == 0).all()


def test_errors_of_the_assigner() -> None:
    with pytest.raises(ValueError, match=r'MaxIoUAssigner: `min_pos_iou` must be in \[0, 1\], got 2'):
        ASSIGNERS.build(dict(type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.5, min_pos_iou=2))
    with pytest.raises(ValueError, match=r'must be in \[0, 1\] and rise, got 0.6 and 0.5'):
        assigner(pos_iou_thr=0.5, neg_iou_thr=0.6)
    with pytest.raises(ValueError, match=r'must be \(N, 4\) and \(M, 4\), got \(3, 4\) and \(2, 5\)'):
        assigner().assign(torch.ones(3, 4), torch.ones(2, 5))


# Samplers


def made_up(num_positive: int, num_negative: int, num_neither: int = 9, *, num_gts: int = 3) -> Assignment:
    """Return an assignment in which most positives belong to object 1."""
    owners = torch.ones(num_positive, dtype=torch.int64)
    owners[: num_gts - 1] = torch.arange(2, num_gts + 1)[:num_positive]
    gt_inds = torch.cat([owners, torch.zeros(num_negative), -torch.ones(num_neither)]).long()
    ious = torch.cat([0.5 + 0.5 * torch.rand(num_positive), 0.5 * torch.rand(num_negative) ** 6, 0.45 * torch.ones(num_neither)])
    order = torch.randperm(len(gt_inds))
    return Assignment(gt_inds[order], ious[order], num_gts)


def draw(name: str, assignment: Assignment, *, seed: int = 0, **args: Any) -> Sampled:
    losses = torch.rand(len(assignment.gt_inds), generator=torch.Generator().manual_seed(seed))
    return sampler(name, **args).sample(assignment, losses=losses, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize('name', SAMPLERS)
@pytest.mark.parametrize(
    ('num_positive', 'num_negative', 'args', 'positives', 'negatives'),
    [
        (20, 300, {}, 8, 24),
        (3, 300, {}, 3, 29),
        (0, 300, {}, 0, 32),
        (20, 10, {}, 8, 10),
        (20, 0, {}, 8, 0),
        (0, 0, {}, 0, 0),
        (2, 300, dict(neg_pos_ub=5), 2, 10),
        (0, 300, dict(neg_pos_ub=5), 0, 5),
        (20, 300, dict(pos_fraction=0.0), 0, 32),
        (40, 300, dict(pos_fraction=1.0), 32, 0),
        (20, 300, dict(num=1000), 20, 300),
    ],
)
def test_numbers_of_rows(
    name: str, num_positive: int, num_negative: int, args: dict[str, Any], positives: int, negatives: int
) -> None:
    assignment = made_up(num_positive, num_negative)
    found = draw(name, assignment, **args)
    assert (
        len(found.indices)
        == len(found.is_positive)
        == len(found.is_valid)
        == min(args.get('num', 32), num_positive + num_negative + 9)
    )
    assert int(found.is_positive.sum()) == positives
    assert int(found.is_valid.sum()) == positives + negatives
    assert not (found.is_positive & ~found.is_valid).any()
    assert (assignment.gt_inds[found.indices[found.is_positive]] > 0).all()
    assert (assignment.gt_inds[found.indices[found.is_valid & ~found.is_positive]] == 0).all()
    chosen = found.indices[found.is_valid].tolist()
    assert len(set(chosen)) == len(chosen)


@pytest.mark.parametrize('name', SAMPLERS)
def test_no_priors_at_all(name: str) -> None:
    found = draw(name, Assignment(torch.empty(0, dtype=torch.int64), torch.empty(0), 2))
    assert [len(part) for part in found] == [0, 0, 0]


@pytest.mark.parametrize('name', SAMPLERS)
def test_the_generator_decides(name: str) -> None:
    assignment = made_up(20, 300)
    first, again, other = (draw(name, assignment, seed=seed).indices.tolist() for seed in (1, 1, 2))
    assert first == again
    assert first != other
    global_state = torch.get_rng_state()
    draw(name, assignment)
    assert torch.equal(torch.get_rng_state(), global_state)


def test_random_sampling_is_even() -> None:
    assignment = made_up(12, 40)
    counts = Counter(i for seed in range(400) for i in draw('RandomSampler', assignment, seed=seed, num=16).indices.tolist())
    for gt_ind, expected in ((1, 400 * 4 / 12), (0, 400 * 12 / 40)):
        for i in (assignment.gt_inds.clamp(max=1) == gt_ind).nonzero()[:, 0].tolist():
            assert abs(counts[i] - expected) < 5 * math.sqrt(expected)


def test_ohem_takes_the_greatest_losses() -> None:
    assignment = made_up(20, 300)
    losses = torch.rand(329)
    found = sampler('OHEMSampler').sample(assignment, losses=losses)
    for positive, count in ((True, 8), (False, 24)):
        members = (assignment.gt_inds > 0 if positive else assignment.gt_inds == 0).nonzero()[:, 0].tolist()
        expected = sorted(members, key=lambda i: -losses[i])[:count]
        assert found.indices[found.is_positive == positive].tolist() == expected


def test_instances_get_about_as_many_positives_each() -> None:
    owners = torch.cat([torch.full((count,), i + 1) for i, count in enumerate((200, 30, 2, 0))])
    assignment = Assignment(owners, torch.ones(232), 4)
    found = draw('InstanceBalancedPosSampler', assignment, num=60, pos_fraction=0.5)  # 30 places, 3 objects: 11 each
    counts = Counter(owners[found.indices[found.is_positive]].tolist())
    assert counts[3] == 2
    assert counts[1] + counts[2] == 28
    assert min(counts[1], counts[2]) >= 11
    found = draw('InstanceBalancedPosSampler', Assignment(owners[:230], torch.ones(230), 4), num=60, pos_fraction=0.5)
    counts = Counter(owners[found.indices[found.is_positive]].tolist())
    assert sorted(counts.values())[0] >= 14  # 16 each, of which 30 are drawn


@pytest.mark.parametrize('floor_thr', [-1.0, 0.0, 0.1])
@pytest.mark.parametrize('floor_fraction', [0.0, 0.4])
@pytest.mark.parametrize('num_bins', [1, 3])
def test_negatives_are_balanced_over_their_iou(floor_thr: float, floor_fraction: float, num_bins: int) -> None:
    assignment = made_up(20, 600)
    assignment.max_ious[assignment.gt_inds == 0] *= assignment.max_ious[assignment.gt_inds == 0] > 1e-4  # some are exactly 0
    found = draw(
        'IoUBalancedNegSampler',
        assignment,
        num=80,
        floor_thr=floor_thr,
        floor_fraction=floor_fraction,
        num_bins=num_bins,
    )
    places = 60
    for_balanced = int(places * (1 - floor_fraction))
    negatives = assignment.max_ious[assignment.gt_inds == 0].tolist()
    chosen = assignment.max_ious[found.indices[found.is_valid & ~found.is_positive]].tolist()
    assert len(chosen) == places

    def is_balanced(iou: float) -> bool:
        return iou >= floor_thr if floor_thr > 0 else iou > floor_thr

    balanced = [iou for iou in negatives if is_balanced(iou)]
    from_balanced = min(len(balanced), for_balanced)
    rest = places - from_balanced
    from_floor = min(len(negatives) - len(balanced), rest)
    assert sum(map(is_balanced, chosen)) == from_balanced + (rest - from_floor)
    start, end = max(floor_thr, 0), float(assignment.max_ious.max())
    width = (end - start) / num_bins
    for b in range(num_bins):
        inside = [iou for iou in balanced if start + b * width <= iou < start + (b + 1) * width]
        taken = [iou for iou in chosen if is_balanced(iou) and start + b * width <= iou < start + (b + 1) * width]
        assert len(taken) >= min(len(inside), for_balanced // num_bins)


def test_balanced_negatives_are_harder_than_random_ones() -> None:
    assignment = made_up(20, 2000)

    def mean(name: str) -> float:
        found = draw(name, assignment)
        return float(assignment.max_ious[found.indices[~found.is_positive]].mean())

    assert mean('IoUBalancedNegSampler') > 2 * mean('RandomSampler')


def test_combined_sampler_takes_from_both() -> None:
    cfg = dict(pos_sampler=dict(type='OHEMSampler'), neg_sampler=dict(type='IoUBalancedNegSampler', num_bins=2))
    assignment = made_up(20, 300)
    combined, hard, balanced = (
        draw(name, assignment, **args)
        for name, args in (('CombinedSampler', cfg), ('OHEMSampler', {}), ('IoUBalancedNegSampler', dict(num_bins=2)))
    )
    assert combined.indices[combined.is_positive].tolist() == hard.indices[hard.is_positive].tolist()
    assert combined.indices[~combined.is_positive].tolist() == balanced.indices[~balanced.is_positive].tolist()
    wrong = dict(cfg, pos_sampler=dict(type='OHEMSampler', hard=True))
    with pytest.raises(TypeError, match='config key `pos_sampler`: OHEMSampler has no argument `hard`'):
        sampler('CombinedSampler', **wrong)


def test_errors_of_samplers() -> None:
    with pytest.raises(ValueError, match=r'OHEMSampler: `losses` of the priors \(29,\) must be given, got None'):
        sampler('OHEMSampler').sample(made_up(10, 10))
    with pytest.raises(ValueError, match=r'OHEMSampler: `losses` of the priors \(29,\) must be given, got \(3,\)'):
        sampler('OHEMSampler').sample(made_up(10, 10), losses=torch.ones(3))
    for name in SAMPLERS:
        with pytest.raises(ValueError, match=rf'{name}: `num` must be 1 or more and `pos_fraction` in \[0, 1\], got 0 and 2'):
            sampler(name, num=0, pos_fraction=2)
    with pytest.raises(ValueError, match=r'`floor_thr` must be -1 or 0 or more, .*, got -0\.5, 0\.0 and 3'):
        sampler('IoUBalancedNegSampler', floor_thr=-0.5)


# Waiting for the device


@pytest.mark.parametrize('name', SAMPLERS)
def test_nothing_waits_for_the_device(name: str) -> None:
    """Tensors without values: whatever asks for one fails."""
    with torch.device('meta'):
        priors, objects, ignored = torch.empty(200, 4), torch.empty(5, 4), torch.empty(2, 4)
        found = assigner(ignore_iof_thr=0.5).assign(priors, objects, ignored_xyxy=ignored).with_gts()
        sampled = sampler(name).sample(found, losses=torch.empty(205))
        boxes = torch.cat([objects, priors])[sampled.indices]
        deltas = DeltaXYWHBBoxCoder().encode(boxes, objects[(found.gt_inds[sampled.indices] - 1).clamp(min=0)])
        DeltaXYWHBBoxCoder().decode(boxes, deltas, max_shape=(480, 640))
        AnchorGenerator(strides=(8,), ratios=(1.0,), scales=(1.0,))([(4, 4)])
    with pytest.raises(RuntimeError, match='meta'):
        sampled.indices.sum().item()
