import json
from pathlib import Path

import numpy as np
import pytest

from mmpose_lite.structures import ClassMeta
from mmpose_lite.structures.class_meta import default_palette
from mmpose_lite.structures.class_tables import BUILTIN, voc_color

CLASSES_OF = dict(cityscapes=19, voc2012=21, person=2, person_parts=7, coco80=80, voc20=20, pedestrian=1)


@pytest.mark.parametrize(('name', 'num_classes'), CLASSES_OF.items())
def test_built_in_classes(name: str, num_classes: int) -> None:
    meta = ClassMeta.load(name)
    assert meta.name == name
    assert meta.num_classes == len(meta.classes) == len(meta.palette) == num_classes
    assert len(set(meta.palette)) == num_classes, 'coloured masks are read by these colours'
    assert ClassMeta.load(meta) is meta


def test_every_built_in_name_is_tested() -> None:
    assert BUILTIN.keys() == CLASSES_OF.keys()


def test_classes_of_objects_have_no_background() -> None:
    coco = ClassMeta.load('coco80').classes
    assert [coco[k] for k in (0, 9, 12, 45, 79)] == ['person', 'traffic light', 'parking meter', 'bowl', 'toothbrush']
    assert ClassMeta.load('voc20').classes == ClassMeta.load('voc2012').classes[1:]
    assert ClassMeta.load('voc20').palette == ClassMeta.load('voc2012').palette[1:]
    ids = ClassMeta.load('coco80').category_ids
    assert len(ids) == 80
    by_name = dict(zip(coco, ids))
    assert [by_name[n] for n in ('person', 'stop sign', 'cat', 'toothbrush', 'cell phone')] == [1, 13, 17, 90, 77]
    assert ClassMeta.load('pedestrian').category_ids == (1,)
    for name in ('coco80', 'voc20', 'pedestrian'):
        assert (0, 0, 0) not in ClassMeta.load(name).palette, 'black boxes are hard to see'


def test_the_palette_of_voc_is_that_of_its_files() -> None:
    assert [voc_color(k) for k in (0, 1, 2, 3, 15, 20, 255)] == [
        *((0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (192, 128, 128), (0, 64, 128), (224, 224, 192)),
    ]


def test_round_trip_through_json(tmp_path: Path) -> None:
    spec = dict(classes=['sky', 'left_arm', 'right_arm'], palette=[[1, 2, 3], [4, 5, 6], [7, 8, 9]])
    path = tmp_path / 'mine.json'
    path.write_text(json.dumps(spec))
    meta = ClassMeta.load(path)
    assert (meta.name, meta.classes, meta.palette[2]) == ('mine', ('sky', 'left_arm', 'right_arm'), (7, 8, 9))
    assert meta.swaps == (0, 2, 1)
    assert ClassMeta.load(meta.to_dict()) == meta


def test_category_ids_of_ones_own() -> None:
    meta = ClassMeta.load(dict(classes=['cat', 'dog'], category_ids=[40, 7]))
    assert meta.category_ids == (40, 7)
    assert ClassMeta.load(meta.to_dict()) == meta
    for ids in ([1], [1, 1], [1, 'two']):
        with pytest.raises(ValueError, match='`category_ids` must be 2 different integers, got'):
            ClassMeta.load(dict(classes=['cat', 'dog'], category_ids=ids))


def test_sides_are_swapped_by_a_table() -> None:
    table = ClassMeta.load(dict(classes=['sky', 'left_arm', 'right_arm'])).flip_table
    labels = np.array([0, 1, 2, 255, 200], np.uint8)
    assert table[labels].tolist() == [0, 2, 1, 255, 200]
    assert ClassMeta.load(dict(classes=['Right Arm', 'sky', 'Left Arm'])).swaps == (2, 1, 0)
    assert ClassMeta.load('cityscapes').flip_table is None
    assert ClassMeta.load(dict(classes=['a', 'b', 'c'], swaps=[['c', 'a']])).swaps == (2, 1, 0)


def test_a_number_makes_nameless_classes() -> None:
    meta = ClassMeta.load(dict(classes=3))
    assert meta.classes == ('class_0', 'class_1', 'class_2')
    assert meta.palette == default_palette(3)


def test_default_colours_differ() -> None:
    palette = default_palette(150)
    assert len(set(palette)) == 150
    assert palette[0] == (0, 0, 0)


@pytest.mark.parametrize(
    ('spec', 'message'),
    [
        ('cityscape', r"must be one of .* got 'cityscape'. Did you mean 'cityscapes'"),
        (5, r"a \.json file or a dict, got '5'"),
        (dict(classes='ab'), 'must be different names'),
        (dict(names=['a']), r"needs `classes` and takes .*, got the keys \['names'\]"),
        (dict(classes=['a', 'a']), 'must be different names'),
        (dict(classes=[]), 'must be 1 to 254 names, got 0'),
        (dict(classes=255), 'must be 1 to 254 names, got 255'),
        (dict(classes=['a', 'b'], palette=[[0, 0, 0]]), '`palette` needs 2 RGB triples, got 1'),
        (dict(classes=['a', 'b'], palette=[[0, 0, 0], [0, 256, 0]]), r'RGB triples in 0..255, got \(0, 256, 0\)'),
        (dict(classes=['a', 'b', 'c'], swaps=[['a', 'b'], ['b', 'c']]), r"each class in one at most, got \['b', 'c'\]"),
        (dict(classes=['a', 'b'], swaps=[['a', 'x']]), r"`swaps` must be pairs of classes.*got \['a', 'x'\]"),
    ],
)
def test_errors(spec: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ClassMeta.load(spec)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"'.*none\.json' given as `meta` does not exist"):
        ClassMeta.load(tmp_path / 'none.json')
