"""LSP and LSPET -> COCO-style files."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.io import savemat

from mmpose_lite.datasets.converters import convert_lsp, read_lsp_joints
from mmpose_lite.structures import KeypointMeta
from tests.coco_folder import check_file

NUM, WIDTH, HEIGHT = 5, 80, 100


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """LSP's layout: joints.mat of (3, 14, 5), images/im0001.jpg ..."""
    joints = np.random.default_rng(0).uniform(20, 60, (3, 14, NUM))
    joints[2] = 0
    joints[2, 6, 0] = 1  # the right wrist of the first person is hidden
    joints[:2, 13, 1] = 200, -3  # the head of the second is outside
    savemat(tmp_path / 'joints.mat', dict(joints=joints))
    (tmp_path / 'images').mkdir()
    for i in range(NUM):
        cv2.imwrite(str(tmp_path / f'images/im{i + 1:04d}.jpg'), np.full((HEIGHT, WIDTH, 3), 90, np.uint8))
    return tmp_path


def convert(folder: Path, **options: object) -> list[Path]:
    return convert_lsp(folder / 'joints.mat', folder / 'images', folder / 'out', **options)


def test_lspet_equals_the_published_files(shared: Path, tmp_path: Path) -> None:
    lspet = shared / 'data/lspet'
    written = convert_lsp(lspet / 'joints.mat', lspet / 'images', tmp_path, num_train=1600)
    assert [path.name for path in written] == ['person_keypoints_train.json', 'person_keypoints_val.json']
    for path in written:
        ours, theirs = json.loads(path.read_text()), json.loads((lspet / path.name).read_text())
        assert ours['images'] == theirs['images']
        assert ours['annotations'] == theirs['annotations']
        assert ours['categories'][0]['keypoints'] == theirs['categories'][0]['keypoints']


def test_lsp_layout(folder: Path) -> None:
    train, val = convert(folder)
    train, val = json.loads(train.read_text()), json.loads(val.read_text())
    assert [a['id'] for a in train['annotations']] == [1, 2, 3, 4]
    assert [a['id'] for a in val['annotations']] == [5]
    assert train['images'][0] == dict(id=1, file_name='im0001.jpg', width=WIDTH, height=HEIGHT)

    points, v = read_lsp_joints(folder / 'joints.mat')
    first, second = (np.array(a['keypoints']).reshape(14, 3) for a in train['annotations'][:2])
    assert first[:, 2].tolist() == [2] * 6 + [1] + [2] * 7
    np.testing.assert_allclose(first[:, :2], points[0], atol=0.005 + 1e-9)
    assert second[13].tolist() == [0, 0, 0]
    assert train['annotations'][1]['num_keypoints'] == 13
    assert v[1, 13] == 2

    low, high = first[:, :2].min(0), first[:, :2].max(0)
    start, end = np.maximum(low - 0.15 * (high - low), 0), np.minimum(high + 0.15 * (high - low), [WIDTH - 1, HEIGHT - 1])
    np.testing.assert_allclose(train['annotations'][0]['bbox'], [*start, *(end - start)], atol=0.0051)
    assert train['annotations'][0]['area'] == pytest.approx(0.53 * np.prod(end - start), abs=0.01)


def test_output_passes_the_checker(folder: Path) -> None:
    for path in convert(folder, num_train=2):
        report = check_file(path, meta=KeypointMeta.load('lsp14'), img_dir=folder / 'images')
        assert report.ok, report.table()
        assert {f.code for f in report.findings} <= {'left-right'}  # these people are random points


def test_lspet_layout_of_one_person(tmp_path: Path) -> None:
    joints = np.ones((14, 3, 1))
    joints[4, 2] = 0
    savemat(tmp_path / 'joints.mat', dict(joints=joints))
    points, v = read_lsp_joints(tmp_path / 'joints.mat')
    assert points.shape == (1, 14, 2)
    assert v[0].tolist() == [2] * 4 + [0] + [2] * 9


def test_people_without_box_are_left_out(folder: Path) -> None:
    joints = np.full((14, 3, NUM), 30.0)
    joints[:, :2, 1] = np.arange(28).reshape(14, 2)  # all others: fourteen joints on one point
    savemat(folder / 'joints.mat', dict(joints=joints))
    (path,) = convert(folder, num_train=NUM)
    content = json.loads(path.read_text())
    assert [a['image_id'] for a in content['annotations']] == [2]
    assert len(content['images']) == NUM


def test_split_is_stable(folder: Path) -> None:
    texts = [[path.read_text() for path in convert(folder, num_train=3, overwrite=True)] for _ in range(2)]
    assert texts[0] == texts[1]
    assert [len(json.loads(text)['images']) for text in texts[0]] == [3, 2]


@pytest.mark.parametrize('num_train', [0, 6, -1])
def test_split_out_of_range(folder: Path, num_train: int) -> None:
    with pytest.raises(ValueError, match=rf'`num_train` must be 1 to 5 .* got {num_train}'):
        convert(folder, num_train=num_train)


def test_wrong_mat_files(folder: Path) -> None:
    mat_file = folder / 'joints.mat'
    savemat(mat_file, dict(points=np.zeros(3)))
    with pytest.raises(ValueError, match=r"the variable `joints` is missing, the file holds \['points'\]"):
        convert(folder)
    savemat(mat_file, dict(joints=np.zeros((16, 3, 5))))
    with pytest.raises(ValueError, match=r'must be \(14, 3, N\) .* got \(16, 3, 5\)'):
        convert(folder)
    mat_file.write_bytes(b'x')  # too short for scipy to look into it
    with pytest.raises(ValueError, match='not a MATLAB file'):
        convert(folder)
    mat_file.write_bytes(b'nothing of MATLAB' * 20)
    with pytest.raises(ValueError, match='not a MATLAB file'):
        convert(folder)
    mat_file.unlink()
    with pytest.raises(FileNotFoundError, match='given as `joints`'):
        convert(folder)


def test_wrong_images(folder: Path) -> None:
    (folder / 'images/im0003.jpg').write_text('no image')
    with pytest.raises(ValueError, match=r'im0003\.jpg.* cannot be decoded'):
        convert(folder)
    (folder / 'images/im0003.jpg').unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 5 images are missing .*\['im0003\.jpg'\]"):
        convert(folder)
    shutil.rmtree(folder / 'images')
    with pytest.raises(FileNotFoundError, match='given as `images`'):
        convert(folder)


def test_annotation_files_are_not_replaced_unasked(tmp_path):
    (tmp_path / 'person_keypoints_val.json').write_text('my work')
    with pytest.raises(FileExistsError, match=r'person_keypoints_val\.json exists already.*--overwrite'):
        convert_lsp(tmp_path / 'joints.mat', tmp_path, tmp_path)
    assert (tmp_path / 'person_keypoints_val.json').read_text() == 'my work'
