import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmpose_lite.datasets import CocoKeypointDataset
from mmpose_lite.registry import DATASETS
from tests.coco_folder import ABSENT, IMAGE_SIZE, META, person, write_coco

POINTS = [40, 30, 2, 60, 70, 1, 0, 0, 0]  # head, left hand; the right hand is not labelled


def build(folder: Path, annotations: list[dict] | None = None, **options: Any) -> CocoKeypointDataset:
    if annotations is not None:
        write_coco(folder, annotations)
    cfg = dict(type='CocoKeypointDataset', ann_file='people.json', data_root=str(folder), meta=META)
    return DATASETS.build({**cfg, **options})


def write_boxes(folder: Path, boxes: object) -> str:
    (folder / 'boxes.json').write_text(json.dumps(boxes))
    return 'boxes.json'


def box(image_id: int = 1, **changes: object) -> dict:
    return {**dict(image_id=image_id, category_id=1, bbox=[5, 6, 20, 30], score=0.9), **changes}


def ids(dataset: CocoKeypointDataset) -> list[int]:
    return [dataset[i]['ann_id'] for i in range(len(dataset))]


def test_an_item(tmp_path: Path) -> None:
    item = build(tmp_path, [person(7, 2, bbox=[30, 20, 40, 60], area=1500, keypoints=POINTS)])[0]
    assert item['img_path'] == str(tmp_path / 'images' / '2.png')
    assert (item['img_id'], item['ann_id'], item['category_id']) == (2, 7, 1)
    expected: dict[str, tuple[list, type]] = dict(
        bboxes=([[30, 20, 70, 80]], np.float32),
        bbox_scores=([1], np.float32),
        keypoints=([[[40, 30], [60, 70], [0, 0]]], np.float32),
        keypoints_visible=([[1, 1, 0]], np.float32),
        areas=([1500], np.float32),
        flip_indices=([0, 2, 1], np.int64),
        lower_body=([False] * 3, np.bool_),
    )
    for key, (value, dtype) in expected.items():
        assert item[key].tolist() == value, key
        assert item[key].dtype == dtype, key
    assert isinstance(item['rng'], np.random.Generator)
    assert 'head_sizes' not in item


def test_occluded_keypoints_can_be_left_out(tmp_path: Path) -> None:
    write_coco(tmp_path, [person(7, 1, keypoints=POINTS), person(8, 1, keypoints=[1, 2, 1, 0, 0, 0, 0, 0, 0])])
    assert ids(build(tmp_path)) == [7, 8]
    assert build(tmp_path)[0]['keypoints_visible'].tolist() == [[1, 1, 0]]
    without = build(tmp_path, use_occluded=False)
    assert ids(without) == [7]  # the other has nothing else labelled
    assert without[0]['keypoints_visible'].tolist() == [[1, 0, 0]]


def test_the_metainfo_tells_metrics_what_they_need(tmp_path: Path) -> None:
    metainfo = build(tmp_path, [person(1, 1)]).metainfo
    assert metainfo['keypoint_meta'].keypoints == tuple(META['keypoints'])
    assert metainfo['ann_file'] == str(tmp_path / 'people.json')


def test_through_a_pipeline(tmp_path: Path) -> None:
    pipeline = [dict(type='LoadImage'), dict(type='GetBBoxCenterScale'), dict(type='TopdownAffine', input_size=(24, 32))]
    dataset = build(tmp_path, [person(1, 1), person(2, 3)], pipeline=[*pipeline, dict(type='PackPoseInputs')])
    assert dataset[1]['inputs'].shape == (32, 24, 3)
    assert dataset[1]['inputs'].any()
    assert dataset[1]['metainfo']['ori_shape'] == IMAGE_SIZE[::-1]
    assert build(tmp_path, pipeline=[len])[0] == len(build(tmp_path)[0])  # callables are steps too


def test_what_is_absent_is_derived(tmp_path: Path) -> None:
    gone = dict(bbox=ABSENT, area=ABSENT, num_keypoints=ABSENT, iscrowd=ABSENT, category_id=ABSENT)
    item = build(tmp_path, [person(3, 1, keypoints=POINTS, **gone)])[0]
    assert item['bboxes'].tolist() == [[40, 30, 60, 70]]  # of the labelled keypoints
    assert item['areas'].tolist() == [800]
    assert item['category_id'] == 1
    for nothing in (None, []):
        assert build(tmp_path, [person(3, 1, bbox=nothing, keypoints=POINTS)])[0]['bboxes'].tolist() == [[40, 30, 60, 70]]
    assert build(tmp_path, [person(3, 1, area=ABSENT)])[0]['areas'].tolist() == [1200]  # of the box
    assert build(tmp_path, [person(3, 1, id=ABSENT)])[0]['ann_id'] == 0  # its number in the file


def test_who_is_left_out(tmp_path: Path) -> None:
    annotations = [
        person(1, 1, iscrowd=1),
        person(2, 1, keypoints=[0] * 9, num_keypoints=0),
        person(3, 1, keypoints=[5, 5, 0] * 3),  # coordinates without a flag
        person(4, 1, bbox=[10, 10, 0, 40]),
        person(5, 1, bbox=[10, 10, 20, -1]),
        person(6, 1, keypoints=ABSENT),
        person(7, 1, keypoints=[]),
        person(8, 1, bbox=ABSENT, keypoints=[5, 5, 2] + [0] * 6),  # the extent of one point
        person(9, 1, num_keypoints=0),  # the flags count, not the number
        person(10, 1),
    ]
    assert ids(build(tmp_path, annotations)) == [9, 10]


def test_categories(tmp_path: Path) -> None:
    annotations = [person(i, 1, category_id=i % 3) for i in range(1, 7)]
    assert ids(build(tmp_path, annotations)) == [1, 2, 3, 4, 5, 6]
    assert ids(build(tmp_path, category_ids=[0, 2])) == [2, 3, 5, 6]
    assert build(tmp_path, category_ids=[0])[0]['category_id'] == 0


@pytest.mark.parametrize(('indices', 'expected'), [(2, [1, 2]), ([3, 0], [4, 1]), (None, [1, 2, 3, 4])])
def test_a_part_of_the_samples(tmp_path: Path, indices: object, expected: list[int]) -> None:
    assert ids(build(tmp_path, [person(i, 1) for i in range(1, 5)], indices=indices)) == expected


@pytest.mark.parametrize('indices', [0, [], [0, 4], [-5]])
def test_indices_that_are_no_samples(tmp_path: Path, indices: object) -> None:
    with pytest.raises(ValueError, match=r'CocoKeypointDataset: `indices` must be some of its 4 samples, got'):
        build(tmp_path, [person(i, 1) for i in range(1, 5)], indices=indices)


@pytest.mark.parametrize('prefix', ['images', dict(img_path='images'), dict(img='images', seg='masks'), {}])
def test_folders_of_other_names(tmp_path: Path, prefix: object) -> None:
    with pytest.raises(
        ValueError, match=r'CocoKeypointDataset: `data_prefix` must be a dict of folders: `img`, of the images, got'
    ):
        build(tmp_path, [person(1, 1)], data_prefix=prefix)


def test_negative_indices_and_iteration(tmp_path: Path) -> None:
    dataset = build(tmp_path, [person(1, 1), person(2, 1)])
    assert dataset[-1]['ann_id'] == 2
    assert dataset[-1]['rng'].random() == dataset[1]['rng'].random()
    assert [item['ann_id'] for item in dataset] == [1, 2]


def test_head_sizes(tmp_path: Path) -> None:
    given, boxed, without = person(1, 1, head_size=7.5), person(2, 1, head_bbox=[10, 10, 30, 40]), person(3, 1)
    dataset = build(tmp_path, [given, boxed])
    assert [item['head_sizes'].tolist() for item in dataset] == [[7.5], [30]]  # 0.6 of the diagonal of 30 x 40
    mixed = [item['head_sizes'] for item in build(tmp_path, [given, without])]
    assert [np.isnan(size).tolist() for size in mixed] == [[False], [True]]


def test_any_number_of_keypoints(tmp_path: Path) -> None:
    for K in (1, 2, 5, 21, 133):
        item = build(tmp_path, [person(1, 1, keypoints=[3, 4, 2] * K)], meta=dict(keypoints=K))[0]
        assert item['keypoints'].shape == (1, K, 2)
        assert item['lower_body'].shape == item['flip_indices'].shape == (K,)


def test_lower_body_is_marked(tmp_path: Path) -> None:
    item = build(tmp_path, [person(1, 1, keypoints=[3, 4, 2] * 17)], meta='coco17')[0]
    assert np.flatnonzero(item['lower_body']).tolist() == [11, 12, 13, 14, 15, 16]


def test_boxes_of_a_detector(tmp_path: Path) -> None:
    write_coco(tmp_path, [person(1, 1)])
    boxes = [
        box(2, score=0.8),
        box(1, score=0.29),
        box(1, category_id=2),
        box(1, bbox=[5, 6, 0, 30]),
        box(3, bbox=[-4, 2.5, 10, 10]),
    ]
    file = write_boxes(tmp_path, boxes)
    dataset = build(tmp_path, bbox_file=file, bbox_score_thr=0.3, category_ids=[1], test_mode=True)
    first, second = dataset
    assert (first['img_id'], first['ann_id'], second['img_id'], second['ann_id']) == (2, 0, 3, 4)
    assert first['bboxes'].tolist() == [[5, 6, 25, 36]]
    assert first['bbox_scores'].tolist() == pytest.approx([0.8])
    assert second['bboxes'].tolist() == [[-4, 2.5, 6, 12.5]]
    assert second['areas'].tolist() == [100]
    assert 'keypoints' not in first
    assert len(build(tmp_path, bbox_file=file, test_mode=True)) == 4


def test_coco_itself(shared: Path) -> None:
    coco_module = pytest.importorskip('pycocotools.coco')
    folder = shared / 'data' / 'coco_sample'
    dataset = DATASETS.build(
        dict(type='CocoKeypointDataset', ann_file='test_coco.json', data_root=str(folder), data_prefix=dict(img=''))
    )
    coco = coco_module.COCO(str(folder / 'test_coco.json'))
    wanted = {i: ann for i, ann in coco.anns.items() if ann['num_keypoints'] and not ann['iscrowd']}
    assert sorted(ids(dataset)) == sorted(wanted)
    for item in dataset:
        ann = wanted[item['ann_id']]
        x, y, w, h = ann['bbox']
        np.testing.assert_allclose(item['bboxes'], [[x, y, x + w, y + h]], rtol=1e-6)
        assert item['areas'][0] == pytest.approx(ann['area'])
        assert item['keypoints_visible'].sum() == ann['num_keypoints']
        assert Path(item['img_path']).is_file()
    boxes = DATASETS.build(
        dict(
            type='CocoKeypointDataset',
            ann_file='test_coco.json',
            data_root=str(folder),
            data_prefix=dict(img=''),
            bbox_file='test_coco_det_AP_H_56.json',
            category_ids=[1],
            test_mode=True,
        )
    )
    detections = json.loads((folder / 'test_coco_det_AP_H_56.json').read_text())
    expected = Counter(d['image_id'] for d in detections if d['category_id'] == 1)
    assert Counter(item['img_id'] for item in boxes) == expected


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(keypoints=[1, 2, 2] * 4), r'people\.json: annotation 8 \(image 1\) has 4 keypoints, but `meta` \(three\) has 3'),
        (dict(keypoints=[1, 2, 2, 3]), r'annotation 8 \(image 1\) has 1\.33333 keypoints'),
        (dict(keypoints='1 2 2'), r"annotation 8 \(image 1\): `keypoints` must be numbers x, y, visibility, ..., got '1 2 2'"),
        (dict(keypoints=[None, 2, 2, *POINTS[3:]]), r'`keypoints` must be numbers .*, got \[None, 2, 2, 60'),
        (dict(image_id=99), r'people\.json: annotation 8 belongs to image 99, which the file does not list'),
        (dict(image_id=99, id=ABSENT), 'annotation number 0 belongs to image 99'),
        (dict(image_id='1'), "belongs to image '1', which the file does not list; it lists 1: write both as numbers"),
        (dict(bbox=[1, 2, 3]), r'annotation 8 \(image 1\): `bbox` must be \[x, y, w, h\], four finite numbers, got \[1, 2, 3\]'),
        (dict(bbox=[1, 2, 'a', 4]), r"`bbox` must be .*, got \[1, 2, 'a', 4\]"),
    ],
)
def test_wrong_annotations(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(tmp_path, [person(8, 1, **changes)])


def test_two_images_of_one_id(tmp_path: Path) -> None:
    path = write_coco(tmp_path, [person(1, 1)])
    content = json.loads(path.read_text())
    content['images'].append(dict(id=1, file_name='4.png'))
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"people\.json: the images '1\.png' and '4\.png' share the id 1; give each its own"):
        build(tmp_path)


def test_keypoints_of_another_category(tmp_path: Path) -> None:
    write_coco(tmp_path, [person(1, 1), person(2, 1, category_id=2, keypoints=[1, 2, 2] * 5)])
    with pytest.raises(ValueError, match=r'has 5 keypoints, but `meta` .* or with `category_ids` the categories that it'):
        build(tmp_path)
    dataset = build(tmp_path, category_ids=[1])
    assert ids(dataset) == [1]
    assert dataset.metainfo['category_ids'] == {1}, 'so that metrics ask for no others'


@pytest.mark.parametrize('data_mode', ['topdown', 'bottomup'])
def test_coordinates_that_are_null_are_zero(data_mode: str, tmp_path: Path) -> None:
    write_coco(tmp_path, [person(1, 1, keypoints=[20, 30, 2, None, None, 0, float('nan'), 4, 0])])
    item = build(tmp_path, data_mode=data_mode)[0]
    assert item['keypoints'].tolist() == [[[20, 30], [0, 0], [0, 0]]]
    assert item['keypoints_visible'].tolist() == [[1, 0, 0]]


@pytest.mark.parametrize('annotations', [[], [person(1, 1, iscrowd=1)]])
def test_nothing_left_to_train_on(tmp_path: Path, annotations: list[dict]) -> None:
    message = rf'people\.json: no person is left to use \(4 images, {len(annotations)} annotations\).*tools/check_dataset\.py'
    with pytest.raises(ValueError, match=message):
        build(tmp_path, annotations)


@pytest.mark.parametrize(
    ('boxes', 'message'),
    [
        ([box(1), box(98), box(99)], r'boxes\.json: 2 image ids are not in .*people\.json, for example \[98, 99\]'),
        (
            [dict(image_id=1, bbox=[1, 2, 3, 4])],
            r"boxes\.json: detections\[0\]: it must have \['bbox', 'category_id', 'image_id', 'score'\]",
        ),
        ([box(1), box(1, bbox=[1, 2])], r'boxes\.json: detections\[1\]: it must have .*`bbox` \[x, y, w, h\].*got .*\[1, 2\]'),
        ([box(1, score=None)], r'`score` numbers, got'),
        (dict(images=[], annotations=[]), r'boxes\.json: `detections` must be a list, got a dict'),
        (['x'], r"boxes\.json: `detections\[0\]` must be a dict, got 'x'"),
        ([], r'no person is left to use'),
    ],
)
def test_wrong_boxes(tmp_path: Path, boxes: object, message: str) -> None:
    write_coco(tmp_path, [person(1, 1)])
    with pytest.raises(ValueError, match=message):
        build(tmp_path, bbox_file=write_boxes(tmp_path, boxes), test_mode=True)


def test_wrong_files(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"people\.json' \(`ann_file` under `data_root`\) does not exist"):
        build(tmp_path)
    write_coco(tmp_path, [person(1, 1)])
    with pytest.raises(FileNotFoundError, match=r"absent\.json' \(`bbox_file` under `data_root`\) does not"):
        build(tmp_path, bbox_file='absent.json', test_mode=True)
    (tmp_path / 'boxes.json').write_text('[')
    with pytest.raises(ValueError, match=r'boxes\.json: no valid JSON at line 1'):
        build(tmp_path, bbox_file='boxes.json', test_mode=True)
    with pytest.raises(ValueError, match='`bbox_file` holds no keypoints, so it needs `test_mode=True`'):
        build(tmp_path, bbox_file='boxes.json')
