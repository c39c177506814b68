"""COCO-style JSON files: reading them, and what every reader asks of their entries."""

import gc
import json
import math
from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.webp', '.tif', '.tiff')  # of the files that are taken for images


def read_coco(path: str | Path) -> dict[str, Any]:
    """Return `images`, `annotations` and `categories` of a COCO-style file, lists of dicts; see `checked_coco`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no JSON, or no COCO-style file; names file and entry.
    """
    return checked_coco(read_json(path, given_as='`ann_file` under `data_root`'), path)


def checked_coco(content: Any, path: str | Path) -> dict[str, Any]:
    """Return the content of a COCO-style file once its frame is right; `width` and `height` that are null are taken out of it.

    Args:
        content: of the file; `categories` may be absent.
        path: of the file, for messages.

    Raises:
        ValueError: a section is missing or no list of dicts, or an image lacks its `id` or `file_name`.
    """
    if not isinstance(content, dict):
        raise ValueError(
            f'{path}: a COCO-style file must hold a dict with `images` and `annotations`, got a {type(content).__name__}. '
            'Other formats are converted by tools/convert_dataset.py.'
        )
    content.setdefault('categories', [])
    for section in ('images', 'annotations', 'categories'):
        if section not in content:
            raise ValueError(f'{path}: the section `{section}` is missing, got {sorted(content)}.')
        check_entries(content[section], section, path)
    for number, image in enumerate(content['images']):
        if not isinstance(image.get('id'), int | float | str):
            raise ValueError(f'{path}: images[{number}]: it needs an `id`, got {image!r}.')
        if not isinstance(image.get('file_name'), str):
            raise ValueError(f'{path}: images[{number}]: `file_name` must be a text, got {image.get("file_name")!r}.')
        for key in ('width', 'height'):
            if image.get(key, 0) is None:
                del image[key]
    return content


def read_results(path: str | Path) -> list[dict[str, Any]]:
    """Return a detector's result file, a list of dicts.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no JSON, or no list of dicts.
    """
    return check_entries(read_json(path, given_as='`bbox_file` under `data_root`'), 'detections', path)


def read_json(path: str | Path, *, given_as: str) -> Any:
    """Return the content of a JSON file, with a byte order mark or without.

    Args:
        path: of the file.
        given_as: config key or argument that the path comes from, for messages.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no JSON.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f'the file {str(path)!r} ({given_as}) does not exist.')
    try:
        with resting_gc():
            return json.loads(Path(path).read_bytes())
    except json.JSONDecodeError as error:
        raise ValueError(f'{path}: no valid JSON at line {error.lineno}, column {error.colno}: {error.msg}.') from error
    except UnicodeDecodeError as error:
        raise ValueError(f'{path}: no valid JSON: byte {error.start} is not UTF-8 text.') from error


@contextmanager
def resting_gc() -> Iterator[None]:
    """Millions of new small objects make the garbage collector search in vain; without it a large file takes half the time."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def check_entries(entries: Any, section: str, path: str | Path) -> Any:
    """Return a section of a file once it is a list of dicts.

    Raises:
        ValueError: it is something else; names file and entry.
    """
    if not isinstance(entries, list):
        raise ValueError(f'{path}: `{section}` must be a list, got a {type(entries).__name__}.')
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise ValueError(f'{path}: `{section}[{number}]` must be a dict, got {entry!r}.')
    return entries


def images_by_id(content: Mapping[str, Any], path: str | Path) -> dict[Hashable, dict[str, Any]]:
    """Return image id -> image of a file that `read_coco` returned.

    Raises:
        ValueError: two images have one id, so that nobody knows whose the annotations are.
    """
    images: dict[Hashable, dict[str, Any]] = {}
    for image in content['images']:
        other = images.setdefault(image['id'], image)
        if other is not image:
            raise ValueError(
                f'{path}: the images {other["file_name"]!r} and {image["file_name"]!r} share the id {image["id"]!r}; give each '
                'its own, and their annotations with it.'
            )
    return images


def image_of(ann: Mapping[str, Any], images: Mapping[Hashable, dict[str, Any]], where: str) -> dict[str, Any]:
    """Return the image that an annotation belongs to.

    Args:
        ann: the annotation.
        images: image id -> image, as of `images_by_id`.
        where: file and annotation, for messages.

    Raises:
        ValueError: the file does not list it.
    """
    image_id = ann.get('image_id')
    if isinstance(image_id, Hashable) and image_id in images:
        return images[image_id]
    near = next((known for known in images if str(known) == str(image_id)), None)
    hint = '' if near is None else f'; it lists {near!r}: write both as numbers, or both as texts'
    raise ValueError(f'{where} belongs to image {image_id!r}, which the file does not list{hint}.')


def is_box(value: Any) -> bool:
    """Return whether a `bbox` is four finite numbers."""
    try:
        x, y, w, h = value
        return math.isfinite(x + y + w + h)  # of hundreds of thousands: no look at each number
    except (TypeError, ValueError):
        return False
