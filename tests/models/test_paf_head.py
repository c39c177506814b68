"""Heads with part affinity fields: losses against loops, what a mask leaves out, other keypoints, flips and scales."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mmpose_lite.codecs.pose_groups import PoseGroups
from mmpose_lite.errors import ConfigError
from mmpose_lite.models.heads.pose.paf_head import PAFMaps
from mmpose_lite.registry import HEADS
from mmpose_lite.structures import KeypointMeta, SampleBatch
from tests.standing_person import STANDING

COCO, OPENPOSE = KeypointMeta.load('coco17'), KeypointMeta.load('openpose18')
INPUT_SIZE, SIZE = (96, 64), (12, 8)  # (w, h); a cell is 8 px
CODEC = dict(type='PAFCodec', meta='openpose18', input_size=INPUT_SIZE, heatmap_size=SIZE, sigma=1.0, limb_width=1.0)
PAF = dict(type='PAFHead', in_channels=4, deconv_out_channels=())
STAGE = dict(type='OpenPoseStage', maps=('fields', 'heatmaps'), kernel_size=3, num_convs=1, channels=4, last_channels=4)
STAGES = dict(type='OpenPoseHead', in_channels=4, stages=[STAGE, dict(STAGE, maps=('fields',)), dict(STAGE, maps=('heatmaps',))])


def build(cfg: dict[str, Any] = PAF, *, meta: Any = 'coco17', **args: Any) -> nn.Module:
    head = HEADS.build({**cfg, 'codec': CODEC, **args}, meta=meta)
    head.init_weights()
    return head


def people(counts: Sequence[int], *, mask: Tensor | None = None) -> SampleBatch:
    """Return `counts` people in the images, a tenth of the keypoints without label."""
    N = sum(counts)
    fields = {
        'keypoints_input': torch.rand(N, 17, 2) * torch.tensor(INPUT_SIZE),
        'keypoints_visible': (torch.rand(N, 17) > 0.1).float(),
    }
    mask = torch.ones(len(counts), SIZE[1], SIZE[0], dtype=torch.uint8) if mask is None else mask
    return SampleBatch(fields, counts, [{} for _ in counts], maps={'loss_mask': mask})


def features(images: int) -> tuple[Tensor, ...]:
    return (torch.randn(images, 4, SIZE[1], SIZE[0]),)


def half_masked(images: int) -> Tensor:
    return (torch.rand(images, SIZE[1], SIZE[0]) > 0.5).to(torch.uint8)


def as_openpose(keypoints: Tensor, visible: Tensor) -> tuple[Tensor, Tensor]:
    """Convert by hand: nose, neck, right arm, left arm, right leg, left leg, eyes, ears."""
    order = [0, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3]
    neck = keypoints[..., 5:7, :].mean(dim=-2, keepdim=True)
    seen = visible[..., 5:7].amin(dim=-1, keepdim=True)
    keypoints, visible = keypoints[..., order, :], visible[..., order]
    return (
        torch.cat((keypoints[..., :1, :], neck, keypoints[..., 1:, :]), dim=-2),
        torch.cat((visible[..., :1], seen, visible[..., 1:]), dim=-1),
    )


# ----------------------------------------------------------------------------------------------------------------------- loss
@pytest.mark.parametrize('cfg', [PAF, STAGES], ids=lambda cfg: cfg['type'])
def test_losses_are_those_of_a_loop_over_stages_and_images(cfg: dict[str, Any]) -> None:
    weights = (0.5, 2.0, 3.0)
    args = dict(stage_weights=weights) if cfg is STAGES else {}
    head = build(cfg, loss_heatmap=dict(type='MaskedMSELoss', loss_weight=0.5), loss_field=dict(type='MaskedMSELoss'), **args)
    feats, samples = features(3), people([2, 0, 1], mask=half_masked(3))
    losses, maps = head.loss(feats, samples), head(feats)

    expected = {'loss_heatmap': 0.0, 'loss_field': 0.0}
    of_stages = {'loss_heatmap': (0.5, 3.0), 'loss_field': (0.5, 2.0)} if cfg is STAGES else dict.fromkeys(expected, (1.0,))
    points, visible = as_openpose(samples.keypoints_input, samples.keypoints_visible)
    for image, rows in enumerate((slice(0, 2), slice(2, 2), slice(2, 3))):
        targets = head.codec.encode(points[None, rows], visible[None, rows])
        for name, made, target in (
            ('loss_heatmap', maps.heatmaps, targets.heatmaps),
            ('loss_field', maps.fields, targets.fields),
        ):
            for stage, weight in enumerate(of_stages[name]):
                squares = (made[stage][image] - target[0]) ** 2 * samples.loss_mask[image]
                expected[name] += weight * squares.sum().item() / 3 * (0.5 if name == 'loss_heatmap' else 1.0)
    assert {name: value.item() for name, value in losses.items()} == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize('cfg', [PAF, STAGES], ids=lambda cfg: cfg['type'])
@pytest.mark.parametrize('counts', [[1, 2], [0, 0], [3, 0]])
def test_names_are_always_the_same_and_values_finite(cfg: dict[str, Any], counts: list[int]) -> None:
    head = build(cfg)
    losses = head.loss(features(2), people(counts))
    assert list(losses) == ['loss_heatmap', 'loss_field']
    sum(losses.values()).backward()
    assert all(torch.isfinite(value) and value > 0 for value in losses.values()) or counts == [0, 0]
    assert all(torch.isfinite(parameter.grad).all() for parameter in head.parameters())


def test_an_image_without_people_teaches_that_nobody_is_there() -> None:
    head = build()
    targets = head.codec.encode(torch.zeros(1, 1, 18, 2), torch.zeros(1, 1, 18))
    maps = PAFMaps((targets.heatmaps,), (targets.fields,))
    assert (targets.fields == 0).all()
    head.forward = lambda feats: maps
    losses = head.loss(features(1), people([0]))
    assert losses == dict(loss_heatmap=0, loss_field=0)


@pytest.mark.parametrize('loss', ['MaskedMSELoss', 'MaskedFocalL2Loss'])
def test_what_is_masked_is_left_out_of_every_stage(loss: str) -> None:
    head = build(STAGES, loss_heatmap=dict(type=loss), loss_field=dict(type=loss))
    mask = half_masked(2)
    samples, maps = people([2, 1], mask=mask), head(features(2))
    left_out = (mask == 0)[:, None]
    head.forward = lambda feats: maps
    before = head.loss(features(2), samples)
    changed = PAFMaps(*(tuple(m + 5 * left_out for m in of_kind) for of_kind in maps))
    head.forward = lambda feats: changed
    torch.testing.assert_close(head.loss(features(2), samples), before)
    for kind, name in enumerate(('loss_heatmap', 'loss_field')):
        for stage in range(2):
            moved = [list(of_kind) for of_kind in maps]
            moved[kind][stage] = moved[kind][stage] + 5 * ~left_out
            head.forward = lambda feats, moved=moved: PAFMaps(*map(tuple, moved))
            after = head.loss(features(2), samples)
            assert after[name] > before[name] + 1
            other = next(key for key in after if key != name)
            torch.testing.assert_close(after[other], before[other])


@pytest.mark.parametrize('cfg', [PAF, STAGES], ids=lambda cfg: cfg['type'])
def test_a_mask_of_zeros_gives_zero_with_zero_gradient(cfg: dict[str, Any]) -> None:
    head = build(cfg)
    losses = head.loss(features(2), people([2, 1], mask=torch.zeros(2, SIZE[1], SIZE[0], dtype=torch.uint8)))
    assert losses == dict(loss_heatmap=0, loss_field=0)
    sum(losses.values()).backward()
    assert all((parameter.grad == 0).all() for parameter in head.parameters())


def test_losses_are_computed_in_float32() -> None:
    focal = dict(type='MaskedFocalL2Loss')
    head, samples = build(loss_heatmap=focal, loss_field=focal), people([1])
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert {m[0].dtype for m in head(features(1))} == {torch.bfloat16}
    maps = PAFMaps(*((torch.randn(1, channels, SIZE[1], SIZE[0]).bfloat16(),) for channels in (19, 38)))
    head.forward = lambda feats: maps
    losses = head.loss(features(1), samples)
    head.forward = lambda feats: PAFMaps(*(tuple(m.float() for m in of_kind) for of_kind in maps))
    assert losses == head.loss(features(1), samples)


def test_a_permuted_batch_costs_the_same() -> None:
    head, feats, samples = build(), features(2)[0], people([1, 1], mask=half_masked(2))
    fields = {name: getattr(samples, name).flip(0) for name in samples.keys()}  # noqa: SIM118
    other = SampleBatch(fields, [1, 1], [{}, {}], maps={'loss_mask': samples.loss_mask.flip(0)})
    torch.testing.assert_close(head.loss((feats,), samples), head.loss((feats.flip(0),), other))


# --------------------------------------------------------------------------------------------------------------------- decode
PERSON = torch.from_numpy(STANDING + np.float32((48, 2)))[None, None]  # (1, 1, 17, 2) in input px


def ideal(head: nn.Module, keypoints: Tensor, size: tuple[int, int] | None = None) -> PAFMaps:
    """Return the maps of (1, N, 17, 2) keypoints that are all visible."""
    points, visible = keypoints, torch.ones(keypoints.shape[:3])
    if head.to_codec is not None:
        points, visible = as_openpose(points, visible)
    targets = head.codec.encode(points, visible)
    return PAFMaps((targets.heatmaps,), (targets.fields,))


@pytest.mark.parametrize('meta', ['coco17', 'openpose18'])
def test_people_come_back_with_the_keypoints_of_the_data_set(meta: str) -> None:
    """Fine cells: 2 px."""
    head = build(codec={**CODEC, 'meta': meta, 'heatmap_size': (48, 32)})
    (group,) = head.decode(ideal(head, PERSON))
    assert group.keypoints.shape == (1, 17, 2)
    assert group.keypoint_scores.shape == (1, 17)
    assert group.scores.shape == (1,)
    np.testing.assert_allclose(group.keypoints[0], PERSON[0, 0], atol=1.0)  # px: half a cell
    assert (group.keypoint_scores > 0.5).all()


def test_nobody_is_left_of_keypoints_that_the_data_set_lacks() -> None:
    """The codec finds a neck between shoulders, the data set has neither."""
    faces = dict(keypoints=['nose', 'left_eye', 'right_eye'])
    codec = dict(keypoints=['nose', 'left_eye', 'right_eye', 'neck', 'belly'], limbs=[['neck', 'belly']])
    head = build(meta=faces, codec={**CODEC, 'meta': {**codec, 'derived': dict(neck=['nose'], belly=['nose'])}})
    scores = np.array([[0, 0, 0, 0.9, 0.9], [0.5, 0, 0, 0.9, 0]], np.float32)
    group = PoseGroups(np.ones((2, 5, 2), np.float32), scores, np.array([0.9, 0.7], np.float32))
    head.codec.decode = lambda heatmaps, fields: [group]
    zeros = torch.zeros(1, 1, 2, 2)
    (kept,) = head.decode(PAFMaps((zeros,), (zeros,)))
    np.testing.assert_allclose(kept.keypoint_scores, [[0.5, 0, 0]])
    np.testing.assert_allclose(kept.scores, [0.7])


def test_only_the_last_maps_are_decoded() -> None:
    head = build(codec={**CODEC, 'heatmap_size': (48, 32)})
    right = ideal(head, PERSON)
    wrong = PAFMaps(*((torch.rand_like(maps[0]),) for maps in right))
    (group,) = head.decode(PAFMaps(wrong.heatmaps + right.heatmaps, wrong.fields + right.fields))
    np.testing.assert_allclose(group.keypoints[0], PERSON[0, 0], atol=1.0)


# -------------------------------------------------------------------------------------------------------------- flip and scale
def mirrored(keypoints: Tensor) -> Tensor:
    flipped = keypoints[:, :, list(COCO.swaps)].clone()
    flipped[..., 0] = INPUT_SIZE[0] - 1 - flipped[..., 0]
    return flipped


@pytest.mark.parametrize('meta', ['coco17', 'openpose18'])
@pytest.mark.parametrize('with_background', [False, True])
def test_the_maps_of_the_mirrored_image_come_back(meta: str, with_background: bool) -> None:
    """COCO's limbs between shoulders, hips and eyes run backwards in the mirror."""
    head = build(codec={**CODEC, 'meta': meta, 'with_background': with_background})
    keypoints = torch.rand(1, 3, 17, 2) * torch.tensor(INPUT_SIZE)
    maps = ideal(head, keypoints)
    nothing = PAFMaps(*((torch.zeros_like(m[0]),) for m in maps))
    merged = head.merge_flipped(nothing, ideal(head, mirrored(keypoints)))
    torch.testing.assert_close(2 * merged.heatmaps[-1], maps.heatmaps[-1], rtol=0, atol=1e-5)
    torch.testing.assert_close(2 * merged.fields[-1], maps.fields[-1], rtol=0, atol=1e-5)
    both = head.merge_flipped(maps, ideal(head, mirrored(keypoints)))
    torch.testing.assert_close(both.fields[-1], maps.fields[-1], rtol=0, atol=1e-5)


def test_keypoints_that_cannot_be_mirrored_are_named() -> None:
    lopsided = dict(keypoints=['nose', 'left_eye', 'right_eye'], limbs=[['nose', 'left_eye']])
    head = build(meta=lopsided, codec={**CODEC, 'meta': lopsided})
    with pytest.raises(ValueError, match='mirror'):
        head.check_flip()
    build().check_flip()


def test_scales_are_averaged_at_the_size_of_the_first() -> None:
    head = build()
    first = PAFMaps((torch.full((1, 19, 8, 12), 1.0),), (torch.full((1, 38, 8, 12), 2.0),))
    finer = PAFMaps((torch.full((1, 19, 16, 24), 3.0),), (torch.full((1, 38, 16, 24), 6.0),))
    merged = head.merge_scales([first, finer])
    torch.testing.assert_close(merged.heatmaps[-1], torch.full((1, 19, 8, 12), 2.0))
    torch.testing.assert_close(merged.fields[-1], torch.full((1, 38, 8, 12), 4.0))


def test_peaks_of_all_scales_meet() -> None:
    """Ideal maps at strides 8, 4 and 16 have their means in one place: cells have edges at the edges of the input."""
    keypoints = torch.tensor([[[[41.0, 27.0]]]]).expand(1, 1, 17, 2)
    sizes = ((12, 8), (24, 16), (6, 4))
    heads = [build(codec={**CODEC, 'heatmap_size': size, 'sigma': size[0] / 8}) for size in sizes]
    merged = heads[0].merge_scales([ideal(head, keypoints) for head in heads]).heatmaps[-1][0, 0].clamp(min=0)
    rows, columns = torch.meshgrid(torch.arange(8.0), torch.arange(12.0), indexing='ij')
    center = [((maps * merged).sum() / merged.sum() + 0.5) * 8 - 0.5 for maps in (columns, rows)]
    assert [c.item() for c in center] == pytest.approx([41, 27], abs=1.0)  # px


# --------------------------------------------------------------------------------------------------------------------- errors
def test_a_forgotten_mask_is_named() -> None:
    samples = people([1])
    fields = {name: getattr(samples, name) for name in samples.keys()}  # noqa: SIM118
    with pytest.raises(ConfigError, match=r"PAFHead: `data_samples` must have a loss_mask.*type='GenerateLossMask'"):
        build().loss(features(1), SampleBatch(fields, [1], [{}]))


def test_sizes_that_do_not_fit_are_named() -> None:
    with pytest.raises(ValueError, match=r'got maps \(1, 19, 8, 12\).*and mask \(1, 4, 4\); check `codec.heatmap_size`'):
        build().loss(features(1), people([1], mask=torch.ones(1, 4, 4)))
    with pytest.raises(ValueError, match=r'got maps \(1, 19, 4, 4\), targets \(1, 19, 8, 12\)'):
        build().loss((torch.zeros(1, 4, 4, 4),), people([1]))


def test_keypoints_that_cannot_be_made_are_named() -> None:
    with pytest.raises(ValueError, match=r"KeypointConverter: .* 'rhd21' .* gives no 'nose'"):
        build(meta='rhd21')


def test_a_codec_of_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match=r'PAFHead: `codec` must make fields, as PAFCodec does, got HeatmapCodec\('):
        build(codec=dict(type='HeatmapCodec', input_size=(96, 64), heatmap_size=(12, 8)))


def test_deconvolutions_double_the_map() -> None:
    head = build(deconv_out_channels=(6, 5), deconv_kernel_sizes=(4, 2))
    maps = head((torch.zeros(1, 9, 1, 1), torch.zeros(1, 4, 2, 3)))
    assert (maps.heatmaps[0].shape, maps.fields[0].shape) == ((1, 19, 8, 12), (1, 38, 8, 12))
    assert head.deconv_layers[0].weight.std().item() == pytest.approx(0.001, rel=0.2)
    with pytest.raises(ValueError, match=r'PAFHead: `deconv_kernel_sizes` must be of \[2, 3, 4\], got 5'):
        build(deconv_out_channels=(6,), deconv_kernel_sizes=(5,))
