"""Reading and writing for inference: what is found, streamed, written whole or not at all, and how failures are named."""

import gc
import json
import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmpose_lite.apis.media import (
    MediaError,
    ResultWriter,
    VideoWriter,
    find_sources,
)


def picture(path: Path, value: int = 100, size: tuple[int, int] = (32, 24)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((size[1], size[0], 3), value, np.uint8))
    return path


def video(path: Path, frames: int = 6, size: tuple[int, int] = (64, 48)) -> Path:
    """A clip whose frame i has the grey value 20 i."""
    with VideoWriter(path, fps=10.0) as writer:
        for i in range(frames):
            writer.add(np.full((size[1], size[0], 3), 20 * i % 256, np.uint8))
    return path


# --- finding and reading -------------------------------------------------------------------------------------------------


def test_a_folder_gives_its_images_and_videos_sorted(tmp_path: Path) -> None:
    for name in ('b.png', 'a.JPG', 'c.webp', 'sub/d.png', '.hidden.png'):
        picture(tmp_path / name)
    video(tmp_path / 'clip.avi')
    (tmp_path / 'notes.txt').write_text('no picture')
    sources = find_sources([tmp_path])
    assert [source.name for source in sources] == ['a.JPG', 'b.png', 'c.webp', 'clip.avi']
    assert [source.is_video for source in sources] == [False, False, False, True]


def test_names_are_unique_over_folders_and_files_taken_once(tmp_path: Path) -> None:
    one, two = picture(tmp_path / 'one' / 'x.png'), picture(tmp_path / 'two' / 'x.png')
    assert [s.name for s in find_sources([one, tmp_path / 'two', two, one])] == ['one/x.png', 'two/x.png']
    assert [s.name for s in find_sources([one])] == ['x.png']


def test_links_keep_their_own_names(tmp_path: Path) -> None:
    picture(tmp_path / 'blobs' / '93ab.png')
    (tmp_path / 'view').mkdir()
    (tmp_path / 'view' / 'x.png').symlink_to(tmp_path / 'blobs' / '93ab.png')
    assert [s.name for s in find_sources([tmp_path / 'view'])] == ['x.png']


def test_inputs_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r'the input .*gone\.png does not exist'):
        find_sources([tmp_path / 'gone.png'])
    with pytest.raises(FileNotFoundError, match='holds no image and no video'):
        find_sources([tmp_path])
    (tmp_path / 'notes.txt').write_text('')
    with pytest.raises(ValueError, match=r'notes\.txt must have one of the extensions .*\.jpg'):
        find_sources([tmp_path / 'notes.txt'])
    with pytest.raises(ValueError, match='at least one'):
        find_sources([])


@pytest.mark.parametrize('content', [b'', b'not a picture', b'\x89PNG\r\n\x1a\nbroken'])
def test_an_undecodable_image_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / 'bad.png').write_bytes(content)
    with pytest.raises(MediaError, match=rf"bad\.png' is no image that OpenCV can read; it holds {len(content)} bytes"):
        list(find_sources([tmp_path])[0].frames())


@pytest.mark.parametrize('name', ['clip.mp4', 'clip.avi'])
def test_a_video_gives_its_frames_in_order(tmp_path: Path, name: str) -> None:
    (source,) = find_sources([video(tmp_path / name)])
    frames = list(source.frames())
    assert [f.name for f in frames] == [f'{name}#{i}' for i in range(6)]
    assert [f.image.shape for f in frames] == [(48, 64, 3)] * 6
    assert [float(f.image.mean()) for f in frames] == pytest.approx([0, 20, 40, 60, 80, 100], abs=4)
    assert source.num_frames() == 6
    assert source.fps() == pytest.approx(10.0)
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_a_video_is_read_in_constant_memory(tmp_path: Path) -> None:
    (source,) = find_sources([video(tmp_path / 'long.avi', frames=60, size=(320, 240))])
    tracemalloc.start()
    try:
        for _ in source.frames():
            pass
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * 320 * 240 * 3


def test_an_undecodable_video_is_named(tmp_path: Path) -> None:
    (tmp_path / 'bad.mp4').write_bytes(b'nothing' * 100)
    (source,) = find_sources([tmp_path])
    with pytest.raises(MediaError, match=r'bad\.mp4: not a video'):
        next(source.frames())


def test_a_video_that_ends_early_says_so(tmp_path: Path) -> None:
    whole = video(tmp_path / 'whole.avi', frames=40)
    content = bytearray(whole.read_bytes())
    frames = content.count(b'00dc')
    half = [i for i in range(len(content)) if content[i : i + 4] == b'00dc'][20]
    (tmp_path / 'torn.avi').write_bytes(content[:half])
    assert frames >= 40
    (source,) = find_sources([tmp_path / 'torn.avi'])
    if source.num_frames() is None:
        pytest.skip('this OpenCV does not announce the frames of a torn AVI')
    with pytest.warns(UserWarning, match=r'torn\.avi: ends after \d+ of \d+ announced frames'):
        assert len(list(source.frames())) < 25


# --- writing -------------------------------------------------------------------------------------------------------------


def test_video_writer_names_what_it_cannot_write(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r'must end in \.mp4 or \.avi'):
        VideoWriter(tmp_path / 'clip.gif', fps=10)
    with pytest.raises(ValueError, match='`fps` must be > 0'):
        VideoWriter(tmp_path / 'clip.mp4', fps=0)
    with VideoWriter(tmp_path / 'clip.mp4', fps=10) as writer:
        writer.add(np.zeros((48, 64, 3), np.uint8))
        with pytest.raises(ValueError, match=r'every frame must be \(64, 48\)'):
            writer.add(np.zeros((64, 48, 3), np.uint8))


def test_a_video_that_fails_leaves_no_file(tmp_path: Path) -> None:
    def fail() -> None:
        with VideoWriter(tmp_path / 'clip.mp4', fps=10) as writer:
            writer.add(np.zeros((48, 64, 3), np.uint8))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert list(tmp_path.iterdir()) == []


def people(n: int, k: int = 3) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return dict(
        keypoints=rng.uniform(0, 100, (n, k, 2)).astype(np.float32),
        keypoint_scores=rng.uniform(0, 1, (n, k)).astype(np.float32),
        bboxes=np.array([[10, 20, 40, 80]] * n, np.float32).reshape(n, 4),
        bbox_scores=np.full(n, 0.5, np.float32),
    )


def test_results_are_coco_results(tmp_path: Path) -> None:
    given = people(2)
    with ResultWriter(tmp_path / 'out' / 'results.json') as writer:
        writer.add(7, 'a.jpg', **given, category_id=3)
        writer.add(8, 'empty.jpg', **people(0))
        writer.add(9, 'b.jpg', **people(1))
        assert not (tmp_path / 'out' / 'results.json').exists()
    entries = json.loads((tmp_path / 'out' / 'results.json').read_text())
    assert [(e['image_id'], e['file_name'], e['category_id']) for e in entries] == [(7, 'a.jpg', 3)] * 2 + [(9, 'b.jpg', 1)]
    triples = np.array(entries[1]['keypoints']).reshape(3, 3)
    assert max(len(str(value)) for value in triples[:, :2].ravel().tolist()) <= len('99.99')
    np.testing.assert_allclose(triples[:, :2], given['keypoints'][1], atol=0.0051)
    np.testing.assert_allclose(triples[:, 2], given['keypoint_scores'][1], atol=1e-6)
    assert entries[1]['bbox'] == [10, 20, 30, 60]
    assert entries[1]['score'] == pytest.approx(0.5 * given['keypoint_scores'][1].mean(), abs=1e-5)


def test_no_result_is_still_a_list(tmp_path: Path) -> None:
    with ResultWriter(tmp_path / 'results.json'):
        pass
    assert json.loads((tmp_path / 'results.json').read_text()) == []


def test_results_stay_whole_when_the_run_fails(tmp_path: Path) -> None:
    target = tmp_path / 'results.json'
    target.write_text('[]')

    def fail() -> None:
        with ResultWriter(target) as writer:
            writer.add(1, 'a.jpg', **people(1))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert target.read_text() == '[]'
    assert [p.name for p in tmp_path.iterdir()] == ['results.json']


def test_results_refuse_values_that_json_cannot_hold(tmp_path: Path) -> None:
    given = people(1)
    given['keypoints'][0, 1, 0] = np.nan
    with (
        pytest.raises(ValueError, match=r'person 0 of a\.jpg has a value that is not finite'),
        ResultWriter(tmp_path / 'r.json') as w,
    ):
        w.add(1, 'a.jpg', **given)


def test_results_are_written_in_constant_memory(tmp_path: Path) -> None:
    given = people(20, k=17)
    with ResultWriter(tmp_path / 'results.json') as writer:
        writer.add(0, 'a.jpg', **given)
        gc.collect()
        tracemalloc.start()
        for i in range(100):
            writer.add(i, 'a.jpg', **given)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert (tmp_path / 'results.json').stat().st_size > 500_000
    assert peak < 200_000
