"""Boxes that a detector or an annotator made, for pictures that are named by file name or by id."""

# Letters: N boxes of one image.
import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmpose_lite.structures.coco_file import checked_coco, image_of, images_by_id, read_json

_Row = tuple[float, float, float, float, float]


class BoxFile:
    """Boxes of images, found by file name or by image id; made by `read_boxes`.

    Args:
        path: of the file, for messages.
        by_name: file name as written in the file -> rows (x1, y1, x2, y2, score).
        by_id: image id -> such rows, for entries that name no file.
        category_id: of the boxes.
    """

    def __init__(
        self, path: Path, by_name: Mapping[str, Sequence[_Row]], by_id: Mapping[int, Sequence[_Row]], category_id: int
    ) -> None:
        self.path = path
        self.category_id = category_id
        self._by_name = by_name
        self._by_id = by_id
        self._names_of_base: dict[str, list[str]] = {}
        for name in by_name:
            self._names_of_base.setdefault(name.rsplit('/', 1)[-1], []).append(name)

    def __len__(self) -> int:
        return len(self._by_name) + len(self._by_id)

    def find(self, name: str) -> tuple[np.ndarray, np.ndarray] | None:
        """Return (N, 4) xyxy boxes and (N,) scores, both float32, of an image; None where the file does not know it.

        A `file_name` fits if it and `name` are the same path, or one is the end of the other ('val2017/785.jpg', '785.jpg').
        An `image_id` fits if `name` ends in that number, as COCO's file names do ('000000000785.jpg').

        Raises:
            ValueError: several file names fit.
        """
        base = name.rsplit('/', 1)[-1]
        fitting = [known for known in self._names_of_base.get(base, ()) if _is_end(known, name) or _is_end(name, known)]
        fitting = [name] if name in fitting else fitting
        if len(fitting) > 1:
            raise ValueError(f'{self.path}: the image {name} fits several `file_name`s: {", ".join(fitting)}.')
        number = base.rsplit('.', 1)[0].rsplit('_', 1)[-1]
        rows: Sequence[_Row] | None = None
        if fitting:
            rows = self._by_name[fitting[0]]
        elif number.isascii() and number.isdigit():
            rows = self._by_id.get(int(number))
        if rows is None:
            return None
        table = np.array(rows, dtype=np.float32).reshape(-1, 5)
        return table[:, :4], table[:, 4]


def _is_end(end: str, path: str) -> bool:
    return f'/{path}'.endswith(f'/{end}')


def read_boxes(path: str | Path, *, score_thr: float = 0.0, category_id: int | None = None) -> BoxFile:
    """Return the boxes of a JSON file: a detector's results, or a COCO annotation file (its boxes with score 1, no crowds).

    Boxes without a positive size are left out with a warning; so is a file all of whose boxes are of other categories.

    Args:
        path: a list of {`image_id` or `file_name`, `bbox` [x, y, w, h] px, `score`, `category_id`}, or a dict with `images` and
            `annotations`. An entry without `category_id` counts, one without `score` has the score 1.
        score_thr: boxes under it are left out.
        category_id: boxes of others are left out; None for the only category of an annotation file, else for 1, COCO's people.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not of this form; names the file and the entry.
    """
    path = Path(path)
    content = read_json(path, given_as='`boxes`')
    by_name: dict[str, list[_Row]] = {}
    by_id: dict[int, list[_Row]] = {}
    chosen = category_id
    if isinstance(content, dict) and {'images', 'annotations'} <= content.keys():
        content = checked_coco(content, path)
        categories = content.get('categories') or ()
        if chosen is None and len(categories) == 1:
            chosen = categories[0]['id']
        content = _entries_of_annotations(path, content, by_name)
    elif not isinstance(content, list):
        raise ValueError(
            f'read_boxes: {path} must hold a list of detections, or a dict with `images` and `annotations`, '
            f'got a {type(content).__name__}.'
        )
    chosen = 1 if chosen is None else chosen
    flat, num_used, others = 0, 0, set()
    for index, entry in enumerate(content):
        row = _checked_row(path, index, entry)
        rows = by_name.setdefault(entry['file_name'], []) if 'file_name' in entry else by_id.setdefault(entry['image_id'], [])
        if entry.get('category_id', chosen) != chosen:
            others.add(entry['category_id'])
            continue
        num_used += 1
        if row[2] <= row[0] or row[3] <= row[1]:
            flat += 1
        elif row[4] >= score_thr:
            rows.append(row)
    if others and not num_used:
        warnings.warn(
            f'{path}: none of its {len(content)} boxes has the `category_id` {chosen!r}; they have '
            f'{sorted(others, key=str)[:8]}.',
            stacklevel=2,
        )
    if flat:
        warnings.warn(f'{path}: {flat} of {len(content)} boxes have no positive size and are left out.', stacklevel=2)
    return BoxFile(path, by_name, by_id, chosen)


def _entries_of_annotations(path: Path, content: Mapping[str, Any], by_name: dict[str, list[_Row]]) -> list[dict[str, Any]]:
    """Return the annotations as entries of a detector; every image gets its place in `by_name`, people or not."""
    images = images_by_id(content, path)
    by_name |= {image['file_name']: [] for image in images.values()}
    return [
        {**annotation, 'file_name': image_of(annotation, images, f'{path}: annotations[{index}]')['file_name'], 'score': 1.0}
        for index, annotation in enumerate(content['annotations'])
        if not annotation.get('iscrowd')
    ]


def _checked_row(path: Path, index: int, entry: object) -> _Row:
    """Return (x1, y1, x2, y2, score) of one entry."""
    where = f'read_boxes: {path}, entry {index}'
    if not isinstance(entry, dict) or not (isinstance(entry.get('file_name'), str) or isinstance(entry.get('image_id'), int)):
        raise ValueError(f'{where}: must be a dict with a `file_name` or an integer `image_id`, got {entry!r}.')
    try:
        x, y, width, height, score = (float(v) for v in (*entry['bbox'], entry.get('score', 1.0)))
    except (KeyError, TypeError, ValueError):
        x = y = width = height = score = math.nan
    if not math.isfinite(x + y + width + height + score):
        raise ValueError(
            f'{where}: `bbox` must be [x, y, width, height] and `score` a number, all finite, '
            f'got {entry.get("bbox")!r} and {entry.get("score")!r}.'
        )
    return x, y, x + width, y + height, score
