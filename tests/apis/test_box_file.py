"""Boxes from files: found by name or id, bad entries named."""

import json
from pathlib import Path

import numpy as np
import pytest

from mmpose_lite.apis.box_file import read_boxes
from mmpose_lite.apis.media import find_sources


def boxes_file(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content))
    return path


def test_boxes_of_a_detector_by_name(tmp_path: Path) -> None:
    detections = [
        dict(file_name='a.jpg', bbox=[10, 20, 30, 40], score=0.9, category_id=1),
        dict(file_name='val/b.jpg', bbox=[1, 2, 3, 4], score=0.8),
        dict(file_name='a.jpg', bbox=[0, 0, 5, 5], score=0.2, category_id=1),
        dict(file_name='a.jpg', bbox=[0, 0, 9, 9], score=0.9, category_id=18),
    ]
    boxes = read_boxes(boxes_file(tmp_path / 'det.json', detections), score_thr=0.3)
    bboxes, scores = boxes.find('a.jpg')
    assert bboxes.tolist() == [[10, 20, 40, 60]]
    assert scores.tolist() == pytest.approx([0.9])
    assert bboxes.dtype == scores.dtype == np.float32
    assert boxes.find('b.jpg')[0].tolist() == [[1, 2, 4, 6]]
    assert boxes.find('data/val/b.jpg')[0].tolist() == [[1, 2, 4, 6]]
    assert boxes.find('train/b.jpg') is None
    assert boxes.find('interval/b.jpg') is None
    assert read_boxes(tmp_path / 'det.json', category_id=18).find('a.jpg')[0].tolist() == [[0, 0, 9, 9]]


def test_boxes_of_a_detector_by_coco_id(tmp_path: Path) -> None:
    boxes = read_boxes(boxes_file(tmp_path / 'det.json', [dict(image_id=785, bbox=[1, 2, 3, 4], score=0.5, category_id=1)]))
    for name in ('000000000785.jpg', 'val2014/COCO_val2014_000000000785.jpg', '785.png'):
        assert boxes.find(name)[0].tolist() == [[1, 2, 4, 6]]
    assert boxes.find('clip.mp4#785') is None
    assert boxes.find('im785.png') is None


def test_boxes_of_an_annotation_file(tmp_path: Path) -> None:
    content = dict(
        images=[dict(id=5, file_name='a.jpg'), dict(id=6, file_name='nobody.jpg')],
        annotations=[
            dict(image_id=5, bbox=[1, 2, 3, 4], category_id=1, iscrowd=0),
            dict(image_id=5, bbox=[0, 0, 50, 50], category_id=1, iscrowd=1),
        ],
    )
    boxes = read_boxes(boxes_file(tmp_path / 'ann.json', content))
    assert [a.tolist() for a in boxes.find('a.jpg')] == [[[1, 2, 4, 6]], [1.0]]
    assert [a.shape for a in boxes.find('nobody.jpg')] == [(0, 4), (0,)]
    content['annotations'][0]['image_id'] = 7
    with pytest.raises(ValueError, match=r'ann\.json: annotations\[0\] belongs to image 7, which the file does not list'):
        read_boxes(boxes_file(tmp_path / 'ann.json', content))


def test_boxes_that_are_all_of_another_category_are_told(tmp_path: Path) -> None:
    boxes = [dict(file_name='a.jpg', bbox=[1, 2, 3, 4], category_id=category) for category in (0, 0, 5)]
    path = boxes_file(tmp_path / 'det.json', boxes)
    with pytest.warns(UserWarning, match=r'det\.json: none of its 3 boxes has the `category_id` 1; they have \[0, 5\]'):
        assert len(read_boxes(path).find('a.jpg')[0]) == 0
    assert len(read_boxes(path, category_id=0).find('a.jpg')[0]) == 2


def test_the_only_category_of_annotations_is_taken(tmp_path: Path) -> None:
    """Cats of one's own have a number of their own; in a file of several categories, people are 1."""
    content = dict(
        images=[dict(id=5, file_name='a.jpg')],
        annotations=[dict(image_id=5, bbox=[1, 2, 3, 4], category_id=40)],
        categories=[dict(id=40, name='cat')],
    )
    boxes = read_boxes(boxes_file(tmp_path / 'ann.json', content))
    assert boxes.category_id == 40
    assert boxes.find('a.jpg')[0].tolist() == [[1, 2, 4, 6]]
    content['categories'].append(dict(id=1, name='person'))
    with pytest.warns(UserWarning, match=r'none of its 1 boxes has the `category_id` 1; they have \[40\]'):
        boxes = read_boxes(boxes_file(tmp_path / 'ann.json', content))
    assert boxes.category_id == 1
    assert len(boxes.find('a.jpg')[0]) == 0


def test_a_name_that_fits_twice_is_an_error(tmp_path: Path) -> None:
    detections = [dict(file_name=f'{d}/x.jpg', bbox=[0, 0, 1, 1], score=1) for d in 'ab']
    boxes = read_boxes(boxes_file(tmp_path / 'det.json', detections))
    assert boxes.find('a/x.jpg') is not None
    with pytest.raises(ValueError, match=r'x\.jpg fits several `file_name`s: a/x\.jpg, b/x\.jpg'):
        boxes.find('x.jpg')


def test_boxes_without_size_are_left_out_with_a_warning(tmp_path: Path) -> None:
    path = boxes_file(tmp_path / 'det.json', [dict(image_id=1, bbox=[0, 0, w, 5], score=1) for w in (0, -3, 4)])
    with pytest.warns(UserWarning, match=r'det\.json: 2 of 3 boxes have no positive size'):
        assert len(read_boxes(path).find('1.jpg')[0]) == 1


@pytest.mark.parametrize(
    ('entry', 'message'),
    [
        (dict(bbox=[0, 0, 1, 1], score=1), 'entry 1: must be a dict with a `file_name` or an integer `image_id`'),
        ('x', 'entry 1: must be a dict'),
        (dict(image_id=1, score=1), r'entry 1: `bbox` must be \[x, y, width, height\].*got None and 1'),
        (dict(image_id=1, bbox=[0, 0, 1], score=1), r'got \[0, 0, 1\] and 1'),
        (dict(image_id=1, bbox=[0, 0, 1, float('nan')], score=1), 'all finite'),
        (dict(image_id=1, bbox=[0, 0, 1, 1], score=None), 'and None'),
    ],
)
def test_a_bad_entry_is_named(tmp_path: Path, entry: object, message: str) -> None:
    path = boxes_file(tmp_path / 'det.json', [dict(image_id=1, bbox=[0, 0, 1, 1]), entry])
    with pytest.raises(ValueError, match=r'det\.json, ' * ('entry' in message) + message):
        read_boxes(path)


def test_a_file_of_another_form_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"gone\.json' \(`boxes`\) does not exist"):
        read_boxes(tmp_path / 'gone.json')
    (tmp_path / 'torn.json').write_text('[{')
    with pytest.raises(ValueError, match=r'torn\.json: no valid JSON at line 1'):
        read_boxes(tmp_path / 'torn.json')
    with pytest.raises(ValueError, match=r'must hold a list of detections.*got a dict'):
        read_boxes(boxes_file(tmp_path / 'd.json', dict(images=[])))
    with pytest.raises(ValueError, match=r'd\.json: images\[0\]: `file_name` must be a text, got None'):
        read_boxes(boxes_file(tmp_path / 'd.json', dict(images=[dict(id=1)], annotations=[])))


def test_the_detector_file_of_coco_is_read(shared: Path) -> None:
    folder = shared / 'data' / 'coco_sample'
    detected = read_boxes(folder / 'test_coco_det_AP_H_56.json')
    annotated = read_boxes(folder / 'test_coco.json')
    for source in find_sources([folder]):
        assert len(annotated.find(source.name)[0]) > 0
    entries = json.loads((folder / 'test_coco_det_AP_H_56.json').read_text())
    of_785 = [e for e in entries if e['image_id'] == 785 and e['category_id'] == 1]
    assert len(detected.find('000000000785.jpg')[0]) == len(of_785) > 0
