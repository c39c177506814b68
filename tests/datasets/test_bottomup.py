"""Whole images on their way to a bottom-up network: people, boxes and ignored regions stay on the pixels they belong to."""

import json
import pickle
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mmpose_lite.datasets import CocoKeypointDataset
from mmpose_lite.datasets.collate import pose_collate
from mmpose_lite.datasets.sampling import Draw
from mmpose_lite.datasets.transforms.augment import flip_sample
from mmpose_lite.datasets.transforms.bottomup import _place
from mmpose_lite.errors import ConfigError
from mmpose_lite.registry import DATASETS, TRANSFORMS
from tests.coco_folder import ABSENT, META, compressed_rle, person, uncompressed_rle, write_coco

SIZE = (96, 80)  # (w, h) of the input
PEOPLE = np.array([[[60.0, 50.0], [90.5, 70.25], [46.0, 75.5]], [[140.0, 40.0], [150.0, 90.0], [128.0, 100.0]]], np.float32)
SWAPS = np.array([0, 2, 1])
SQUARE = [70, 20, 100, 20, 100, 60, 70, 60]  # px from the edge of the image
BOXES = np.array([[40, 40, 100, 80], [120, 30, 160, 110]], np.float32)


def picture(points: np.ndarray, *, size: tuple[int, int] = (200, 150)) -> np.ndarray:
    """Return a (w, h) picture with a soft dot at the k-th keypoint of every person in the k-th channel."""
    y, x = np.mgrid[: size[1], : size[0]]
    dots = np.zeros((*y.shape, 3))
    for k, (px, py) in ((k, point) for pose in points for k, point in enumerate(pose)):
        dots[..., k] += np.exp(-((x - px) ** 2 + (y - py) ** 2) / 18)
    return (255 * dots.clip(0, 1)).round().astype(np.uint8)


def sample(seed: int = 0, people: np.ndarray = PEOPLE, **changes: object) -> dict:
    """Return a dataset's item with the image read."""
    image = picture(people)
    return {
        **dict(
            img=image,
            ori_shape=image.shape[:2],
            img_path='dots.png',
            img_id=7,
            bboxes=BOXES[: len(people)].copy(),
            bbox_scores=np.ones(len(people), np.float32),
            keypoints=people.copy(),
            keypoints_visible=np.ones(people.shape[:2], np.float32),
            areas=np.full(len(people), 900, np.float32),
            category_ids=np.ones(len(people), np.int64),
            ignore_regions=[[np.array(SQUARE, np.float32)]],
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


def brightness(image: np.ndarray, points: np.ndarray, channels: np.ndarray) -> np.ndarray:
    """Return the grey value of the k-th point of each person in its channel."""
    x, y = np.rint(points).astype(int).T
    return image[y.T, x.T, channels]


FLIP = dict(type='RandomFlip', prob=1)
AFFINE = dict(type='BottomupRandomAffine', input_size=SIZE, shift_factor=0.05, scale_factor=(1.2, 1.4), scale_type='long')
RESIZE = dict(type='BottomupResize', input_size=SIZE)
EXPAND = dict(type='BottomupResize', input_size=SIZE, resize_mode='expand', size_factor=16)
MASK = dict(type='GenerateLossMask', mask_size=SIZE)


@pytest.mark.parametrize('step', [AFFINE, RESIZE, EXPAND], ids=['affine', 'fit', 'expand'])
@pytest.mark.parametrize('flipped', [False, True])
@pytest.mark.parametrize('seed', [1, 2, 3])
def test_all_people_stay_on_their_dots(step: dict, flipped: bool, seed: int) -> None:
    results = run(sample(seed), *[FLIP] * flipped, step)
    width, height = results['input_size']
    assert results['img'].shape == (height, width, 3)
    assert results['keypoints_input'].shape == (2, 3, 2)
    channels = SWAPS if flipped else np.arange(3)  # the dot of a mirrored right hand is now the left hand's
    assert (brightness(results['img'], results['keypoints_input'], channels) > 140).all()
    others = np.roll(channels, 1)
    assert (brightness(results['img'], results['keypoints_input'], others) < 100).any()


@pytest.mark.parametrize('step', [AFFINE, RESIZE, EXPAND], ids=['affine', 'fit', 'expand'])
@pytest.mark.parametrize('flipped', [False, True])
def test_the_matrix_goes_from_the_image_as_it_is_stored(step: dict, flipped: bool) -> None:
    results = run(sample(4), *[FLIP] * flipped, step)
    matrix = results['warp_matrix']
    mapped = PEOPLE @ matrix[:, :2].T + matrix[:, 2]
    swaps = SWAPS if flipped else np.arange(3)
    np.testing.assert_allclose(results['keypoints_input'], mapped[:, swaps], atol=1e-3)
    assert (np.linalg.det(matrix[:, :2]) < 0) == flipped


@pytest.mark.parametrize('flipped', [False, True])
@pytest.mark.parametrize('seed', [1, 2, 3])
def test_ignored_regions_move_with_the_image(flipped: bool, seed: int) -> None:
    """A white square is painted where the region is; the mask must leave out what is white, wherever it has come to lie."""
    image = np.zeros((150, 200, 3), np.uint8)
    image[20:60, 70:100] = 255
    results = run(sample(seed, img=image), *[FLIP] * flipped, AFFINE, MASK)
    left_out = results['loss_mask'] == 0
    white = results['img'][..., 0]
    assert left_out.sum() > 100
    assert not left_out[white < 60].any()
    assert left_out[white > 195].all()


def test_boxes_move_with_their_people() -> None:
    results = run(sample(3), FLIP, AFFINE)
    boxes, points = results['bboxes_input'], results['keypoints_input']
    assert boxes.shape == (2, 4)
    assert (points >= boxes[:, None, :2] - 1).all()  # px: the flip of a box is that of its keypoints
    assert (points <= boxes[:, None, 2:] + 1).all()
    turned_by_45 = np.array([[np.sqrt(0.5), np.sqrt(0.5), 0], [-np.sqrt(0.5), np.sqrt(0.5), 0]])
    corners = np.array([[40, 40], [100, 40], [100, 80], [40, 80]]) @ turned_by_45[:, :2].T
    expected = [*corners.min(axis=0), *corners.max(axis=0)]
    found = _place(dict(bboxes=BOXES[:1], ori_shape=(150, 200)), turned_by_45, SIZE)['bboxes_input'][0]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_without_amounts_the_middle_of_the_image_fills_the_input() -> None:
    still = dict(type='BottomupRandomAffine', input_size=(50, 50), shift_prob=0, scale_prob=0, rotate_prob=0)
    short, whole = run(sample(), still), run(sample(), {**still, 'scale_type': 'long'})
    np.testing.assert_allclose(short['warp_matrix'], [[1 / 3, 0, -25 / 3], [0, 1 / 3, 0]], atol=1e-9)  # 150 px become 50
    np.testing.assert_allclose(whole['warp_matrix'], [[1 / 4, 0, 0], [0, 1 / 4, 6.25]], atol=1e-9)  # 200 px become 50
    assert not whole['img'][:6].any()


def test_amounts_stay_in_their_ranges() -> None:
    step = TRANSFORMS.build(dict(type='BottomupRandomAffine', input_size=(50, 50)))
    matrices = np.stack([step(sample(seed))['warp_matrix'] for seed in range(300)])
    zooms = np.sqrt(np.linalg.det(matrices[:, :, :2])) * 3  # 1 for the middle of the image
    angles = np.rad2deg(np.arctan2(matrices[:, 0, 1], matrices[:, 0, 0]))
    centers = np.stack([np.linalg.solve(m[:, :2], (25, 25) - m[:, 2]) for m in matrices])
    shifts = (centers - (100, 75)) / (200, 150)
    for values, low, high in ((1 / zooms, 0.75, 1.5), (angles, -30, 30), (shifts[:, 0], -0.2, 0.2), (shifts[:, 1], -0.2, 0.2)):
        assert low <= values.min() < low + 0.1 * (high - low)
        assert high - 0.1 * (high - low) < values.max() <= high
        assert abs(values.mean() - (low + high) / 2) < 0.1 * (high - low)


def test_resize_pads_right_and_below_and_keeps_pixel_edges() -> None:
    white = np.full((150, 200, 3), 255, np.uint8)
    results = run(sample(img=white), RESIZE)  # 200 x 150 into 96 x 80: 96 x 72
    assert results['input_size'] == SIZE
    assert (results['img'][:72] == 255).all()
    assert not results['img'][72:].any()
    corners = np.array([[-0.5, -0.5], [199.5, 149.5]])
    np.testing.assert_allclose(
        corners @ results['warp_matrix'][:, :2].T + results['warp_matrix'][:, 2], [[-0.5] * 2, [95.5, 71.5]]
    )


@pytest.mark.parametrize(('size', 'expected'), [((200, 150), (112, 80)), ((150, 200), (96, 128)), ((192, 160), (96, 80))])
def test_expand_covers_the_input_size(size: tuple[int, int], expected: tuple[int, int]) -> None:
    results = run(sample(img=np.full((*size[::-1], 3), 255, np.uint8)), EXPAND)  # multiples of 16
    assert results['input_size'] == expected
    assert results['img'].shape[1::-1] == expected
    assert results['img'][: SIZE[1], : SIZE[0]].all()


def test_images_of_one_pixel_and_enlargements() -> None:
    assert run(sample(img=np.full((1, 1, 3), 9, np.uint8), ori_shape=(1, 1)), RESIZE)['img'][:80, :80].min() == 9
    assert run(sample(img=np.full((1, 500, 3), 9, np.uint8)), RESIZE)['img'].shape == (80, 96, 3)


@pytest.mark.parametrize('test_mode', [False, True])
def test_nobody(test_mode: bool) -> None:
    steps = [RESIZE] if test_mode else [FLIP, AFFINE]
    packed = run(sample(people=PEOPLE[:0]), *steps, MASK, dict(type='PackPoseInputs'))
    assert packed['instances']['keypoints_input'].shape == (0, 3, 2)
    assert packed['instances']['bboxes_input'].shape == (0, 4)
    batch = pose_collate([packed, run(sample(), *steps, MASK, dict(type='PackPoseInputs'))])['data_samples']
    assert batch.counts == [0, 2]
    assert batch.loss_mask.shape == (2, 80, 96)
    assert batch.padded('keypoints_input').shape == (2, 2, 3, 2)
    assert not batch.padded('keypoints_visible')[0].any()


def test_what_is_packed() -> None:
    packed = run(sample(), FLIP, AFFINE, MASK, dict(type='PackPoseInputs'))
    assert packed['maps'].keys() == {'loss_mask'}
    assert packed['maps']['loss_mask'].dtype == np.uint8
    assert packed['instances'].keys() == {
        *('bboxes', 'bboxes_input', 'bbox_scores', 'category_ids', 'keypoints', 'keypoints_input', 'keypoints_visible', 'areas')
    }
    assert packed['metainfo'].keys() == {'img_path', 'img_id', 'ori_shape', 'input_size', 'warp_matrix', 'flip'}
    assert packed['metainfo']['input_size'] == SIZE
    assert len(pickle.dumps(packed)) < packed['inputs'].nbytes + packed['maps']['loss_mask'].nbytes + 4000  # small all over


def test_without_regions_all_counts_and_beyond_the_border_too() -> None:
    results = sample()
    del results['ignore_regions']
    assert run(results, RESIZE, MASK)['loss_mask'].all()
    assert run(sample(ignore_regions=[]), RESIZE, MASK)['loss_mask'].all()
    assert run(sample(), RESIZE, MASK)['loss_mask'][72:].all()


def test_a_pipeline_is_the_same_for_the_same_draw(tmp_path: Path) -> None:
    write_coco(tmp_path, [person(1, 1), person(2, 1)])
    dataset = build(tmp_path, pipeline=[dict(type='LoadImage'), dict(type='RandomFlip'), AFFINE, dict(type='PackPoseInputs')])
    once, again, other = (dataset[Draw(0, 5, round_)] for round_ in (0, 0, 1))
    np.testing.assert_array_equal(once['inputs'], again['inputs'])
    assert not np.array_equal(once['metainfo']['warp_matrix'], other['metainfo']['warp_matrix'])


@pytest.mark.parametrize(
    ('step', 'message'),
    [
        (
            dict(AFFINE, input_size=(0, 5)),
            r'BottomupRandomAffine: `input_size` must be \(w, h\) of positive numbers, got \(0, 5\)',
        ),
        (dict(AFFINE, scale_factor=(2, 1)), r'`scale_factor` must be 0 < low <= high, got \(2, 1\)'),
        (dict(AFFINE, scale_type='wide'), r"`scale_type` must be one of \('short', 'long'\), got 'wide'"),
        (dict(AFFINE, rotate_prob=2), r'`rotate_prob` must be in \[0, 1\], got 2'),
        (dict(RESIZE, resize_mode='crop'), r"BottomupResize: `resize_mode` must be one of \('fit', 'expand'\), got 'crop'"),
        (dict(RESIZE, size_factor=0), '`size_factor` must be 1 or more, got 0'),
        (dict(MASK, mask_size=(4,)), r'GenerateLossMask: `mask_size` must be \(w, h\)'),
    ],
)
def test_wrong_options(step: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TRANSFORMS.build(step)


def test_wrong_order() -> None:
    with pytest.raises(ConfigError, match='GenerateLossMask: it must come after BottomupRandomAffine or BottomupResize'):
        run(sample(), MASK)
    with pytest.raises(ConfigError, match=r'RandomFlip: .* must come before the affine step'):
        run(sample(), RESIZE, FLIP)
    with pytest.raises(ConfigError, match='BottomupResize: the image has its place in the input already'):
        run(sample(), AFFINE, RESIZE)


def test_a_region_of_another_image_names_the_file() -> None:
    rle = dict(size=[10, 10], counts=b'd3')
    with pytest.raises(ValueError, match=r'dots\.png: an ignored region is an RLE of 10 x 10 px'):
        run(sample(ignore_regions=[rle]), RESIZE, MASK)


def test_flipping_twice_is_identity() -> None:
    twice = flip_sample(flip_sample(sample()))
    for key in ('keypoints', 'keypoints_visible', 'bboxes', 'img'):
        np.testing.assert_array_equal(twice[key], sample()[key])


# --- the dataset ---------------------------------------------------------------------------------------------------------


def build(folder: Path, annotations: list[dict] | None = None, **options: Any) -> CocoKeypointDataset:
    if annotations is not None:
        write_coco(folder, annotations)
    cfg = dict(type='CocoKeypointDataset', data_mode='bottomup', ann_file='people.json', data_root=str(folder), meta=META)
    return DATASETS.build({**cfg, **options})


def test_an_item_has_all_the_people_of_an_image(tmp_path: Path) -> None:
    crowd = person(3, 2, iscrowd=1, segmentation=dict(size=[90, 120], counts=[90 * 120]), category_id=1)
    unlabelled = person(4, 2, keypoints=[0] * 9, segmentation=[[1, 1, 5, 1, 5, 5]])
    flat = person(6, 2, bbox=[5, 5, 0, 9], area=0)  # labelled, so to be found, whatever its box
    dataset = build(tmp_path, [person(1, 2), person(2, 1), crowd, unlabelled, person(5, 2), flat])
    first, second = dataset  # in the order of the images; 3 and 4 have nobody
    assert [first['img_id'], second['img_id']] == [1, 2]
    assert len(first['keypoints']) == 1
    shapes = dict(bboxes=(3, 4), bbox_scores=(3,), keypoints=(3, 3, 2), keypoints_visible=(3, 3), areas=(3,), category_ids=(3,))
    assert {name: second[name].shape for name in shapes} == shapes
    assert {second[name].dtype.name for name in shapes} == {'float32', 'int64'}
    assert second['bboxes'][1].tolist() == [45, 30, 75, 70]
    assert second['category_id'] == 1
    assert second['flip_indices'].tolist() == [0, 2, 1]
    assert isinstance(second['rng'], np.random.Generator)
    assert first['ignore_regions'] == []
    mask, polygons = second['ignore_regions']
    assert mask['size'] == [90, 120]
    assert polygons[0].tolist() == [1, 1, 5, 1, 5, 5]


def test_every_image_is_tested(tmp_path: Path) -> None:
    dataset = build(tmp_path, [person(1, 2)], test_mode=True)
    assert [(item['img_id'], len(item['keypoints'])) for item in dataset] == [(1, 0), (2, 1), (3, 0), (4, 0)]
    assert dataset[0]['keypoints'].shape == (0, 3, 2)
    assert dataset[0]['bboxes'].dtype == np.float32
    assert len(build(tmp_path, [], test_mode=True)) == 4
    assert [item['img_id'] for item in build(tmp_path, [person(1, 2)], test_mode=True, indices=[1])] == [2]


def test_categories(tmp_path: Path) -> None:
    annotations = [person(1, 1), person(2, 1, category_id=2), person(3, 1, iscrowd=1, category_id=2)]
    (both,) = build(tmp_path, annotations)
    assert both['category_ids'].tolist() == [1, 2]
    assert 'category_id' not in both
    assert len(both['ignore_regions']) == 1
    (one,) = build(tmp_path, category_ids=[1])
    assert one['category_ids'].tolist() == [1]
    assert one['category_id'] == 1
    assert one['ignore_regions'] == []


def test_a_crowd_without_a_segmentation_is_its_box(tmp_path: Path) -> None:
    item = build(tmp_path, [person(1, 1), person(2, 1, iscrowd=1), person(3, 1, iscrowd=1, bbox=ABSENT)])[0]
    assert [region[0].tolist() for region in item['ignore_regions']] == [[24, 15, 54, 15, 54, 55, 24, 55]]


def test_annotations_stay_flat_in_memory(tmp_path: Path) -> None:
    """Workers share one array of bytes; a list of objects would be copied into each of them by reference counting."""
    crowd = person(2, 1, iscrowd=1, segmentation=dict(size=[90, 120], counts=[90 * 60, 90 * 60]))
    dataset = build(tmp_path, [person(1, 1), crowd, person(3, 1, keypoints=[0] * 9, segmentation=[[1, 1, 5, 1, 5, 5]])])
    assert dataset.data_list == []
    assert dataset.data_bytes.dtype == np.uint8
    assert len(dataset.data_bytes) < 4000
    assert len(dataset[0]['ignore_regions']) == 2


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(data_mode='middle'), r"`data_mode` must be one of \('topdown', 'bottomup'\), got 'middle'"),
        (dict(bbox_file='boxes.json', test_mode=True), "`bbox_file` is for data_mode='topdown'"),
    ],
)
def test_wrong_dataset_options(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(tmp_path, [person(1, 1)], **changes)


def test_wrong_segmentations_name_the_annotation(tmp_path: Path) -> None:
    wrong = person(8, 1, iscrowd=1, segmentation=dict(size=[10, 10], counts=[100]))
    with pytest.raises(ValueError, match=r'people\.json: annotation 8 \(image 1\): the RLE `segmentation` is 10 x 10'):
        build(tmp_path, [person(1, 1), wrong])
    assert len(build(tmp_path, [person(1, 1), wrong], data_mode='topdown')) == 1  # not looked at
    with pytest.raises(ValueError, match='no person is left to use'):
        build(tmp_path, [person(1, 1, iscrowd=1)])


def test_synthetic_people(tmp_path: Path) -> None:
    recipe = dict(data_root=str(tmp_path / 'people'), num_train=12, num_val=1, image_size=(96, 64), max_people=6)
    dataset = DATASETS.build(dict(type='SyntheticPeopleDataset', split='train', data_mode='bottomup', **recipe))
    assert 6 < len(dataset) <= 12
    assert max(len(item['keypoints']) for item in dataset) > 1
    single = DATASETS.build(dict(type='SyntheticPeopleDataset', split='train', **recipe))
    assert sum(len(item['keypoints']) for item in dataset) == len(single)


# --- real data -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('flipped', [False, True])
@pytest.mark.parametrize('crowds', ['none', 'uncompressed', 'compressed'])
def test_the_loss_mask_of_coco_is_what_pycocotools_decodes(shared: Path, tmp_path: Path, flipped: bool, crowds: str) -> None:
    """Decode each ignored region by pycocotools from the file, and compare each cell with the pixels that it comes from."""
    coco_module = pytest.importorskip('pycocotools.coco')
    folder = shared / 'data' / 'coco_sample'
    content = json.loads((folder / 'test_coco.json').read_text())
    if crowds != 'none':  # one person of every image but the first becomes a crowd, as COCO writes them
        coco = coco_module.COCO(str(folder / 'test_coco.json'))
        for ann in content['annotations']:
            if ann['id'] in (230195, 460541, 531914):
                mask = coco.annToMask(coco.anns[ann['id']])
                ann.update(iscrowd=1, segmentation=(compressed_rle if crowds == 'compressed' else uncompressed_rle)(mask))
    (tmp_path / 'people.json').write_text(json.dumps(content))
    coco = coco_module.COCO(str(tmp_path / 'people.json'))
    pipeline = [
        dict(type='LoadImage'),
        dict(type='RandomFlip', prob=float(flipped)),
        dict(type='BottomupRandomAffine', input_size=(368, 368)),
        dict(type='GenerateLossMask', mask_size=(46, 46)),
        dict(type='PackPoseInputs'),
    ]
    dataset = build(tmp_path, data_prefix=dict(img=str(folder)), meta='coco17', pipeline=pipeline)
    y, x = np.mgrid[:368, :368]
    num_left_out = 0
    for index, seed in product(range(4), range(4)):
        packed = dataset[Draw(index, seed, 0)]
        metainfo, mask = packed['metainfo'], packed['maps']['loss_mask']
        ignored = np.zeros(metainfo['ori_shape'], np.uint8)
        for ann in coco.imgToAnns[metainfo['img_id']]:
            if ann['iscrowd'] or not ann['num_keypoints']:
                ignored |= coco.annToMask(ann)
        back = np.linalg.inv(np.vstack([metainfo['warp_matrix'], [0, 0, 1]]))[:2]
        column, row = np.rint(back @ np.stack((x.ravel(), y.ravel(), np.ones(x.size)))).astype(int)
        inside = (column >= 0) & (row >= 0) & (column < ignored.shape[1]) & (row < ignored.shape[0])
        pixels = np.zeros(x.size)
        pixels[inside] = ignored[row[inside], column[inside]]
        share = pixels.reshape(46, 8, 46, 8).mean(axis=(1, 3))
        assert (mask[share > 0.6] == 0).all()
        assert (mask[share < 0.4] == 1).all()
        num_left_out += int((mask == 0).sum())
    assert num_left_out > (20 if crowds == 'none' else 1000)


def test_coco_through_the_whole_path(shared: Path) -> None:
    folder = shared / 'data' / 'coco_sample'
    pipeline = [dict(type='LoadImage'), dict(type='BottomupResize', input_size=(368, 368)), MASK, dict(type='PackPoseInputs')]
    options = dict(ann_file='test_coco.json', data_prefix=dict(img=''), meta='coco17', pipeline=pipeline, test_mode=True)
    dataset = build(folder, **options)
    batch = pose_collate([dataset[i] for i in range(4)])
    samples = batch['data_samples'].to('cpu')
    assert batch['inputs'].shape == (4, 3, 368, 368)
    assert samples.counts == [1, 2, 4, 5]
    assert samples.loss_mask.dtype == torch.uint8
    back = [np.linalg.inv(np.vstack([m['warp_matrix'], [0, 0, 1]])) for m in samples.metainfo]
    for image, inverse in zip(samples, back):
        points = image.gt_instances.keypoints_input.numpy() @ inverse[:2, :2].T + inverse[:2, 2]
        np.testing.assert_allclose(points, image.gt_instances.keypoints.numpy(), atol=1e-3)
