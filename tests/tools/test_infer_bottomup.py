"""tools/infer.py with a bottom-up network: whole images, videos, both formats, tracking, smoothing."""

import json
import tracemalloc
import warnings
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from mmpose_lite.apis.cli import run_command
from mmpose_lite.apis.infer import inference, init_model
from mmpose_lite.apis.infer_files import FilesReport, infer_files
from mmpose_lite.apis.media import Frame, VideoWriter, find_sources
from mmpose_lite.codecs.pose_groups import PoseGroups
from tests.brightest import BOTTOMUP_CONFIG, FEET, spots, write_project
from tools.infer import main

TOLERANCE = 2.0  # px: the network's cells


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')
    write_project(tmp_path, BOTTOMUP_CONFIG)
    (tmp_path / 'in').mkdir()
    return tmp_path


def infer(project: Path, *args: object) -> int:
    call = (project / 'config.py', project / 'weights.pth', *args, '--device', 'cpu', '--out', project / 'out')
    return run_command(main, [str(arg) for arg in call])


def results(project: Path) -> list[dict]:
    return json.loads((project / 'out' / 'results.json').read_text())


def write(path: Path, image: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)
    return path


def person(x: float, y: float) -> np.ndarray:
    """Return the keypoints (3, 2) of the person whose spot is at (x, y), in an input that is as large as its image."""
    return FEET + np.array((x, y))


def walk(path: Path, frames: int = 12, *, fps: float = 12.0) -> Path:
    """Write a video in which one spot goes right, one goes left below it, and both are gone in frame 5."""
    with VideoWriter(path, fps=fps) as writer:
        for i in range(frames):
            writer.add(spots((-50, -50)) if i == 5 else spots((60 + 5 * i, 30), (140 - 5 * i, 75)))
    return path


def test_inference_on_images_of_several_sizes(project: Path) -> None:
    model = init_model(project / 'config.py', project / 'weights.pth')
    images = [spots((60, 30), (150, 60)), spots((50, 40), size=(120, 200)), spots((-50, -50)), spots((30, 20), (90, 20))]
    found = inference(model, images, batch_size=3)
    assert [len(sample.pred_instances.keypoints) for sample in found] == [2, 1, 0, 2]
    np.testing.assert_allclose(found[0].pred_instances.keypoints, [person(60, 30), person(150, 60)], atol=TOLERANCE)
    np.testing.assert_allclose(found[1].pred_instances.keypoints, [person(50, 40)], atol=TOLERANCE)
    assert found[0].pred_instances.bbox_scores.tolist() == [0.75, 0.75]
    np.testing.assert_allclose(found[1].pred_instances.bboxes, [[42, 40, 58, 64]], atol=TOLERANCE)
    assert found[2].pred_instances.keypoints.shape == (0, 3, 2)
    assert [sample.img_id for sample in found] == [0, 1, 2, 3]
    for batch_size in (1, 4):
        for one, other in zip(found, inference(model, images, batch_size=batch_size)):
            np.testing.assert_allclose(one.pred_instances.keypoints, other.pred_instances.keypoints, atol=1e-4)
    with pytest.raises(ValueError, match='`bboxes` must be None for a bottom-up network'):
        inference(model, images[0], [[0, 0, 5, 5]])


def test_large_images_come_back_in_their_own_pixels(project: Path) -> None:
    model = init_model(project / 'config.py', project / 'weights.pth')
    large = cv2.resize(spots((60, 30)), None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)
    (found,) = inference(model, large)
    np.testing.assert_allclose(found.pred_instances.keypoints, [4 * (person(60, 30) + 0.5) - 0.5], atol=4 * TOLERANCE)


def test_images_in_coco_format(project: Path, capsys: pytest.CaptureFixture) -> None:
    write(project / 'in' / '0007.png', spots((60, 30), (150, 100)))
    write(project / 'in' / '0008.png', spots((-50, -50)))
    assert infer(project, project / 'in') == 0
    first, second = results(project)
    assert (first['image_id'], second['image_id']) == (7, 7)
    np.testing.assert_allclose(np.reshape(first['keypoints'], (3, 3))[:, :2], person(60, 30), atol=TOLERANCE)
    assert second['keypoints'][6:] == [0, 0, 0]  # the right foot is not found
    assert first['score'] == 0.75
    assert 'track_id' not in first
    drawn = cv2.imread(str(project / 'out' / '0007.png'))
    blank = cv2.imread(str(project / 'out' / '0008.png'))
    assert (drawn != spots((60, 30), (150, 100))).any()
    assert (blank == spots((-50, -50))).all()
    out = capsys.readouterr().out
    assert '2 pictures, 2 people' in out
    assert [line.split()[0] for line in out.splitlines()[-5:]] == ['reading', 'network', 'decoding', 'writing', 'all']


def test_mixed_precision_where_the_processor_has_it(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(project / 'in' / 'a.png', spots((60, 30)))
    seen = []

    def observed(*args: Any, **kwargs: Any) -> list:
        seen.append(torch.is_autocast_enabled('cpu'))
        return inference(*args, **kwargs)

    monkeypatch.setattr('mmpose_lite.apis.infer_files.inference', observed)
    for has_bfloat16, options in ((True, ['--amp']), (False, ['--amp']), (True, [])):
        monkeypatch.setattr('mmpose_lite.engine.optim.computes_bfloat16', lambda device, answer=has_bfloat16: answer)
        assert infer(project, project / 'in', *options) == 0
    assert seen == [True, False, False]


def test_images_in_openpose_format(project: Path) -> None:
    write(project / 'in' / 'a.png', spots((60, 30), (150, 100)))
    write(project / 'in' / 'b.png', spots((-50, -50)))
    assert infer(project, project / 'in', '--format', 'openpose') == 0
    assert sorted(p.name for p in (project / 'out').iterdir()) == ['a.png', 'a_keypoints.json', 'b.png', 'b_keypoints.json']
    found = json.loads((project / 'out' / 'a_keypoints.json').read_text())
    assert found['version'] == 1.3
    assert [person['person_id'] for person in found['people']] == [[-1], [-1]]
    triples = np.reshape(found['people'][1]['pose_keypoints_2d'], (3, 3))  # of the model: these are not OpenPose's
    np.testing.assert_allclose(triples[:2, :2], person(150, 100)[:2], atol=TOLERANCE)
    assert triples[2].tolist() == [0, 0, 0]
    assert json.loads((project / 'out' / 'b_keypoints.json').read_text())['people'] == []


def test_openpose_files_have_its_18_keypoints(project: Path) -> None:
    """A model of COCO's 17 keypoints: the neck is the middle of the shoulders, and the order OpenPose's."""
    text = (project / 'config.py').read_text()
    config = project / 'coco.py'
    config.write_text(text.replace(text[text.index('meta = ') : text.index('model = ')], "meta = 'coco17'\n"))
    model = init_model(config, project / 'weights.pth')
    coco = np.arange(34, dtype=np.float32).reshape(1, 17, 2) + 40
    scores = np.linspace(0.1, 0.9, 17, dtype=np.float32)[None]
    model.head.decode = lambda raw: [PoseGroups(coco, scores, np.ones(1, np.float32))] * len(raw)
    write(project / 'in' / 'a.png', spots((60, 30)))
    infer_files(model, find_sources([project / 'in']), project / 'out', output_format='openpose')
    (person,) = json.loads((project / 'out' / 'a_keypoints.json').read_text())['people']
    triples = np.reshape(person['pose_keypoints_2d'], (18, 3))
    order = [0, None, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3]
    for row, k in zip(triples, order):
        point, score = (coco[0, [5, 6]].mean(axis=0), scores[0, 5]) if k is None else (coco[0, k], scores[0, k])
        np.testing.assert_allclose(row, [*point, score], atol=0.02)


@pytest.mark.parametrize('options', [(), ('--track',), ('--smooth',)])
def test_a_video(project: Path, options: tuple[str, ...]) -> None:
    walk(project / 'in' / 'clip.avi')
    assert infer(project, project / 'in', '--batch-size', 5, *options) == 0
    entries = results(project)
    assert len(entries) == 22  # two in each of 12 frames but one
    frames = [int(entry['file_name'].partition('#')[2]) for entry in entries]
    assert sorted(set(frames)) == [i for i in range(12) if i != 5]
    for frame, entry in zip(frames, entries):
        x, y = entry['keypoints'][:2]
        assert y == pytest.approx(30 if y < 50 else 75, abs=TOLERANCE + 1)
        expected = 60 + 5 * frame if y < 50 else 140 - 5 * frame
        assert x == pytest.approx(expected, abs=TOLERANCE + 1 if '--smooth' not in options else 25)
        if options:
            assert entry['track_id'] == (0 if (y < 50) == (entries[0]['keypoints'][1] < 50) else 1)
    (drawn,) = find_sources([project / 'out' / 'clip.avi'])
    assert drawn.fps() == pytest.approx(12.0)
    assert len(list(drawn.frames())) == 12
    if '--smooth' in options:
        last = [entry['keypoints'][0] for entry in entries[-2:]]
        assert any(abs(x - target) > 0.2 for x, target in zip(sorted(last), (85, 115)))


def test_a_video_in_openpose_format_with_numbers(project: Path) -> None:
    walk(project / 'in' / 'clip.avi')
    assert infer(project, project / 'in', '--format', 'openpose', '--track', '--no-pictures') == 0
    files = sorted((project / 'out').iterdir())
    assert [file.name for file in files] == [f'clip_{i:012d}_keypoints.json' for i in range(12)]
    people = [json.loads(file.read_text())['people'] for file in files]
    assert [len(p) for p in people] == [2] * 5 + [0] + [2] * 6
    assert {tuple(sorted(person['person_id'][0] for person in p)) for p in people} == {(0, 1), ()}


def test_numbers_begin_anew_with_each_video(project: Path) -> None:
    for name in ('one.avi', 'two.avi'):
        walk(project / 'in' / name, frames=4)
    for number in range(3):  # a folder of frames is a video too
        write(project / 'in' / 'frames' / f'f{number}.png', spots((30 + 4 * number, 30)))
    assert infer(project, project / 'in', project / 'in' / 'frames', '--track', '--no-pictures') == 0
    numbers: dict[str, set[int]] = {}
    for entry in results(project):
        numbers.setdefault(entry['file_name'].partition('#')[0], set()).add(entry['track_id'])
    assert numbers == {'one.avi': {0, 1}, 'two.avi': {0, 1}, **{f'frames/f{i}.png': {0} for i in range(3)}}


def test_frames_that_are_left_out_take_time(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 25 frames per second: a person keeps the number over half a second that cannot be decoded, not over two."""
    model = init_model(project / 'config.py', project / 'weights.pth')
    walk(project / 'in' / 'clip.avi', frames=2, fps=25)
    (source,) = find_sources([project / 'in'])
    indices = (0, 1, 2, 15, 16, 66, 67)
    monkeypatch.setattr(type(source), 'frames', lambda self: (Frame(f'clip.avi#{i}', spots((60, 30)), i) for i in indices))
    infer_files(model, [source], project / 'out', track=True, smooth=True, with_pictures=False)
    assert [entry['track_id'] for entry in results(project)] == [0, 0, 0, 0, 0, 1, 1]


def test_a_scratched_video_keeps_its_time(project: Path) -> None:
    content = bytearray(walk(project / 'clip.avi', frames=10).read_bytes())
    first = content.index(b'movi')
    start = [i for i in range(first, len(content)) if content[i : i + 4] == b'00dc'][3]
    size = int.from_bytes(content[start + 4 : start + 8], 'little')
    content[start + 8 : start + 8 + size] = bytes(size)
    (project / 'in' / 'clip.avi').write_bytes(content)
    with pytest.warns(UserWarning, match='1 of 10 frames cannot be decoded'):
        assert infer(project, project / 'in') == 0
    assert {int(e['file_name'].partition('#')[2]) for e in results(project)} == {0, 1, 2, 4, 6, 7, 8, 9}
    (drawn,) = find_sources([project / 'out' / 'clip.avi'])
    assert len(list(drawn.frames())) == 10


def test_an_output_folder_that_exists(project: Path) -> None:
    write(project / 'in' / 'a.png', spots((60, 30)))
    write(project / 'out' / 'a.png', spots((10, 10)))
    (project / 'out' / 'results.json').write_text('old')
    (project / 'out' / 'notes.txt').write_text('mine')
    assert infer(project, project / 'in') == 0
    assert len(results(project)) == 1
    assert (project / 'out' / 'notes.txt').read_text() == 'mine'
    assert (cv2.imread(str(project / 'out' / 'a.png')) != spots((10, 10))).any()


def test_a_long_video_takes_the_memory_of_a_batch(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Made-up frames without end: what is alive at once is a batch of them, in NumPy's own count of memory."""
    model = init_model(project / 'config.py', project / 'weights.pth')
    walk(project / 'in' / 'clip.avi', frames=2)
    (source,) = find_sources([project / 'in'])
    size = (200, 120)

    def run(frames: int) -> int:
        monkeypatch.setattr(
            type(source), 'frames', lambda self: (Frame(f'clip.avi#{i}', spots((60, 30)), i) for i in range(frames))
        )
        tracemalloc.start()
        try:
            infer_files(model, [source], project / 'out', track=True, smooth=True, batch_size=4, with_pictures=False)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    run(4)
    short, long = run(8), run(120)
    assert long < short + 3 * size[0] * size[1] * 3


def test_drawn_numbers_and_wrong_calls(project: Path, capsys: pytest.CaptureFixture) -> None:
    write(project / 'in' / 'a.png', spots((60, 60)))
    (project / 'boxes.json').write_text(json.dumps([dict(file_name='a.png', bbox=[0, 0, 5, 5])]))
    assert infer(project, project / 'in', '--boxes', project / 'boxes.json') == 2
    assert 'is bottom-up and finds the people itself' in capsys.readouterr().err
    assert not (project / 'out').exists()
    write(project / 'in' / 'a.jpg', spots((60, 60)))
    assert infer(project, project / 'in', '--format', 'openpose') == 2
    assert '2 inputs would be written to one a_keypoints.json' in capsys.readouterr().err
    (project / 'in' / 'a.jpg').unlink()
    assert infer(project, project / 'in') == 0
    plain = cv2.imread(str(project / 'out' / 'a.png'))
    assert infer(project, project / 'in', '--track') == 0
    numbered = cv2.imread(str(project / 'out' / 'a.png'))
    changed = (plain != numbered).any(axis=-1)
    assert changed.any()
    assert not changed[64:].any()  # the number stands above the person
    with pytest.raises(SystemExit):
        infer(project, project / 'in', '--format', 'xml')
    model = init_model(project / 'config.py', project / 'weights.pth')
    with pytest.raises(ValueError, match=r"`output_format` must be one of \('coco', 'openpose'\), got 'xml'"):
        infer_files(model, find_sources([project / 'in']), project / 'out', output_format='xml')


def test_stages_are_timed_apart() -> None:
    report = FilesReport(num_pictures=2)
    with warnings.catch_warnings(), report.timed('network'):
        warnings.simplefilter('error')
        with report.timed('decoding'):
            sum(range(200_000))
    assert report.seconds['decoding'] > report.seconds['network'] >= 0
    assert report.seconds['reading'] == 0
    assert [line.split()[0] for line in report.lines().split('\n')] == ['network', 'decoding', 'all']  # nothing was read
