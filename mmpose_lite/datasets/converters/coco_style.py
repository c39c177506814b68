"""The COCO-style keypoint file that every converter writes."""

# Letters: N people, K keypoints.
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from mmpose_lite.structures import KeypointMeta

BOX_PADDING = 0.15  # of the keypoints' extent, on each side: people end beyond their joints
AREA_PER_BOX = 0.53  # mean share of its box that a COCO person covers; mmpose's factor for data without masks


def keypoint_boxes(points: np.ndarray, labelled: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Make boxes of people who have keypoints only.

    Args:
        points: (N, K, 2) in px.
        labelled: (N, K) bool; each person needs one.
        sizes: (N, 2) width and height of the image.

    Returns:
        (N, 4) xywh: the extent of the labelled keypoints, padded by `BOX_PADDING`, cut at the centres of the border
        pixels; and (N,) areas, `AREA_PER_BOX` of it. In px and px^2.
    """
    seen = labelled[..., None]
    low = np.where(seen, points, np.inf).min(1)
    high = np.where(seen, points, -np.inf).max(1)
    padding = BOX_PADDING * (high - low)
    low, high = np.maximum(low - padding, 0), np.minimum(high + padding, sizes - 1)
    return np.concatenate([low, high - low], axis=1), AREA_PER_BOX * (high - low).prod(1)


def coco_category(name: str, meta: KeypointMeta) -> dict[str, Any]:
    """Return the one entry of `categories`; COCO's skeleton counts keypoints from 1."""
    skeleton = [[a + 1, b + 1] for a, b in meta.limbs]
    return dict(id=1, name=name, supercategory=name, keypoints=list(meta.keypoints), skeleton=skeleton)


def coco_annotations(
    ids: np.ndarray, points: np.ndarray, v: np.ndarray, bboxes_xywh: np.ndarray, areas: np.ndarray
) -> list[dict[str, Any]]:
    """Return one annotation per image, its id that of the image; numbers are rounded to hundredths.

    Args:
        ids: (N,) of the images.
        points: (N, K, 2) in px; what is not labelled is written as 0, 0.
        v: (N, K) visibility 0, 1 or 2.
        bboxes_xywh: (N, 4) in px.
        areas: (N,) in px^2.
    """
    keypoints = np.concatenate([np.where(v[..., None] > 0, points, 0), v[..., None]], axis=-1).reshape(len(ids), -1)
    return [
        dict(
            id=int(ids[i]),
            image_id=int(ids[i]),
            category_id=1,
            iscrowd=0,
            bbox=bboxes_xywh[i].round(2).tolist(),
            area=round(float(areas[i]), 2),
            num_keypoints=int((v[i] > 0).sum()),
            keypoints=keypoints[i].round(2).tolist(),
        )
        for i in range(len(ids))
    ]


def check_new(files: Iterable[Path], *, overwrite: bool) -> None:
    """Refuse to replace annotation files, which may be someone's work, unless `overwrite`.

    Raises:
        FileExistsError: one of the files is there already.
    """
    there = [str(file) for file in files if file.exists()]
    if there and not overwrite:
        raise FileExistsError(f'{", ".join(there)} exists already. Choose another folder, or replace it with --overwrite.')


def write_coco(
    path: str | Path,
    *,
    images: list[dict[str, Any]],
    annotations: list[dict[str, Any]],
    category: dict[str, Any],
    description: str,
) -> Path:
    """Write the file; its folder is made."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = dict(info=dict(description=description), images=images, annotations=annotations, categories=[category])
    path.write_text(json.dumps(content))
    return path
