import math

import numpy as np
import pytest
import torch
from torch import Tensor

from mmpose_lite.codecs import AECodec, PoseGroups
from mmpose_lite.codecs.ae import grouping_order
from mmpose_lite.ops.ae import best_cells
from mmpose_lite.registry import CODECS, ArgumentError
from mmpose_lite.structures import KeypointMeta
from tests.no_sync import NoSync
from tests.slow_ae import slow_decode

CODEC = dict(type='AECodec', input_size=(128, 96), heatmap_size=(32, 24), sigma=1.5)  # (w, h); stride 4
THREE = dict(keypoints=['head', 'left_hand', 'right_hand'])


@pytest.fixture
def codec() -> AECodec:
    return CODECS.build(CODEC, meta='coco17')


def scene(N: int, codec: AECodec, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return keypoints (1, N, K, 2) in the middle of cells, those of one kind two cells or more apart; all are labelled."""
    generator, K = torch.Generator().manual_seed(seed), codec.meta.num_keypoints
    (w, h), (W, H) = codec.input_size, codec.heatmap_size
    every_second = torch.cartesian_prod(torch.arange(0, W, 2), torch.arange(0, H, 2))
    cells = torch.stack([every_second[torch.randperm(len(every_second), generator=generator)[:N]] for _ in range(K)], dim=1)
    return ((cells + 0.5) * torch.tensor((w / W, h / H)) - 0.5)[None], torch.ones(1, N, K)


def ideal_tags(codec: AECodec, keypoints: Tensor, visible: Tensor, *, tag_dim: int = 1) -> Tensor:
    """Return tags (B, L * K, H, W): 2 n at the cells of person n, numbers of nobody elsewhere."""
    W, H = codec.heatmap_size
    tags = torch.full((len(keypoints), codec.meta.num_keypoints, H * W), -50.0)
    targets = codec.encode(keypoints, visible)
    for b, n, k in targets.weights.nonzero().tolist():
        tags[b, k, targets.indices[b, n, k]] = 2 * n
    return tags.unflatten(2, (H, W)).repeat(1, tag_dim, 1, 1)


def sorted_people(groups: PoseGroups, like: Tensor) -> np.ndarray:
    """Return the keypoints found, people in the order of `like` (N, K, 2): each of those nearest to one of these."""
    distances = np.linalg.norm(groups.keypoints[None] - like.numpy()[:, None], axis=-1).max(axis=-1)
    order = distances.argmin(axis=1)
    assert sorted(order) == list(range(len(like))), 'a person was found twice or not at all'
    return groups.keypoints[order]


@pytest.mark.parametrize('tag_dim', [1, 2])
@pytest.mark.parametrize('N', [1, 2, 30])
def test_decoding_undoes_encoding(codec: AECodec, N: int, tag_dim: int) -> None:
    keypoints, visible = scene(N, codec)
    heatmaps = codec.encode(keypoints, visible).heatmaps
    (groups,) = codec.decode(heatmaps, ideal_tags(codec, keypoints, visible, tag_dim=tag_dim))
    assert groups.keypoints.shape == (N, 17, 2)
    np.testing.assert_allclose(sorted_people(groups, keypoints[0]), keypoints[0], atol=1e-4)  # px
    np.testing.assert_allclose(groups.scores, 1, atol=1e-6)
    np.testing.assert_allclose(groups.keypoint_scores, 1, atol=1e-6)
    assert {array.dtype for array in groups} == {np.dtype('float32')}


def test_keypoints_between_cells_come_back_within_half_a_cell(codec: AECodec) -> None:
    keypoints, visible = scene(4, codec)
    moved = keypoints + 3.9 * (torch.rand(keypoints.shape) - 0.5)  # px; a cell is 4 px
    (groups,) = codec.decode(codec.encode(moved, visible).heatmaps, ideal_tags(codec, moved, visible))
    np.testing.assert_allclose(sorted_people(groups, keypoints[0]), keypoints[0], atol=1e-4)
    assert np.abs(sorted_people(groups, moved[0]) - moved[0].numpy()).max() <= 2


def slow_encode(codec: AECodec, people: np.ndarray, visible: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the targets of one image, cell by cell."""
    (w, h), (W, H) = codec.input_size, codec.heatmap_size
    N, K = visible.shape
    heatmaps, indices, weights = np.zeros((K, H, W)), np.zeros((N, K), int), np.zeros((N, K))
    for n, k in np.ndindex(N, K):
        column, row = math.floor((people[n, k, 0] + 0.5) * W / w), math.floor((people[n, k, 1] + 0.5) * H / h)
        if visible[n, k] == 0 or not (0 <= column < W and 0 <= row < H):
            continue
        indices[n, k], weights[n, k] = row * W + column, 1
        for y, x in np.ndindex(H, W):
            if max(abs(y - row), abs(x - column)) <= 3 * codec.sigma:
                value = math.exp(-((x - column) ** 2 + (y - row) ** 2) / (2 * codec.sigma**2))
                heatmaps[k, y, x] = max(heatmaps[k, y, x], value)
    return heatmaps, indices, weights


def test_targets_are_those_of_a_slow_loop() -> None:
    codec = CODECS.build({**CODEC, 'heatmap_size': (12, 10), 'sigma': 1.0}, meta=THREE)
    keypoints = torch.rand(2, 4, 3, 2) * torch.tensor((150.0, 120.0)) - 10
    keypoints[0, 0, 0] = torch.nan
    visible = (torch.rand(2, 4, 3) > 0.3).float()
    targets = codec.encode(keypoints, visible * torch.isfinite(keypoints).all(dim=-1))
    assert targets.weights.sum() > 5
    for b in range(2):
        heatmaps, indices, weights = slow_encode(codec, np.nan_to_num(keypoints[b].numpy(), nan=-999), visible[b].numpy())
        np.testing.assert_allclose(targets.heatmaps[b], heatmaps, atol=1e-6)
        np.testing.assert_array_equal(targets.indices[b], indices)
        np.testing.assert_array_equal(targets.weights[b], weights)
    assert torch.equal(codec.encode(keypoints, visible).weights, targets.weights)  # a point that is nowhere is left out


def test_the_peak_is_where_the_tag_is_read(codec: AECodec) -> None:
    keypoints, visible = torch.rand(3, 5, 17, 2) * 150 - 10, torch.ones(3, 5, 17)
    targets = codec.encode(keypoints, visible)
    peaks = targets.heatmaps.flatten(2).gather(2, targets.indices.transpose(1, 2)).transpose(1, 2)
    assert (peaks == 1)[targets.weights == 1].all()
    assert 0 < targets.weights.mean() < 1


def test_maps_of_another_size(codec: AECodec) -> None:
    """A cell of the codec's maps is 4 px; targets can be made at 2 px, and larger images decoded."""
    keypoints, visible = scene(2, codec)
    fine = codec.encode(keypoints, visible, heatmap_size=(64, 48))
    twice = CODECS.build({**CODEC, 'heatmap_size': (64, 48)}, meta='coco17').encode(keypoints, visible)
    assert all(torch.equal(a, b) for a, b in zip(fine, twice))
    assert fine.heatmaps.shape == (1, 17, 48, 64)
    large = CODECS.build({**CODEC, 'input_size': (256, 96), 'heatmap_size': (64, 24)}, meta='coco17')
    far = keypoints + torch.tensor((128.0, 0.0))
    (groups,) = codec.decode(large.encode(far, visible).heatmaps, ideal_tags(large, far, visible))
    np.testing.assert_allclose(sorted_people(groups, far[0]), far[0], atol=1e-4)


@pytest.mark.parametrize('seed', range(6))
def test_decoding_is_that_of_slow_loops(seed: int) -> None:
    """Noisy maps with two numbers per tag, joints that nobody has, and thresholds of one's own."""
    generator = torch.Generator().manual_seed(seed)
    thresholds = dict(keypoint_thr=0.5, tag_thr=1.2, max_people=3)
    cfg = {**CODEC, 'nms_kernel_size': 5, 'keypoint_order': (2, 0, 3, 1), **thresholds}
    codec = CODECS.build(cfg, meta={**THREE, 'keypoints': [*THREE['keypoints'], 'tail']})
    keypoints, visible = scene(3, codec, seed=seed)
    visible = (torch.rand(visible.shape, generator=generator) > 0.25).float()
    heatmaps = codec.encode(keypoints, visible).heatmaps - 0.2
    heatmaps = heatmaps + 0.4 * torch.rand(heatmaps.shape, generator=generator)
    tags = 0.5 * torch.randint(0, 4, (1, 8, 1, 1), generator=generator) + torch.randn(1, 8, 24, 32, generator=generator)
    (groups,) = codec.decode(heatmaps, tags)
    wanted = slow_decode(
        *(heatmaps[0].double().numpy(), tags[0].view(2, 4, 24, 32).double().numpy(), (2, 0, 3, 1)),
        **dict(stride=4, kernel_size=5, **thresholds),
    )
    assert len(groups.scores) > 1
    for found, expected in zip(groups, wanted):
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_the_score_of_a_person_counts_what_is_lacking_as_0(codec: AECodec) -> None:
    keypoints, visible = scene(1, codec)
    visible[..., 5:] = 0
    (groups,) = codec.decode(codec.encode(keypoints, visible).heatmaps, ideal_tags(codec, keypoints, visible))
    assert groups.scores == pytest.approx([5 / 17])
    assert (groups.keypoint_scores > 0).sum() == 5  # where the map is 0 nothing is filled in
    assert np.isfinite(groups.keypoints).all()


@pytest.mark.parametrize('refine', [True, False])
def test_refining_gives_people_what_was_too_low_for_a_peak(refine: bool) -> None:
    codec = CODECS.build({**CODEC, 'refine': refine}, meta='coco17')
    keypoints, visible = scene(2, codec)
    heatmaps, tags = codec.encode(keypoints, visible).heatmaps, ideal_tags(codec, keypoints, visible)
    heatmaps[:, 9] *= 0.08
    (groups,) = codec.decode(heatmaps, tags)
    np.testing.assert_allclose(groups.scores, 16 / 17)
    np.testing.assert_allclose(groups.keypoint_scores[:, 9], 0.08 * refine, atol=1e-6)
    if refine:
        np.testing.assert_allclose(sorted_people(groups, keypoints[0]), keypoints[0], atol=1e-4)


def test_refining_computes_in_single_precision(codec: AECodec, monkeypatch: pytest.MonkeyPatch) -> None:
    """Doubles take three times as long, and more on most GPUs."""
    keypoints, visible = scene(2, codec)
    heatmaps, tags = codec.encode(keypoints, visible).heatmaps, ideal_tags(codec, keypoints, visible)
    heatmaps[:, 9] *= 0.08
    seen = []

    def observed(*tensors: Tensor) -> Tensor:
        seen.extend(tensor.dtype for tensor in tensors if tensor.is_floating_point())
        return best_cells(*tensors)

    monkeypatch.setattr('mmpose_lite.codecs.ae.best_cells', observed)
    codec.decode(heatmaps, tags)
    assert seen == [torch.float32] * 3


def test_adjusting_moves_by_a_quarter_of_a_cell() -> None:
    keypoints, visible = torch.full((1, 1, 3, 2), 41.5), torch.ones(1, 1, 3)
    for adjust in (True, False):
        codec = CODECS.build({**CODEC, 'adjust': adjust}, meta=THREE)
        heatmaps, tags = codec.encode(keypoints, visible).heatmaps, ideal_tags(codec, keypoints, visible)
        heatmaps[..., 11] *= 1.01  # the peak is in column 10
        (groups,) = codec.decode(heatmaps, tags)
        np.testing.assert_allclose(groups.keypoints[0], [[41.5 + adjust, 41.5]] * 3, atol=1e-4)


def test_empty_maps_and_images_without_people(codec: AECodec) -> None:
    for people in (torch.zeros(2, 0, 17, 2), torch.zeros(2, 3, 17, 2)):
        targets = codec.encode(people, people.new_zeros(people.shape[:3]))
        assert not targets.heatmaps.any()
        assert not targets.weights.any()
        assert targets.indices.shape == (2, max(people.shape[1], 1), 17)
    for level in (0.0, -1.0, 0.1):
        for groups in codec.decode(torch.full((2, 17, 24, 32), level), torch.zeros(2, 17, 24, 32)):
            assert groups.keypoints.shape == (0, 17, 2)
            assert groups.keypoint_scores.shape == (0, 17)
            assert groups.scores.shape == (0,)


def test_images_of_a_batch_do_not_see_each_other(codec: AECodec) -> None:
    keypoints, visible = (torch.cat(parts) for parts in zip(*(scene(3, codec, seed=seed) for seed in range(3))))
    visible[1], visible[2, 1:, :9] = 0, 0
    heatmaps, tags = codec.encode(keypoints, visible).heatmaps, ideal_tags(codec, keypoints, visible)
    heatmaps = heatmaps + 0.05 * torch.rand(heatmaps.shape)
    together = codec.decode(heatmaps, tags)
    assert [len(groups.scores) for groups in together] == [3, 0, 3]
    for b in range(3):
        (alone,) = codec.decode(heatmaps[b : b + 1], tags[b : b + 1])
        for a, c in zip(alone, together[b]):
            np.testing.assert_array_equal(a, c)


def test_two_people_at_one_cell_are_one_peak(codec: AECodec) -> None:
    keypoints, visible = scene(2, codec)
    keypoints[0, 1, 0] = keypoints[0, 0, 0]
    (groups,) = codec.decode(codec.encode(keypoints, visible).heatmaps, ideal_tags(codec, keypoints, visible))
    assert sorted(groups.scores) == pytest.approx([16 / 17, 1])  # both have the keypoint, one of them by refining
    np.testing.assert_allclose(sorted_people(groups, keypoints[0]), keypoints[0], atol=1e-4)


def test_no_more_people_than_allowed() -> None:
    codec = CODECS.build({**CODEC, 'max_people': 3}, meta='coco17')
    keypoints, visible = scene(5, codec)
    (groups,) = codec.decode(codec.encode(keypoints, visible).heatmaps, ideal_tags(codec, keypoints, visible))
    assert len(groups.scores) == 3


def test_a_mirrored_image_has_mirrored_targets() -> None:
    codec = CODECS.build({**CODEC, 'sigma': 2.0}, meta='coco17')
    keypoints, visible = torch.rand(2, 3, 17, 2) * torch.tensor((127.0, 95.0)), torch.ones(2, 3, 17)
    mirrored = torch.stack((127 - keypoints[..., 0], keypoints[..., 1]), dim=-1)
    torch.testing.assert_close(codec.encode(mirrored, visible).heatmaps, codec.encode(keypoints, visible).heatmaps.flip(-1))


def test_encoding_reads_no_value_on_the_host(codec: AECodec) -> None:
    keypoints, visible = scene(3, codec)
    with NoSync():
        codec.encode(keypoints, visible)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float64])
def test_maps_of_any_precision_and_memory_format(codec: AECodec, dtype: torch.dtype) -> None:
    keypoints, visible = scene(3, codec)
    maps = codec.encode(keypoints, visible).heatmaps, ideal_tags(codec, keypoints, visible)
    (groups,) = codec.decode(*(m.to(dtype).contiguous(memory_format=torch.channels_last) for m in maps))
    np.testing.assert_allclose(sorted_people(groups, keypoints[0]), keypoints[0], atol=1e-4)


def test_maps_that_are_not_finite_give_nobody(codec: AECodec) -> None:
    maps = torch.rand(1, 17, 24, 32)
    for heatmaps, tags in ((maps * torch.nan, maps), (maps, maps * torch.nan)):
        (groups,) = codec.decode(heatmaps, tags)
        assert len(groups.scores) == 0


@pytest.mark.parametrize('number', [torch.inf, torch.nan])
def test_cells_that_are_not_finite_are_nobodys(codec: AECodec, number: float) -> None:
    """Those of half precision that overflow: the others keep their people."""
    keypoints, visible = scene(2, codec)
    heatmaps, tags = codec.encode(keypoints, visible).heatmaps, ideal_tags(codec, keypoints, visible)
    heatmaps[:, 3:5, 20:, 28:] = number
    (groups,) = codec.decode(heatmaps, tags)
    assert len(groups.scores) == 2
    assert all(np.isfinite(array).all() for array in groups)
    np.testing.assert_allclose(sorted_people(groups, keypoints[0])[:, 5:], keypoints[0, :, 5:], atol=1e-4)


def test_order_of_grouping() -> None:
    published = (0, 1, 2, 3, 4, 5, 6, 11, 12, 7, 8, 9, 10, 13, 14, 15, 16)
    assert grouping_order(KeypointMeta.load('coco17')) == published
    hand = KeypointMeta.load('rhd21')
    assert [hand.keypoints[k] for k in grouping_order(hand)][:3] == ['wrist', 'thumb1', 'index1']
    assert grouping_order(KeypointMeta.load(THREE)) == (0, 1, 2)  # no limbs
    assert CODECS.build({**CODEC, 'keypoint_order': [2, 0, 1]}, meta=THREE).keypoint_order == (2, 0, 1)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(input_size=(0, 4)), r'`input_size` must be \(w, h\) of positive numbers, got \(0, 4\)'),
        (dict(heatmap_size=(48,)), r'`heatmap_size` must be \(w, h\) of positive numbers, got \(48,\)'),
        (dict(sigma=0), '`sigma` must be positive, got 0'),
        (dict(tag_thr=-1), '`tag_thr` must be positive, got -1'),
        (dict(max_people=0), '`max_people` must be positive, got 0'),
        (dict(keypoint_thr=-0.1), '`keypoint_thr` must be 0 or more, got -0.1'),
        (dict(nms_kernel_size=4), '`nms_kernel_size` must be odd, got 4'),
        (dict(keypoint_order=[0, 1, 1]), r'`keypoint_order` must hold each of 0 to 16 once, .*coco17.* got \(0, 1, 1\)'),
    ],
)
def test_wrong_arguments(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=f'AECodec: {message}'):
        CODECS.build({**CODEC, **change}, meta='coco17')


def test_wrong_calls(codec: AECodec) -> None:
    keypoints, visible = scene(2, codec)
    with pytest.raises(ValueError, match=r'must be \(B, N, 17, 2\) and `visible` \(B, N, 17\), got \(2, 17, 2\) and \(2, 17\)'):
        codec.encode(keypoints[0], visible[0])
    with pytest.raises(ValueError, match=r'got \(1, 2, 17, 2\) and \(1, 2, 16\)'):
        codec.encode(keypoints, visible[..., 1:])
    maps = torch.zeros(2, 17, 24, 32)
    for heatmaps, tags in ((maps[:, 1:], maps), (maps, maps[:, 1:]), (maps, maps[..., 1:]), (maps, maps[:1])):
        with pytest.raises(ValueError, match=r'`heatmaps` must be \(B, 17, H, W\) and `tags` \(B, L \* 17, H, W\), got '):
            codec.decode(heatmaps, tags)
    with pytest.raises(ArgumentError, match='AECodec has no argument `sigmas`; did you mean `sigma`'):
        CODECS.build({**CODEC, 'sigmas': 2}, meta='coco17')


def test_says_what_it_is(codec: AECodec) -> None:
    assert repr(codec) == 'AECodec(coco17, input (128, 96), heatmap (32, 24), sigma 1.5)'
