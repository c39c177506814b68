"""Holes, blur and colours: what a pixel becomes, against slow loops; where nothing moves, and nothing but the seed decides."""

from typing import Any

import cv2
import numpy as np
import pytest

from mmpose_lite.registry import TRANSFORMS

IMAGE = np.random.default_rng(0).integers(1, 256, (48, 64, 3), dtype=np.uint8)


def apply(name: str, seed: int = 0, **options: Any) -> np.ndarray:
    """Return the image after a transform; the given one must stay as it is."""
    image = IMAGE.copy()
    results = TRANSFORMS.build(dict(type=name, **options))(dict(img=image, rng=np.random.default_rng(seed)))
    np.testing.assert_array_equal(image, IMAGE)
    assert results['img'].dtype == np.uint8
    assert results['img'].shape == IMAGE.shape
    return results['img']


def holes(image: np.ndarray) -> np.ndarray:
    """Return where the image is black; all else must be as it was."""
    black = (image == 0).all(-1)
    np.testing.assert_array_equal(image[~black], IMAGE[~black])
    return black


ALL = (
    ('CoarseDropout', {}),
    ('GridMask', dict(unit_range=(8, 20))),
    ('Blur', {}),
    ('MedianBlur', {}),
    ('YOLOXHSVRandomAug', {}),
)


@pytest.mark.parametrize(('name', 'options'), ALL)
def test_the_seed_decides(name: str, options: dict) -> None:
    images = [apply(name, seed, **options) for seed in range(12)]
    assert len({image.tobytes() for image in images}) >= 3
    np.testing.assert_array_equal(images[5], apply(name, 5, **options))
    if name != 'YOLOXHSVRandomAug':
        assert any((image == IMAGE).all() for image in images)  # the probability is 1/2
        assert (apply(name, prob=0.0, **options) == IMAGE).all()
        assert all((apply(name, seed, prob=1.0, **options) != IMAGE).any() for seed in range(12))


def test_one_hole_of_given_size() -> None:
    corners = set()
    for seed in range(300):
        black = holes(apply('CoarseDropout', seed, max_holes=1, max_height=46, max_width=62, prob=1.0))
        rows, columns = np.flatnonzero(black.any(1)), np.flatnonzero(black.any(0))
        assert (len(rows), len(columns), black.sum()) == (46, 62, 46 * 62)
        corners.add((int(rows[0]), int(columns[0])))
    assert corners == {(y, x) for y in range(3) for x in range(3)}  # every place, the border included


def test_holes_as_shares_of_the_image() -> None:
    """RTMPose's: one hole of a fifth to two fifths of each side."""
    sizes = []
    for seed in range(400):
        black = holes(
            apply('CoarseDropout', seed, max_holes=1, max_height=0.4, max_width=0.4, min_height=0.2, min_width=0.2, prob=1.0)
        )
        sizes.append((black.any(1).sum(), black.any(0).sum()))
    heights, widths = np.array(sizes).T
    assert (heights.min(), heights.max()) == (int(0.2 * 48), int(0.4 * 48))  # rounded down
    assert (widths.min(), widths.max()) == (int(0.2 * 64), int(0.4 * 64))


def test_number_and_colour_of_holes() -> None:
    options: dict[str, Any] = dict(max_holes=3, max_height=1, max_width=1, prob=1.0)
    counts = {int(holes(apply('CoarseDropout', seed, min_holes=1, **options)).sum()) for seed in range(50)}
    assert counts == {1, 2, 3}
    assert (apply('CoarseDropout', fill_value=(1, 2, 3), max_height=48, max_width=64, prob=1.0) == (1, 2, 3)).all()
    assert not apply('CoarseDropout', max_height=480, max_width=640, prob=1.0).any()  # no larger than the image


@pytest.mark.parametrize(('ratio', 'side'), [(0.5, 4), (0.25, 6), (0.75, 2)])
def test_grid(ratio: float, side: int) -> None:
    """An image of 6 x 8 units of 8 px: each unit has one square, and 1 - (1 - r)^2 of the image is kept."""
    places = set()
    for seed in range(100):
        black = holes(apply('GridMask', seed, unit_range=(8, 8), ratio=ratio, prob=1.0))
        assert black.mean() == (1 - ratio) ** 2 == (side / 8) ** 2
        unit = black[:8, :8]
        np.testing.assert_array_equal(black, np.tile(unit, (6, 8)))
        assert (unit.any(1).sum(), unit.any(0).sum()) == (side, side)
        places.add(unit.tobytes())
    assert len(places) > 40  # of 64


def test_grids_of_several_sizes() -> None:
    shares = [holes(apply('GridMask', seed, unit_range=(2, 100), ratio=0.9, prob=1.0)).mean() for seed in range(50)]
    assert max(shares) <= 0.25  # the smallest unit of 2 px keeps a pixel of two
    assert len(set(shares)) > 10


@pytest.mark.parametrize('size', [3, 5])
def test_blurs(size: int) -> None:
    blur = apply('Blur', blur_limit=(size, size), prob=1.0)
    median = apply('MedianBlur', blur_limit=(size, size), prob=1.0)
    radius = size // 2
    for y, x in ((radius, radius), (20, 30), (47 - radius, 63 - radius)):
        window = IMAGE[y - radius : y + radius + 1, x - radius : x + radius + 1].reshape(-1, 3)
        np.testing.assert_allclose(blur[y, x], window.mean(0), atol=0.51)
        np.testing.assert_array_equal(median[y, x], np.median(window, axis=0))


def test_blurs_of_several_sizes() -> None:
    for name, function in (('Blur', lambda s: cv2.blur(IMAGE, (s, s))), ('MedianBlur', lambda s: cv2.medianBlur(IMAGE, s))):
        expected = {function(size).tobytes() for size in (3, 5, 7)}
        assert {apply(name, seed, prob=1.0).tobytes() for seed in range(40)} == expected


def test_colours() -> None:
    """Deltas are those of one pixel, whole numbers; hue goes round at 180, the others stop at 0 and 255."""
    before = cv2.cvtColor(IMAGE, cv2.COLOR_BGR2HSV).astype(int)
    seen = []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        deltas = (rng.uniform(-1, 1, 3) * (5, 30, 30) * rng.integers(0, 2, 3)).astype(int)
        seen.append(deltas)
        hsv = before + deltas
        hsv[..., 0] %= 180
        hsv[..., 1:] = hsv[..., 1:].clip(0, 255)
        np.testing.assert_array_equal(
            apply('YOLOXHSVRandomAug', seed), cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2BGR), err_msg=str(deltas)
        )
    drawn = np.array(seen)
    assert (drawn.min(0) < (-2, -20, -20)).all()
    assert (drawn.max(0) > (2, 20, 20)).all()
    assert (drawn == 0).mean() > 0.4  # each with probability 1/2


@pytest.mark.parametrize(
    ('name', 'options', 'message'),
    [
        ('CoarseDropout', dict(prob=2.0), r'CoarseDropout: `prob` must be in \[0, 1\], got 2.0'),
        ('CoarseDropout', dict(max_holes=2, min_holes=3), '1 <= `min_holes` <= `max_holes`, got 3 and 2'),
        ('CoarseDropout', dict(max_holes=0), '1 <= `min_holes`'),
        ('CoarseDropout', dict(max_height=0.5, min_height=2), '`min_height` and `max_height` must be 0 < min <= max'),
        ('CoarseDropout', dict(max_width=1.5), r'`min_width` and `max_width` must be .* got 1.5 and 1.5'),
        ('CoarseDropout', dict(max_width=4, min_width=5), 'got 5 and 4'),
        ('GridMask', dict(unit_range=(9, 8)), r'`unit_range` must be 2 <= smallest <= greatest px, got \(9, 8\)'),
        ('GridMask', dict(ratio=1.0), r'`ratio`, the share that is kept between squares, must be in \(0, 1\), got 1.0'),
        ('Blur', dict(blur_limit=(4, 7)), r'Blur: `blur_limit` must be .* got \(4, 7\)'),
        ('MedianBlur', dict(blur_limit=(5, 3)), r'MedianBlur: `blur_limit` must be .* got \(5, 3\)'),
    ],
)
def test_wrong_arguments(name: str, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TRANSFORMS.build(dict(type=name, **options))
