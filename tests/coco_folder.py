"""Small COCO-style folders with three keypoints, masks, and image files out of the ordinary."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as mask_api

from mmpose_lite.datasets.check import check_annotations
from mmpose_lite.datasets.check_report import CheckReport
from mmpose_lite.structures import KeypointMeta
from mmpose_lite.structures.coco_file import read_coco, read_results

META = dict(name='three', keypoints=['head', 'left_hand', 'right_hand'])
IMAGE_SIZE = (120, 90)  # (w, h)
ABSENT = object()  # as a value in `person`: leave the key out


def person(ann_id: int, image_id: int, /, **changes: Any) -> dict[str, Any]:
    """Return one annotation, 30 x 40 px; `changes` replace its values."""
    x, y = 10 + 7 * (ann_id % 8), 5 + 5 * (ann_id % 9)
    keypoints = [x + 15, y + 5, 2, x + 25, y + 20, 2, x + 5, y + 21, 1]
    ann = dict(id=ann_id, image_id=image_id, category_id=1, iscrowd=0, bbox=[x, y, 30, 40], area=900.0, num_keypoints=3)
    return {key: value for key, value in {**ann, 'keypoints': keypoints, **changes}.items() if value is not ABSENT}


def check_file(ann_file: Path, *, meta: KeypointMeta, img_dir: Path, det_file: Path | None = None, **options: Any) -> CheckReport:
    """Check an annotation file and its images, and a detector's boxes."""
    content, detections = read_coco(ann_file), None if det_file is None else read_results(det_file)
    return check_annotations(content, ann_file=ann_file, meta=meta, img_dir=img_dir, detections=detections, **options)


def write_coco(folder: Path, annotations: Sequence[Mapping[str, Any]], *, num_images: int = 4) -> Path:
    """Write images 1.png ... of noise and the annotation file; return its path."""
    (folder / 'images').mkdir(parents=True, exist_ok=True)
    w, h = IMAGE_SIZE
    for i in range(1, num_images + 1):
        pixels = np.random.default_rng(i).integers(0, 256, (h // 6, w // 6, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / 'images' / f'{i}.png'), cv2.resize(pixels, IMAGE_SIZE))
    content = dict(
        images=[dict(id=i, file_name=f'{i}.png', width=w, height=h) for i in range(1, num_images + 1)],
        annotations=list(annotations),
        categories=[dict(id=1, name='person', keypoints=META['keypoints'])],
    )
    (folder / 'people.json').write_text(json.dumps(content))
    return folder / 'people.json'


def uncompressed_rle(mask: np.ndarray) -> dict[str, Any]:
    """Return COCO's run lengths of an (h, w) mask, column by column: off, on, off, ..."""
    flat = np.concatenate([[0], mask.ravel(order='F') > 0, [2]])
    ends = np.flatnonzero(np.diff(flat))
    return dict(size=list(mask.shape), counts=np.diff(ends, prepend=0).tolist())


def compressed_rle(mask: np.ndarray) -> dict[str, Any]:
    """Return the same as text, as COCO's own tools write it."""
    rle = mask_api.encode(np.asfortranarray(mask, dtype=np.uint8))
    return dict(size=list(rle['size']), counts=rle['counts'].decode('ascii'))


def write_rotated(path: Path, orientation: int) -> None:
    """Give a JPEG file an EXIF orientation tag: APP1 with a TIFF directory of one entry."""
    data = path.read_bytes()
    entry = b'\x01\x12\x00\x03\x00\x00\x00\x01' + bytes([0, orientation, 0, 0])
    exif = b'Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x01' + entry + b'\x00\x00\x00\x00'
    path.write_bytes(data[:2] + b'\xff\xe1' + (len(exif) + 2).to_bytes(2, 'big') + exif + data[2:])
