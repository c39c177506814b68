"""MPII -> COCO-style files, from a .mat of its layout and from the published JSON."""

import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from scipy.io import savemat

from mmpose_lite.datasets import CocoKeypointDataset
from mmpose_lite.datasets.converters import convert_mpii, read_mpii_json, read_mpii_mat
from mmpose_lite.datasets.transforms import GetBBoxCenterScale
from mmpose_lite.evaluation import MpiiPCKAccuracy
from mmpose_lite.structures import KeypointMeta
from tests.coco_folder import check_file

NUM_JOINTS, WIDTH, HEIGHT = 16, 320, 240
HEAD = (100, 20, 130, 60)


def structs(entries: list[dict[str, Any]]) -> np.ndarray:
    """Return a MATLAB struct array; what an entry lacks is empty in it, as MATLAB writes it."""
    names = list(dict.fromkeys(name for entry in entries for name in entry))
    array = np.empty((1, len(entries)), dtype=[(name, object) for name in names])
    for i, entry in enumerate(entries):
        for name in names:
            array[name][0, i] = entry.get(name, np.zeros((0, 0)))
    return array


def joints(seed: int, num: int = NUM_JOINTS) -> dict[str, Any]:
    """Return annopoints with the ids 0 ... num - 1 in another order; joint 3 is hidden, the ends of the head have no mark."""
    xy = np.random.default_rng(seed).uniform(50, 200, (NUM_JOINTS, 2)).round(1)
    points: list[dict[str, Any]] = [dict(x=xy[i, 0], y=xy[i, 1], id=i) for i in range(num)]
    for point in points:
        if point['id'] not in (8, 9):
            point['is_visible'] = '0' if point['id'] == 3 else 1
    return dict(points=xy, annopoints=structs([dict(point=structs(points[::-1]))]))


def rect(seed: int, num: int = NUM_JOINTS, **changes: Any) -> dict[str, Any]:
    """Return an entry of annorect."""
    fields = dict(zip(('x1', 'y1', 'x2', 'y2'), HEAD)) | dict(scale=1.2, objpos=structs([dict(x=150.0, y=110.0)]))
    return fields | dict(annopoints=joints(seed, num)['annopoints']) | changes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four images: two people, one person with some joints, nobody, and one of the test set."""
    people = [
        ('a.jpg', 1, [rect(0), rect(1, scale=0.8)]),
        ('b.jpg', 1, [rect(2, 4), dict(scale=2.0, objpos=structs([dict(x=1.0, y=2.0)]))]),  # the second has no joints
        ('c.jpg', 1, []),
        ('d.jpg', 0, [dict(scale=2.0, objpos=structs([dict(x=1.0, y=2.0)]))]),
    ]
    annolist = structs(
        [
            dict(image=structs([dict(name=name)]), annorect=structs(rects) if rects else np.zeros((0, 0)))
            for name, _, rects in people
        ]
    )
    release = structs([dict(annolist=annolist, img_train=np.array([[is_train for _, is_train, _ in people]]), version='12')])
    savemat(tmp_path / 'mpii.mat', dict(RELEASE=release))
    (tmp_path / 'images').mkdir()
    for name in 'abcd':
        cv2.imwrite(str(tmp_path / f'images/{name}.jpg'), np.full((HEIGHT, WIDTH, 3), 90, np.uint8))
    return tmp_path


def test_the_mat_file(folder: Path) -> None:
    people = read_mpii_mat(folder / 'mpii.mat')
    assert people.images == ['a.jpg', 'a.jpg', 'b.jpg']
    np.testing.assert_allclose(people.points[0], joints(0)['points'] - 1)
    assert people.visibility[0].tolist() == [2, 2, 2, 1, *[2] * 12]
    assert people.visibility[2].tolist() == [2, 2, 2, 1, *[0] * 12]
    np.testing.assert_allclose(people.centers, [[149, 109]] * 3)
    np.testing.assert_allclose(people.scales, [1.2, 0.8, 1.2])
    np.testing.assert_allclose(people.heads[0], np.array(HEAD) - 1)


def test_conversion_of_the_mat_file(folder: Path) -> None:
    (folder / 'mpii_val.json').write_text(json.dumps([dict(image='b.jpg')]))
    written = convert_mpii(folder / 'mpii.mat', folder / 'images', folder / 'out', val=folder / 'mpii_val.json')
    assert [path.name for path in written] == ['person_keypoints_train.json', 'person_keypoints_val.json']
    train, val = (json.loads(path.read_text()) for path in written)
    assert train['images'] == [dict(id=1, file_name='a.jpg', width=WIDTH, height=HEIGHT)]
    assert val['images'] == [dict(id=2, file_name='b.jpg', width=WIDTH, height=HEIGHT)]
    assert [(a['id'], a['image_id'], a['num_keypoints']) for a in train['annotations'] + val['annotations']] == [
        (1, 1, 16),
        (2, 1, 16),
        (3, 2, 4),
    ]
    first = train['annotations'][0]
    side = 1.2 * 200
    assert first['bbox'] == pytest.approx([149 - side / 2, 109 + 15 * 1.2 - side / 2, side, side], abs=0.01)
    assert first['head_bbox'] == [99, 19, 30, 40]

    dataset = CocoKeypointDataset('out/person_keypoints_train.json', 'mpii16', data_root=str(folder))
    assert dataset[0]['head_sizes'].tolist() == [pytest.approx(0.6 * 50)]  # 30, 40, 50
    cropped = GetBBoxCenterScale(padding=1.25)(dataset[0])
    np.testing.assert_allclose(cropped['bbox_center'], [149, 109 + 18], atol=0.01)
    np.testing.assert_allclose(cropped['bbox_scale'], 1.25 * 200 * 1.2, atol=0.01)  # HRNet's crop


def test_pckh_of_the_result(folder: Path) -> None:
    """Predictions 14.9 px off pass at half a head (30 px), those 15.1 px off do not."""
    (path,) = convert_mpii(folder / 'mpii.mat', folder / 'images', folder / 'out')
    metric = MpiiPCKAccuracy()
    dataset = CocoKeypointDataset(path.name, 'mpii16', data_root=str(path.parent))
    metric.dataset_meta = dataset.metainfo
    for offset, expected in ((14.9, 1.0), (15.1, 0.0)):
        for item in dataset:
            metric.process(
                None,
                [dict(img_id=item['img_id'], gt_instances=item, pred_instances=dict(keypoints=item['keypoints'] + [offset, 0]))],
            )
        assert metric.evaluate(len(dataset))['pck/PCKh@0.5'] == expected


def test_the_published_json(shared: Path, tmp_path: Path) -> None:
    sample = Path(shutil.copytree(shared / 'data/mpii_sample', tmp_path / 'mpii'))
    people = json.loads((sample / 'test_mpii.json').read_text())
    heads = np.random.default_rng(0).uniform(20, 60, (len(people), 2, 2)).cumsum(1)
    savemat(sample / 'gt.mat', dict(headboxes_src=heads.transpose(1, 2, 0)))
    written = convert_mpii(
        sample / 'test_mpii.json', sample, tmp_path / 'out', val=sample / 'test_mpii.json', head_boxes=sample / 'gt.mat'
    )
    train, val = (json.loads(path.read_text()) for path in written)
    assert not any('head_bbox' in annotation for annotation in train['annotations'])
    for number, (person, annotation) in enumerate(zip(people, val['annotations'], strict=True)):
        points = np.array(annotation['keypoints']).reshape(16, 3)
        labelled = np.array(person['joints_vis']) > 0
        np.testing.assert_array_equal(points[:, 2], 2 * labelled)
        np.testing.assert_allclose(points[labelled, :2], np.array(person['joints'])[labelled] - 1, atol=0.006)
        x, y, w, h = annotation['bbox']
        assert w == h == pytest.approx(200 * person['scale'], abs=0.01)
        center = [person['center'][0] - 1, person['center'][1] + 15 * person['scale'] - 1]
        np.testing.assert_allclose([x + w / 2, y + h / 2], center, atol=0.02)
        np.testing.assert_allclose(annotation['head_bbox'][2:], heads[number, 1] - heads[number, 0], atol=0.006)
    for path in written:
        report = check_file(path, meta=KeypointMeta.load('mpii16'), img_dir=sample)
        assert report.ok, report.table()
        dataset = CocoKeypointDataset(
            str(path),
            'mpii16',
            data_prefix=dict(img=str(sample)),
            pipeline=[dict(type='LoadImage'), dict(type='GetBBoxCenterScale'), dict(type='TopdownAffine', input_size=(64, 64))],
        )
        assert len(dataset) == len(people)
        assert all(dataset[i]['img'].std() > 10 for i in range(len(people)))  # no crop is empty


def test_a_person_of_one_joint_has_an_area(folder: Path) -> None:
    person = dict(image='a.jpg', joints=[[50, 60]] * 16, joints_vis=[0] * 9 + [1] + [0] * 6, center=[50, 60], scale=0.4)
    (folder / 'train.json').write_text(json.dumps([person]))
    (path,) = convert_mpii(folder / 'train.json', folder / 'images', folder / 'out')
    (annotation,) = json.loads(path.read_text())['annotations']
    assert annotation['area'] == pytest.approx(0.53 * 80**2)
    assert check_file(path, meta=KeypointMeta.load('mpii16'), img_dir=folder / 'images').ok


def test_wrong_files(folder: Path) -> None:
    def convert(name: str, content: object, **options: Any) -> None:
        (folder / name).write_text(json.dumps(content))
        convert_mpii(folder / name, folder / 'images', folder / 'out', **options)

    person = dict(image='a.jpg', joints=[[1, 2]] * 16, joints_vis=[1] * 16, center=[9, 9], scale=1.0)
    with pytest.raises(ValueError, match='must be a list of people'):
        convert('train.json', dict(annotations=[]))
    with pytest.raises(ValueError, match=r"entry 1 lacks \['joints', 'joints_vis'\]"):
        convert('train.json', [person, {k: v for k, v in person.items() if 'joints' not in k}])
    with pytest.raises(ValueError, match=r'entry 0 \(image a\.jpg\) must have `joints` \(16, 2\).*got \(3, 2\)'):
        convert('train.json', [{**person, 'joints': [[1, 2]] * 3}])
    with pytest.raises(FileNotFoundError, match=r"1 of 1 images are missing .*\['e\.jpg'\]"):
        convert('train.json', [{**person, 'image': 'e.jpg'}])
    with pytest.raises(ValueError, match=r'a \.mat has its own head boxes'):
        convert_mpii(folder / 'mpii.mat', folder / 'images', folder / 'out', head_boxes='gt.mat')
    savemat(folder / 'gt.mat', dict(headboxes_src=np.zeros((2, 2, 3))))
    with pytest.raises(ValueError, match=r'`headboxes_src` must be \(2, 2, 1\), .* got \(2, 2, 3\)'):
        convert('val.json', [person], val=folder / 'val.json', head_boxes=folder / 'gt.mat')
    (folder / 'other.json').write_text(json.dumps([dict(image='z.jpg')]))
    with pytest.raises(ValueError, match=r'none of the 1 images of `val` .* is in .*mpii\.mat'):
        convert_mpii(folder / 'mpii.mat', folder / 'images', folder / 'out', val=folder / 'other.json')
    savemat(folder / 'mpii.mat', dict(RELEASE=structs([dict(version='12')])))
    with pytest.raises(ValueError, match=r"it lacks \['annolist', 'img_train'\]"):
        convert_mpii(folder / 'mpii.mat', folder / 'images', folder / 'out')
    with pytest.raises(FileNotFoundError, match=r'absent\.json'):
        convert_mpii(folder / 'absent.json', folder / 'images', folder / 'out')
    (folder / 'broken.json').write_text('[')
    with pytest.raises(ValueError, match=r'broken\.json: no valid JSON'):
        read_mpii_json(folder / 'broken.json')
    assert not (folder / 'out').exists()


def test_files_are_not_replaced_unasked(folder: Path) -> None:
    convert_mpii(folder / 'mpii.mat', folder / 'images', folder)
    with pytest.raises(FileExistsError, match=r'person_keypoints_train\.json exists already'):
        convert_mpii(folder / 'mpii.mat', folder / 'images', folder)
    convert_mpii(folder / 'mpii.mat', folder / 'images', folder, overwrite=True)
