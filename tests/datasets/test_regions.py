"""Ignored regions: read from polygons and both kinds of RLE, and moved to the network's maps where pycocotools says they are."""

import numpy as np
import pytest

from mmpose_lite.datasets.regions import covered_cells, read_region
from tests.coco_folder import compressed_rle, uncompressed_rle

IDENTITY = np.eye(2, 3)
SIZE = (40, 24)  # (w, h)
SQUARE = [8, 4, 24, 4, 24, 20, 8, 20]


def pixels() -> np.ndarray:
    mask = np.zeros(SIZE[::-1], np.uint8)
    mask[4:20, 8:24] = 1
    return mask


def covered(
    regions: list,
    matrix: np.ndarray,
    input_size: tuple[int, int],
    mask_size: tuple[int, int],
    *,
    image_size: tuple[int, int] = SIZE,
) -> np.ndarray:
    return covered_cells(regions, matrix, image_shape=image_size[::-1], input_size=input_size, mask_size=mask_size)


@pytest.mark.parametrize(
    'ann',
    [
        dict(segmentation=[SQUARE]),
        dict(segmentation=[[8, 4, 16, 4, 16, 20, 8, 20], [16, 4, 24, 4, 24, 20, 16, 20], [1, 1, 2, 2]]),  # the last is no area
        dict(segmentation=[SQUARE, SQUARE]),  # a union: nothing cancels out
        dict(segmentation=uncompressed_rle(pixels())),
        dict(segmentation=compressed_rle(pixels())),
        dict(bbox=[8, 4, 16, 16]),
        dict(bbox=[8, 4, 16, 16], segmentation=[]),
    ],
)
def test_every_form_covers_the_same_pixels_and_cells(ann: dict) -> None:
    region = read_region(ann, dict(width=SIZE[0], height=SIZE[1]))
    assert (covered([region], IDENTITY, SIZE, SIZE) == pixels()).all()
    cells = covered([region], IDENTITY, SIZE, (10, 6))  # cells of 4 px: the square is cells 2 to 5 and 1 to 4
    assert np.argwhere(cells).tolist() == [[y, x] for y in range(1, 5) for x in range(2, 6)]


def test_a_cell_is_covered_from_half_of_it_on() -> None:
    def cells(width: float) -> list[bool]:
        return covered([read_region(dict(bbox=[0, 0, width, 8]), {})], IDENTITY, (16, 8), (2, 1), image_size=(16, 8))[0].tolist()

    assert cells(3) == [False, False]
    assert cells(4) == [True, False]
    assert cells(11) == [True, False]
    assert cells(13) == [True, True]


def test_regions_of_both_kinds_add_up() -> None:
    left, right = pixels(), np.roll(pixels(), 14, axis=1)
    regions = [
        read_region(dict(segmentation=s), {})
        for s in (compressed_rle(left), uncompressed_rle(right), [[0, 0, 40, 0, 40, 2, 0, 2]])
    ]
    both = left | right
    both[:2] = 1
    assert (covered(regions, IDENTITY, SIZE, SIZE) == both).all()


@pytest.mark.parametrize('kind', ['polygon', 'uncompressed', 'compressed'])
def test_a_turn_and_a_zoom_move_the_pixel_centres(kind: str) -> None:
    """Each cell is looked up at the place of the image that its centre comes from."""
    region = dict(polygon=[SQUARE], uncompressed=uncompressed_rle(pixels()), compressed=compressed_rle(pixels()))[kind]
    angle = np.deg2rad(25)
    matrix = 1.7 * np.array([[np.cos(angle), np.sin(angle), -3.0], [-np.sin(angle), np.cos(angle), 8.0]])
    found = covered([read_region(dict(segmentation=region), {})], matrix, (64, 48), (64, 48))
    y, x = np.mgrid[:48, :64]
    origin = np.linalg.solve(matrix[:, :2], np.stack((x.ravel(), y.ravel())) - matrix[:, 2:]) + 0.5  # edges count from 0
    inside = ((origin > [[8], [4]]) & (origin < [[24], [20]])).all(axis=0).reshape(48, 64)
    near_edge = (np.abs(origin[0] - 8) < 0.7) | (np.abs(origin[0] - 24) < 0.7) | (np.abs(origin[1] - 4) < 0.7)
    near_edge = (near_edge | (np.abs(origin[1] - 20) < 0.7)).reshape(48, 64)
    assert (found == inside)[~near_edge].all()
    assert abs(int(found.sum()) - int(inside.sum())) < 30  # of 740 px: no bias outwards


def test_regions_outside_the_input_and_no_regions() -> None:
    away = np.array([[1.0, 0, 1000], [0, 1, 0]])
    region = read_region(dict(segmentation=[SQUARE]), {})
    assert not covered([region], away, SIZE, SIZE).any()
    assert not covered([], IDENTITY, SIZE, SIZE).any()
    assert read_region({}, {}) is None
    assert read_region(dict(segmentation=[[1, 1, 2, 2]], bbox=[0, 0, 1, 1]), {}) == []


def test_an_rle_of_another_image_is_named() -> None:
    with pytest.raises(ValueError, match=r'an RLE of 40 x 24 px \(w x h\), the image 24 x 40\..*EXIF'):
        covered([read_region(dict(segmentation=compressed_rle(pixels())), {})], IDENTITY, SIZE, SIZE, image_size=SIZE[::-1])


@pytest.mark.parametrize(
    ('segmentation', 'message'),
    [
        ([[1, 2, 3]], r'must be polygons \[\[x, y, x, y, \.\.\.\], \.\.\.\] or an RLE, got \[\[1, 2, 3\]\]'),
        ([[1, 'a', 3, 4, 5, 6]], 'must be polygons'),
        ([[1, float('nan'), 3, 4, 5, 6]], 'must be polygons'),
        ('polygon', 'must be polygons'),
        (dict(counts=[960]), r"needs `size` \[h, w\] and `counts`, got the keys \['counts'\]"),
        (dict(size=[24, 40], counts=[1, 2]), 'counts of the RLE `segmentation` sum to 3, its size 40 x 24 has 960 pixels'),
        (dict(size=[40, 24], counts=[960]), r'is 24 x 40 \(w x h\), its image 40 x 24'),
    ],
)
def test_what_is_no_segmentation(segmentation: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_region(dict(segmentation=segmentation), dict(width=40, height=24))
