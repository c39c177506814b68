"""COCO's results and OpenPose's files: what their readers expect, whole or not at all, in constant memory."""

import gc
import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmpose_lite.apis.media import Frame
from mmpose_lite.apis.result_files import CocoResultWriter, OpenPoseResultWriter, People, openpose_name
from mmpose_lite.errors import ResultError


def people(n: int, k: int = 3, **changes: Any) -> People:
    rng = np.random.default_rng(0)
    fields = dict(
        keypoints=rng.uniform(0, 100, (n, k, 2)).astype(np.float32),
        keypoint_scores=rng.uniform(0.1, 1, (n, k)).astype(np.float32),
        bboxes=np.array([[10, 20, 40, 80]] * n, np.float32).reshape(n, 4),
        scores=np.linspace(0.5, 0.9, n, dtype=np.float32),
    )
    return People(**{**fields, **changes})


def frame(name: str, index: int = 0) -> Frame:
    return Frame(name, np.zeros((1, 1, 3), np.uint8), index)


# --- COCO ----------------------------------------------------------------------------------------------------------------


def test_results_are_coco_results(tmp_path: Path) -> None:
    given = people(2)
    with CocoResultWriter(tmp_path / 'out' / 'results.json', category_id=3) as writer:
        writer.add(7, frame('a.jpg'), given)
        writer.add(8, frame('empty.jpg'), people(0))
        writer.add(9, frame('b.jpg'), people(1))
        assert not (tmp_path / 'out' / 'results.json').exists()
    entries = json.loads((tmp_path / 'out' / 'results.json').read_text())
    assert [(e['image_id'], e['file_name'], e['category_id']) for e in entries] == [(7, 'a.jpg', 3)] * 2 + [(9, 'b.jpg', 3)]
    triples = np.array(entries[1]['keypoints']).reshape(3, 3)
    assert max(len(str(value)) for value in triples[:, :2].ravel().tolist()) <= len('99.99')
    np.testing.assert_allclose(triples[:, :2], given.keypoints[1], atol=0.0051)
    np.testing.assert_allclose(triples[:, 2], given.keypoint_scores[1], atol=1e-6)
    assert entries[1]['bbox'] == [10, 20, 30, 60]
    assert entries[1]['score'] == pytest.approx(0.9)
    assert 'track_id' not in entries[0]


def test_tracks_and_keypoints_that_were_not_found(tmp_path: Path) -> None:
    scores = np.array([[0.5, 0.0, 0.25]], np.float32)
    places = np.array([[[1, 2], [np.nan, 55], [3, 4]]], np.float32)
    with CocoResultWriter(tmp_path / 'results.json') as writer:
        writer.add(1, frame('a.jpg'), people(1, keypoints=places, keypoint_scores=scores, track_ids=np.array([12])))
    (entry,) = json.loads((tmp_path / 'results.json').read_text())
    assert entry['keypoints'] == [1, 2, 0.5, 0, 0, 0, 3, 4, 0.25]
    assert entry['track_id'] == 12


def test_no_result_is_still_a_list(tmp_path: Path) -> None:
    with CocoResultWriter(tmp_path / 'results.json'):
        pass
    assert json.loads((tmp_path / 'results.json').read_text()) == []


def test_results_stay_whole_when_the_run_fails(tmp_path: Path) -> None:
    target = tmp_path / 'results.json'
    target.write_text('[]')

    def fail() -> None:
        with CocoResultWriter(target) as writer:
            writer.add(1, frame('a.jpg'), people(1))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert target.read_text() == '[]'
    assert [p.name for p in tmp_path.iterdir()] == ['results.json']


@pytest.mark.parametrize('kind', ['coco', 'openpose'])
def test_values_that_json_cannot_hold(tmp_path: Path, kind: str) -> None:
    given = people(1)
    given.keypoints[0, 1, 0] = np.nan
    writer = CocoResultWriter(tmp_path / 'r.json') if kind == 'coco' else OpenPoseResultWriter(tmp_path)
    with pytest.raises(ResultError, match=r'person.* of a\.jpg has a value that is not finite'), writer:
        writer.add(1, frame('a.jpg'), given)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('kind', ['coco', 'openpose'])
def test_results_are_written_in_constant_memory(tmp_path: Path, kind: str) -> None:
    given = people(20, k=17)
    with CocoResultWriter(tmp_path / 'results.json') if kind == 'coco' else OpenPoseResultWriter(tmp_path) as writer:
        writer.add(0, frame('a.jpg'), given)
        gc.collect()
        tracemalloc.start()
        for i in range(100):
            writer.add(i, frame(f'v.mp4#{i}', i), given)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) > 500_000
    assert peak < 200_000


# --- OpenPose ------------------------------------------------------------------------------------------------------------


def test_the_layout_of_openpose(tmp_path: Path) -> None:
    """Keys, order and values as in the files of OpenPose 1.7 for an image of one person."""
    scores = np.array([[0.5, 0.0, 0.25]], np.float32)
    places = np.array([[[10.123, 2], [7, 55], [3, 4]]], np.float32)
    with OpenPoseResultWriter(tmp_path) as writer:
        writer.add(1, frame('a.jpg'), people(1, keypoints=places, keypoint_scores=scores))
        writer.add(2, frame('sub/b.png'), people(0))
    assert (tmp_path / 'a_keypoints.json').read_text() == (
        '{"version": 1.3, "people": [{"person_id": [-1], "pose_keypoints_2d": [10.12, 2.0, 0.5, 0.0, 0.0, 0.0, 3.0, 4.0, 0.25], '
        '"face_keypoints_2d": [], "hand_left_keypoints_2d": [], "hand_right_keypoints_2d": [], "pose_keypoints_3d": [], '
        '"face_keypoints_3d": [], "hand_left_keypoints_3d": [], "hand_right_keypoints_3d": []}]}'
    )
    assert json.loads((tmp_path / 'sub' / 'b_keypoints.json').read_text()) == dict(version=1.3, people=[])
    assert sorted(p.name for p in tmp_path.rglob('*.*')) == ['a_keypoints.json', 'b_keypoints.json']


def test_tracked_people_have_their_number(tmp_path: Path) -> None:
    with OpenPoseResultWriter(tmp_path) as writer:
        writer.add(1, frame('c.mp4#12', 12), people(2, track_ids=np.array([4, -1])))
    found = json.loads((tmp_path / 'c_000000000012_keypoints.json').read_text())
    assert [person['person_id'] for person in found['people']] == [[4], [-1]]


@pytest.mark.parametrize(
    ('name', 'expected'),
    [
        ('a.jpg', 'a_keypoints.json'),
        ('deep/er/a.b.jpg', 'deep/er/a.b_keypoints.json'),
        ('c.mp4#7', 'c_000000000007_keypoints.json'),
        ('c#2.jpg', 'c#2_keypoints.json'),
        ('c#2.mp4#7', 'c#2_000000000007_keypoints.json'),
    ],
)
def test_names_of_openpose_files(name: str, expected: str) -> None:
    assert openpose_name(name) == expected
