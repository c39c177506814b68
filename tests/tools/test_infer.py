"""tools/infer.py as a user calls it: what it writes for images, folders and videos, and its exit codes."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from mmpose_lite.apis.cli import run_command
from mmpose_lite.apis.media import VideoWriter, find_sources
from tests.brightest import spots, write_project
from tools.infer import main


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')  # --device cpu sets it; here it is put back
    write_project(tmp_path)
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


def test_a_folder_of_images_from_the_shell(project: Path, repo: Path) -> None:
    centers = {'a.png': (60, 60), 'b.png': (150, 40), 'c.png': (90, 90)}
    for name, center in centers.items():
        write(project / 'in' / name, spots(center))
    done = subprocess.run(
        [sys.executable, repo / 'tools/infer.py', 'config.py', 'weights.pth', 'in', '--out', 'out', '--device', 'cpu'],
        cwd=project, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert '3 pictures, 3 people' in done.stdout
    for stage in ('reading', 'network', 'writing', 'all'):
        assert any(line.split()[0] == stage and line.endswith('pictures/s') for line in done.stdout.splitlines())
    assert sorted(p.name for p in (project / 'out').iterdir()) == ['a.png', 'b.png', 'c.png', 'results.json']
    for number, (entry, (name, center)) in enumerate(zip(results(project), centers.items()), start=1):
        assert (entry['image_id'], entry['file_name'], entry['category_id']) == (number, name, 1)
        assert entry['keypoints'][:2] == pytest.approx(center, abs=4)
        assert entry['bbox'] == [0, 0, 200, 120]
        drawn = cv2.imread(str(project / 'out' / name))
        assert drawn.shape == (120, 200, 3)
        changed = (drawn != spots(center)).any(-1)
        assert changed[center[1] - 4 : center[1] + 5, center[0] - 4 : center[0] + 5].any()


def test_a_network_that_has_diverged_is_told_in_a_line(project: Path, capsys: pytest.CaptureFixture) -> None:
    write(project / 'in' / 'a.png', spots((60, 60)))
    torch.save(dict(state_dict={'backbone.gain': torch.full((1,), torch.nan)}), project / 'weights.pth')
    assert infer(project, project / 'in') == 1
    assert 'error: person 0 of a.png has a value that is not finite; the network has diverged' in capsys.readouterr().err
    assert not (project / 'out' / 'results.json').exists()


def test_boxes_and_coco_ids(project: Path) -> None:
    for number in (7, 8, 9):
        write(project / 'in' / f'{number:012d}.png', spots((50, 40), (150, 80)))
    detections = [
        dict(image_id=7, bbox=[30, 20, 40, 40], score=0.5, category_id=1),
        dict(image_id=7, bbox=[130, 60, 40, 40], score=1.0, category_id=1),
        dict(image_id=7, bbox=[0, 0, 40, 40], score=0.1, category_id=1),
        dict(image_id=9, bbox=[130, 60, 40, 40], score=1.0, category_id=1),
    ]
    (project / 'det.json').write_text(json.dumps(detections))
    assert infer(project, project / 'in', '--boxes', project / 'det.json', '--batch-size', 1) == 0
    entries = results(project)
    assert [entry['image_id'] for entry in entries] == [7, 7, 9]
    for entry, center in zip(entries, [(50, 40), (150, 80), (150, 80)]):
        assert entry['keypoints'][:2] == pytest.approx(center, abs=2)
    assert entries[0]['score'] == pytest.approx(0.5 * entries[0]['keypoints'][2], abs=1e-5)
    assert len(list((project / 'out').glob('*.png'))) == 3  # the picture without people too


def test_boxes_of_annotations_of_ones_own(project: Path) -> None:
    write(project / 'in' / 'a.png', spots((50, 40)))
    content = dict(
        images=[dict(id=3, file_name='a.png')],
        annotations=[dict(image_id=3, bbox=[30, 20, 40, 40], category_id=9)],
        categories=[dict(id=9, name='spot')],
    )
    (project / 'ann.json').write_text(json.dumps(content))
    assert infer(project, project / 'in', '--boxes', project / 'ann.json', '--no-pictures') == 0
    (entry,) = results(project)
    assert entry['category_id'] == 9
    assert infer(project, project / 'in', '--boxes', project / 'ann.json', '--box-category', 9, '--no-pictures') == 0
    with pytest.warns(UserWarning, match=r'none of its 1 boxes has the `category_id` 2; they have \[9\]'):
        assert infer(project, project / 'in', '--boxes', project / 'ann.json', '--box-category', 2, '--no-pictures') == 0
    assert results(project) == []


def test_a_video_becomes_a_video(project: Path) -> None:
    with VideoWriter(project / 'in' / 'clip.avi', fps=12.0) as writer:
        for i in range(7):
            writer.add(spots((30 + 20 * i, 60)))
    write(project / 'in' / 'still.png', spots((60, 60)))
    assert infer(project, project / 'in' / 'clip.avi', project / 'in' / 'still.png', '--batch-size', 3) == 0
    entries = results(project)
    assert [entry['file_name'] for entry in entries] == [f'clip.avi#{i}' for i in range(7)] + ['still.png']
    assert [entry['image_id'] for entry in entries] == list(range(1, 9))
    assert [entry['keypoints'][0] for entry in entries[:7]] == pytest.approx([30 + 20 * i for i in range(7)], abs=6)
    assert sorted(p.name for p in (project / 'out').iterdir()) == ['clip.avi', 'results.json', 'still.png']
    (drawn,) = find_sources([project / 'out' / 'clip.avi'])
    assert drawn.fps() == pytest.approx(12.0)
    assert len(list(drawn.frames())) == 7


def test_openpose_format_and_tracking_with_boxes(project: Path) -> None:
    detections = []
    for i in range(5):
        write(project / 'in' / f'f{i}.png', spots((60 + 2 * i, 60), (150 - 2 * i, 50)))
        boxes = [[40 + 2 * i, 40, 40, 40], [130 - 2 * i, 30, 40, 40]]
        detections += [dict(file_name=f'f{i}.png', bbox=box, score=0.8) for box in (boxes if i % 2 else boxes[::-1])]
    (project / 'det.json').write_text(json.dumps(detections))
    options = ('--boxes', project / 'det.json', '--format', 'openpose', '--track', '--no-pictures')
    assert infer(project, project / 'in', *options) == 0
    files = sorted((project / 'out').iterdir())
    assert [file.name for file in files] == [f'f{i}_keypoints.json' for i in range(5)]
    for i, file in enumerate(files):
        people = json.loads(file.read_text())['people']
        assert [person['person_id'] for person in people] == ([[1], [0]] if i % 2 else [[0], [1]])
        for person in people:
            expected = (150 - 2 * i, 50) if person['person_id'] == [0] else (60 + 2 * i, 60)
            assert person['pose_keypoints_2d'][:2] == pytest.approx(expected, abs=2)


def test_numbers_that_occur_twice_are_no_ids(project: Path) -> None:
    files = [write(project / 'in' / folder / '7.png', spots((60, 60))) for folder in 'ab']
    assert infer(project, *files) == 0
    assert [(entry['image_id'], entry['file_name']) for entry in results(project)] == [(1, 'a/7.png'), (2, 'b/7.png')]
    assert (project / 'out' / 'b' / '7.png').is_file()


def test_only_results_and_cfg_options(project: Path) -> None:
    write(project / 'in' / 'a.png', spots((60, 60)))
    options = ('model.test_cfg.flip_test=True',)
    assert infer(project, project / 'in', '--no-pictures', '--cfg-options', *options) == 0
    assert [p.name for p in (project / 'out').iterdir()] == ['results.json']
    assert results(project)[0]['keypoints'][:2] == pytest.approx((60, 60), abs=4)


def test_an_unreadable_file_does_not_stop_the_others(project: Path, capsys: pytest.CaptureFixture) -> None:
    write(project / 'in' / 'a.png', spots((60, 60)))
    (project / 'in' / 'b.png').write_bytes(b'broken')
    (project / 'in' / 'c.mp4').write_bytes(b'broken')
    write(project / 'in' / 'd.png', spots((60, 60)))
    assert infer(project, project / 'in') == 1
    assert [entry['file_name'] for entry in results(project)] == ['a.png', 'd.png']
    error = capsys.readouterr().err
    assert 'b.png' in error
    assert 'c.mp4' in error


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (['gone.png'], 'gone.png does not exist'),
        (['in', '--boxes', 'gone.json'], "the file 'gone.json' (`boxes`) does not exist"),
        (['in', '--boxes', 'other.json'], 'has boxes for none of the 1 inputs, such as a.png'),
        (['in', '--out', 'in'], 'would overwrite its source'),
        (['in', '--cfg-options', 'modle.x=1'], 'did you mean model'),
    ],
)
def test_a_wrong_call_exits_with_2(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, args: list[str], message: str
) -> None:
    monkeypatch.chdir(project)
    write(project / 'in' / 'a.png', spots((60, 60)))
    (project / 'other.json').write_text(json.dumps([dict(file_name='z.png', bbox=[0, 0, 5, 5])]))
    before = (project / 'in' / 'a.png').read_bytes()
    assert run_command(main, ['config.py', 'weights.pth', '--out', 'out', '--device', 'cpu', *args]) == 2
    assert message in capsys.readouterr().err
    assert not (project / 'out').exists()
    assert (project / 'in' / 'a.png').read_bytes() == before


def test_a_wrong_checkpoint_exits_with_2(project: Path, capsys: pytest.CaptureFixture) -> None:
    write(project / 'in' / 'a.png', spots((60, 60)))
    (project / 'weights.pth').unlink()
    assert infer(project, project / 'in') == 2
    assert 'weights.pth' in capsys.readouterr().err
    torch.save({'backbone.gain': torch.ones(1), 'path': Path}, project / 'weights.pth')
    assert infer(project, project / 'in') == 2
    assert 'is more than weights' in capsys.readouterr().err
    assert infer(project, project / 'in', '--trust') == 0


def test_wrong_arguments_exit_with_2(project: Path) -> None:
    for args in (['--batch-size', '0', 'x.png'], []):
        with pytest.raises(SystemExit) as error:
            infer(project, *args)
        assert error.value.code == 2
