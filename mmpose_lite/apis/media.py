"""What inference reads (images, folders, videos), and the videos it writes, of any length in the memory of one frame."""

import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

from mmpose_lite.datasets.transforms.loading import read_image
from mmpose_lite.structures.coco_file import IMAGE_SUFFIXES

VIDEO_SUFFIXES = ('.avi', '.m4v', '.mkv', '.mov', '.mp4', '.mpeg', '.mpg', '.webm')

_FOURCC = {'.mp4': 'mp4v', '.avi': 'MJPG'}
_FALLBACK = '.avi'  # Motion JPEG needs no encoder but OpenCV's own
_MAX_UNREADABLE = 100  # frames in a row, after which a video is over
_DEFAULT_FPS = 25.0


class MediaError(ValueError):
    """A picture or video that cannot be decoded; the message names the file."""


@dataclass(frozen=True)
class Frame:
    """One picture on its way through the network.

    Attributes:
        name: of the picture among the inputs, e.g. 'street/0001.jpg', or 'clip.mp4#12' for frame 12 (from 0) of a video.
        image: (H, W, 3) BGR uint8.
        index: of the frame in its video; 0 for an image.
    """

    name: str
    image: np.ndarray
    index: int = 0


@dataclass(frozen=True)
class Source:
    """One input file.

    Attributes:
        path: of the file.
        name: the path relative to the folder that holds all inputs: unique among them.
        is_video: whether the file holds many frames.
    """

    path: Path
    name: str
    is_video: bool

    def frames(self) -> Iterator[Frame]:
        """Yield the one picture of an image file, or the frames of a video one after the other, both upright.

        A frame that cannot be decoded is left out, and a warning tells how many these were.

        Raises:
            MediaError: the file cannot be decoded.
        """
        if not self.is_video:
            try:
                yield Frame(self.name, read_image(str(self.path)))
            except (FileNotFoundError, ValueError) as error:
                raise MediaError(str(error)) from error
            return
        with _Capture(self.path) as capture:
            for index, image in capture:
                yield Frame(f'{self.name}#{index}', image, index)

    def num_frames(self) -> int | None:
        """Return how many frames to expect: 1 for an image, None where a video does not announce it."""
        if not self.is_video:
            return 1
        with _Capture(self.path) as capture:
            return capture.announced

    def fps(self) -> float:
        """Return the frame rate of a video; 25 where the file does not state one, and for an image."""
        if not self.is_video:
            return _DEFAULT_FPS
        with _Capture(self.path) as capture:
            return capture.fps


def find_sources(inputs: Sequence[str | Path]) -> list[Source]:
    """Return the image and video files that `inputs` name, in the order given; those of a folder sorted by name.

    Args:
        inputs: files and folders. A folder stands for the files in it (not in its sub-folders) with a known extension. A file
            named twice is taken once.

    Raises:
        FileNotFoundError: an input does not exist, or a folder has no image and no video.
        ValueError: no input, or a file has an unknown extension.
    """
    if not inputs:
        raise ValueError('find_sources: `inputs` must name at least one image, folder or video, got none.')
    paths = dict.fromkeys(Path(os.path.abspath(path)) for given in inputs for path in _files_of(Path(given)))
    root = os.path.commonpath([path.parent for path in paths])
    return [Source(path, path.relative_to(root).as_posix(), path.suffix.lower() in VIDEO_SUFFIXES) for path in paths]


def count_frames(sources: Sequence[Source]) -> int | None:
    """Return how many pictures to expect of all sources; None where a video does not announce it or cannot be read."""
    try:
        counts = [source.num_frames() for source in sources]
    except MediaError:
        return None
    return None if None in counts else sum(filter(None, counts))


def _files_of(path: Path) -> list[Path]:
    known = IMAGE_SUFFIXES + VIDEO_SUFFIXES
    if path.is_dir():
        files = sorted(p for p in path.iterdir() if p.suffix.lower() in known and not p.name.startswith('.') and p.is_file())
        if not files:
            raise FileNotFoundError(f'find_sources: the folder {path} holds no image and no video ({" ".join(known)}).')
        return files
    if not path.exists():
        raise FileNotFoundError(f'find_sources: the input {path} does not exist.')
    if path.suffix.lower() not in known:
        raise ValueError(f'find_sources: the input {path} must have one of the extensions {" ".join(known)}.')
    return [path]


class _Capture:
    """An open video: iterate over its frames once, close it by leaving the `with` block."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._capture = cv2.VideoCapture(str(path))
        if not self._capture.isOpened():
            raise MediaError(f'{path}: not a video that OpenCV can decode.')
        self._capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)  # phones store portrait videos lying on their side, with a tag
        announced = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.announced = int(announced) if 0 < announced < 1e9 else None
        self.fps = float(fps) if 0 < fps < 1000 else _DEFAULT_FPS

    def __iter__(self) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (index, frame). Past a frame that cannot be decoded it goes on, as far as the file announces frames."""
        index = unreadable = failed = 0  # the next frame; those left out; failures since the last frame
        while failed <= _MAX_UNREADABLE:
            found, image = self._capture.read()
            if found:
                index += failed
                unreadable += failed
                failed = 0
                yield index, image
                index += 1
            else:
                failed += 1
                if self.announced is None or index + failed >= self.announced:
                    break
        if not index:
            raise MediaError(f'{self._path}: the video opens, but not one frame can be decoded.')
        if unreadable:
            warnings.warn(f'{self._path}: {unreadable} of {index} frames cannot be decoded and are left out.', stacklevel=3)
        if self.announced and index < 0.98 * self.announced - 1:  # some containers only estimate the number
            warnings.warn(f'{self._path}: ends after {index} of {self.announced} announced frames.', stacklevel=3)

    def __enter__(self) -> '_Capture':
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._capture.release()


class AtomicFile:
    """Base of writers that fill a neighbour of `path` and give it its name when all went well."""

    def __init__(self, path: str | Path) -> None:
        self._rename(Path(path))
        self.path.parent.mkdir(parents=True, exist_ok=True)

    def _rename(self, path: Path) -> None:
        self.path = path
        self._partial = path.with_name(f'.{path.stem}.{os.getpid()}.part{path.suffix}')

    def _close(self) -> None:
        raise NotImplementedError

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._close()
        if kind is None and self._partial.exists():
            os.replace(self._partial, self.path)
        else:
            self._partial.unlink(missing_ok=True)


class VideoWriter(AtomicFile):
    """Frames -> a video file; use as a context manager. The file appears under its name when the block ends without an error.

    Where OpenCV has no encoder for the format, Motion JPEG goes to `{path}.avi`, and a warning says so; `path` is then that one.

    Args:
        path: .mp4 (MPEG-4) or .avi (Motion JPEG).
        fps: frames per second, > 0.
    """

    def __init__(self, path: str | Path, *, fps: float) -> None:
        if Path(path).suffix.lower() not in _FOURCC:
            raise ValueError(f'VideoWriter: `path` must end in {" or ".join(_FOURCC)}, got {str(path)!r}.')
        if not fps > 0:
            raise ValueError(f'VideoWriter: `fps` must be > 0, got {fps}.')
        super().__init__(path)
        self._fps = fps
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)

    def __enter__(self) -> 'VideoWriter':
        return self

    def add(self, image: np.ndarray) -> None:
        """Append one (H, W, 3) BGR uint8 frame; all frames have the size of the first one."""
        size = (image.shape[1], image.shape[0])
        if self._writer is None:
            self._size = size
            self._writer = self._open()
        if size != self._size:
            raise ValueError(f'VideoWriter: every frame must be {self._size} (w, h) like the first, got {size}.')
        self._writer.write(image)

    def _open(self) -> cv2.VideoWriter:
        code = _FOURCC[self.path.suffix.lower()]
        writer = cv2.VideoWriter(str(self._partial), cv2.VideoWriter.fourcc(*code), self._fps, self._size)
        if writer.isOpened():
            return writer
        wanted = f'{self.path} ({code}, {self._size[0]} x {self._size[1]}, {self._fps:g} fps)'
        self._partial.unlink(missing_ok=True)
        if self.path.suffix.lower() == _FALLBACK:
            raise RuntimeError(f'VideoWriter: this OpenCV cannot write {wanted}. Write no pictures, or install another OpenCV.')
        self._rename(self.path.with_name(self.path.name + _FALLBACK))
        warnings.warn(f'this OpenCV cannot write {wanted}; {self.path} is written instead.', stacklevel=3)
        return self._open()

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.release()
