"""RHD -> COCO-style files; its pickles, and pickles that must not be read."""

import json
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from mmpose_lite.datasets import CocoKeypointDataset
from mmpose_lite.datasets.converters import convert_rhd, read_array_pickle
from mmpose_lite.structures import KeypointMeta
from tests.coco_folder import check_file

SIZE = 320
OUTSIDE = np.column_stack((np.full(21, -50.0), np.full(21, 400.0), np.zeros(21)))


def hand(seed: int, **rows: tuple[float, float, float]) -> np.ndarray:
    """Return (21, 3) u, v, visible; `rows` (p0, p7 ...) replace points."""
    uv_vis = np.column_stack((np.random.default_rng(seed).uniform(80, 200, (21, 2)), np.ones(21)))
    for name, row in rows.items():
        uv_vis[int(name[1:])] = row
    return uv_vis


def write_split(root: Path, split: str, hands: dict[int, np.ndarray]) -> None:
    """Write one folder of RHD: 42 points for each number of an image."""
    (root / split / 'color').mkdir(parents=True)
    others = dict(xyz=np.zeros((42, 3)), K=np.eye(3, dtype=np.float32))
    content = {number: dict(uv_vis=uv_vis, **others) for number, uv_vis in hands.items()}
    (root / split / f'anno_{split}.pickle').write_bytes(pickle.dumps(content, protocol=2))
    for number in hands:
        cv2.imwrite(str(root / split / 'color' / f'{number:05d}.png'), np.full((SIZE, SIZE, 3), 90, np.uint8))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_split(
        tmp_path,
        'training',
        {
            0: np.concatenate((hand(0, p3=(50, 60, 0), p4=(SIZE, 60, 1)), OUTSIDE)),  # a hidden point, one outside
            7: np.concatenate((hand(1), hand(2))),
            9: np.concatenate((OUTSIDE, hand(3) * [1, 1, 0])),  # a hand behind something
        },
    )
    return tmp_path


def test_hands_and_their_visibility(root: Path) -> None:
    (path,) = convert_rhd(root, root / 'out')
    content = json.loads(path.read_text())
    assert path.name == 'rhd_train.json'
    assert [image['file_name'] for image in content['images']] == [f'training/color/{n:05d}.png' for n in (0, 7, 9)]
    people = content['annotations']
    assert [(a['id'], a['image_id'], a['hand_type']) for a in people] == [(1, 0, 'left'), (2, 7, 'left'), (3, 7, 'right')]
    points = np.array(people[0]['keypoints']).reshape(21, 3)
    assert points[:, 2].tolist() == [2, 2, 2, 1, 0, *[2] * 16]
    assert points[3].tolist() == [50, 60, 1]
    assert points[4].tolist() == [0, 0, 0]
    assert people[0]['num_keypoints'] == 20
    np.testing.assert_allclose(np.array(people[2]['keypoints']).reshape(21, 3)[:, :2], hand(2)[:, :2], atol=0.006)
    low, high = (edge(hand(2)[:, :2], 0) for edge in (np.min, np.max))
    np.testing.assert_allclose(people[2]['bbox'], [*(low - 0.1 * (high - low)), *(1.2 * (high - low))], atol=0.02)
    assert content['categories'][0]['keypoints'] == list(KeypointMeta.load('rhd21').keypoints)
    report = check_file(path, meta=KeypointMeta.load('rhd21'), img_dir=root)
    assert report.ok, report.table()


def test_the_published_hands(shared: Path, tmp_path: Path) -> None:
    """The sample, written as RHD's pickles are, becomes the boxes and points of mmpose's file again; both can be trained on."""
    sample = shared / 'data/rhd_sample'
    published = json.loads((sample / 'test_rhd.json').read_text())
    hands = {}
    for annotation in published['annotations']:
        points = np.array(annotation['keypoints'])
        hands[annotation['image_id']] = np.concatenate((OUTSIDE, points))
    write_split(tmp_path, 'evaluation', hands)
    for image in published['images']:
        shutil.copyfile(sample / image['file_name'], tmp_path / 'evaluation/color' / f'{image["id"]:05d}.png')
    (path,) = convert_rhd(tmp_path, tmp_path)
    assert path.name == 'rhd_test.json'
    ours = json.loads(path.read_text())
    for theirs, our in zip(published['annotations'], ours['annotations'], strict=True):
        assert our['image_id'] == theirs['image_id']
        np.testing.assert_allclose(our['bbox'], theirs['bbox'], atol=0.02)
        np.testing.assert_allclose(np.reshape(our['keypoints'], (21, 3))[:, :2], np.array(theirs['keypoints'])[:, :2], atol=0.006)
    pipeline = [dict(type='LoadImage'), dict(type='GetBBoxCenterScale'), dict(type='TopdownAffine', input_size=(64, 64))]
    for ann_file, prefix in ((path, tmp_path), (sample / 'test_rhd.json', sample)):  # ours, and mmpose's as it stands
        dataset = CocoKeypointDataset(str(ann_file), 'rhd21', data_prefix=dict(img=str(prefix)), pipeline=pipeline)
        assert len(dataset) == len(hands)
        inside = np.concatenate([dataset[i]['keypoints_input'][0] for i in range(len(dataset))])
        assert ((inside > 0) & (inside < 64)).all()


@pytest.mark.parametrize('protocol', range(2, 6))
@pytest.mark.parametrize('dtype', ['<f8', '>f4', 'u1', 'i8', '?'])
def test_arrays_of_every_protocol(tmp_path: Path, protocol: int, dtype: str) -> None:
    array = np.arange(6).reshape(2, 3).astype(dtype)
    content = {1: dict(c=array, fortran=np.asfortranarray(array)), 'text': [1.5, None, ('x', True)]}
    (tmp_path / 'x.pickle').write_bytes(pickle.dumps(content, protocol=protocol))
    found = read_array_pickle(tmp_path / 'x.pickle')
    for name, expected in content[1].items():
        np.testing.assert_array_equal(found[1][name], expected)
        assert found[1][name].dtype == expected.dtype
    assert found['text'] == [1.5, None, ['x', True]]


def test_arrays_of_python_2(tmp_path: Path) -> None:
    """Python 2 wrote the bytes of an array as a string, and NumPy's module by its old name."""
    values = np.array([1.5, -2.0])
    content = (
        b'\x80\x02cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR'
        + b'(K\x01K\x02\x85cnumpy\ndtype\n(U\x02f8K\x00K\x01tR(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb'
        + b'\x89U\x10'
        + values.tobytes()
        + b'tb.'
    )
    (tmp_path / 'x.pickle').write_bytes(content)
    np.testing.assert_array_equal(read_array_pickle(tmp_path / 'x.pickle'), values)


class Attack:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize('bad', ['code', 'objects', 'text', 'broken'])
def test_other_pickles_are_refused(tmp_path: Path, bad: str) -> None:
    content = dict(
        code=lambda: pickle.dumps({1: Attack(tmp_path / 'attacked')}),
        objects=lambda: pickle.dumps(np.array([Attack(tmp_path / 'attacked')], dtype=object)),
        text=lambda: pickle.dumps(np.array(['x'])),
        broken=lambda: pickle.dumps(np.zeros(9))[:-5],
    )[bad]()
    (tmp_path / 'x.pickle').write_bytes(content)
    with pytest.raises(ValueError, match=r'x\.pickle: only pickles of plain values and arrays of numbers are read'):
        read_array_pickle(tmp_path / 'x.pickle')
    assert not (tmp_path / 'attacked').exists()


def test_wrong_folders(root: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match='must have the folders training and evaluation'):
        convert_rhd(tmp_path / 'absent', tmp_path)
    (root / 'training/color/00007.png').unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 3 images are missing .*\['00007\.png'\]"):
        convert_rhd(root, tmp_path)
    pickled = root / 'training/anno_training.pickle'
    pickled.write_bytes(pickle.dumps({0: dict(uv_vis=np.zeros((21, 3)))}))
    with pytest.raises(ValueError, match=r'entry 0 must be a number with `uv_vis` \(42, 3\), got \(21, 3\)'):
        convert_rhd(root, tmp_path)
    pickled.write_bytes(pickle.dumps([1]))
    with pytest.raises(ValueError, match='must map the numbers of the images to annotations, got a list'):
        convert_rhd(root, tmp_path)
    pickled.unlink()
    with pytest.raises(FileNotFoundError, match=r'anno_training\.pickle'):
        convert_rhd(root, tmp_path)
    (tmp_path / 'rhd_train.json').write_text('my work')
    with pytest.raises(FileExistsError, match=r'rhd_train\.json exists already'):
        convert_rhd(root, tmp_path)
