"""Objects of COCO files as samples: labels by name, crowds, images without objects, boxes that are none."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mmengine.logging import MMLogger

from mmpose_lite.datasets import CocoDetectionDataset
from mmpose_lite.registry import DATASETS
from mmpose_lite.structures import ClassMeta
from mmpose_lite.structures.categories import labels_of_categories
from tests.detection_folder import ABSENT, META, shape, shapes, write_shapes


def dataset(folder: Path, **args: Any) -> CocoDetectionDataset:
    cfg = dict(type='CocoDetectionDataset', ann_file='instances.json', data_root=str(folder), meta=META)
    return DATASETS.build({**cfg, **args})


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []
    monkeypatch.setattr(MMLogger.get_current_instance(), 'warning', found.append)
    return found


def test_a_sample_has_all_objects_of_an_image(tmp_path: Path) -> None:
    write_shapes(tmp_path)
    data = dataset(tmp_path)
    assert [item['img_id'] for item in data] == [1, 2, 4], 'an image without objects is left out of training'
    first = data[0]
    assert first['bboxes'].tolist() == [[5, 6, 25, 20], [30, 10, 54, 40]]
    assert first['bboxes'].dtype == np.float32
    assert first['labels'].tolist() == [0, 1], 'places in `meta`, whatever the category ids'
    assert first['ann_ids'].tolist() == [1, 2]
    assert (first['width'], first['height']) == (60, 44)
    assert first['class_meta'].classes == ('box', 'disc')
    assert Path(first['img_path']).is_file()
    assert data[2]['is_ignored'].tolist() == [True, False], 'a crowd'


def test_what_is_marked_to_be_ignored(tmp_path: Path) -> None:
    write_shapes(tmp_path, [shape(1, 1, 'box', (1, 1, 9, 9), ignore=1), shape(2, 1, 'box', (1, 1, 9, 9), iscrowd=ABSENT)])
    assert dataset(tmp_path)[0]['is_ignored'].tolist() == [True, False]


@pytest.mark.parametrize('with_masks', [False, True])
def test_sizes_that_are_null_are_not_known(with_masks: bool, tmp_path: Path) -> None:
    path = write_shapes(tmp_path)
    content = json.loads(path.read_text())
    for image in content['images']:
        image.update(width=None, height=None)
    path.write_text(json.dumps(content))
    first = dataset(tmp_path, with_masks=with_masks)[0]
    assert len(first['bboxes']) == 2
    assert 'width' not in first


@pytest.mark.parametrize('args', [dict(test_mode=True), dict(filter_empty_gt=False)])
def test_images_without_objects(args: dict[str, Any], tmp_path: Path) -> None:
    write_shapes(tmp_path)
    data = dataset(tmp_path, with_masks=True, **args)
    assert [item['img_id'] for item in data] == [1, 2, 3, 4]
    empty = data[2]
    assert empty['bboxes'].shape == (0, 4)
    assert [len(empty[key]) for key in ('labels', 'is_ignored', 'ann_ids', 'regions')] == [0] * 4
    for key in ('bboxes', 'labels', 'is_ignored'):
        assert empty[key].dtype == data[0][key].dtype


def test_masks_only_when_asked_for(tmp_path: Path) -> None:
    write_shapes(tmp_path, [shape(1, 1, 'box', (1, 1, 9, 9)), shape(2, 1, 'box', (1, 1, 9, 9), segmentation=[])])
    assert 'regions' not in dataset(tmp_path)[0]
    item = dataset(tmp_path, with_masks=True)[0]
    assert item['regions'][0]['size'] == [44, 60]
    assert item['is_ignored'].tolist() == [False, True], 'nothing is known of the mask of the second one'


def test_categories_that_are_no_class_are_left_out(tmp_path: Path) -> None:
    write_shapes(tmp_path)
    data = dataset(tmp_path, meta=dict(classes=['disc']))
    assert [item['labels'].tolist() for item in data] == [[0], [0]]


def test_a_subset(tmp_path: Path) -> None:
    write_shapes(tmp_path)
    assert [item['img_id'] for item in dataset(tmp_path, indices=2)] == [1, 2]
    assert [item['img_id'] for item in dataset(tmp_path, indices=[2])] == [4]


DEGENERATE = [
    ((5, 5, 0, 10), r'is not 1 px wide and high'),
    ((5, 5, 10, -3), r'is not 1 px wide and high'),
    ((5, 5, 0.5, 10), r'is not 1 px wide and high'),
    ((5, 5, float('nan'), 10), r'must be \[x, y, w, h\], four finite numbers'),
    ((60, 5, 10, 10), r'lies outside of the image, 60 x 44 px'),
    ((5, -12, 10, 12), r'lies outside of the image'),
    ((5, 5, 10), r'must be \[x, y, w, h\]'),
    (None, r'must be \[x, y, w, h\], four finite numbers, got None'),
]


@pytest.mark.parametrize(('bbox', 'defect'), DEGENERATE)
def test_degenerate_boxes_are_named(bbox: Any, defect: str, tmp_path: Path, warnings: list[str]) -> None:
    bad = dict(shape(9, 1, 'box', (1, 1, 9, 9)), bbox=bbox)
    write_shapes(tmp_path, [*shapes(), bad])
    assert dataset(tmp_path)[0]['ann_ids'].tolist() == [1, 2]
    assert len(warnings) == 1
    assert '1 boxes are degenerate and left out: annotation 9 (image 1, 1.png)' in warnings[0]
    with pytest.raises(ValueError, match=rf'1 boxes are degenerate: annotation 9 \(image 1, 1.png\): its `bbox`.*{defect}'):
        dataset(tmp_path, degenerate='error')


def test_small_boxes_by_option(tmp_path: Path) -> None:
    write_shapes(tmp_path, [shape(1, 1, 'box', (5, 5, 10, 10)), dict(shape(2, 1, 'box', (5, 5, 1, 1)), bbox=[5, 5, 0.5, 3])])
    assert len(dataset(tmp_path, min_box_size=0.1)[0]['bboxes']) == 2
    assert len(dataset(tmp_path, min_box_size=3)[0]['bboxes']) == 1


def test_classes_that_are_missing(tmp_path: Path, warnings: list[str]) -> None:
    categories = [dict(id=1, name='traffic light'), dict(id=2, name='car')]
    labels = labels_of_categories(categories, ClassMeta.load('coco80'), where='f.json')
    assert labels == {1: 9, 2: 2}
    assert 'f.json: 78 of the 80 classes of `meta` (coco80) are no category of the file' in warnings[0]
    with pytest.raises(ValueError, match=r"the class 'trafic light' of `meta` \(custom\) is no category .* 'traffic light'"):
        labels_of_categories(categories, ClassMeta.load(dict(classes=['car', 'trafic light'])), where='f.json')
    with pytest.raises(ValueError, match=r"the class 'Car' of `meta` .* has 'car'"):
        labels_of_categories(categories, ClassMeta.load(dict(classes=['traffic light', 'Car'])), where='f.json')
    with pytest.raises(
        ValueError, match=r"none of its categories \['box', 'disc'\] is one of the classes \['person', .* 72 more"
    ):
        labels_of_categories([dict(id=1, name='box'), dict(id=2, name='disc')], ClassMeta.load('coco80'), where='f.json')


def test_categories_without_a_name() -> None:
    with pytest.raises(ValueError, match=r"f\.json: categories\[1\]: it needs an `id` and a `name`, got {'id': 2}"):
        labels_of_categories([dict(id=1, name='car'), dict(id=2)], ClassMeta.load('coco80'), where='f.json')


@pytest.mark.parametrize(
    ('annotations', 'args', 'message'),
    [
        ([dict(shape(1, 1, 'box', (1, 1, 9, 9)), image_id=40)], {}, 'annotation 1 belongs to image 40, which the file does not'),
        (
            [shape(1, 1, 'box', (1, 1, 9, 9), segmentation=ABSENT)],
            dict(with_masks=True),
            r'annotation 1 \(image 1\): there is no',
        ),
        ([shape(1, 1, 'box', (1, 1, 9, 9), segmentation='a')], dict(with_masks=True), r'annotation 1 .*must be polygons'),
        ([], {}, r'no image with an object of the classes of `meta` \(shapes\) is left \(4 images, 0 annotations\)'),
        ([], dict(degenerate='drop'), r"`degenerate` must be one of \('warn', 'error'\), got 'drop'"),
        ([], dict(min_box_size=0), r'`min_box_size` must be positive, got 0'),
    ],
)
def test_errors(annotations: list[dict], args: dict[str, Any], message: str, tmp_path: Path) -> None:
    write_shapes(tmp_path, annotations)
    with pytest.raises(ValueError, match=message):
        dataset(tmp_path, **args)


def test_penn_fudan(shared: Path) -> None:
    for split, images, objects in (('train', 119, 296), ('val', 51, 127)):
        data = dataset(shared / 'data/pennfudan', ann_file=f'instances_{split}.json', meta='pedestrian', with_masks=True)
        assert len(data) == images
        assert sum(len(item['bboxes']) for item in data) == objects
        assert not any(item['is_ignored'].any() for item in data)
