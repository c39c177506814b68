import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor

from mmpose_lite.codecs import HeatmapCodec, PAFCodec, PoseGroups
from mmpose_lite.ops.paf import flip_fields
from mmpose_lite.registry import CODECS, ArgumentError
from mmpose_lite.structures import KeypointMeta
from tests import paf_reference as reference

CODEC = dict(type='PAFCodec', input_size=(320, 240), heatmap_size=(40, 30), meta='openpose18')
META = KeypointMeta.load('openpose18')
# A standing person, x and y of each keypoint in shares of its height.
FIGURE = np.array(
    [
        *((0, -0.48), (0, -0.33), (-0.13, -0.33), (-0.18, -0.15), (-0.2, 0.01), (0.13, -0.33), (0.18, -0.15), (0.2, 0.01)),
        *((-0.08, 0), (-0.1, 0.25), (-0.1, 0.5), (0.08, 0), (0.1, 0.25), (0.1, 0.5)),
        *((-0.03, -0.52), (0.03, -0.52), (-0.075, -0.5), (0.075, -0.5)),
    ]
)


@pytest.fixture
def codec() -> PAFCodec:
    return CODECS.build(CODEC)


def standing(*placed: tuple[float, float, float]) -> Tensor:
    """Return (1, N, 18, 2): people of a given height with their hips at x, y, px; each stands a little differently."""
    rng = np.random.default_rng(len(placed))
    people = [(FIGURE + rng.normal(0, 0.01, FIGURE.shape)) * height + (x, y) for x, y, height in placed]
    return torch.tensor(np.array(people)[None], dtype=torch.float32)


ROW = standing((60, 110, 150), (160, 120, 180), (255, 115, 120))


def labels(keypoints: Tensor) -> Tensor:
    return torch.ones(keypoints.shape[:3])


def found(codec: PAFCodec, keypoints: Tensor, visible: Tensor | None = None) -> list[PoseGroups]:
    return codec.decode(*codec.encode(keypoints, labels(keypoints) if visible is None else visible))


def by_place(keypoints: np.ndarray) -> np.ndarray:
    """Return people (N, K, 2) in the order of the x of their necks."""
    return keypoints[np.argsort(keypoints[:, 1, 0])]


def same(ours: list[PoseGroups], theirs: list[PoseGroups]) -> None:
    for one, other in zip(ours, theirs, strict=True):
        for name in PoseGroups._fields:
            np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=0, atol=1e-4)


def test_targets() -> None:
    """A point on a cell's centre, half a cell of the field beyond the ends, the background as what is left."""
    meta = dict(keypoints=['a', 'b'], limbs=[['a', 'b']])
    codec = PAFCodec((64, 48), (8, 6), meta=meta, sigma=1.0, limb_width=0.6)
    assert (codec.num_heatmaps, codec.num_fields, codec.stride) == (3, 2, (8, 8))
    keypoints = torch.tensor([[[[11.5, 19.5], [43.5, 19.5]]]])  # px; cells (1, 2) and (5, 2)
    heatmaps, fields = codec.encode(keypoints, torch.ones(1, 1, 2))
    assert heatmaps.shape == (1, 3, 6, 8)
    assert heatmaps[0, 0, 2, 1] == heatmaps[0, 1, 2, 5] == 1
    assert heatmaps[0, 0, 2, 2].item() == pytest.approx(np.exp(-0.5))
    torch.testing.assert_close(heatmaps[0, 2], 1 - heatmaps[0, :2].amax(0))
    expected = torch.zeros(2, 6, 8)
    expected[0, 2, 1:6] = 1
    assert torch.equal(fields[0], expected)
    without = PAFCodec((64, 48), (8, 6), meta=meta, with_background=False)
    assert without.num_heatmaps == 2
    assert without.encode(keypoints, torch.ones(1, 1, 2)).heatmaps.shape == (1, 2, 6, 8)


def test_heatmaps_are_those_of_the_other_codecs(codec: PAFCodec) -> None:
    """Theirs put a cell's centre elsewhere: at i * stride."""
    heatmaps, _ = codec.encode(ROW, labels(ROW))
    other = HeatmapCodec((320, 240), (40, 30), sigma=0.875, variant='dark')
    torch.testing.assert_close(heatmaps[:, :18], other.encode(ROW - 3.5, labels(ROW))[0])


def test_decoding_undoes_encoding(codec: PAFCodec) -> None:
    (people,) = found(codec, ROW)
    assert people.keypoints.dtype == people.keypoint_scores.dtype == people.scores.dtype == np.float32
    np.testing.assert_allclose(by_place(people.keypoints), ROW[0], atol=0.05)  # px; a cell is 8
    assert (people.keypoint_scores > 0.7).all()
    assert (np.diff(people.scores) <= 0).all()
    assert 0.7 < people.scores[-1] <= people.scores[0] <= 1


def test_random_people(codec: PAFCodec) -> None:
    """Of five, some on top of each other: whoever overlaps nobody is found, every joint within a quarter of a cell."""
    rng = np.random.default_rng(0)
    alone = 0
    for _ in range(40):
        places = rng.uniform((0, 60, 90), (320, 180, 150), (5, 3))
        keypoints = standing(*places)
        (people,) = found(codec, keypoints)
        for i, person in enumerate(keypoints[0].numpy()):
            inside = ((person >= 0) & (person <= (319, 239))).all()
            if inside and all(abs(places[i, 0] - x) > 90 for j, (x, _, _) in enumerate(places) if j != i):
                alone += 1
                assert np.abs(people.keypoints - person).max(axis=(1, 2)).min() < 2
    assert alone > 7


def scene_module(shared: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location('paf_scene', shared / 'bench' / 'paf_scene.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize('num', [*range(1, 31), 100])
def test_ideal_scenes(num: int, shared: Path) -> None:
    """Another implementation's maps, at stride 8: everybody, and every joint within 2 px."""
    scenes = scene_module(shared)
    codec = PAFCodec((656, 368), (82, 46), meta='openpose18', sigma=7 / 8)
    limbs = [scenes.LIMBS.index(limb) for limb in META.limbs]
    channels = [2 * limb + axis for limb in limbs for axis in (0, 1)]
    for seed in range(6 if num in (1, 2, 5, 10, 20, 30) else 2):
        heatmaps, fields, truth = scenes.scene(num, seed=seed)
        targets = codec.encode(torch.tensor(truth, dtype=torch.float32)[None], torch.ones(1, num, 18))
        np.testing.assert_allclose(targets.heatmaps[0, :18], heatmaps, atol=1e-3)
        assert (np.abs(targets.fields[0].numpy() - fields[channels]) > 1e-4).mean() < 1e-4  # cells on the edge of a limb
        (people,) = codec.decode(torch.from_numpy(heatmaps)[None], torch.from_numpy(fields[channels])[None])
        assert len(people.keypoints) == num
        assert (people.keypoint_scores > 0).all()
        distances = np.linalg.norm(people.keypoints[:, None] - truth[None], axis=-1).max(axis=-1)
        nearest = distances.argmin(axis=1)
        assert sorted(nearest) == list(range(num))
        assert distances.min(axis=1).max() < (0.01 if num < 100 else 0.5)


@pytest.mark.parametrize('seed', range(8))
def test_noisy_crowds_are_decoded_as_by_plain_loops(seed: int) -> None:
    rng = np.random.default_rng(seed)
    size = int(rng.integers(12, 28)), int(rng.integers(12, 28))
    codec = PAFCodec((8 * size[0], 8 * size[1]), size, meta='openpose18')
    places = rng.uniform((0, 0, 60), (8 * size[0], 8 * size[1], 200), (5, 3))
    keypoints, visible = standing(*places), torch.tensor(rng.random((1, 5, 18)) > 0.1).float()
    targets = codec.encode(keypoints, visible)
    heatmaps = targets.heatmaps + torch.tensor(rng.normal(0, 0.04, targets.heatmaps.shape)).float()
    fields = 0.8 * targets.fields + torch.tensor(rng.normal(0, 0.15, targets.fields.shape)).float()
    expected = reference.find_people(heatmaps[0, :18].numpy(), fields[0].numpy(), META.limbs)
    (people,) = codec.decode(heatmaps, fields)
    assert len(people.scores) == len(expected) > 1
    np.testing.assert_allclose(people.scores, [person.total / 37 for person in expected], atol=1e-4)
    for i, person in enumerate(expected):
        assert np.flatnonzero(people.keypoint_scores[i]).tolist() == sorted(person.peaks)
        for k, (x, y, score) in person.peaks.items():
            np.testing.assert_allclose(people.keypoints[i, k], (8 * x + 3.5, 8 * y + 3.5), atol=0.01)  # px
            assert people.keypoint_scores[i, k] == pytest.approx(score)


def test_two_keypoints_make_a_person() -> None:
    """Where there are no more, the least number of keypoints is theirs."""
    codec = PAFCodec((320, 240), (40, 30), meta=dict(keypoints=['head', 'tail'], limbs=[['head', 'tail']]))
    keypoints = torch.tensor([[[60.0, 60.0], [140.0, 100.0]], [[200.0, 180.0], [260.0, 60.0]]])[None]
    targets = codec.encode(keypoints, torch.ones(1, 2, 2))
    (people,) = codec.decode(targets.heatmaps, targets.fields)
    order = people.keypoints[:, 0, 0].argsort()
    np.testing.assert_allclose(people.keypoints[order], keypoints[0], atol=0.1)  # px


def test_finer_maps_are_no_better(codec: PAFCodec) -> None:
    """In noise, people are found as well at the network's stride as on maps enlarged four times."""
    enlarged = PAFCodec((320, 240), (160, 120), meta='openpose18')
    generator = torch.Generator().manual_seed(0)
    errors = {codec: [], enlarged: []}
    for _ in range(8):
        heatmaps, fields = codec.encode(ROW, labels(ROW))
        heatmaps = heatmaps + 0.03 * torch.randn(heatmaps.shape, generator=generator)
        fields = fields + 0.1 * torch.randn(fields.shape, generator=generator)
        for decoder, scale in ((codec, 1), (enlarged, 4)):
            maps = [
                m if scale == 1 else torch.nn.functional.interpolate(m, scale_factor=4, mode='bicubic')
                for m in (heatmaps, fields)
            ]
            (people,) = decoder.decode(*maps)
            assert len(people.keypoints) == 3
            errors[decoder].append(np.linalg.norm(by_place(people.keypoints) - ROW[0].numpy(), axis=-1).mean())
    assert np.mean(errors[codec]) < 0.7 * np.mean(errors[enlarged])
    assert np.mean(errors[codec]) < 0.4  # px


def test_keypoints_that_are_missing(codec: PAFCodec) -> None:
    visible = labels(ROW)
    visible[0, 0, [4, 7, 17]] = 0  # ends
    visible[0, 1, 9] = 0  # in the middle of a leg: the ankle below it is then nobody's
    visible[0, 2, 1] = 0  # the neck: the shoulders hang on the ears, the hips are lost
    (people,) = found(codec, ROW, visible)
    people_seen = (people.keypoint_scores > 0)[np.argsort(people.keypoints.max(axis=1)[:, 0])]
    expected = visible[0].bool().numpy()
    expected[1, 10] = False
    missing = [np.flatnonzero(~seen).tolist() for seen in people_seen if seen.sum() > 6]
    assert sorted(missing) == sorted([[4, 7, 17], [9, 10], *([m for m in missing if 1 in m])])
    assert (people.keypoints[people.keypoint_scores == 0] == 0).all()


def test_people_who_cross(codec: PAFCodec) -> None:
    """Two stand side by side with their arms through each other: limbs of a kind cross, keypoints are apart."""
    keypoints = standing((130, 110, 180), (190, 110, 180))
    keypoints[0, 0, [6, 7]] = torch.tensor([(175.0, 40.0), (215.0, 100.0)])
    keypoints[0, 1, [6, 7]] = torch.tensor([(200.0, 110.0), (170.0, 130.0)])
    (people,) = found(codec, keypoints)
    np.testing.assert_allclose(by_place(people.keypoints), keypoints[0], atol=2)  # px


def test_two_people_share_a_joint(codec: PAFCodec) -> None:
    """They hold hands: one peak, which goes to one of them; the other lacks it, and nothing else."""
    keypoints = standing((100, 110, 180), (200, 110, 180))
    for person, joint in ((0, 7), (1, 4)):
        keypoints[0, person, joint] = torch.tensor((150.0, 100.0))
    (people,) = found(codec, keypoints)
    assert (people.keypoint_scores > 0).all()  # a left and a right hand are peaks of two maps
    keypoints[0, 1, 7] = torch.tensor((150.0, 100.0))  # now both by their left
    (people,) = found(codec, keypoints)
    lacking = people.keypoint_scores == 0
    assert lacking.sum() == 1
    assert lacking[:, 7].any()
    truth = keypoints[0].numpy()
    for person, lost in zip(people.keypoints, lacking):
        assert np.abs(np.where(lost[:, None], 0, person - truth)).max(axis=(1, 2)).min() < 2  # px


def test_nobody(codec: PAFCodec) -> None:
    for keypoints in (ROW[:, :0], ROW + 4000):
        targets = codec.encode(keypoints, labels(keypoints))
        assert not targets.heatmaps[:, :18].any()
        assert (targets.heatmaps[:, 18] == 1).all()
        assert not targets.fields.any()
        (people,) = codec.decode(*targets)
        assert people.keypoints.shape == (0, 18, 2)
        assert people.keypoint_scores.shape == (0, 18)
        assert people.scores.shape == (0,)


def test_maps_of_a_diverged_network_hold_nobody(codec: PAFCodec) -> None:
    heatmaps, fields = codec.encode(ROW, labels(ROW))
    nothing = torch.full_like
    for maps in ((nothing(heatmaps, np.nan), fields), (heatmaps, nothing(fields, np.nan)), (nothing(heatmaps, np.inf), fields)):
        with np.errstate(all='raise'):
            assert not len(codec.decode(*maps)[0].scores)
    heatmaps[0, 0] = np.nan  # one map alone: the others are as they were
    people = codec.decode(heatmaps, fields)[0]
    assert len(people.scores) == 3
    assert (people.keypoint_scores[:, 0] == 0).all()
    assert np.isfinite(people.keypoints).all()


def test_images_do_not_know_each_other(codec: PAFCodec) -> None:
    images = [ROW, standing((100, 120, 200)), ROW[:, :0], standing((60, 110, 150), (220, 120, 160))]
    padded = torch.zeros(4, 3, 18, 2)
    visible = torch.zeros(4, 3, 18)
    for i, image in enumerate(images):
        padded[i, : image.shape[1]], visible[i, : image.shape[1]] = image[0], 1
    heatmaps, fields = codec.encode(padded, visible)
    heatmaps, fields = heatmaps + 0.03 * torch.randn(heatmaps.shape), fields + 0.1 * torch.randn(fields.shape)
    together = codec.decode(heatmaps, fields)
    assert [len(people.scores) for people in together] == [3, 1, 0, 2]
    same(together, [codec.decode(heatmaps[i : i + 1], fields[i : i + 1])[0] for i in range(4)])
    order = [2, 0, 3, 1]
    same(codec.decode(heatmaps[order], fields[order]), [together[i] for i in order])
    last = (m.contiguous(memory_format=torch.channels_last) for m in (heatmaps, fields))
    same(codec.decode(*last), together)


def test_a_mirrored_image_gives_mirrored_people(codec: PAFCodec) -> None:
    heatmaps, fields = codec.encode(ROW, labels(ROW))
    heatmaps, fields = heatmaps + 0.03 * torch.randn(heatmaps.shape), fields + 0.1 * torch.randn(fields.shape)
    swaps = META.flip_indices
    mirrored = codec.decode(heatmaps[:, [*swaps, 18]].flip(-1), flip_fields(fields, META.limbs, swaps))
    (people,) = codec.decode(heatmaps, fields)
    expected = people.keypoints[:, swaps]
    expected[..., 0] = 319 - expected[..., 0]
    same(mirrored, [PoseGroups(expected, people.keypoint_scores[:, swaps], people.scores)])


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16, torch.float64])
def test_maps_of_any_precision_and_with_a_gradient(codec: PAFCodec, dtype: torch.dtype) -> None:
    heatmaps, fields = (maps.to(dtype).requires_grad_() for maps in codec.encode(ROW, labels(ROW)))
    (people,) = codec.decode(heatmaps, fields)
    np.testing.assert_allclose(by_place(people.keypoints), ROW[0], atol=0.5)  # px


def test_maps_of_another_size_have_cells_of_the_same_size(codec: PAFCodec) -> None:
    large = PAFCodec((480, 400), (60, 50), meta='openpose18')
    same(codec.decode(*large.encode(ROW, labels(ROW))), found(codec, ROW))


def test_cells_may_be_oblong() -> None:
    codec = PAFCodec((320, 240), (40, 60), meta='openpose18', sigma=1.5, limb_width=1.5)
    assert codec.stride == (8, 4)
    np.testing.assert_allclose(by_place(found(codec, ROW)[0].keypoints), ROW[0], atol=0.1)  # px


def test_any_convention() -> None:
    """COCO's own 17 with its 19 limbs, without a neck."""
    codec = PAFCodec((320, 240), (40, 30), meta='coco17')
    assert (codec.num_heatmaps, codec.num_fields) == (18, 38)
    names = KeypointMeta.load('coco17').keypoints
    keypoints = ROW[:, :, [META.keypoints.index(name) for name in names]]
    (people,) = codec.decode(*codec.encode(keypoints, labels(keypoints)))
    order = np.argsort(people.keypoints[:, 0, 0])
    np.testing.assert_allclose(people.keypoints[order], keypoints[0], atol=0.05)  # px


def test_options_of_decoding(codec: PAFCodec) -> None:
    heatmaps, fields = codec.encode(ROW, labels(ROW))

    def num_people(**options: float) -> int:
        return len(CODECS.build({**CODEC, **options}).decode(heatmaps, fields)[0].scores)

    assert num_people() == 3
    assert num_people(max_people=2) <= 2
    assert num_people(keypoint_thr=1.0) == num_people(limb_thr=1.0, min_keypoints=6) == 0
    assert num_people(min_person_score=3.0) == 0
    assert num_people(min_keypoints=19) == 3  # all 18 of them
    assert num_people(num_samples=20, min_support=1.0) == 3


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(input_size=(0, 4)), r'`input_size` must be \(w, h\) of positive numbers, got \(0, 4\)'),
        (dict(heatmap_size=(48,)), r'`heatmap_size` must be \(w, h\) of positive numbers, got \(48,\)'),
        (dict(meta=dict(name='dots', keypoints=3)), "`meta` must have limbs, got 'dots' with none"),
        (dict(sigma=0), '`sigma` must be positive, got 0'),
        (dict(limb_width=-1), '`limb_width` must be positive, got -1'),
        (dict(min_keypoints=0), '`min_keypoints` must be positive, got 0'),
        (dict(max_people=0), '`max_people` must be positive, got 0'),
        (dict(keypoint_thr=-0.1), '`keypoint_thr` must be 0 or more, got -0.1'),
        (dict(limb_thr=-0.1), '`limb_thr` must be 0 or more, got -0.1'),
        (dict(min_person_score=-1), '`min_person_score` must be 0 or more, got -1'),
        (dict(num_samples=1), '`num_samples` must be 2 or more, got 1'),
        (dict(min_support=0), '`min_support` must be above 0 and at most 1, got 0'),
        (dict(min_support=1.1), '`min_support` must be above 0 and at most 1, got 1.1'),
    ],
)
def test_wrong_arguments(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CODECS.build({**CODEC, **change})


def test_wrong_calls(codec: PAFCodec) -> None:
    for keypoints, visible in ((ROW[0], labels(ROW)[0]), (ROW[:, :, 1:], labels(ROW)[..., 1:]), (ROW, labels(ROW)[:, 1:])):
        with pytest.raises(ValueError, match=r'`keypoints` must be \(B, N, 18, 2\) and `visible` \(B, N, 18\)'):
            codec.encode(keypoints, visible)
    heatmaps, fields = codec.encode(ROW, labels(ROW))
    for maps in ((heatmaps[:, :17], fields), (heatmaps, fields[:, 1:]), (heatmaps, fields[..., 1:]), (heatmaps[0], fields[0])):
        with pytest.raises(ValueError, match=r'`heatmaps` must be \(B, 18 or 19, H, W\) and `fields` \(B, 38, H, W\)'):
            codec.decode(*maps)
    with pytest.raises(ArgumentError, match='PAFCodec has no argument `limb_with`; did you mean `limb_width`'):
        CODECS.build({**CODEC, 'limb_with': 1})


def test_says_what_it_is(codec: PAFCodec) -> None:
    assert repr(codec) == 'PAFCodec(openpose18, input (320, 240), heatmap (40, 30), sigma 0.875, limb_width 1.0)'
