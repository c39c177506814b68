"""COCO files whose people have more points than the `keypoints` of a network: COCO-WholeBody and Halpe-FullBody."""

# Letters: K keypoints.
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mmpose_lite.datasets.converters.coco_style import check_new, coco_category
from mmpose_lite.structures import KeypointMeta
from mmpose_lite.structures.coco_file import read_json

# The parts of COCO-WholeBody in their order, and the number of points of each; together the 133 of the meta 'wholebody133'.
WHOLEBODY_PARTS = {'keypoints': 17, 'foot_kpts': 6, 'face_kpts': 68, 'lefthand_kpts': 21, 'righthand_kpts': 21}
HALPE_POINTS = 136  # 26 of body and feet, 68 of the face, 21 of each hand


def convert_wholebody(annotations: str | Path, out: str | Path, *, overwrite: bool = False) -> Path:
    """Join the parts of each person in a COCO-WholeBody file to 133 keypoints; a part that a person lacks is not labelled.

    Source: Jin et al., Whole-Body Human Pose Estimation in the Wild, ECCV 2020, arXiv:2007.11858.

    Args:
        annotations: coco_wholebody_train_v1.0.json or coco_wholebody_val_v1.0.json.
        out: folder for the file, which keeps its name; made when absent.
        overwrite: replace a file of this name in `out`.

    Returns:
        The file written.

    Raises:
        FileExistsError: `out` has such a file already.
        FileNotFoundError: there is no such file.
        ValueError: it is no COCO-WholeBody file.
    """

    def joined(annotation: dict[str, Any], where: str) -> list[float]:
        points: list[float] = []
        for part, count in WHOLEBODY_PARTS.items():
            numbers = annotation.pop(part, None) or [0] * 3 * count
            if len(numbers) != 3 * count:
                raise ValueError(f'{where}: `{part}` must be {count} points (x, y, v), got {len(numbers)} numbers.')
            points += numbers
        return points

    return _rewrite(annotations, out, 'wholebody133', 'face_kpts', joined, overwrite)


def convert_halpe(annotations: str | Path, out: str | Path, *, overwrite: bool = False) -> Path:
    """Keep the 26 points of body and feet of each person in a Halpe-FullBody file.

    Source: Fang et al., AlphaPose, TPAMI 2022, Sec. 4, arXiv:2211.03375.

    Args:
        annotations: halpe_train_v1.json or halpe_val_v1.json.
        out: folder for the file, which keeps its name; made when absent.
        overwrite: replace a file of this name in `out`.

    Returns:
        The file written.

    Raises:
        FileExistsError: `out` has such a file already.
        FileNotFoundError: there is no such file.
        ValueError: it is no Halpe-FullBody file.
    """

    def shortened(annotation: dict[str, Any], where: str) -> list[float]:
        numbers = annotation.get('keypoints') or [0] * 3 * HALPE_POINTS
        if len(numbers) != 3 * HALPE_POINTS:
            raise ValueError(f'{where}: `keypoints` must be {HALPE_POINTS} points (x, y, v), got {len(numbers)} numbers.')
        return numbers[: 3 * KeypointMeta.load('halpe26').num_keypoints]

    return _rewrite(annotations, out, 'halpe26', 'keypoints', shortened, overwrite)


def _rewrite(
    annotations: str | Path,
    out: str | Path,
    meta_name: str,
    required: str,
    keypoints_of: Callable[[dict[str, Any], str], list[float]],
    overwrite: bool,
) -> Path:
    """Write the file with other keypoints.

    Args:
        annotations: the file to read.
        out: folder to write to.
        meta_name: of the keypoints written.
        required: key that some annotation has.
        keypoints_of: takes an annotation, which it may change, and the words for errors; returns x, y, v of the K keypoints.
        overwrite: replace the file that is there.
    """
    annotations, path = Path(annotations), Path(out) / Path(annotations).name
    check_new([path], overwrite=overwrite)
    content = read_json(annotations, given_as='`annotations`')
    people = content.get('annotations') if isinstance(content, dict) else None
    if not isinstance(people, list) or not any(required in annotation for annotation in people):
        raise ValueError(f'{annotations}: needs a list `annotations` of people with `{required}`.')
    for number, annotation in enumerate(people):
        keypoints = keypoints_of(annotation, f'{annotations}: annotation {annotation.get("id", f"number {number}")}')
        annotation['keypoints'] = keypoints
        annotation['num_keypoints'] = int(np.count_nonzero(np.array(keypoints[2::3]) > 0))
    content['categories'] = [coco_category('person', KeypointMeta.load(meta_name))]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path
