"""MPII Human Pose -> COCO-style files, from the published .mat file or from the JSON files of HRNet and mmpose.

Source: Andriluka et al., 2D Human Pose Estimation: New Benchmark and State of the Art Analysis, CVPR 2014.

The rules of the published code (https://github.com/leoxiaobin/deep-high-resolution-net.pytorch, lib/dataset/mpii.py):
- MATLAB counts pixels from 1; 1 is taken off every position. (mmpose takes it off centres only, then moves predictions by 1.)
- A person has a centre and a scale, its height over 200 px. Its box is the square of 200 * scale px around the centre, which is
  moved down by 15 * scale px so that feet are not cut off. The published padding of 1.25 is that of GetBBoxCenterScale.
- Head boxes are kept; PCKh divides by 0.6 of their diagonal.
"""

# Letters: N people, K = 16 keypoints.
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mmpose_lite.datasets.converters.coco_style import (
    AREA_PER_BOX,
    check_images,
    check_new,
    coco_annotations,
    coco_category,
    coco_images,
    image_sizes,
    keypoint_boxes,
    write_coco,
)
from mmpose_lite.datasets.converters.matlab import read_matlab
from mmpose_lite.structures import KeypointMeta
from mmpose_lite.structures.coco_file import read_json

NUM_JOINTS = 16
PIXELS_PER_SCALE = 200.0
DOWNWARD_SHIFT = 15.0  # px per scale


class MpiiPeople(NamedTuple):
    """N people; positions in px, counted from 0."""

    images: list[str]
    points: np.ndarray  # (N, 16, 2)
    visibility: np.ndarray  # (N, 16), 0, 1 or 2 as COCO counts it
    centers: np.ndarray  # (N, 2)
    scales: np.ndarray  # (N,) of 200 px
    heads: np.ndarray  # (N, 4) xyxy, NaN where not known


def read_mpii_json(path: str | Path, head_boxes: str | Path | None = None) -> MpiiPeople:
    """Read mpii_train.json, mpii_val.json or mpii_trainval.json. They do not say which joints are hidden.

    Args:
        path: a list of people with `image`, `joints`, `joints_vis`, `center` and `scale`.
        head_boxes: mpii_gt_val.mat, whose `headboxes_src` (2, 2, N) are those of the people of mpii_val.json.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a file does not hold what MPII's do, or the two do not fit together.
    """
    people = _json_list(path)
    names = ('image', 'joints', 'joints_vis', 'center', 'scale')
    for number, person in enumerate(people):
        missing = [name for name in names if name not in person]
        if missing:
            raise ValueError(f'{path}: entry {number} lacks {missing}; a person has {list(names)}. The test set has no joints.')
        if np.shape(person['joints']) != (NUM_JOINTS, 2) or np.shape(person['joints_vis']) != (NUM_JOINTS,):
            raise ValueError(
                f'{path}: entry {number} (image {person["image"]}) must have `joints` (16, 2) and `joints_vis` (16,), '
                f'got {np.shape(person["joints"])} and {np.shape(person["joints_vis"])}.'
            )
    heads = np.full((len(people), 4), np.nan)
    if head_boxes is not None:
        corners = np.asarray(read_matlab(head_boxes, 'headboxes_src', argument='head_boxes'), np.float64)
        if corners.shape != (2, 2, len(people)):
            raise ValueError(
                f'{head_boxes}: `headboxes_src` must be (2, 2, {len(people)}), a box for each person of {path}, '
                f'got {corners.shape}.'
            )
        heads = corners.transpose(2, 0, 1).reshape(-1, 4) - 1
    return MpiiPeople(
        images=[person['image'] for person in people],
        points=np.array([person['joints'] for person in people], np.float64).reshape(-1, NUM_JOINTS, 2) - 1,
        visibility=2 * (np.array([person['joints_vis'] for person in people]).reshape(-1, NUM_JOINTS) > 0),
        centers=np.array([person['center'] for person in people], np.float64).reshape(-1, 2) - 1,
        scales=np.array([person['scale'] for person in people], np.float64),
        heads=heads,
    )


def read_mpii_mat(path: str | Path) -> MpiiPeople:
    """Read the people of the training images in mpii_human_pose_v1_u12_1.mat.

    People without joints, centre or scale are left out. A joint that is marked as not visible has visibility 1; those without a
    mark (the two ends of the head have none) 2.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it does not hold what MPII's does.
    """
    release = read_matlab(path, 'RELEASE', argument='annotations', as_objects=True)
    absent = [name for name in ('annolist', 'img_train') if not hasattr(release, name)]
    if absent:
        raise ValueError(f'{path}: the struct `RELEASE` must have annolist and img_train, it lacks {absent}.')
    images, points, visibility, centers, scales, heads = [], [], [], [], [], []
    for entry, is_train in zip(np.atleast_1d(release.annolist), np.atleast_1d(release.img_train)):
        for person in _structs(entry, 'annorect') if is_train else ():
            joints = [joint for group in _structs(person, 'annopoints') for joint in _structs(group, 'point')]
            center = next(_structs(person, 'objpos'), None)
            scale = _number(person, 'scale')
            if not joints or center is None or np.isnan(scale):
                continue
            xy, v = np.zeros((NUM_JOINTS, 2)), np.zeros(NUM_JOINTS, np.int64)
            for joint in joints:
                xy[int(joint.id)] = joint.x, joint.y
                v[int(joint.id)] = 1 if _number(joint, 'is_visible') == 0 else 2
            images.append(str(entry.image.name))
            points.append(xy - 1)
            visibility.append(v)
            centers.append((float(center.x) - 1, float(center.y) - 1))
            scales.append(scale)
            heads.append([_number(person, name) - 1 for name in ('x1', 'y1', 'x2', 'y2')])
    if not images:
        raise ValueError(f'{path}: no training image has people with joints, a centre and a scale.')
    return MpiiPeople(
        images, np.array(points), np.array(visibility), np.array(centers), np.array(scales), np.array(heads, np.float64)
    )


def convert_mpii(
    annotations: str | Path,
    images: str | Path,
    out: str | Path,
    *,
    val: str | Path | None = None,
    head_boxes: str | Path | None = None,
    overwrite: bool = False,
) -> list[Path]:
    """Write `person_keypoints_train.json` and, given `val`, `person_keypoints_val.json`.

    Args:
        annotations: mpii_human_pose_v1_u12_1.mat, or mpii_train.json.
        images: folder of the images.
        out: folder for the files; made when absent.
        val: mpii_val.json: the validation split. With a .mat, its images are that split, and its people come from the .mat.
        head_boxes: mpii_gt_val.mat, the head boxes of `val`, for JSON files, which have none; PCKh needs them.
        overwrite: replace files of these names in `out`.

    Returns:
        The files written.

    Raises:
        FileExistsError: `out` has such files already.
        FileNotFoundError: a file or image does not exist.
        ValueError: a file does not hold what MPII's do, an image is broken, or the arguments do not fit together.
    """
    splits = ('train',) if val is None else ('train', 'val')
    check_new([Path(out) / f'person_keypoints_{split}.json' for split in splits], overwrite=overwrite)
    from_mat = Path(annotations).suffix == '.mat'
    if head_boxes is not None and (from_mat or val is None):
        raise ValueError('convert_mpii: `head_boxes` are those of the people of `val` as JSON; a .mat has its own head boxes.')
    if from_mat:
        people = read_mpii_mat(annotations)
        held_out = {person.get('image') for person in _json_list(val)} if val is not None else set()
        is_val = np.array([name in held_out for name in people.images])
        if val is not None and not is_val.any():
            raise ValueError(f'convert_mpii: none of the {len(held_out)} images of `val` ({val}) is in {annotations}.')
        parts = [_subset(people, ~is_val), _subset(people, is_val)]
    else:
        parts = [read_mpii_json(annotations), *([read_mpii_json(val, head_boxes)] if val is not None else [])]

    names = list(dict.fromkeys(name for part in parts for name in part.images))
    check_images('convert_mpii', Path(images), names)
    sizes = image_sizes('convert_mpii', [Path(images) / name for name in names])
    image_ids = {name: number for number, name in enumerate(names, start=1)}
    written, first = [], 1
    for split, part in zip(splits, parts):
        part = _subset(part, part.visibility.any(1))
        of_split = np.array([image_ids[name] for name in dict.fromkeys(part.images)], np.int64)
        path = write_coco(
            Path(out) / f'person_keypoints_{split}.json',
            images=coco_images(of_split.tolist(), dict.fromkeys(part.images), sizes[of_split - 1]),
            annotations=_annotations(part, image_ids, sizes, first),
            category=coco_category('person', KeypointMeta.load('mpii16')),
            description=f'MPII Human Pose, {split}, from {annotations if split == "train" or from_mat else val}',
        )
        written.append(path)
        first += len(part.images)
    return written


def _annotations(people: MpiiPeople, image_ids: dict[str, int], sizes: np.ndarray, first: int) -> list[dict[str, Any]]:
    """Return COCO annotations, numbered from `first`; `sizes` (G, 2) are those of the images 1, 2 ..."""
    of_image = np.array([image_ids[name] for name in people.images], np.int64)
    side = PIXELS_PER_SCALE * people.scales[:, None]
    centers = people.centers + np.stack((np.zeros(len(of_image)), DOWNWARD_SHIFT * people.scales), axis=1)
    _, areas = keypoint_boxes(people.points, people.visibility > 0, sizes[of_image - 1])
    areas = np.where(areas > 0, areas, AREA_PER_BOX * side[:, 0] ** 2)  # one joint, or joints in a line, span none
    heads = [
        {} if np.isnan(head).any() else dict(head_bbox=np.concatenate((head[:2], head[2:] - head[:2])).round(2).tolist())
        for head in people.heads
    ]
    return coco_annotations(
        of_image,
        people.points,
        people.visibility,
        np.concatenate((centers - side / 2, side, side), axis=1),
        areas,
        ids=np.arange(first, first + len(of_image)),
        extra=heads,
    )


def _subset(people: MpiiPeople, mask: np.ndarray) -> MpiiPeople:
    """Return the people of the (N,) mask."""
    return MpiiPeople([name for name, kept in zip(people.images, mask) if kept], *(array[mask] for array in people[1:]))


def _json_list(path: str | Path) -> list[dict[str, Any]]:
    people = read_json(path, given_as='`annotations` or `val`')
    if not isinstance(people, list) or not people or not all(isinstance(person, dict) for person in people):
        raise ValueError(f'{path}: must be a list of people, as mpii_train.json is.')
    return people


def _structs(owner: Any, name: str) -> Iterator[Any]:
    """Yield the structs of a field that MATLAB may leave out, leave empty, or fill with one struct or many."""
    for value in np.atleast_1d(getattr(owner, name, [])):
        if hasattr(value, '_fieldnames'):
            yield value


def _number(owner: Any, name: str) -> float:
    """Return a number that may be written as text; NaN where it is absent or empty."""
    value = getattr(owner, name, [])
    return float(value) if np.size(value) == 1 and str(value).strip() else float('nan')
