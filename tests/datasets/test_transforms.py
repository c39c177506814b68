"""Image and keypoints move together; files out of the ordinary are read right or refused with their path."""

import colorsys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmpose_lite.datasets.transforms.augment import flip_sample, truncated_normal
from mmpose_lite.datasets.transforms.loading import read_image
from mmpose_lite.errors import ConfigError
from mmpose_lite.registry import TRANSFORMS
from tests.coco_folder import write_rotated

SIZE = (96, 128)  # (w, h) of the crop
# One dot per colour channel: blue at the head, green at the left hand, red at the right hand.
POINTS = np.array([[[100.0, 50.0], [120.5, 70.25], [86.0, 75.5]]], dtype=np.float32)
SWAPS = np.array([0, 2, 1])


def dots(points: np.ndarray, *, size: tuple[int, int] = (200, 150)) -> np.ndarray:
    """Return a (w, h) picture with a soft dot at the k-th point in the k-th channel."""
    y, x = np.mgrid[: size[1], : size[0]]
    return np.stack([255 * np.exp(-((x - px) ** 2 + (y - py) ** 2) / 18) for px, py in points], axis=-1).round().astype(np.uint8)


def sample(seed: int = 0, **changes: object) -> dict:
    """Return a dataset's item with the image read."""
    return {
        **dict(
            img=dots(POINTS[0]),
            img_path='dots.png',
            img_id=7,
            ann_id=8,
            category_id=1,
            bboxes=np.array([[70, 30, 130, 110]], np.float32),
            bbox_scores=np.ones(1, np.float32),
            keypoints=POINTS.copy(),
            keypoints_visible=np.ones((1, 3), np.float32),
            areas=np.array([4800], np.float32),
            flip_indices=SWAPS,
            lower_body=np.array([False, True, True]),
            rng=np.random.default_rng(seed),
        ),
        **changes,
    }


def run(results: dict, *steps: dict) -> dict:
    for step in steps:
        results = TRANSFORMS.build(step)(results)
    return results


def found(image: np.ndarray) -> np.ndarray:
    """Return the centre of mass (x, y) of each channel."""
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    weights = image.astype(float).reshape(-1, 3)
    return np.stack((x.ravel() @ weights, y.ravel() @ weights), axis=-1) / weights.sum(axis=0)[:, None]


class Preset:
    """Stands in for the Generator: gives the prepared numbers, then 0.5."""

    def __init__(self, *numbers: float) -> None:
        self.numbers = list(numbers)

    def random(self, size: int | None = None) -> np.ndarray | float:
        taken = [self.numbers.pop(0) if self.numbers else 0.5 for _ in range(size or 1)]
        return np.array(taken) if size else taken[0]


CENTER = dict(type='GetBBoxCenterScale')
CROP = dict(type='TopdownAffine', input_size=SIZE)
FLIP = dict(type='RandomFlip', prob=1)
MOVE = dict(type='RandomBBoxTransform', shift_prob=1, scale_factor=(0.9, 1.3), rotate_prob=1, rotate_factor=60)


@pytest.mark.parametrize('use_udp', [False, True])
@pytest.mark.parametrize('flipped', [False, True])
@pytest.mark.parametrize('moved', [False, True])
@pytest.mark.parametrize('seed', [1, 2, 3])
def test_keypoints_stay_on_their_dots(use_udp: bool, flipped: bool, moved: bool, seed: int) -> None:
    steps = [CENTER, *[FLIP] * flipped, *[MOVE] * moved, {**CROP, 'use_udp': use_udp}]
    results = run(sample(seed), *steps)
    assert results['img'].shape == (SIZE[1], SIZE[0], 3)
    assert results['img'].dtype == np.uint8
    channels = SWAPS if flipped else np.arange(3)  # the dot of a mirrored right hand is now the left hand's
    np.testing.assert_allclose(results['keypoints_input'][0], found(results['img'])[channels], atol=0.15)  # px


def test_moving_the_box_moves_the_keypoints_by_the_drawn_amounts() -> None:
    move = {**MOVE, 'shift_factor': 0.1, 'scale_factor': (0.5, 1.5), 'rotate_factor': 40.0}
    highest = np.nextafter(1.0, 0.0)
    args = dict(bbox_center=np.array((100, 70), np.float32), bbox_scale=np.array((60, 80), np.float32))
    results = run(sample(rng=Preset(0, 0, 0, highest, 0.5, highest, 0), **args), move)
    np.testing.assert_allclose(results['bbox_center'], (106, 70))
    np.testing.assert_allclose(results['bbox_scale'], (90, 120))
    assert results['bbox_rotation'] == pytest.approx(-40)
    unmoved = run(sample(rng=Preset(), **args), {**MOVE, 'shift_prob': 0, 'scale_prob': 0, 'rotate_prob': 0})
    assert unmoved['bbox_center'].tolist() == [100, 70]
    assert unmoved['bbox_scale'].tolist() == [60, 80]
    assert unmoved['bbox_rotation'] == 0


def test_truncated_normal() -> None:
    stats = pytest.importorskip('scipy.stats')
    drawn = truncated_normal(np.random.default_rng(0), 20_000)
    assert np.abs(drawn).max() <= 1
    assert stats.kstest(drawn, stats.truncnorm(-1, 1).cdf).pvalue > 0.01


def test_flip_by_hand() -> None:
    img = np.arange(2 * 5 * 3, dtype=np.uint8).reshape(2, 5, 3)
    results = flip_sample(
        dict(
            img=img,
            keypoints=np.array([[[0, 1], [1, 0], [4, 1]]], np.float32),
            keypoints_visible=np.array([[1, 1, 0]], np.float32),
            flip_indices=SWAPS,
            bboxes=np.array([[0, 0, 3, 1]], np.float32),
            bbox_center=np.array((1.5, 0.5), np.float32),
        )
    )
    np.testing.assert_array_equal(results['img'], img[:, ::-1])
    assert results['keypoints'].tolist() == [[[4, 1], [0, 1], [3, 0]]]
    assert results['keypoints_visible'].tolist() == [[1, 0, 1]]
    assert results['bboxes'].tolist() == [[1, 0, 4, 1]]
    assert results['bbox_center'].tolist() == [2.5, 0.5]


def test_flipping_twice_is_identity() -> None:
    before = run(sample(), CENTER)
    after = flip_sample(flip_sample(before.copy()))
    for key in ('img', 'keypoints', 'keypoints_visible', 'bboxes', 'bbox_center'):
        np.testing.assert_allclose(after[key], before[key], atol=1e-4)


def test_transforms_leave_the_arrays_of_the_sample_alone() -> None:
    """They may lie in a buffer that all workers share."""
    before, given = sample(), sample()
    pinned = {key: value for key, value in given.items() if isinstance(value, np.ndarray)}
    run(given, CENTER, FLIP, dict(type='RandomHalfBody', prob=1), MOVE, dict(type='PhotometricDistortion'), CROP)
    for key, value in pinned.items():
        np.testing.assert_array_equal(value, before[key])


@pytest.mark.parametrize('prob', [0.0, 0.3])
def test_the_share_of_flips(prob: float) -> None:
    flip, rng = TRANSFORMS.build(dict(type='RandomFlip', prob=prob)), np.random.default_rng(0)
    flips = [flip(dict(img=np.zeros((1, 2, 3), np.uint8), rng=rng))['flip'] for _ in range(2000)]
    assert np.mean(flips) == pytest.approx(prob, abs=0.04)


def half_body(draws: tuple[float, float], visible: list[int], **args: object) -> tuple[list, list]:
    step = dict(type='RandomHalfBody', min_total_keypoints=3, min_upper_keypoints=2, min_lower_keypoints=2, padding=1.5)
    points = [[10, 10], [30, 20], [20, 15], [10, 50], [20, 90], [30, 70]]
    results = sample(
        rng=Preset(*draws),
        keypoints=np.array([points], np.float32),
        keypoints_visible=np.array([visible], np.float32),
        lower_body=np.array([0, 0, 0, 1, 1, 1], dtype=bool),
        bbox_center=np.array((0, 0), np.float32),
        bbox_scale=np.array((1, 1), np.float32),
    )
    results = run(results, {**step, **args})
    return results['bbox_center'].tolist(), results['bbox_scale'].tolist()


UPPER, LOWER, WHOLE = ([20, 15], [30, 15]), ([20, 70], [30, 60]), ([0, 0], [1, 1])


@pytest.mark.parametrize(
    ('draws', 'visible', 'expected'),
    [
        ((0.1, 0.1), [1, 1, 1, 1, 1, 1], UPPER),
        ((0.1, 0.9), [1, 1, 1, 1, 1, 1], LOWER),
        ((0.4, 0.1), [1, 1, 1, 1, 1, 1], WHOLE),  # not drawn
        ((0.1, 0.9), [1, 1, 1, 1, 0, 0], UPPER),  # the lower half has too few
        ((0.1, 0.1), [0, 0, 1, 1, 1, 1], LOWER),
        ((0.1, 0.1), [1, 1, 0, 0, 0, 0], WHOLE),  # too few in all
        ((0.1, 0.1), [1, 0, 0, 1, 0, 0], WHOLE),
        ((0.1, 0.1), [0, 0, 0, 0, 0, 0], WHOLE),
    ],
)
def test_half_body(draws: tuple[float, float], visible: list[int], expected: tuple) -> None:
    assert half_body(draws, visible) == expected


def test_half_a_body_of_one_keypoint_has_a_size() -> None:
    assert half_body((0.1, 0.1), [1, 0, 0, 1, 1, 0], min_upper_keypoints=1, padding=2.0) == ([10, 10], [2, 2])


def distorted(pixel: tuple[int, int, int], flags: str, amounts: tuple[float, ...], **args: object) -> list[int]:
    """Return a BGR pixel after the steps marked in `flags`: brightness, contrast, saturation, hue."""
    draws = [0.0 if flag == '1' else 0.9 for flag in flags]
    results = dict(img=np.full((2, 2, 3), pixel, np.uint8), rng=Preset(*draws, *amounts))
    return run(results, dict(type='PhotometricDistortion', **args))['img'][0, 0].tolist()


HIGHEST = float(np.nextafter(1.0, 0.0))


def test_photometric_by_hand() -> None:
    assert distorted((10, 100, 250), '0000', (0, 0, 0, 0)) == [10, 100, 250]
    assert distorted((10, 100, 250), '1000', (HIGHEST, 0, 0, 0)) == pytest.approx([42, 132, 255], abs=1)
    assert distorted((10, 100, 250), '1000', (0, 0, 0, 0)) == [0, 68, 218]
    assert distorted((10, 100, 250), '0100', (0, HIGHEST, 0, 0)) == pytest.approx([15, 150, 255], abs=1)
    assert distorted((10, 100, 250), '0100', (0, 0, 0, 0)) == [5, 50, 125]


def test_hue_and_saturation_by_hand() -> None:
    r, g, b = colorsys.hsv_to_rgb(18 / 360, 1, 1)
    assert distorted((0, 0, 255), '0001', (0, 0, 0, HIGHEST)) == pytest.approx([255 * b, 255 * g, 255 * r], abs=3)
    r, g, b = colorsys.hsv_to_rgb(342 / 360, 1, 1)  # the circle of hues is closed
    assert distorted((0, 0, 255), '0001', (0, 0, 0, 0)) == pytest.approx([255 * b, 255 * g, 255 * r], abs=3)
    assert distorted((0, 0, 200), '0010', (0, 0, 0, 0)) == pytest.approx([100, 100, 200], abs=2)  # half the saturation
    assert distorted((90, 90, 90), '0011', (0, 0, HIGHEST, HIGHEST)) == [90, 90, 90]  # grey has no colour


def test_top_down_box() -> None:
    results = run(sample(), dict(type='GetBBoxCenterScale', padding=1.5))
    assert results['bbox_center'].tolist() == [100, 70]
    assert results['bbox_scale'].tolist() == [90, 120]
    assert run(sample(bboxes=np.array([[70, 30, 130, 40]], np.float32)), CENTER, CROP)['bbox_scale'].tolist() == [75, 100]


@pytest.mark.parametrize('bbox', [(-50, -40, 30, 40), (180, 100, 260, 190), (-500, 0, -400, 60), (-1000, -1000, 1200, 1200)])
def test_boxes_over_the_border(bbox: tuple[float, ...]) -> None:
    results = run(sample(bboxes=np.array([bbox], np.float32)), CENTER, CROP)
    assert results['img'].shape == (SIZE[1], SIZE[0], 3)
    assert results['keypoints_input'].shape == (1, 3, 2)


def test_without_keypoints_as_with_a_detectors_boxes() -> None:
    given = {key: value for key, value in sample().items() if not key.startswith('keypoints')}
    packed = run(given, CENTER, FLIP, CROP, dict(type='PackPoseInputs'))
    assert list(packed['instances']) == ['bboxes', 'bbox_scores', 'areas']
    assert packed['metainfo']['flip'] is True


def test_what_is_packed() -> None:
    pack = dict(type='PackPoseInputs', meta_keys=('camera',), instance_keys=('ages',))
    packed = run(sample(camera='left', ages=np.ones(1)), dict(type='LoadImage'), CENTER, CROP, pack)
    assert list(packed) == ['inputs', 'instances', 'maps', 'metainfo']
    assert packed['maps'] == {}
    assert packed['inputs'].flags['C_CONTIGUOUS']
    assert set(packed['instances']) == {
        *('bboxes', 'bbox_scores', 'keypoints', 'keypoints_input', 'keypoints_visible', 'areas', 'ages'),
    }
    np.testing.assert_array_equal(packed['instances']['keypoints'], POINTS)  # those of the image
    metainfo = packed['metainfo']
    assert (metainfo['img_id'], metainfo['ann_id'], metainfo['ori_shape'], metainfo['input_size']) == (7, 8, (150, 200), SIZE)
    assert metainfo['camera'] == 'left'
    assert 'rng' not in metainfo


@pytest.mark.parametrize(
    ('step', 'message'),
    [
        (dict(type='RandomFlip', prob=1.5), r'RandomFlip: `prob` must be in \[0, 1\], got 1.5'),
        (dict(type='RandomHalfBody', prob=-1), r'RandomHalfBody: `prob` must be in \[0, 1\]'),
        (dict(type='RandomHalfBody', upper_prioritized_prob=2), '`upper_prioritized_prob` must be in'),
        (dict(type='RandomBBoxTransform', rotate_prob=2), r'RandomBBoxTransform: `rotate_prob` must be in \[0, 1\], got 2'),
        (dict(type='RandomBBoxTransform', scale_factor=(0, 1)), r'`scale_factor` must be 0 < low <= high, got \(0, 1\)'),
        (dict(type='PhotometricDistortion', contrast_range=(2, 1)), r'`contrast_range` must be 0 < low <= high, got \(2, 1\)'),
        (dict(type='GetBBoxCenterScale', padding=0), 'GetBBoxCenterScale: `padding` must be positive, got 0'),
        (dict(type='TopdownAffine', input_size=(192,)), r'`input_size` must be \(w, h\) of positive numbers, got \(192,\)'),
    ],
)
def test_wrong_arguments(step: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TRANSFORMS.build(step)


def test_wrong_samples() -> None:
    with pytest.raises(ValueError, match=r'a top-down sample has one box, got 2 in dots\.png'):
        run(sample(bboxes=np.zeros((2, 4), np.float32)), CENTER)
    with pytest.raises(ValueError, match=r'dots\.png, annotation 8: affine_matrix: `scale` must be positive, got \(0\.0, 0\.0\)'):
        run(sample(bboxes=np.zeros((1, 4), np.float32)), CENTER, CROP)


@pytest.mark.parametrize('step', [FLIP, MOVE, dict(type='RandomHalfBody')])
def test_after_the_crop_it_is_too_late_to_move(step: dict) -> None:
    with pytest.raises(ConfigError, match=f'{step["type"]}: .* must come before the affine step'):
        run(sample(), CENTER, CROP, step)


# Image files.

PICTURE = cv2.resize(np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8), (64, 48))


def test_load_image(tmp_path: Path) -> None:
    path = str(tmp_path / 'a.png')
    cv2.imwrite(path, PICTURE)
    results = run(dict(img_path=path), dict(type='LoadImage'))
    np.testing.assert_array_equal(results['img'], PICTURE)
    assert results['ori_shape'] == (48, 64)
    given = run(dict(img=PICTURE[:5]), dict(type='LoadImage'))
    assert given['ori_shape'] == (5, 64)


def test_grey_16_bit_and_alpha(tmp_path: Path) -> None:
    grey = PICTURE[..., 0]
    files = {
        'grey.png': (grey, np.repeat(grey[..., None], 3, axis=2)),
        '16.png': (PICTURE.astype(np.uint16) * 256 + 77, PICTURE),
        'grey16.png': (grey.astype(np.uint16) * 256 + 77, np.repeat(grey[..., None], 3, axis=2)),
        'alpha.png': (np.dstack((PICTURE, grey)), PICTURE),
    }
    for name, (written, expected) in files.items():
        assert cv2.imwrite(str(tmp_path / name), written)
        image = read_image(str(tmp_path / name))
        assert image.dtype == np.uint8
        np.testing.assert_array_equal(image, expected, err_msg=name)


UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {  # EXIF 2.3, tag Orientation
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
    8: np.rot90,
}


@pytest.mark.parametrize('orientation', list(UPRIGHT))
def test_exif_orientation(orientation: int, tmp_path: Path) -> None:
    path = tmp_path / 'a.jpg'
    cv2.imwrite(str(path), PICTURE)
    stored = read_image(str(path))
    write_rotated(path, orientation)
    np.testing.assert_array_equal(read_image(str(path)), UPRIGHT[orientation](stored))


def as_jpeg(image: np.ndarray, *flags: int) -> bytes:
    return cv2.imencode('.jpg', image, flags)[1].tobytes()


@pytest.mark.parametrize('progressive', [0, 1])
@pytest.mark.parametrize('kept', [0.5, 0.9, 0.999])
def test_a_jpeg_that_breaks_off(progressive: int, kept: float, tmp_path: Path) -> None:
    content = as_jpeg(
        np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8), cv2.IMWRITE_JPEG_PROGRESSIVE, progressive
    )
    path = tmp_path / 'photo.jpg'
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(ValueError, match=r"photo\.jpg' is cut off \(a JPEG without its end\); it holds \d+ bytes. Copy"):
        read_image(str(path))


def test_a_jpeg_with_something_behind_its_end_is_whole(tmp_path: Path) -> None:
    (tmp_path / 'a.jpg').write_bytes(as_jpeg(PICTURE) + b'\x00' * 100)
    assert read_image(str(tmp_path / 'a.jpg')).shape == PICTURE.shape


@pytest.mark.parametrize(
    'content',
    [b'', b'hello', b'\xff\xd8', b'\x00' * 500, cv2.imencode('.png', PICTURE)[1].tobytes()[:-500]],
    ids=['empty', 'text', 'two bytes', 'zeros', 'half a PNG'],
)
def test_what_is_no_image(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / 'photo.jpg'
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"photo\.jpg' is no image that OpenCV can read; it holds {len(content)} bytes"):
        read_image(str(path))


def test_a_missing_image(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"absent\.jpg' does not exist; check `data_root` and `data_prefix`"):
        run(dict(img_path=str(tmp_path / 'absent.jpg')), dict(type='LoadImage'))
