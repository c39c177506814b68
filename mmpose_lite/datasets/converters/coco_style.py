"""The COCO-style keypoint file that every converter writes."""

# Letters: N people, K keypoints.
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mmpose_lite.structures import KeypointMeta

BOX_PADDING = 0.15  # of the keypoints' extent, on each side: people end beyond their joints
AREA_PER_BOX = 0.53  # mean share of its box that a COCO person covers; mmpose's factor for data without masks


def check_images(owner: str, folder: Path, names: Sequence[str], hint: str = '') -> None:
    """Look for the image files before anything is read.

    Args:
        owner: the converter, as errors call it.
        folder: given as `images`.
        names: of the files in it.
        hint: what the files should be called.

    Raises:
        FileNotFoundError: the folder or some of its files do not exist.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f'{owner}: the folder {str(folder)!r} given as `images` does not exist.')
    present = set(os.listdir(folder))
    missing = [name for name in dict.fromkeys(names) if name not in present]
    if missing:
        raise FileNotFoundError(
            f'{owner}: {len(missing)} of {len(set(names))} images are missing in {str(folder)!r}, the first are '
            f'{missing[:3]}.{hint}'
        )


def image_sizes(owner: str, files: Sequence[Path]) -> np.ndarray:
    """Return (N, 2) widths and heights, as training sees the images.

    Raises:
        ValueError: an image is broken.
    """

    def size(file: Path) -> tuple[int, int]:
        image = cv2.imread(str(file), cv2.IMREAD_COLOR)
        if image is None:
            raise ValueError(f'{owner}: the image {str(file)!r} cannot be decoded. Copy it again.')
        return image.shape[1], image.shape[0]

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return np.array(list(pool.map(size, files)), dtype=np.int64).reshape(-1, 2)


def coco_images(ids: Iterable[int], names: Iterable[str], sizes: np.ndarray) -> list[dict[str, Any]]:
    """Return the entries of `images`, given their (N, 2) widths and heights."""
    return [dict(id=i, file_name=name, height=int(h), width=int(w)) for i, name, (w, h) in zip(ids, names, sizes)]


def keypoint_boxes(
    points: np.ndarray, labelled: np.ndarray, sizes: np.ndarray, *, padding: float = BOX_PADDING
) -> tuple[np.ndarray, np.ndarray]:
    """Make boxes of people who have keypoints only.

    Args:
        points: (N, K, 2) in px.
        labelled: (N, K) bool; each person needs one.
        sizes: (N, 2) width and height of the image.
        padding: of the extent, on each side.

    Returns:
        (N, 4) xywh: the extent of the labelled keypoints, padded, cut at the centres of the border pixels; and (N,) areas,
        `AREA_PER_BOX` of it. In px and px^2.
    """
    seen = labelled[..., None]
    low = np.where(seen, points, np.inf).min(1)
    high = np.where(seen, points, -np.inf).max(1)
    margin = padding * (high - low)
    low, high = (np.clip(corner, 0, sizes - 1) for corner in (low - margin, high + margin))
    return np.concatenate([low, high - low], axis=1), AREA_PER_BOX * (high - low).prod(1)


def coco_category(name: str, meta: KeypointMeta) -> dict[str, Any]:
    """Return the one entry of `categories`; COCO's skeleton counts keypoints from 1."""
    skeleton = [[a + 1, b + 1] for a, b in meta.limbs]
    return dict(id=1, name=name, supercategory=name, keypoints=list(meta.keypoints), skeleton=skeleton)


def coco_annotations(
    image_ids: np.ndarray,
    points: np.ndarray,
    v: np.ndarray,
    bboxes_xywh: np.ndarray,
    areas: np.ndarray,
    *,
    ids: np.ndarray | None = None,
    extra: Sequence[Mapping[str, Any]] | None = None,
) -> list[dict[str, Any]]:
    """Return one annotation per person; numbers are rounded to hundredths.

    Args:
        image_ids: (N,).
        points: (N, K, 2) in px; what is not labelled is written as 0, 0.
        v: (N, K) visibility 0, 1 or 2.
        bboxes_xywh: (N, 4) in px.
        areas: (N,) in px^2.
        ids: (N,) of the annotations; None for those of the images, where each has one person.
        extra: N mappings of further keys.
    """
    ids = image_ids if ids is None else ids
    keypoints = np.concatenate([np.where(v[..., None] > 0, points, 0), v[..., None]], axis=-1).reshape(len(ids), -1)
    return [
        dict(
            id=int(ids[i]),
            image_id=int(image_ids[i]),
            category_id=1,
            iscrowd=0,
            bbox=bboxes_xywh[i].round(2).tolist(),
            area=round(float(areas[i]), 2),
            num_keypoints=int((v[i] > 0).sum()),
            keypoints=keypoints[i].round(2).tolist(),
        )
        | (dict(extra[i]) if extra else {})
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
