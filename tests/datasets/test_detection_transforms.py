"""Boxes, masks and pixels of objects move together: a box drawn as a mask and warped is the box that was moved."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from mmpose_lite.datasets.collate import detection_collate
from mmpose_lite.datasets.transforms.augment import flip_sample
from mmpose_lite.datasets.transforms.detection import resize_sample
from mmpose_lite.errors import ConfigError
from mmpose_lite.ops.masks import unpack_masks
from mmpose_lite.registry import DATASETS, TRANSFORMS
from tests.coco_folder import compressed_rle
from tests.detection_folder import META, shape, shape_mask, write_shapes
from tests.models import test_two_stage as two_stage

SIZE = (60, 44)  # (w, h)
BOXES = np.array([[5, 6, 25, 20], [30, 10, 54, 40], [0, 0, 60, 44]], np.float32)


def sample(**changes: Any) -> dict[str, Any]:
    """Return three objects that fill their boxes; the image is the mask of the second one, and so are the semantics."""
    masks = np.stack([shape_mask('box', (x, y, X - x, Y - y), SIZE) for x, y, X, Y in BOXES.tolist()])
    return dict(
        img=np.repeat(masks[1][..., None] * np.uint8(200), 3, axis=2),
        bboxes=BOXES.copy(),
        labels=np.array([0, 1, 1]),
        is_ignored=np.array([False, False, True]),
        masks=masks,
        gt_semantic_seg=masks[1],
        ori_shape=SIZE[::-1],
        img_path='made up',
        img_id=3,
        rng=np.random.default_rng(0),
        **changes,
    )


def extent(mask: np.ndarray) -> list[int]:
    """Return the box xyxy, by edges, of the pixels that are on."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    return [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]


def check_together(results: dict[str, Any], *, within: float) -> None:
    """Boxes, masks, pixels, semantics and the noted matrix say the same, within px."""
    assert results['masks'].shape[1:] == results['img'].shape[:2] == results['gt_semantic_seg'].shape
    for bbox, mask in zip(results['bboxes'], results['masks']):
        np.testing.assert_allclose(extent(mask), bbox, atol=within)
    np.testing.assert_allclose(extent(results['img'][..., 0] > 100), results['bboxes'][1], atol=within)
    np.testing.assert_allclose(extent(results['gt_semantic_seg']), results['bboxes'][1], atol=within)
    matrix = results['warp_matrix']
    corners = BOXES.reshape(-1, 2).astype(np.float64) @ matrix[:, :2].T + matrix[:, 2]
    corners = corners.reshape(-1, 2, 2)
    moved = np.concatenate((corners.min(axis=1), corners.max(axis=1)), axis=1)
    np.testing.assert_allclose(moved, results['bboxes'], atol=1e-3)


@pytest.mark.parametrize('size', [(120, 88), (30, 22), (77, 131), (60, 44), (41, 90)])
@pytest.mark.parametrize('flips', ['', 'before', 'after', 'twice'])
def test_resize_and_flip_move_everything_together(size: tuple[int, int], flips: str) -> None:
    results = sample()
    if flips in ('before', 'twice'):
        results = flip_sample(results)
    results = resize_sample(results, size)
    if flips in ('after', 'twice'):
        results = flip_sample(results)
    assert results['img'].shape[:2] == size[::-1]
    np.testing.assert_allclose(results['scale_factor'], (size[0] / 60, size[1] / 44))
    check_together(results, within=0.51)


def test_a_flip_counts_edges_of_objects_and_centres_of_people() -> None:
    results = flip_sample(sample())
    assert results['bboxes'][0].tolist() == [60 - 25, 6, 60 - 5, 20]
    check_together(results, within=0)
    again = flip_sample(results)
    np.testing.assert_array_equal(again['bboxes'], BOXES)
    np.testing.assert_array_equal(again['masks'], sample()['masks'])
    np.testing.assert_array_equal(again['warp_matrix'], np.eye(2, 3))
    person = flip_sample(dict(img=np.zeros((44, 60, 3), np.uint8), bboxes=BOXES[:1].copy()))
    assert person['bboxes'][0].tolist() == [59 - 25, 6, 59 - 5, 20]


def test_random_flip_by_config() -> None:
    flipped = TRANSFORMS.build(dict(type='RandomFlip', prob=1.0))(sample())
    assert flipped['flip'] is True
    check_together(flipped, within=0)


@pytest.mark.parametrize(
    ('image', 'scale', 'expected'),
    [
        ((640, 480), (1333, 800), (1067, 800)),  # 800 / 480
        ((480, 640), (1333, 800), (800, 1067)),
        ((1000, 300), (1333, 800), (1333, 400)),  # 1333 / 1000
        ((559, 536), (320, 256), (267, 256)),  # 256 / 536
        ((2000, 10), (100, 50), (100, 1)),
    ],
)
def test_resize_keeps_the_ratio_as_mmdet(image: tuple[int, int], scale: tuple[int, int], expected: tuple[int, int]) -> None:
    pixels = np.zeros((*image[::-1], 3), np.uint8)
    results = TRANSFORMS.build(dict(type='DetResize', scale=scale))(dict(img=pixels))
    assert results['img'].shape[1::-1] == expected
    np.testing.assert_allclose(results['scale_factor'], (expected[0] / image[0], expected[1] / image[1]))


def test_resize_to_a_size_exactly() -> None:
    results = TRANSFORMS.build(dict(type='DetResize', scale=(90, 30), keep_ratio=False))(sample())
    assert results['img'].shape[:2] == (30, 90)
    check_together(results, within=0.51)


def test_several_scales() -> None:
    chosen = dict(type='DetResize', scale=[(60, 44), (120, 88)])
    widths = [TRANSFORMS.build(chosen)(sample() | dict(rng=np.random.default_rng(i)))['img'].shape[1] for i in range(20)]
    assert set(widths) == {60, 120}
    ranged = dict(type='DetResize', scale=[(400, 30), (400, 60)], multiscale_mode='range')
    heights = {TRANSFORMS.build(ranged)(sample() | dict(rng=np.random.default_rng(i)))['img'].shape[0] for i in range(200)}
    assert heights == set(range(30, 61))


def test_one_scale_needs_no_random_numbers() -> None:
    results = TRANSFORMS.build(dict(type='DetResize', scale=(30, 22)))(dict(img=np.zeros((44, 60, 3), np.uint8)))
    assert results['img'].shape == (22, 30, 3)


def test_masks_of_polygons_and_run_lengths() -> None:
    mask = shape_mask('disc', (8, 6, 30, 20), SIZE)
    region = dict(compressed_rle(mask))
    region['counts'] = region['counts'].encode()
    results = dict(ori_shape=SIZE[::-1], img_path='a', regions=[region, [np.array([5, 6, 25, 6, 25, 20, 5, 20], np.float32)], []])
    masks = TRANSFORMS.build(dict(type='LoadMasks'))(results)['masks']
    np.testing.assert_array_equal(masks[0], mask)
    assert extent(masks[1]) == [5, 6, 25, 20]
    assert not masks[2].any()
    assert TRANSFORMS.build(dict(type='LoadMasks'))(dict(ori_shape=(4, 5), regions=[]))['masks'].shape == (0, 4, 5)


def test_packing_cuts_at_the_border_and_leaves_out_what_is_gone() -> None:
    results = sample()
    results['bboxes'] = np.array([[-5, -2, 10, 8], [50, 40, 75, 60], [60, 3, 70, 10]], np.float32)
    packed = TRANSFORMS.build(dict(type='PackDetInputs'))(results)
    assert packed.keys() == {'inputs', 'instances', 'maps', 'metainfo'}
    instances = packed['instances']
    assert instances['bboxes_input'].tolist() == [[0, 0, 10, 8], [50, 40, 60, 44]]
    assert instances['labels'].tolist() == [0, 1]
    assert instances['is_ignored'].tolist() == [False, False]
    assert instances['masks'].shape == (2, 44, 8)
    assert packed['metainfo']['img_shape'] == SIZE[::-1]
    assert packed['metainfo']['img_id'] == 3


def test_packed_masks_are_those_of_the_sample() -> None:

    packed = TRANSFORMS.build(dict(type='PackDetInputs'))(flip_sample(sample()))
    np.testing.assert_array_equal(unpack_masks(torch.as_tensor(packed['instances']['masks']), 60), flip_sample(sample())['masks'])


def test_semantics_have_the_class_in_the_middle_of_a_cell() -> None:
    results = sample()
    results['gt_semantic_seg'] = np.arange(44 * 60, dtype=np.int64).reshape(44, 60) % 251
    packed = TRANSFORMS.build(dict(type='PackDetInputs', semantic_stride=8))(results)
    cells = packed['maps']['gt_semantic_seg']
    assert cells.shape == (5, 7), 'cells whose middle lies in the image'
    for y, x in np.ndindex(cells.shape):
        assert cells[y, x] == results['gt_semantic_seg'][8 * y + 4, 8 * x + 4]


def test_an_image_without_annotations_packs_no_instances() -> None:
    packed = TRANSFORMS.build(dict(type='PackDetInputs'))(dict(img=np.zeros((4, 5, 3), np.uint8), ori_shape=(4, 5)))
    assert packed['instances'] == {}
    matrix = packed['metainfo'].pop('warp_matrix')
    assert packed['metainfo'] == dict(ori_shape=(4, 5), img_shape=(4, 5), scale_factor=(1.0, 1.0))
    np.testing.assert_array_equal(matrix, [[1, 0, 0], [0, 1, 0]])  # what is found needs one, also where no step moves the image


def test_a_detector_finds_objects_in_images_of_their_own_size(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / 'a.png'), np.random.default_rng(0).integers(0, 256, (50, 60, 3), dtype=np.uint8))
    results = dict(img_path=str(tmp_path / 'a.png'), img_id=1)
    for step in ('LoadImage', 'PackDetInputs'):
        results = TRANSFORMS.build(dict(type=step))(results)
    model = two_stage.build().eval()
    data = model.data_preprocessor(detection_collate([results]))
    with torch.no_grad():
        (found,) = model(data['inputs'], data['data_samples'], mode='predict')
    boxes = found.pred_instances.bboxes
    assert len(boxes) > 0
    assert boxes.max() > 40  # the input is 64 px wide and high
    assert (boxes <= [60, 50, 60, 50]).all()


def test_semantics_from_files_and_from_objects(tmp_path: Path) -> None:
    labels = np.random.default_rng(0).integers(0, 5, SIZE[::-1], dtype=np.uint8)
    labels[0] = 255
    cv2.imwrite(str(tmp_path / 'a.png'), labels)
    base = dict(ori_shape=SIZE[::-1], img_path='a.jpg')
    load = dict(type='LoadSemanticSeg', num_classes=5)
    read = TRANSFORMS.build(load)(dict(base, seg_map_path=str(tmp_path / 'a.png')))
    np.testing.assert_array_equal(read['gt_semantic_seg'], labels)

    write_shapes(tmp_path, [shape(1, 1, 'disc', (30, 10, 24, 30)), shape(2, 1, 'box', (20, 5, 30, 30), iscrowd=1)])
    pipeline = [dict(type='LoadImage'), load]
    cfg = dict(type='CocoDetectionDataset', ann_file='instances.json', data_root=str(tmp_path), meta=META, with_masks=True)
    painted = DATASETS.build(dict(cfg, pipeline=pipeline))[0]['gt_semantic_seg']
    disc, crowd = shape_mask('disc', (30, 10, 24, 30), SIZE) > 0, shape_mask('box', (20, 5, 30, 30), SIZE) > 0
    np.testing.assert_array_equal(painted, np.where(disc, 2, np.where(crowd, 255, 0)))


@pytest.mark.parametrize(
    ('cfg', 'message'),
    [
        (
            dict(type='DetResize', scale=(0, 5)),
            r'DetResize: `scale` must be two positive numbers, or several such pairs, got \(0',
        ),
        (dict(type='DetResize', scale=[(1333, 800), 640]), r'DetResize: `scale` must be two positive numbers'),
        (dict(type='DetResize', scale=[]), r'DetResize: `scale` must be two positive numbers'),
        (dict(type='DetResize', scale=[(1, 2, 3)]), r'DetResize: `scale` must be two positive numbers'),
        (dict(type='DetResize', scale=(5, 5), multiscale_mode='range'), r"'range' with two scales, got 'range' with 1"),
        (dict(type='DetResize', scale=(5, 5), multiscale_mode='any'), r"must be one of \('value', 'range'\).* got 'any' with 1"),
        (dict(type='PackDetInputs', semantic_stride=0), r'`semantic_stride` must be 1 or more, got 0'),
        (dict(type='LoadSemanticSeg', num_classes=255), r'`num_classes` must be 1 to 254, got 255'),
    ],
)
def test_wrong_arguments(cfg: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TRANSFORMS.build(cfg)


def test_wrong_order_and_missing_annotations() -> None:
    for name in ('LoadMasks', 'LoadSemanticSeg'):
        cfg = dict(type=name, num_classes=3) if name == 'LoadSemanticSeg' else dict(type=name)
        with pytest.raises(ConfigError, match=rf'{name}: it must come before what moves the image'):
            TRANSFORMS.build(cfg)(dict(warp_matrix=np.eye(2, 3)))
        with pytest.raises(ConfigError, match='with_masks=True'):
            TRANSFORMS.build(cfg)(dict(ori_shape=(4, 5)))


def test_files_that_do_not_fit(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / 'a.png'), np.full((4, 5), 7, np.uint8))
    read = TRANSFORMS.build(dict(type='LoadSemanticSeg', num_classes=7))
    results = dict(seg_map_path=str(tmp_path / 'a.png'), img_path='b.jpg')
    with pytest.raises(ValueError, match=r'a.png has the class 7, but `num_classes` is 7'):
        read(dict(results, ori_shape=(4, 5)))
    with pytest.raises(ValueError, match=r"of the size \(5, 4\) \(h, w\) of 'b.jpg', got uint8 of \(4, 5\)"):
        read(dict(results, ori_shape=(5, 4)))
    region = dict(compressed_rle(np.ones((3, 3))))
    region['counts'] = region['counts'].encode()
    with pytest.raises(ValueError, match=r'b.jpg: a segmentation is an RLE of 3 x 3 px \(w x h\), its image 5 x 4'):
        TRANSFORMS.build(dict(type='LoadMasks'))(dict(regions=[region], ori_shape=(4, 5), img_path='b.jpg'))
