from pathlib import Path

import cv2
import numpy as np
import pytest

from mmpose_lite.ops.warp import affine_matrix, apply_affine, fix_aspect_ratio, warp_affine
from mmpose_lite.structures import bbox_xyxy_to_cs
from tests.parity import functions

SIZE = (192, 256)  # (w, h)


def matrix_by_points(center: np.ndarray, scale: np.ndarray, rotation: float, size: tuple[int, int]) -> np.ndarray:
    """Solve for the matrix that takes three points of the turned box to where they belong in the crop."""
    w, (W, H) = scale[0], size
    angle = np.deg2rad(rotation)
    right = np.array((np.cos(angle), np.sin(angle))) * w / 2  # from the centre to the middle of the right edge of the box
    up = np.array((right[1], -right[0]))
    source = np.array((center, center + right, center + up), dtype=np.float32)
    target = np.array(((W / 2, H / 2), (W, H / 2), (W / 2, H / 2 - W / 2)), dtype=np.float32)
    return cv2.getAffineTransform(source, target)


def test_equal_to_the_published_matrices(shared: Path) -> None:
    stored = functions(shared)
    center, scale = bbox_xyxy_to_cs(stored['affine.boxes'], 1.25)
    np.testing.assert_allclose(center, stored['affine.center'])
    np.testing.assert_allclose(scale, stored['affine.scale'])
    for i in range(2):
        plain = affine_matrix(center[i], scale[i], 30, SIZE)
        udp = affine_matrix(center[i], scale[i], 30, SIZE, udp=True)
        np.testing.assert_allclose(plain, stored['affine.matrix_rot30'][i], rtol=1e-5, atol=1e-4)  # px
        np.testing.assert_allclose(udp, stored['affine.udp_matrix_rot30'][i], rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize('rotation', [0.0, 30.0, -75.0, 180.0])
def test_plain_against_three_points(rotation: float) -> None:
    center, scale = np.array((70.0, 41.5)), np.array((60.0, 80.0))
    ours = affine_matrix(center, scale, rotation, SIZE)
    np.testing.assert_allclose(ours, matrix_by_points(center, scale, rotation, SIZE), atol=1e-3)


def test_udp_takes_the_box_to_the_centres_of_the_corner_pixels() -> None:
    matrix = affine_matrix(np.array((50.0, 60.0)), np.array((30.0, 40.0)), 0, SIZE, udp=True)
    np.testing.assert_allclose(apply_affine(np.array([(35.0, 40.0), (65.0, 80.0)]), matrix), [(0, 0), (191, 255)], atol=1e-4)


def test_the_two_kinds_turn_in_opposite_directions() -> None:
    center, scale = np.array((0.0, 0.0)), np.array((96.0, 96.0))
    right = np.array((48.0, 0.0))
    assert apply_affine(right, affine_matrix(center, scale, 20, (96, 96)))[1] < 48
    assert apply_affine(right, affine_matrix(center, scale, 20, (97, 97), udp=True))[1] > 48


@pytest.mark.parametrize(
    ('scale', 'expected'),
    [((30, 40), (30, 40)), ((30, 20), (30, 40)), ((15, 40), (30, 40)), ((0, 40), (30, 40)), ((0, 0), (0, 0))],
)
def test_the_shorter_side_grows(scale: tuple[int, int], expected: tuple[int, int]) -> None:
    assert fix_aspect_ratio(np.array(scale), 0.75).tolist() == list(expected)
    assert fix_aspect_ratio(np.array([scale, scale]), 0.75).shape == (2, 2)


def test_apply_affine_is_a_matrix_product() -> None:
    points, matrix = np.random.default_rng(0).uniform(size=(2, 5, 2)), np.array([[1.0, 2, 3], [4, 5, 6]])
    expected = points @ matrix[:, :2].T + matrix[:, 2]
    mapped = apply_affine(points, matrix)
    np.testing.assert_allclose(mapped, expected, rtol=1e-6)
    assert mapped.dtype == np.float32
    assert apply_affine(np.zeros((0, 2)), matrix).shape == (0, 2)


@pytest.mark.parametrize('udp', [False, True])
@pytest.mark.parametrize(
    ('center', 'width', 'rotation'),
    [
        ((80, 60), 50, 0),  # inside
        ((80, 60), 50, 33.3),
        ((3, 117), 90, -70),  # over an edge
        ((80, 60), 600, 45),  # the whole image is in the crop
        ((-20, 60), 45, 10),  # a strip of the image
        ((80.3, 59.6), 0.7, 0),  # one pixel fills the crop
    ],
)
def test_the_crop_is_opencvs(center: tuple, width: float, rotation: float, udp: bool) -> None:
    image = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    image = cv2.GaussianBlur(image, (5, 5), 2)
    matrix = affine_matrix(np.array(center), np.array((width, width * 4 / 3)), rotation, (48, 64), udp=udp)
    expected = cv2.warpAffine(image, matrix, (48, 64), flags=cv2.INTER_LINEAR)
    crop = warp_affine(image, matrix, (48, 64))
    difference = np.abs(crop.astype(int) - expected)
    assert crop.shape == (64, 48, 3)
    assert difference.max() <= 10  # grey values; OpenCV rounds positions to 1/32 px, and those of the two differ
    assert difference.mean() < 0.5


def test_a_crop_beside_the_image_is_black() -> None:
    image = np.full((20, 30, 3), 255, dtype=np.uint8)
    for center in ((-100, 10), (15, 500)):
        crop = warp_affine(image, affine_matrix(np.array(center), np.array((20.0, 20.0)), 15, (16, 8)), (16, 8))
        assert crop.shape == (8, 16, 3)
        assert not crop.any()


def test_identity_keeps_every_pixel_and_the_image() -> None:
    image = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    before = image.copy()
    np.testing.assert_array_equal(warp_affine(image, np.eye(2, 3), (7, 9)), image)
    np.testing.assert_array_equal(image, before)


def test_images_beyond_opencvs_limit_of_32767_px() -> None:
    image = np.zeros((4, 40_000, 3), dtype=np.uint8)
    image[:, 39_000:] = 200
    crop = warp_affine(image, affine_matrix(np.array((39_500.0, 2.0)), np.array((4.0, 4.0)), 0, (4, 4)), (4, 4))
    assert crop[1:, 1:3].min() == 200


@pytest.mark.parametrize('scale', [(0, 10), (10, 0), (-1, 10), (np.nan, 10), (10, np.nan)])
def test_an_empty_box(scale: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match=r'affine_matrix: `scale` must be positive, got .*; is the box empty\?'):
        affine_matrix(np.zeros(2), np.array(scale, dtype=float), 0, SIZE)
