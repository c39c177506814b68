"""Masks of classes: their files, the data sets that name them, what moves them with their images, the scan of all of them."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from mmpose_lite.datasets import CocoSegmentationDataset, SegmentationDataset, SyntheticPeopleSegmentation
from mmpose_lite.datasets.collate import pose_collate
from mmpose_lite.datasets.joining import ConcatDataset
from mmpose_lite.datasets.label_scan import scan_labels
from mmpose_lite.datasets.sampling import Draw
from mmpose_lite.datasets.seg_maps import label_table, paint_regions, read_values, to_labels, unknown_values
from mmpose_lite.errors import ConfigError
from mmpose_lite.registry import DATASETS, TRANSFORMS
from mmpose_lite.structures import ClassMeta
from tests.coco_folder import compressed_rle, uncompressed_rle, write_coco, write_rotated

META = dict(classes=['ground', 'left_arm', 'right_arm'], palette=[[0, 0, 0], [250, 10, 20], [30, 200, 40]])
LOAD = [dict(type='LoadImage'), dict(type='LoadSegMap')]
SIZE = (12, 10)  # (w, h)


def mask(seed: int = 0, *, num_classes: int = 3, size: tuple[int, int] = SIZE) -> np.ndarray:
    labels = np.random.default_rng(seed).integers(0, num_classes, size[::-1], dtype=np.uint8)
    labels[0] = 255
    return labels


def write_folder(
    root: Path, names: tuple[str, ...] = ('a', 'b/c', 'd'), *, size: tuple[int, int] = SIZE
) -> dict[str, np.ndarray]:
    """Write images/*.png and masks/*.png; return the masks by name."""
    masks = {}
    for seed, name in enumerate(names):
        masks[name] = mask(seed, size=size)
        for folder, pixels in (
            ('images', np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)),
            ('masks', masks[name]),
        ):
            path = root / folder / f'{name}.png'
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    return masks


def folder(root: Path, **args: Any) -> SegmentationDataset:
    return DATASETS.build(dict(type='SegmentationDataset', data_root=str(root), **{'meta': META, 'pipeline': LOAD, **args}))


def transform(cfg: dict, **results: Any) -> dict[str, Any]:
    base = dict(rng=np.random.default_rng(0), class_meta=ClassMeta.load(META), label_table=label_table(ClassMeta.load(META)))
    return TRANSFORMS.build(cfg)({**base, **results})


# Files


@pytest.mark.parametrize('kind', ['grey', 'grey and alpha', 'palette', 'colours', 'wide', 'black and white'])
def test_files_of_every_kind(kind: str, tmp_path: Path) -> None:
    meta, path = ClassMeta.load(META), tmp_path / 'mask.png'
    labels = mask()
    if kind == 'grey':
        Image.fromarray(labels).save(path)
    elif kind == 'grey and alpha':
        Image.fromarray(np.stack((labels, np.full_like(labels, 200)), axis=-1)).save(path)
        assert Image.open(path).mode == 'LA'
    elif kind == 'palette':
        image = Image.fromarray(labels)
        image.putpalette([37 * i % 256 for i in range(768)])  # the colours do not matter
        image.save(path)
        assert Image.open(path).mode == 'P'
    elif kind == 'colours':
        labels[0] = 1
        Image.fromarray(np.array(META['palette'], np.uint8)[labels]).save(path)
    elif kind == 'wide':
        Image.fromarray(labels.astype(np.uint16)).save(path)
        assert Image.open(path).mode.startswith('I')
    else:
        labels = (labels == 1).astype(np.uint8)
        Image.fromarray(labels.astype(bool)).save(path)
        assert Image.open(path).mode == '1'
    found = to_labels(read_values(str(path)), meta, label_table(meta))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, labels)


def test_values_are_mapped_to_labels() -> None:
    meta = ClassMeta.load(META)
    table = label_table(meta, {0: 255, 1: 0, 2: 1, 3: 2, 200: 1})
    values = np.array([[0, 1, 2, 3], [200, 255, 4, 199]], np.uint8)
    labels = to_labels(values, meta, table)
    assert labels[:, :2].tolist() == [[255, 0], [1, 255]]
    assert unknown_values(values, labels) == {'4': 1, '199': 1}
    wide = np.array([[1, 300, -1]], np.int32)
    assert unknown_values(wide, to_labels(wide, meta, table)) == {'-1': 1, '300': 1}
    with pytest.raises(ValueError, match=r'must lead from 0 ... 255 to the 3 classes of custom or 255, got 5 -> 3'):
        label_table(meta, {5: 3})


def test_unknown_colours_are_named() -> None:
    meta = ClassMeta.load(META)
    values = np.zeros((2, 3, 3), np.uint8)
    values[0, 0], values[1] = (250, 10, 20), (224, 224, 192)
    labels = to_labels(values, meta, label_table(meta))
    assert labels[0].tolist() == [1, 0, 0]
    assert unknown_values(values, labels) == {'#e0e0c0': 3}


def test_colours_of_two_classes_cannot_be_read(tmp_path: Path) -> None:
    write_folder(tmp_path, ('a',))
    Image.fromarray(np.zeros((10, 12, 3), np.uint8)).save(tmp_path / 'masks' / 'a.png')
    meta = dict(META, palette=[[0, 0, 0], [9, 9, 9], [9, 9, 9]])
    message = f"in that of custom '{META['classes'][2]}' has the colour of another class"
    with pytest.raises(ValueError, match=message):
        folder(tmp_path, meta=meta)[0]
    (finding,) = scan_labels(folder(tmp_path, meta=meta)).errors
    assert message in finding.what


def test_broken_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"mask file '.*none.png' does not exist; check `data_root`"):
        read_values(str(tmp_path / 'none.png'))
    (tmp_path / 'text.png').write_text('no image')
    with pytest.raises(ValueError, match=r"mask file '.*text.png' is no image that can be read; it holds 8 bytes"):
        read_values(str(tmp_path / 'text.png'))


# Folders


def test_a_folder_with_subfolders(tmp_path: Path) -> None:
    masks = write_folder(tmp_path)
    dataset = folder(tmp_path)
    assert len(dataset) == 3
    assert dataset.metainfo['class_meta'].num_classes == 3
    for number, (sample, name) in enumerate(zip((dataset[i] for i in range(3)), masks)):
        assert sample['img_id'] == number
        assert sample['img_path'].endswith(f'images/{name}.png')
        np.testing.assert_array_equal(sample['gt_seg_map'], masks[name])
    assert dataset[-1]['img_path'] == dataset[2]['img_path']


def test_subfolders_may_be_links(tmp_path: Path) -> None:
    """Large data lies elsewhere, city by city."""
    masks = write_folder(tmp_path / 'elsewhere', ('bonn/0', 'ulm/0'))
    for kind in ('images', 'masks'):
        (tmp_path / kind).mkdir()
        for city in ('bonn', 'ulm'):
            (tmp_path / kind / city).symlink_to(tmp_path / 'elsewhere' / kind / city)
        (tmp_path / 'elsewhere' / kind / 'ulm' / 'back').symlink_to(tmp_path / 'elsewhere' / kind)  # and must not go round
    dataset = folder(tmp_path)
    assert len(dataset) == 2
    np.testing.assert_array_equal(dataset[1]['gt_seg_map'], masks['ulm/0'])


def test_the_layout_of_voc(tmp_path: Path) -> None:
    write_folder(tmp_path, ('2007_000032', '2007_000039', '2007_000063'))
    (tmp_path / 'images').rename(tmp_path / 'JPEGImages')
    (tmp_path / 'masks').rename(tmp_path / 'SegmentationClass')
    (tmp_path / 'ImageSets').mkdir()
    (tmp_path / 'ImageSets' / 'val.txt').write_text('2007_000063\n2007_000032\n')
    prefix = dict(img='JPEGImages', seg_map='SegmentationClass')
    dataset = folder(tmp_path, ann_file='ImageSets/val.txt', data_prefix=prefix, test_mode=True)
    assert [Path(dataset[i]['seg_map_path']).stem for i in range(2)] == ['2007_000063', '2007_000032']
    assert len(dataset) == 2


def test_the_layout_of_cityscapes(tmp_path: Path) -> None:
    write_folder(tmp_path, ('ulm/ulm_0_leftImg8bit', 'ulm/ulm_1_leftImg8bit'))
    for path in (tmp_path / 'masks').rglob('*.png'):
        path.rename(str(path).replace('leftImg8bit', 'gtFine_labelTrainIds'))
    args = dict(img_suffix='_leftImg8bit.png', seg_map_suffix='_gtFine_labelTrainIds.png')
    dataset = folder(tmp_path, **args)
    assert [Path(dataset[i]['seg_map_path']).name for i in range(2)] == [
        'ulm_0_gtFine_labelTrainIds.png',
        'ulm_1_gtFine_labelTrainIds.png',
    ]


def test_a_json_file_can_list_the_images(tmp_path: Path) -> None:
    write_folder(tmp_path, ('a', 'b', 'c'))
    (tmp_path / 'val.json').write_text(json.dumps(dict(images=[dict(id=1, file_name='c.png')], annotations=[])))
    dataset = folder(tmp_path, ann_file='val.json')
    assert [Path(dataset[i]['img_path']).stem for i in range(len(dataset))] == ['c']
    for kind in ('images', 'masks'):
        (tmp_path / kind / 'a.png').rename(tmp_path / kind / f'd_{kind}.png')
    (tmp_path / 'val.json').write_text(json.dumps(dict(images=[dict(id=1, file_name='d_images.png')], annotations=[])))
    assert len(folder(tmp_path, ann_file='val.json', img_suffix='_images.png', seg_map_suffix='_masks.png')) == 1


def test_a_folder_without_masks_is_for_inference(tmp_path: Path) -> None:
    write_folder(tmp_path)
    dataset = folder(tmp_path, data_prefix=dict(img='images'), test_mode=True)
    assert 'gt_seg_map' not in dataset[0]
    with pytest.raises(ValueError, match=r"`data_prefix` needs `img` and, to train, `seg_map`, got \['img'\]"):
        folder(tmp_path, data_prefix=dict(img='images'))


def test_errors_of_folders(tmp_path: Path) -> None:
    write_folder(tmp_path)
    (tmp_path / 'masks' / 'd.png').unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 3 images have no mask in '.*masks'; the first is 'd.png'"):
        folder(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"the folder '.*labels' \(`data_prefix.seg_map`\) does not exist"):
        folder(tmp_path, data_prefix=dict(img='images', seg_map='labels'))
    with pytest.raises(ValueError, match=r"'.*images' has no image that ends in \('.jpg',\)"):
        folder(tmp_path, img_suffix='.jpg')
    with pytest.raises(FileNotFoundError, match=r"`ann_file` '.*val.txt' does not exist"):
        folder(tmp_path, ann_file='val.txt')
    (tmp_path / 'val.txt').write_text('a.png')
    with pytest.raises(FileNotFoundError, match=r"val.txt: 1 of 1 names have no image in '.*images'; the first is 'a.png'"):
        folder(tmp_path, ann_file='val.txt')
    with pytest.raises(ValueError, match='SegmentationDataset: `label_map` must lead'):
        folder(tmp_path, label_map={0: 9})


def test_names_with_spaces_and_hidden_files(tmp_path: Path) -> None:
    write_folder(tmp_path, ('a b', 'c'))
    (tmp_path / 'images' / '._c.png').write_text('what a Mac leaves')
    (tmp_path / 'val.txt').write_text('a b\n\n')
    assert len(folder(tmp_path)) == 2
    listed = folder(tmp_path, ann_file='val.txt')
    assert [Path(listed[i]['img_path']).stem for i in range(len(listed))] == ['a b']


def test_images_and_masks_in_one_folder_need_a_suffix(tmp_path: Path) -> None:
    write_folder(tmp_path, ('a',))
    image = cv2.imread(str(tmp_path / 'images' / 'a.png'))
    cv2.imwrite(str(tmp_path / 'masks' / 'a.jpg'), image)
    prefix = dict(img='masks', seg_map='masks')
    with pytest.raises(ValueError, match=r"a\.\w+' and '.*masks/a\.\w+' have one name; say with `img_suffix`"):
        folder(tmp_path, data_prefix=prefix)
    assert folder(tmp_path, data_prefix=prefix, img_suffix='.jpg')[0]['img_path'].endswith('a.jpg')


def test_a_wrong_value_is_named_when_its_file_is_read(tmp_path: Path) -> None:
    write_folder(tmp_path, ('a',))
    wrong = mask()
    wrong[3, :5] = 17
    Image.fromarray(wrong).save(tmp_path / 'masks' / 'a.png')
    with pytest.raises(ValueError, match=r"a.png' has the values 17 \(5 px\), which are none of the 3 classes of custom; give"):
        folder(tmp_path)[0]
    np.testing.assert_array_equal(folder(tmp_path, label_map={17: 255})[0]['gt_seg_map'] == 255, (wrong == 255) | (wrong == 17))


def test_a_mask_of_another_size_is_named(tmp_path: Path) -> None:
    write_folder(tmp_path, ('a',))
    Image.fromarray(mask(size=(10, 12))).save(tmp_path / 'masks' / 'a.png')
    with pytest.raises(ValueError, match=r"a.png' is 10 x 12 px \(w x h\), its image '.*a.png' is 12 x 10"):
        folder(tmp_path)[0]


def test_datasets_of_equal_classes_are_joined(tmp_path: Path) -> None:
    write_folder(tmp_path)
    one = folder(tmp_path)
    joined = ConcatDataset([one, folder(tmp_path, indices=1)])
    assert len(joined) == 4
    assert joined.metainfo['class_meta'] == one.meta
    with pytest.raises(ValueError, match=r'dataset 1 has other classes \(2\) than dataset 0 \(3\)'):
        ConcatDataset([one, folder(tmp_path, meta='person')])


# COCO


def square(x: int, y: int, side: int) -> list[list[int]]:
    return [[x, y, x + side, y, x + side, y + side, x, y + side]]


def coco_dataset(root: Path, annotations: list[dict], **args: Any) -> CocoSegmentationDataset:
    write_coco(root, annotations, num_images=2)
    content = json.loads((root / 'people.json').read_text())
    content['categories'] = [dict(id=1, name='person'), dict(id=2, name='car'), dict(id=3, name='tree')]
    (root / 'people.json').write_text(json.dumps(content))
    cfg = dict(type='CocoSegmentationDataset', ann_file='people.json', meta=dict(classes=['background', 'car', 'person']))
    return DATASETS.build({**cfg, 'data_root': str(root), 'pipeline': LOAD, **args})


def test_instances_become_classes(tmp_path: Path) -> None:
    blob = np.zeros((90, 120), np.uint8)
    blob[70:80, 100:110] = 1
    crowd = np.zeros((90, 120), np.uint8)
    crowd[:, 60:90] = 1
    annotations = [
        dict(id=1, image_id=1, category_id=1, segmentation=square(12, 12, 5), area=25, iscrowd=0),  # in front of the car
        dict(id=2, image_id=1, category_id=2, segmentation=square(10, 10, 20), area=400, iscrowd=0),
        dict(id=3, image_id=1, category_id=3, segmentation=square(40, 10, 9), area=81, iscrowd=0),  # no class
        dict(id=4, image_id=1, category_id=2, segmentation=compressed_rle(blob), area=100, iscrowd=0),
        dict(id=5, image_id=1, category_id=1, segmentation=uncompressed_rle(crowd), area=2700, iscrowd=1),
    ]
    dataset = coco_dataset(tmp_path, annotations)
    labels = dataset[0]['gt_seg_map']
    expected = np.zeros((90, 120), np.uint8)
    expected[crowd > 0] = 255
    expected[10:30, 10:30] = 1
    expected[12:17, 12:17] = 2
    expected[70:80, 100:110] = 1
    np.testing.assert_array_equal(labels, expected)
    assert not dataset[1]['gt_seg_map'].any(), 'an image without instances is background'


@pytest.mark.parametrize('as_rle', [False, True])
def test_the_smaller_instance_is_on_top_without_areas(as_rle: bool, tmp_path: Path) -> None:
    def region(x: int, y: int, side: int) -> Any:
        filled = np.zeros((90, 120), np.uint8)
        filled[y : y + side, x : x + side] = 1
        return compressed_rle(filled) if as_rle else square(x, y, side)

    annotations = [
        dict(id=1, image_id=1, category_id=1, segmentation=region(12, 12, 5)),
        dict(id=2, image_id=1, category_id=2, segmentation=region(10, 10, 20)),
    ]
    labels = coco_dataset(tmp_path, annotations)[0]['gt_seg_map']
    assert labels[14, 14] == 2, 'the person, who stands first in the file'
    assert labels[11, 11] == 1


def test_an_instance_without_a_mask_has_no_class(tmp_path: Path) -> None:
    """What is drawn for detectors has boxes alone: `segmentation` is [] or absent."""
    annotations = [
        dict(id=1, image_id=1, category_id=1, segmentation=[], bbox=[12, 12, 20, 20], area=400),
        dict(id=2, image_id=1, category_id=2, segmentation=square(14, 14, 5), area=25),
        dict(id=3, image_id=1, category_id=2, bbox=[60, 12, 10, 10]),
    ]
    labels = coco_dataset(tmp_path, annotations)[0]['gt_seg_map']
    expected = np.zeros((90, 120), np.uint8)
    expected[12:32, 12:32] = expected[12:22, 60:70] = 255
    expected[14:19, 14:19] = 1
    np.testing.assert_array_equal(labels, expected)
    with pytest.raises(ValueError, match=r'people\.json: none of its 2 instances of the classes has a `segmentation`, which'):
        coco_dataset(tmp_path / 'boxes', [annotations[0], annotations[2]])


def test_grey_masks_of_three_channels_are_named(tmp_path: Path) -> None:
    write_folder(tmp_path, ('a',))
    Image.fromarray(np.repeat(mask()[..., None], 3, axis=2)).save(tmp_path / 'masks' / 'a.png')
    with pytest.raises(ValueError, match=r"a\.png' has the values .*#010101 .* its three channels are equal: save one of them"):
        folder(tmp_path)[0]
    (finding, *_) = scan_labels(folder(tmp_path)).errors
    assert 'its three channels are equal: save one of them' in finding.what


def test_errors_of_coco_files(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none of its categories \['person', 'car', 'tree'\] is one of the classes \['dog'\]"):
        coco_dataset(tmp_path / '1', []).__class__('people.json', dict(classes=['x', 'dog']), data_root=str(tmp_path / '1'))
    with pytest.raises(
        ValueError, match=r"its category 'car' is class 0 of `meta` \(custom\), which is that of the pixels outside"
    ):
        coco_dataset(tmp_path / '3', [], meta=dict(classes=['car', 'person']))
    with pytest.raises(ValueError, match=r"the class 'Car' of `meta` \(custom\) is no category of the file, which has 'car'"):
        coco_dataset(tmp_path / '4', [], meta=dict(classes=['background', 'Car', 'person']))
    astray = dict(id=7, image_id=9, category_id=1, segmentation=square(1, 1, 5))
    with pytest.raises(ValueError, match=r'people\.json: annotation 7 belongs to image 9, which the file does not list'):
        coco_dataset(tmp_path / '5', [astray])
    wrong = dict(id=7, image_id=1, category_id=1, segmentation=dict(size=[4, 4], counts='x'), iscrowd=0)
    with pytest.raises(ValueError, match=r'annotation 7 \(image 1\): the RLE `segmentation` is 4 x 4'):
        coco_dataset(tmp_path / '2', [wrong])
    with pytest.raises(ValueError, match='a segmentation is an RLE of 3 x 2 px'):
        paint_regions([(1, compressed_rle(np.ones((2, 3), np.uint8)))], (4, 4))


def test_coco_and_mask_files_agree(shared: Path) -> None:
    root = shared / 'data' / 'pennfudan'
    coco = DATASETS.build(
        dict(
            type='CocoSegmentationDataset',
            ann_file='instances_val.json',
            meta='person',
            data_root=str(root),
            pipeline=LOAD,
            indices=5,
        )
    )
    files = DATASETS.build(
        dict(
            type='SegmentationDataset',
            ann_file='instances_val.json',
            meta='person',
            data_root=str(root),
            pipeline=LOAD,
            indices=5,
        )
    )
    for i in range(5):
        ours, theirs = coco[i]['gt_seg_map'] == 1, files[i]['gt_seg_map'] == 1
        assert coco[i]['img_path'] == files[i]['img_path']
        assert (ours & theirs).sum() / (ours | theirs).sum() > 0.9  # polygons run through the centres of border pixels


# Synthetic people


def test_parts_of_synthetic_people(tmp_path: Path) -> None:
    cfg = dict(
        type='SyntheticPeopleSegmentation',
        split='train',
        data_root=str(tmp_path / 'p'),
        num_train=4,
        num_val=1,
        image_size=(96, 80),
    )
    parts = DATASETS.build(dict(cfg, pipeline=LOAD))
    people = DATASETS.build(dict(cfg, meta='person', pipeline=LOAD))
    seen: set[int] = set()
    content = json.loads((tmp_path / 'p' / 'annotations' / 'person_keypoints_train.json').read_text())
    coco = DATASETS.build(
        dict(
            type='CocoSegmentationDataset',
            meta='person',
            data_root=str(tmp_path / 'p'),
            ann_file='annotations/person_keypoints_train.json',
            data_prefix=dict(img='images/train'),
            pipeline=LOAD,
        )
    )
    for i in range(4):
        labels = parts[i]['gt_seg_map']
        seen |= set(np.unique(labels).tolist())
        np.testing.assert_array_equal(people[i]['gt_seg_map'], labels > 0)
        np.testing.assert_array_equal(coco[i]['gt_seg_map'], labels > 0, 'the masks of the same people in COCO form')
    assert seen == set(range(7))
    assert len(content['images']) == len(parts) == 4
    assert Image.open(parts[0]['seg_map_path']).mode == 'P', 'so that a viewer shows colours'
    with pytest.raises(ValueError, match=r'`meta` must have 2 or 7 classes, got 19'):
        DATASETS.build(dict(cfg, meta='cityscapes'))


def test_a_joint_lies_on_its_part(tmp_path: Path) -> None:
    SyntheticPeopleSegmentation('val', data_root=str(tmp_path / 'p'), num_train=1, num_val=6, image_size=(160, 128), max_people=1)
    content = json.loads((tmp_path / 'p' / 'annotations' / 'person_keypoints_val.json').read_text())
    classes = ClassMeta.load('person_parts').classes
    allowed = dict(left_knee=('upper_leg', 'lower_leg'), right_elbow=('upper_arm', 'lower_arm'), nose=('head',))
    checked = 0
    for ann in content['annotations']:
        labels = read_values(str(tmp_path / 'p' / 'parts' / 'val' / f'{ann["image_id"]:06d}.png'))
        points = np.array(ann['keypoints']).reshape(-1, 3)
        for name, parts in allowed.items():
            x, y, v = points[content['categories'][0]['keypoints'].index(name)]
            if v == 2:
                assert classes[labels[round(y), round(x)]] in parts
                checked += 1
    assert checked > 3


# Transforms


def test_flips_move_image_and_mask_and_swap_sides() -> None:
    image, labels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8), mask(size=(7, 5))
    flipped = transform(dict(type='RandomFlip', prob=1.0), img=image, gt_seg_map=labels)
    swapped = np.array([0, 2, 1])[np.where(labels == 255, 0, labels)]
    expected = np.where(labels == 255, 255, swapped)[:, ::-1]
    np.testing.assert_array_equal(flipped['gt_seg_map'], expected)
    np.testing.assert_array_equal(flipped['img'], image[:, ::-1])
    twice = transform(dict(type='RandomFlip', prob=1.0), img=flipped['img'], gt_seg_map=flipped['gt_seg_map'])
    np.testing.assert_array_equal(twice['gt_seg_map'], labels)


def painted(labels: np.ndarray) -> np.ndarray:
    """Return an image whose grey value says the label, far apart."""
    return np.repeat(np.where(labels == 255, 0, labels * 100 + 50).astype(np.uint8)[..., None], 3, axis=2)


@pytest.mark.parametrize('angle', [0.0, 35.0])
@pytest.mark.parametrize('scale', [0.6, 1.0, 1.7])
def test_crops_move_image_and_mask_together(scale: float, angle: float) -> None:
    blocks = np.random.default_rng(3).integers(0, 3, (6, 8), dtype=np.uint8)
    labels = np.kron(blocks, np.ones((16, 16), np.uint8))
    args = dict(type='SegRandomCrop', input_size=(90, 70), scale_range=(scale, scale), rotate_factor=angle, rotate_prob=1.0)
    results = transform(args, img=painted(labels), gt_seg_map=labels)
    assert results['img'].shape == (70, 90, 3)
    assert results['img_shape'] == (70, 90)
    moved = results['gt_seg_map']
    same = np.abs(results['img'][..., 0].astype(int) - painted(moved)[..., 0]) < 20
    inside = cv2.erode(
        (cv2.dilate(moved, np.ones((5, 5))) == cv2.erode(moved, np.ones((5, 5)))).astype(np.uint8), np.ones((3, 3))
    )
    assert inside.sum() > 500
    assert same[inside > 0].all(), 'away from the borders of blocks, image and mask say the same'


def test_a_crop_without_scale_copies_pixels() -> None:
    labels = mask(size=(30, 20))
    image = painted(labels)
    args = dict(type='SegRandomCrop', input_size=(9, 7), scale_range=(1.0, 1.0), cat_max_ratio=1.0)
    places = set()
    for seed in range(40):
        results = transform(args, img=image, gt_seg_map=labels, rng=np.random.default_rng(seed))
        found = [
            (y, x)
            for y in range(14)
            for x in range(22)
            if (labels[y : y + 7, x : x + 9] == results['gt_seg_map']).all()
            and (image[y : y + 7, x : x + 9] == results['img']).all()
        ]
        assert len(found) == 1
        places.add(found[0])
    assert len(places) > 25
    assert {y for y, _ in places} >= {0} or {x for _, x in places} >= {0}


def test_what_lies_outside_the_image_has_no_class() -> None:
    labels = np.ones((8, 8), np.uint8)
    args = dict(type='SegRandomCrop', input_size=(12, 10), scale_range=(1.0, 1.0))
    results = transform(args, img=np.full((8, 8, 3), 200, np.uint8), gt_seg_map=labels)
    expected = np.full((10, 12), 255)
    expected[:8, :8] = 1
    np.testing.assert_array_equal(results['gt_seg_map'], expected)
    assert (results['img'][8:] == 0).all()
    assert (results['img'][:8, :8] == 200).all()


def test_base_size_sets_the_scale() -> None:
    labels = np.zeros((40, 80), np.uint8)
    labels[:, 40:] = 1
    args = dict(type='SegRandomCrop', input_size=(40, 20), base_size=(40, 40), scale_range=(1.0, 1.0), cat_max_ratio=1.0)
    results = transform(args, img=painted(labels), gt_seg_map=labels)
    assert (results['gt_seg_map'][:, :20] == 0).all()
    assert (results['gt_seg_map'][:, 20:] == 1).all()


def test_crops_of_one_class_are_drawn_again() -> None:
    labels = np.zeros((64, 64), np.uint8)
    labels[:12, :12] = 1
    args = dict(type='SegRandomCrop', input_size=(16, 16), scale_range=(1.0, 1.0))

    def share(cat_max_ratio: float, num_tries: int) -> float:
        cfg = dict(args, cat_max_ratio=cat_max_ratio, num_tries=num_tries)
        crops = (
            transform(cfg, img=painted(labels), gt_seg_map=labels, rng=np.random.default_rng(seed))['gt_seg_map']
            for seed in range(60)
        )
        return float(np.mean([len(np.unique(crop)) > 1 for crop in crops]))

    assert share(1.0, 10) < 0.2
    assert share(0.9, 30) > 2 * share(1.0, 10)


def test_random_crops_repeat_with_their_seed(tmp_path: Path) -> None:
    write_folder(tmp_path)
    pipeline = [*LOAD, dict(type='SegRandomCrop', input_size=(8, 8), rotate_factor=30), dict(type='RandomFlip')]
    dataset = folder(tmp_path, pipeline=pipeline)
    first, again, other = (dataset[draw]['gt_seg_map'] for draw in (Draw(1, 5, 2), Draw(1, 5, 2), Draw(1, 5, 3)))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize(
    ('mode', 'size', 'valid'), [('keep', (16, 40), (16, 40)), ('fit', (40, 40), (16, 40)), ('stretch', (40, 40), (40, 40))]
)
def test_resizing_the_whole_image(mode: str, size: tuple[int, int], valid: tuple[int, int]) -> None:
    labels = np.zeros((32, 80), np.uint8)
    labels[:, 40:] = 2
    results = transform(dict(type='SegResize', input_size=(40, 40), resize_mode=mode), img=painted(labels), gt_seg_map=labels)
    assert results['img'].shape[:2] == results['gt_seg_map'].shape == size
    assert results['img_shape'] == valid
    h, w = valid
    assert (results['gt_seg_map'][:h, : w // 2] == 0).all()
    assert (results['gt_seg_map'][:h, w // 2 : w] == 2).all()
    assert (results['gt_seg_map'][h:] == 255).all()
    assert (results['img'][h:] == 0).all()


def test_what_crosses_to_the_training_process(tmp_path: Path) -> None:
    write_folder(tmp_path)
    dataset = folder(tmp_path, pipeline=[*LOAD, dict(type='PackSegInputs')])
    sample = dataset[1]
    assert sorted(sample) == ['inputs', 'maps', 'metainfo']
    assert sample['maps']['gt_seg_map'].dtype == sample['inputs'].dtype == np.uint8
    assert sample['metainfo']['ori_shape'] == (10, 12)
    batch = pose_collate([dataset[0], dataset[1]])
    assert batch['inputs'].shape == (2, 3, 10, 12)
    assert batch['data_samples'].gt_seg_map.shape == (2, 10, 12)
    assert batch['data_samples'].to('cpu').gt_seg_map.dtype == torch.uint8


def test_masks_are_read_before_random_steps() -> None:
    with pytest.raises(ConfigError, match='LoadSegMap: it must come before RandomFlip and SegRandomCrop'):
        transform(dict(type='LoadSegMap'), flip=True)


@pytest.mark.parametrize(
    ('cfg', 'message'),
    [
        (dict(type='SegRandomCrop', input_size=(0, 4)), r'`input_size` must be \(w, h\) of positive numbers, got \(0, 4\)'),
        (dict(type='SegRandomCrop', input_size=(4, 4), base_size=(4,)), r'`base_size` must be \(w, h\)'),
        (dict(type='SegRandomCrop', input_size=(4, 4), scale_range=(2, 1)), '`scale_range` must be 0 < low <= high'),
        (dict(type='SegRandomCrop', input_size=(4, 4), rotate_prob=2), r'`rotate_prob` must be in \[0, 1\], got 2'),
        (dict(type='SegRandomCrop', input_size=(4, 4), cat_max_ratio=0), r'`cat_max_ratio` must be in \(0, 1\]'),
        (dict(type='SegResize', input_size=(4, 4), resize_mode='crop'), "`resize_mode` must be one of .*got 'crop'"),
    ],
)
def test_errors_of_transforms(cfg: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TRANSFORMS.build(cfg)


# The scan


@pytest.mark.parametrize('level', ['full', 'fast'])
def test_the_scan_names_file_value_and_count(tmp_path: Path, level: str) -> None:
    write_folder(tmp_path, ('a', 'b', 'c', 'd'))
    wrong = mask(1)
    wrong[2, :4], wrong[3, :2] = 9, 40
    Image.fromarray(wrong).save(tmp_path / 'masks' / 'b.png')
    (tmp_path / 'masks' / 'c.png').write_bytes(b'')
    Image.fromarray(mask(size=(5, 5))).save(tmp_path / 'masks' / 'd.png')
    report = scan_labels(folder(tmp_path), level=level)
    assert not report.ok
    found = {finding.code: (Path(finding.where).name, finding.what) for finding in report.errors}
    assert found['label-value'] == ('b.png', 'values outside the 3 classes: 9 (4 px), 40 (2 px)')
    assert found['broken-mask'][0] == 'c.png'
    assert found['mask-size'] == ('d.png', 'the mask is 5 x 5 px (w x h), its image 12 x 10')
    table = report.table()
    for text in ('b.png', '9 (4 px), 40 (2 px)', 'label_map', 'left_arm'):
        assert text in table
    assert json.loads(json.dumps(report.to_dict()))['ok'] is False


def test_the_scan_counts_classes(tmp_path: Path) -> None:
    masks = write_folder(tmp_path)
    report = scan_labels(folder(tmp_path), name='train')
    assert report.ok
    assert not report.findings
    pixels = np.concatenate([m[m != 255] for m in masks.values()])
    assert report.pixels == pytest.approx({name: float((pixels == k).mean()) for k, name in enumerate(META['classes'])})
    assert report.images == dict.fromkeys(META['classes'], 3)
    assert report.ignored == pytest.approx(0.1)
    assert 'no defects found' in report.table()


def test_warnings_of_the_scan(tmp_path: Path) -> None:
    write_folder(tmp_path, ('a', 'b'))
    Image.fromarray(np.full(SIZE[::-1], 255, np.uint8)).save(tmp_path / 'masks' / 'b.png')
    meta = dict(classes=['ground', 'left_arm', 'right_arm', 'hat'])
    report = scan_labels(folder(tmp_path, meta=meta))
    assert report.ok
    assert {(w.code, Path(w.where).name) for w in report.warnings} == {('absent-class', 'hat'), ('no-labels', 'b.png')}


@pytest.mark.parametrize('level', ['full', 'fast'])
def test_masks_of_black_and_white_are_not_taken_for_background_alone(tmp_path: Path, level: str) -> None:
    """0 and 255: without a `label_map` white is no class, and a network that learns nothing would reach an IoU of 1."""
    write_folder(tmp_path, ('a', 'b'))
    for name in ('a', 'b'):
        Image.fromarray((mask() == 1).astype(np.uint8) * 255).save(tmp_path / 'masks' / f'{name}.png')
    (error,) = scan_labels(folder(tmp_path, meta='person'), level=level).errors
    assert (error.code, error.where) == ('white-masks', 'all masks')
    assert "pixels are 'background' or 255" in error.what
    assert 'label_map={255: 1}' in error.fix
    mapped = folder(tmp_path, meta='person', label_map={255: 1})
    assert scan_labels(mapped, level=level).ok
    np.testing.assert_array_equal(mapped[0]['gt_seg_map'], mask() == 1)


def test_the_scan_of_coco_files_and_turned_images(tmp_path: Path) -> None:
    ann = dict(id=1, image_id=1, category_id=1, segmentation=square(12, 12, 5), area=25, iscrowd=0)
    report = scan_labels(coco_dataset(tmp_path / 'coco', [ann]))
    assert report.images == dict(background=2, car=0, person=1)
    for name in ('images', 'masks'):
        (tmp_path / name).mkdir()
    cv2.imwrite(str(tmp_path / 'images' / 'a.jpg'), np.zeros((10, 12, 3), np.uint8))
    write_rotated(tmp_path / 'images' / 'a.jpg', 6)
    Image.fromarray(mask(size=(10, 12))).save(tmp_path / 'masks' / 'a.png')
    for level in ('full', 'fast'):
        assert scan_labels(folder(tmp_path), level=level).ok, 'the mask has the size of the image as it is shown'
    (tmp_path / 'images' / 'a.jpg').write_bytes(b'no image')
    assert [f.code for f in scan_labels(folder(tmp_path)).errors] == ['broken-image']
