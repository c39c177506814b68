"""The files that inference writes its poses to: COCO's results, or one file per picture as OpenPose writes them.

Both stream: results of any number of pictures take the memory of one of them.
"""

# Letters: N people of one picture, K keypoints.
import json
import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import TracebackType

import numpy as np

from mmpose_lite.apis.media import AtomicFile, Frame
from mmpose_lite.errors import ResultError
from mmpose_lite.structures import bbox_xyxy_to_xywh

_OPENPOSE_EMPTY = (
    'face_keypoints_2d',
    'hand_left_keypoints_2d',
    'hand_right_keypoints_2d',
    'pose_keypoints_3d',
    'face_keypoints_3d',
    'hand_left_keypoints_3d',
    'hand_right_keypoints_3d',
)


@dataclass(frozen=True)
class People:
    """Those found in one picture.

    Attributes:
        keypoints: (N, K, 2) px.
        keypoint_scores: (N, K); 0 for a keypoint that was not found, whose place then means nothing.
        bboxes: (N, 4) xyxy, px.
        scores: (N,), of the people.
        track_ids: (N,) numbers that stay from frame to frame, -1 for none; None without tracking.
    """

    keypoints: np.ndarray
    keypoint_scores: np.ndarray
    bboxes: np.ndarray
    scores: np.ndarray
    track_ids: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.keypoints)


class CocoResultWriter(AtomicFile):
    """One JSON list in the format of COCO keypoint results, one person per line. It appears when the block ends without an error.

    Each entry: `image_id`, `file_name`, `category_id`, `keypoints` [x, y, score, x, y, score, ...] in px of the image (0, 0, 0
    where not found), `bbox` xywh in px, `score`, and `track_id` when people are tracked. `file_name` and `track_id` are not
    COCO's, whose own tools leave them alone. Coordinates are rounded to 1/100 px, scores to six digits.

    Args:
        path: of the file.
        category_id: of all people.
    """

    def __init__(self, path: str | Path, *, category_id: int = 1) -> None:
        super().__init__(path)
        self.num_people = 0
        self._category_id = category_id
        self._file = self._partial.open('w', encoding='utf-8')
        self._file.write('[')

    def __enter__(self) -> 'CocoResultWriter':
        return self

    def add(self, image_id: int, frame: Frame, people: People) -> None:
        """Append the people of one picture.

        Args:
            image_id: as in the annotation file, or a running number.
            frame: the picture.
            people: in it.

        Raises:
            ResultError: a value is not finite (JSON has no word for it).
        """
        triples = _triples(people)
        bboxes_xywh = bbox_xyxy_to_xywh(people.bboxes).astype(np.float64)
        for i in range(len(people)):
            entry = dict(
                image_id=image_id,
                file_name=frame.name,
                category_id=self._category_id,
                keypoints=triples[i].ravel().tolist(),
                bbox=[round(v, 2) for v in bboxes_xywh[i].tolist()],
                score=round(float(people.scores[i]), 6),
            )
            if people.track_ids is not None:
                entry['track_id'] = int(people.track_ids[i])
            self._file.write((',\n' if self.num_people else '\n') + _text(entry, f'person {i} of {frame.name}'))
            self.num_people += 1

    def _close(self) -> None:
        self._file.write('\n]\n')
        self._file.close()


class OpenPoseResultWriter:
    """One JSON file per picture, `NAME_keypoints.json` in OpenPose's own layout; of a video, `NAME_000000000012_keypoints.json`.

    A person has `person_id` ([-1] without tracking) and `pose_keypoints_2d` [x, y, score, ...] in px of the image, 0, 0, 0 where
    not found; OpenPose's other fields are there and empty. A picture without people has a file with an empty list.

    Source: https://cmu-perceptual-computing-lab.github.io/openpose, "Output Information", version 1.3.

    Args:
        folder: to write to; pictures of sub-folders go to sub-folders.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def __enter__(self) -> 'OpenPoseResultWriter':
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Every file is whole already."""

    def add(self, image_id: int, frame: Frame, people: People) -> None:
        """Write the file of one picture; one that is there is replaced. `image_id` is not part of the format.

        Raises:
            ResultError: a value is not finite.
        """
        path = self.folder / openpose_name(frame.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        numbers = np.full(len(people), -1) if people.track_ids is None else people.track_ids
        entries = [
            {'person_id': [int(number)], 'pose_keypoints_2d': triples.ravel().tolist()} | {key: [] for key in _OPENPOSE_EMPTY}
            for number, triples in zip(numbers, _triples(people))
        ]
        partial = path.with_name(f'.{path.name}.{os.getpid()}.part')
        partial.write_text(_text(dict(version=1.3, people=entries), f'a person of {frame.name}'), encoding='utf-8')
        os.replace(partial, path)


def openpose_name(name: str) -> str:
    """Return the result file of a picture: 'a/b.jpg' -> 'a/b_keypoints.json', 'c.mp4#7' -> 'c_000000000007_keypoints.json'."""
    file, _, index = name.rpartition('#') if '#' in PurePosixPath(name).suffix else (name, '', '')
    stem = PurePosixPath(file).with_suffix('')
    return f'{stem}_{int(index):012d}_keypoints.json' if index else f'{stem}_keypoints.json'


def _triples(people: People) -> np.ndarray:
    """Return (N, K, 3) x, y, score, rounded; zeros where a keypoint was not found."""
    scores = np.asarray(people.keypoint_scores, np.float64)[..., None]
    points = np.asarray(people.keypoints, np.float64)
    return np.where(scores != 0, np.concatenate([points.round(2), scores.round(6)], axis=-1), 0.0)


def _text(entry: object, what: str) -> str:
    try:
        return json.dumps(entry, allow_nan=False)
    except ValueError as error:
        raise ResultError(
            f'{what} has a value that is not finite; the network has diverged or its checkpoint is broken.'
        ) from error
