"""What inference reads (images, folders, videos) and writes (videos, COCO-style results).

Everything streams: a video or a result file of any length takes the memory of one frame or one person.
"""

# Letters: N people of one image, K keypoints.
import json
import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

from mmpose_lite.datasets.transforms.loading import read_image
from mmpose_lite.structures import bbox_xyxy_to_xywh

IMAGE_SUFFIXES = ('.bmp', '.jpeg', '.jpg', '.png', '.tif', '.tiff', '.webp')
VIDEO_SUFFIXES = ('.avi', '.m4v', '.mkv', '.mov', '.mp4', '.mpeg', '.mpg', '.webm')

_FOURCC = {'.mp4': 'mp4v', '.avi': 'MJPG'}


class MediaError(ValueError):
    """A picture or video that cannot be decoded; the message names the file."""


@dataclass(frozen=True)
class Frame:
    """One picture on its way through the network.

    Attributes:
        name: of the picture among the inputs, e.g. 'street/0001.jpg', or 'clip.mp4#12' for frame 12 (from 0) of a video.
        image: (H, W, 3) BGR uint8.
    """

    name: str
    image: np.ndarray


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
        """Yield the one picture of an image file, or the frames of a video one after the other.

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
            for index, image in enumerate(capture):
                yield Frame(f'{self.name}#{index}', image)

    def num_frames(self) -> int | None:
        """Return how many frames to expect: 1 for an image, None where a video does not announce it."""
        if not self.is_video:
            return 1
        with _Capture(self.path) as capture:
            return capture.announced

    def fps(self) -> float:
        """Return the frame rate of a video; 25 where the file does not state one."""
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
        announced = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.announced = int(announced) if 0 < announced < 1e9 else None
        self.fps = float(fps) if 0 < fps < 1000 else 25.0

    def __iter__(self) -> Iterator[np.ndarray]:
        decoded = 0
        while True:
            found, image = self._capture.read()
            if not found:
                break
            decoded += 1
            yield image
        if not decoded:
            raise MediaError(f'{self._path}: the video opens, but not one frame can be decoded.')
        if self.announced and decoded < 0.98 * self.announced - 1:  # some containers only estimate the number
            warnings.warn(f'{self._path}: ends after {decoded} of {self.announced} announced frames.', stacklevel=3)

    def __enter__(self) -> '_Capture':
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._capture.release()


class _AtomicFile:
    """Base of writers that fill a neighbour of `path` and give it its name when all went well."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._partial = self.path.with_name(f'.{self.path.stem}.{os.getpid()}.part{self.path.suffix}')

    def _close(self) -> None:
        raise NotImplementedError

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._close()
        if kind is None and self._partial.exists():
            os.replace(self._partial, self.path)
        else:
            self._partial.unlink(missing_ok=True)


class VideoWriter(_AtomicFile):
    """Frames -> a video file; use as a context manager. The file appears under its name when the block ends without an error.

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
            code = cv2.VideoWriter.fourcc(*_FOURCC[self.path.suffix.lower()])
            self._writer = cv2.VideoWriter(str(self._partial), code, self._fps, size)
            self._size = size
            if not self._writer.isOpened():
                raise RuntimeError(f'VideoWriter: this OpenCV cannot write {self.path} ({size[0]} x {size[1]}, {self._fps} fps).')
        if size != self._size:
            raise ValueError(f'VideoWriter: every frame must be {self._size} (w, h) like the first, got {size}.')
        self._writer.write(image)

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.release()


class ResultWriter(_AtomicFile):
    """People -> a JSON list in the format of COCO keypoint results, one person per line; use as a context manager.

    Each entry: `image_id`, `file_name`, `category_id`, `keypoints` [x, y, score, x, y, score, ...] in px of the image, `bbox`
    xywh in px and `score` (that of the box times the mean of the keypoints' scores). `file_name` is not COCO's, whose own
    tools leave it alone. Coordinates are rounded to 1/100 px, scores to six digits.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__(path)
        self.num_people = 0
        self._file = self._partial.open('w', encoding='utf-8')
        self._file.write('[')

    def __enter__(self) -> 'ResultWriter':
        return self

    def add(
        self,
        image_id: int,
        file_name: str,
        *,
        keypoints: np.ndarray,
        keypoint_scores: np.ndarray,
        bboxes: np.ndarray,
        bbox_scores: np.ndarray,
        category_id: int = 1,
    ) -> None:
        """Append the people of one image.

        Args:
            image_id: as in the annotation file, or a running number.
            file_name: of the picture.
            keypoints: (N, K, 2) px.
            keypoint_scores: (N, K).
            bboxes: (N, 4) xyxy, px.
            bbox_scores: (N,).
            category_id: of all of them.

        Raises:
            ValueError: a value is not finite (JSON has no word for it).
        """
        keypoint_scores = np.asarray(keypoint_scores, np.float64)
        points = np.asarray(keypoints, np.float64).round(2)
        triples = np.concatenate([points, keypoint_scores.round(6)[..., None]], axis=-1)
        bboxes_xywh = bbox_xyxy_to_xywh(bboxes).astype(np.float64)
        scores = np.asarray(bbox_scores, np.float64) * keypoint_scores.mean(axis=-1)
        for i in range(len(triples)):
            entry = dict(
                image_id=image_id,
                file_name=file_name,
                category_id=category_id,
                keypoints=triples[i].ravel().tolist(),
                bbox=[round(v, 2) for v in bboxes_xywh[i].tolist()],
                score=round(float(scores[i]), 6),
            )
            try:
                line = json.dumps(entry, allow_nan=False)
            except ValueError as error:
                raise ValueError(f'ResultWriter: person {i} of {file_name} has a value that is not finite.') from error
            self._file.write((',\n' if self.num_people else '\n') + line)
            self.num_people += 1

    def _close(self) -> None:
        self._file.write('\n]\n')
        self._file.close()
