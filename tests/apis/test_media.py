"""Reading pictures and writing videos: what is found, streamed, written whole or not at all, and how failures are named."""

import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmpose_lite.apis import media
from mmpose_lite.apis.media import MediaError, VideoWriter, find_sources


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


@pytest.mark.parametrize('broken', [[3], [0], [5, 6, 7], [2, 9]])
def test_frames_that_cannot_be_decoded_are_left_out(tmp_path: Path, broken: list[int]) -> None:
    whole = video(tmp_path / 'whole.avi', frames=12)
    content = bytearray(whole.read_bytes())
    first = content.index(b'movi')  # the name of the chunks also stands in the header
    starts = [i for i in range(first, len(content)) if content[i : i + 4] == b'00dc'][:12]
    for frame in broken:
        size = int.from_bytes(content[starts[frame] + 4 : starts[frame] + 8], 'little')
        content[starts[frame] + 8 : starts[frame] + 8 + size] = bytes(size)
    (tmp_path / 'scratched.avi').write_bytes(content)
    (source,) = find_sources([tmp_path / 'scratched.avi'])
    with pytest.warns(UserWarning, match=rf'scratched\.avi: {len(broken)} of 12 frames cannot be decoded and are left out'):
        frames = list(source.frames())
    good = [i for i in range(12) if i not in broken]
    assert [frame.index for frame in frames] == good
    assert [frame.name for frame in frames] == [f'scratched.avi#{i}' for i in good]
    assert [float(f.image.mean()) for f in frames] == pytest.approx([20 * i for i in good], abs=4)


@pytest.mark.parametrize('degrees', [90, 270])
def test_a_portrait_video_stands_upright(tmp_path: Path, degrees: int) -> None:
    """Phones write landscape frames and a matrix in the track header that turns them."""
    marked = np.zeros((48, 64, 3), np.uint8)
    marked[:16, :16] = 255  # the corner tells how the picture was turned
    with VideoWriter(tmp_path / 'phone.mp4', fps=10.0) as writer:
        for _ in range(5):
            writer.add(marked)
    content = bytearray((tmp_path / 'phone.mp4').read_bytes())
    header = content.index(b'tkhd')
    assert content[header + 4] == 0  # version: times of 32 bits
    start = header + 4 + 4 + 20 + 8 + 8
    one = 1 << 16
    matrix = [0, one, 0, -one, 0, 0, 48 * one, 0, 1 << 30] if degrees == 90 else [0, -one, 0, one, 0, 0, 0, 64 * one, 1 << 30]
    content[start : start + 36] = b''.join(value.to_bytes(4, 'big', signed=True) for value in matrix)
    (tmp_path / 'phone.mp4').write_bytes(content)
    frames = list(find_sources([tmp_path / 'phone.mp4'])[0].frames())
    assert [frame.image.shape for frame in frames] == [(64, 48, 3)] * 5
    upright = np.rot90(marked, {90: -1, 270: 1}[degrees])
    assert np.abs(frames[0].image.astype(int) - upright).mean() < 12


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


def test_without_an_encoder_motion_jpeg_is_written_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(media._FOURCC, '.mp4', 'ZZZZ')
    with pytest.warns(
        UserWarning, match=r'cannot write .*clip\.mp4 \(ZZZZ, 64 x 48, 10 fps\); .*clip\.mp4\.avi is written instead'
    ):
        video(tmp_path / 'clip.mp4', frames=4)
    assert [path.name for path in tmp_path.iterdir()] == ['clip.mp4.avi']
    (source,) = find_sources([tmp_path])
    assert len(list(source.frames())) == 4
    assert source.fps() == pytest.approx(10.0)
    monkeypatch.setitem(media._FOURCC, '.avi', 'ZZZZ')
    with pytest.raises(RuntimeError, match=r'this OpenCV cannot write .*other\.avi \(ZZZZ'):
        video(tmp_path / 'other.avi')
    assert [path.name for path in tmp_path.iterdir()] == ['clip.mp4.avi']


def test_sizes_and_rates_are_kept(tmp_path: Path) -> None:
    for name, fps in (('a.mp4', 29.97), ('b.avi', 24.0), ('c.mp4', 59.94)):
        with VideoWriter(tmp_path / name, fps=fps) as writer:
            for _ in range(3):
                writer.add(np.zeros((50, 66, 3), np.uint8))
        (source,) = find_sources([tmp_path / name])
        assert source.fps() == pytest.approx(fps, abs=0.01)
        assert next(source.frames()).image.shape == (50, 66, 3)


def test_a_video_that_fails_leaves_no_file(tmp_path: Path) -> None:
    def fail() -> None:
        with VideoWriter(tmp_path / 'clip.mp4', fps=10) as writer:
            writer.add(np.zeros((48, 64, 3), np.uint8))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert list(tmp_path.iterdir()) == []
