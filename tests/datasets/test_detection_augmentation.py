"""Crops, SNIP, SNIPER, copies of small objects and mosaics: objects are where their boxes and masks say."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mmpose_lite.datasets.sampling import Draw
from mmpose_lite.datasets.transforms.crops import crop_sample, original_sizes, positive_chips
from mmpose_lite.datasets.transforms.detection import resize_sample
from mmpose_lite.errors import ConfigError
from mmpose_lite.registry import DATASETS, HOOKS, TRANSFORMS
from tests.detection_folder import META, shape, shapes, write_shapes

SIZE = (120, 90)  # (w, h)
BOXES = ((10, 8, 18, 16), (40, 20, 70, 60), (90, 50, 118, 88), (30, 70, 36, 75))


def sample(seed: int = 0, boxes: tuple[tuple[int, ...], ...] = BOXES, size: tuple[int, int] = SIZE, **changes: Any) -> dict:
    """Return objects that are rectangles, object i in the grey of 50 + 40 i on black; all pixels of an object are its mask."""
    image = np.zeros((*size[::-1], 3), np.uint8)
    masks = np.zeros((len(boxes), *size[::-1]), np.uint8)
    for i, (x, y, X, Y) in enumerate(boxes):
        image[y:Y, x:X] = 50 + 40 * i
        masks[i, y:Y, x:X] = 1
    return dict(
        img=image,
        bboxes=np.array(boxes, np.float32).reshape(-1, 4),
        labels=np.arange(len(boxes)) % 2,
        is_ignored=np.zeros(len(boxes), bool),
        masks=masks,
        ori_shape=size[::-1],
        img_path='made up',
        rng=np.random.default_rng(seed),
        **changes,
    )


def extent(mask: np.ndarray) -> list[int]:
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    return [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]


def check_boxes_are_masks(results: dict[str, Any], *, within: float = 0.01) -> None:
    assert results['masks'].shape == (len(results['bboxes']), *results['img'].shape[:2])
    assert len(results['labels']) == len(results['is_ignored']) == len(results['bboxes'])
    for bbox, mask in zip(results['bboxes'], results['masks']):
        np.testing.assert_allclose(extent(mask), bbox, atol=within)


# Crops


def test_a_crop_moves_cuts_and_ignores() -> None:
    results = crop_sample(sample(ann_ids=np.arange(4)), 55, 15, (50, 60), min_visible=0.4)
    assert results['img'].shape == (60, 50, 3)
    check_boxes_are_masks(results)
    assert results['bboxes'].tolist() == [[0, 5, 15, 45], [35, 35, 50, 60]]
    assert results['ann_ids'].tolist() == [1, 2], 'others lie outside'
    assert results['is_ignored'].tolist() == [False, True], 'a half of one and a third of the other are seen'
    grey = [int(np.median(results['img'][..., 0][mask > 0])) for mask in results['masks']]
    assert grey == [90, 130]
    np.testing.assert_array_equal(results['warp_matrix'], [[1, 0, -55], [0, 1, -15]])


def test_a_crop_ends_at_the_image() -> None:
    results = crop_sample(sample(), 100, 80, (512, 512), min_visible=0)
    assert results['img'].shape == (10, 20, 3)
    assert not results['is_ignored'].any()
    assert original_sizes(resize_sample(sample(), (240, 180))).tolist() == original_sizes(sample()).tolist()


# SNIP


@pytest.mark.parametrize('seed', range(6))
def test_snip_learns_the_objects_of_its_range(seed: int) -> None:
    """Sizes in the file are 8, 34.6, 32.6 and 5.5 px, whatever the image was resized to before."""
    cfg = dict(type='SNIPResize', scales=[(240, 180), (60, 45)], valid_ranges=[(0, 20), (20, 1000)])
    results = TRANSFORMS.build(cfg)(resize_sample(sample(seed), (150, 100)))
    large = results['img'].shape[:2] == (160, 240)
    assert large or results['img'].shape[:2] == (40, 60)
    assert results['is_ignored'].tolist() == ([False, True, True, False] if large else [True, False, False, True])
    assert len(results['bboxes']) == 4, 'ignored objects stay'


def test_snip_draws_every_scale() -> None:
    sizes = {TRANSFORMS.build(dict(type='SNIPResize'))(sample(seed))['img'].shape[:2] for seed in range(20)}
    assert sizes == {(1400, 1867), (800, 1067), (480, 640)}


# SNIPER


def test_chips_hold_all_objects_that_fit() -> None:
    rng = np.random.default_rng(0)
    low = rng.uniform(0, (900, 500), (40, 2))
    boxes = np.concatenate((low, low + rng.uniform(5, 100, (40, 2))), axis=1)
    chips = positive_chips(boxes, (1000, 600), 256)
    inside = (boxes[None, :, :2] >= chips[:, None]) & (boxes[None, :, 2:] <= chips[:, None] + 256)
    held = inside.all(axis=-1)
    fits = ((boxes[:, 2:] <= (1000, 600)).all(axis=1)) & ((boxes[:, 2:] - boxes[:, :2]) <= 256 - 32).all(axis=1)
    assert held.any(axis=0)[fits].all()
    assert (chips >= 0).all()
    assert (chips <= (1000 - 256, 600 - 256)).all()
    for i in range(len(chips)):
        assert held[i][~held[:i].any(axis=0)].any(), 'each chip adds an object'


def test_one_chip_where_one_is_enough_and_none_without_objects() -> None:
    assert len(positive_chips(np.array([[10, 10, 50, 50], [200, 200, 240, 240]], float), (512, 512), 256)) == 1
    assert positive_chips(np.zeros((0, 4)), (512, 512), 256).shape == (0, 2)
    assert positive_chips(np.array([[0, 0, 300, 10]], float), (512, 512), 256).shape == (0, 2), 'too wide for a chip'
    assert positive_chips(np.array([[5, 5, 90, 90]], float), (100, 100), 256).tolist() == [[0, 0]], 'an image below a chip'


@pytest.mark.parametrize('seed', range(12))
def test_a_chip_shows_valid_objects_at_its_scale(seed: int) -> None:
    cfg = dict(type='SNIPERChip', chip_size=96, scales=[3.0, (120, 90)], valid_ranges=[(0, 20), (20, 100)], background_prob=0)
    results = TRANSFORMS.build(cfg)(sample(seed))
    zoom = results['warp_matrix'][0, 0]
    assert max(results['img'].shape[:2]) == 96
    assert zoom == pytest.approx(3, abs=0.2) or zoom == pytest.approx(1, abs=0.05)
    check_boxes_are_masks(results, within=0.75)
    sizes = np.sqrt((results['bboxes'][:, 2:] - results['bboxes'][:, :2]).prod(axis=1)) / zoom
    valid = sizes[~results['is_ignored']]
    assert len(valid), 'a chip is drawn around objects'
    assert ((valid < 21) if zoom > 2 else (valid > 19)).all()


def test_background_chips_lie_anywhere() -> None:
    cfg = dict(type='SNIPERChip', chip_size=40, scales=[1.0], valid_ranges=[(0, 1000)], background_prob=1)
    corners = {tuple(TRANSFORMS.build(cfg)(sample(seed))['warp_matrix'][:, 2].tolist()) for seed in range(30)}
    assert len(corners) > 20
    nothing = TRANSFORMS.build({**cfg, 'background_prob': 0})(sample(boxes=()))
    assert nothing['img'].shape == (40, 40, 3)
    assert len(nothing['bboxes']) == 0


# Copies of small objects


@pytest.mark.parametrize('seed', range(5))
def test_copies_are_objects_with_their_pixels(seed: int) -> None:
    results = TRANSFORMS.build(dict(type='CopyPasteSmallObjects', max_area=100, num_copies=2))(sample(seed, ann_ids=np.arange(4)))
    check_boxes_are_masks(results)
    assert 4 < len(results['bboxes']) <= 8, 'two small objects are pasted twice at the most'
    assert 'ann_ids' not in results
    assert not results['masks'].sum(axis=0).max() > 1, 'no pixel belongs to two objects'
    assert not results['is_ignored'].any()
    original = sample(seed)
    for number, mask in enumerate(results['masks'][4:], start=4):
        grey = results['img'][..., 0][mask > 0]
        small = {0: 50, 1: 170}[int(results['labels'][number])]
        assert np.median(grey) == small, 'the pixels of the object that is copied'
        assert 0.5 < mask.sum() / (original['masks'][0 if small == 50 else 3].sum()) < 1.7
    for before, after in zip(original['masks'], results['masks']):
        assert after.sum() >= 0.7 * before.sum()
        assert not (after & ~before).any()
    outside = ~results['masks'].any(axis=0) & ~original['masks'].any(axis=0).astype(bool)
    assert not results['img'][outside].any(), 'nothing else is changed'


def test_copies_have_the_semantics_of_their_objects() -> None:
    semantics = np.zeros(SIZE[::-1], np.uint8)
    for number, (x, y, X, Y) in enumerate(BOXES):
        semantics[y:Y, x:X] = 3 + number
    transform = TRANSFORMS.build(dict(type='CopyPasteSmallObjects', max_area=100, num_copies=2))
    results = transform(sample(1, gt_semantic_seg=semantics.copy()))
    assert len(results['masks']) > 4
    for label, mask in zip(results['labels'][4:], results['masks'][4:]):
        assert np.unique(results['gt_semantic_seg'][mask > 0]).tolist() == [{0: 3, 1: 6}[int(label)]]
    untouched = ~results['masks'][4:].any(axis=0)
    np.testing.assert_array_equal(results['gt_semantic_seg'][untouched], semantics[untouched])


def test_only_small_objects_are_copied() -> None:
    results = TRANSFORMS.build(dict(type='CopyPasteSmallObjects', max_area=20))(sample())
    np.testing.assert_array_equal(results['img'], sample()['img'])
    assert len(results['bboxes']) == 4
    ignored = sample()
    ignored['is_ignored'][[0, 3]] = True
    assert len(TRANSFORMS.build(dict(type='CopyPasteSmallObjects', max_area=100))(ignored)['bboxes']) == 4
    assert len(TRANSFORMS.build(dict(type='CopyPasteSmallObjects', max_area=100, prob=0.0))(sample())['bboxes']) == 4


def test_no_place_for_a_copy() -> None:
    crowded = sample(boxes=((0, 0, 60, 90), (60, 0, 120, 90), (50, 40, 58, 48)))
    results = TRANSFORMS.build(dict(type='CopyPasteSmallObjects', max_area=100, max_covered=0.0))(crowded)
    assert len(results['bboxes']) == 3


# Mosaics


@pytest.mark.parametrize('seed', range(5))
def test_a_mosaic_of_four(seed: int) -> None:
    images = [
        sample(10 + i, size=size, boxes=((5, 5, 25, 30),)) for i, size in enumerate(((60, 40), (40, 60), (50, 50), (80, 40)))
    ]
    for i, image in enumerate(images):
        image['img'][:] = 20 + 10 * i
        image['img'][5:30, 5:25] = 150 + 20 * i
        image['gt_semantic_seg'] = image['masks'][0]
    first, *others = images
    first['rng'] = np.random.default_rng(seed)
    results = TRANSFORMS.build(dict(type='Mosaic', img_scale=(64, 48)))(dict(first, mix_results=others))
    assert results['img'].shape == (96, 128, 3)
    assert 'mix_results' not in results
    for bbox, mask, ignored in zip(results['bboxes'], results['masks'], results['is_ignored']):
        if not ignored:
            np.testing.assert_allclose(extent(mask), bbox, atol=0.75)
            grey = float(np.median(results['img'][..., 0][mask > 0]))
            assert min(abs(grey - value) for value in (150, 170, 190, 210)) < 3
    low, high = (results['warp_matrix'] @ (*corner, 1) for corner in ((5, 5), (25, 30)))
    np.testing.assert_allclose(results['bboxes'][0, :2], np.maximum(low, 0), atol=1e-3, err_msg='where the first image lies')
    assert (results['bboxes'][0, 2:] <= high + 1e-3).all()
    assert 'gt_semantic_seg' not in results, 'which is of one image'
    greys = {int(v) for v in np.unique(results['img'][..., 0])}
    assert {114, 20, 30, 40, 50} <= greys, 'all four are seen, and a rest is filled'


def test_a_mosaic_that_is_not_made() -> None:
    results = TRANSFORMS.build(dict(type='Mosaic', prob=0.0))(dict(sample(), mix_results=[sample()] * 3))
    np.testing.assert_array_equal(results['img'], sample()['img'])
    for wrong in ({}, dict(mix_results=[sample()])):
        with pytest.raises(ConfigError, match='it needs `mix_results`, three more samples, which a MultiImageMixDataset adds'):
            TRANSFORMS.build(dict(type='Mosaic'))(dict(sample(), **wrong))


def mixed(folder: Path) -> Any:
    write_shapes(folder, [a for a in [*shapes(), shape(6, 3, 'box', (4, 4, 30, 30))] if not a['iscrowd']])
    load = [dict(type='LoadImage'), dict(type='LoadMasks'), dict(type='RandomFlip')]
    inner = dict(
        type='CocoDetectionDataset', ann_file='instances.json', data_root=str(folder), meta=META, with_masks=True, pipeline=load
    )
    pipeline = [dict(type='Mosaic', img_scale=(64, 64)), dict(type='DetResize', scale=(64, 64)), dict(type='PackDetInputs')]
    return DATASETS.build(dict(type='MultiImageMixDataset', dataset=inner, pipeline=pipeline))


def test_a_data_set_of_mosaics(tmp_path: Path) -> None:
    data = mixed(tmp_path)
    assert len(data) == 4
    assert data.metainfo['class_meta'].classes == ('box', 'disc')
    assert data.get_data_info(1)['img_id'] == 2
    one = data[Draw(1, 5, 2)]
    assert one['inputs'].shape == (64, 64, 3)
    assert one['metainfo']['img_id'] == 2
    again, other_round, other_seed = data[Draw(1, 5, 2)], data[Draw(1, 5, 3)], data[Draw(1, 6, 2)]
    np.testing.assert_array_equal(again['inputs'], one['inputs'])
    np.testing.assert_array_equal(again['instances']['bboxes_input'], one['instances']['bboxes_input'])
    assert (other_round['inputs'] != one['inputs']).any()
    assert (other_seed['inputs'] != one['inputs']).any()


def test_a_mosaic_that_a_step_leaves_out_is_replaced(tmp_path: Path) -> None:
    data = mixed(tmp_path)
    data.pipeline.transforms.insert(1, lambda results: None if results['img_id'] == 2 else results)
    shown = [data[Draw(1, 5, round_)]['metainfo']['img_id'] for round_ in range(8)]
    assert set(shown) <= {1, 3, 4}
    assert len(set(shown)) > 1
    data.pipeline.transforms.insert(1, lambda results: None)
    with pytest.raises(ConfigError, match='leaves out every sample that was tried'):
        data[0]


def test_the_last_epochs_can_do_without_mixing(tmp_path: Path) -> None:
    data = mixed(tmp_path)
    plain = [dict(type='DetResize', scale=(64, 64)), dict(type='PackDetInputs')]
    hook = HOOKS.build(dict(type='PipelineSwitchHook', switch_epoch=-1, switch_pipeline=plain))
    loader = SimpleNamespace(dataset=data, _iterator=None)
    logger = SimpleNamespace(info=lambda text: None)
    for epoch, height in ((0, 64), (1, 47)):
        hook.before_train_epoch(SimpleNamespace(epoch=epoch, max_epochs=2, train_dataloader=loader, logger=logger))
        assert data[Draw(0, 0, epoch)]['inputs'].shape == (height, 64, 3), 'a square mosaic, then the image of 60 x 44 px alone'


def test_the_inner_data_set_must_not_pack(tmp_path: Path) -> None:
    data = mixed(tmp_path)
    data.dataset.pipeline.transforms.append(TRANSFORMS.build(dict(type='PackDetInputs')))
    with pytest.raises(ConfigError, match='the pipeline of the inner `dataset` must end before PackDetInputs'):
        data[0]
    with pytest.raises(ValueError, match='`pipeline` needs a transform that mixes images, such as Mosaic'):
        DATASETS.build(dict(type='MultiImageMixDataset', dataset=data.dataset, pipeline=[dict(type='PackDetInputs')]))


@pytest.mark.parametrize('name', ['SNIPResize', 'SNIPERChip', 'CopyPasteSmallObjects', 'Mosaic'])
def test_every_random_number_comes_from_the_sample(name: str) -> None:
    def run(seed: int) -> dict[str, Any]:
        np.random.seed(seed + 100)  # noqa: NPY002  the global state must not matter
        mix = dict(mix_results=[sample(i) for i in (1, 2, 3)]) if name == 'Mosaic' else {}
        return TRANSFORMS.build(dict(type=name))(dict(sample(seed), **mix))

    first, again, others = run(3), run(3), [run(seed) for seed in range(4, 10)]
    np.testing.assert_array_equal(first['img'], again['img'])
    np.testing.assert_array_equal(first['bboxes'], again['bboxes'])
    assert any(o['img'].shape != first['img'].shape or (o['img'] != first['img']).any() for o in others)


@pytest.mark.parametrize(
    ('cfg', 'message'),
    [
        (
            dict(type='SNIPResize', scales=[(5, 5)], valid_ranges=[]),
            r'SNIPResize: `valid_ranges` needs .* each of the 1 scales, got',
        ),
        (dict(type='SNIPResize', scales=[(5, 5)], valid_ranges=[(5, 5)]), r'needs 0 <= low < high'),
        (dict(type='SNIPResize', scales=[(0, 5)], valid_ranges=[(0, 5)]), r'SNIPResize: `scales` must be pairs .*\(0, 5\)'),
        (
            dict(type='SNIPResize', scales=(800, 480), valid_ranges=[(0, 5)] * 2),
            r'SNIPResize: `scales` must be pairs \(long, short\)',
        ),
        (
            dict(type='SNIPERChip', scales=[-1.0], valid_ranges=[(0, 5)]),
            r'SNIPERChip: `scales` must be positive factors or pairs',
        ),
        (dict(type='Mosaic', pad_val=300), '`pad_val` must be 0 to 255, got 300'),
        (dict(type='SNIPERChip', chip_size=0), r'`chip_size` and `stride` must be 1 or more, got 0 and 32'),
        (dict(type='SNIPERChip', background_prob=2), r'`background_prob` must be in \[0, 1\]'),
        (dict(type='CopyPasteSmallObjects', scale_range=(2, 1)), r'`scale_range` must be 0 < low <= high, got \(2, 1\)'),
        (dict(type='CopyPasteSmallObjects', num_copies=0), r'`num_copies` 1 or more, got 1024, 0'),
        (dict(type='CopyPasteSmallObjects', max_covered=1), r'`max_covered` must be in \[0, 1\), got 1'),
        (dict(type='Mosaic', img_scale=(0, 5)), r'Mosaic: `img_scale` must be \(w, h\) of positive numbers, got \(0, 5\)'),
        (dict(type='Mosaic', center_ratio_range=(0.5, 2)), r'`center_ratio_range` must be 0 < low <= high < 2, got \(0.5, 2\)'),
    ],
)
def test_wrong_arguments(cfg: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TRANSFORMS.build(cfg)


def test_copies_need_masks() -> None:
    without = sample()
    del without['masks']
    with pytest.raises(ConfigError, match='put LoadMasks before it'):
        TRANSFORMS.build(dict(type='CopyPasteSmallObjects'))(without)
