"""Small COCO-style folders of objects: coloured rectangles and ellipses whose masks are known."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tests.coco_folder import compressed_rle

META = dict(name='shapes', classes=['box', 'disc'])
IDS = {'box': 7, 'disc': 3}  # the category ids, in another order than the labels and with gaps
SIZES = ((60, 44), (44, 60), (50, 50), (64, 40))  # (w, h) of images 1, 2, ...
ABSENT = object()  # as a value in `shape`: leave the key out


def shape_mask(name: str, bbox: Sequence[float], size: tuple[int, int]) -> np.ndarray:
    """Return (h, w) uint8 of a shape that fills its box xywh in an image of (w, h)."""
    x, y, w, h = map(int, bbox)
    mask = np.zeros(size[::-1], np.uint8)
    if name == 'box':
        mask[y : y + h, x : x + w] = 1
    else:
        rows, columns = np.mgrid[: size[1], : size[0]] + 0.5
        mask[((columns - x - w / 2) / (w / 2)) ** 2 + ((rows - y - h / 2) / (h / 2)) ** 2 <= 1] = 1
    return mask


def shape(ann_id: int, image_id: int, name: str, bbox: Sequence[float], /, **changes: Any) -> dict[str, Any]:
    """Return one annotation; `changes` replace its values."""
    mask = shape_mask(name, bbox, SIZES[image_id - 1])
    ann = dict(id=ann_id, image_id=image_id, category_id=IDS[name], bbox=list(bbox), area=int(mask.sum()), iscrowd=0)
    ann |= dict(segmentation=compressed_rle(mask))
    return {key: value for key, value in {**ann, **changes}.items() if value is not ABSENT}


def shapes() -> list[dict[str, Any]]:
    """Return the annotations of a folder without defects; image 3 has none."""
    return [
        shape(1, 1, 'box', (5, 6, 20, 14)),
        shape(2, 1, 'disc', (30, 10, 24, 30)),
        shape(3, 2, 'disc', (8, 30, 18, 20)),
        shape(4, 4, 'box', (2, 3, 50, 30), iscrowd=1),
        shape(5, 4, 'box', (40, 5, 12, 12)),
    ]


def write_shapes(folder: Path, annotations: Sequence[Mapping[str, Any]] | None = None, **changes: Any) -> Path:
    """Write images 1.png ... and instances.json; `changes` replace its lists. Return the path of the file."""
    annotations = shapes() if annotations is None else annotations
    (folder / 'images').mkdir(parents=True, exist_ok=True)
    names = {number: name for name, number in IDS.items()}
    for i, size in enumerate(SIZES, start=1):
        pixels = np.random.default_rng(i).integers(0, 60, (*size[::-1], 3), dtype=np.uint8)
        for ann in annotations:
            bbox = ann.get('bbox') or ()
            if ann.get('image_id') == i and ann.get('category_id') in names and len(bbox) == 4 and np.isfinite(bbox).all():
                mask = shape_mask(names[ann['category_id']], bbox, size) > 0
                pixels[mask] = (40, 40, 220) if ann['category_id'] == IDS['box'] else (60, 200, 60)
        cv2.imwrite(str(folder / 'images' / f'{i}.png'), pixels)
    content = dict(
        images=[dict(id=i, file_name=f'{i}.png', width=w, height=h) for i, (w, h) in enumerate(SIZES, start=1)],
        annotations=list(annotations),
        categories=[dict(id=number, name=name) for name, number in IDS.items()],
    )
    (folder / 'instances.json').write_text(json.dumps({**content, **changes}))
    return folder / 'instances.json'
