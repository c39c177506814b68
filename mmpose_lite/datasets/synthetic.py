"""Synthetic people: a COCO-style folder of drawn figures with exact keypoints, visibility, boxes and masks.

What a figure looks like is in `synthetic_figure.py`; here are scenes, their annotations and the folder.
"""

import json
import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmengine.dist import barrier, is_main_process
from mmengine.logging import print_log
from PIL import Image
from pycocotools import mask as mask_api

from mmpose_lite.datasets.synthetic_figure import (
    PARTS,
    Canvas,
    Color,
    Figure,
    hull_of_discs,
    random_color,
    random_skin,
    shade,
)
from mmpose_lite.structures import ClassMeta, KeypointMeta

VERSION = 1  # raise it whenever the same arguments give other files
META = KeypointMeta.load('coco17')
PART_META = ClassMeta.load('person_parts')
SPLITS = ('train', 'val')
MAX_PEOPLE = 8
OBJECT_LABEL = 255  # of foreground objects; person p has the labels from 1 + p * len(PARTS)
_CLASS_OF_PART = dict(
    **dict.fromkeys(('head', 'hair', 'nose', 'neck', 'eye', 'ear'), 'head'),
    **dict.fromkeys(('torso', 'pelvis'), 'torso'),
    **dict.fromkeys(('forearm', 'hand'), 'lower_arm'),
    **dict.fromkeys(('shin', 'foot'), 'lower_leg'),
    upper_arm='upper_arm',
    thigh='upper_leg',
)
MIN_SEEN_SHARE = 0.2  # of a silhouette; below it the person keeps box and mask but no keypoints, as in COCO
JPEG_QUALITY = 92


def render_people(
    out_dir: str | Path,
    *,
    num_train: int,
    num_val: int,
    image_size: tuple[int, int] = (320, 256),
    seed: int = 0,
    max_people: int = 4,
    num_workers: int = 2,
    part_masks: bool = False,
) -> Path:
    """Write synthetic people as a COCO-style folder, or return the folder at once if it already holds the same ones.

    The folder has `images/{train,val}/*.jpg`, `annotations/person_keypoints_{train,val}.json` and `recipe.json`. Keypoints are
    'coco17' with COCO's flags: 2 visible, 1 hidden by another person, an object or the own body, 0 (and x = y = 0) outside the
    image. `segmentation` (RLE), `area` and `bbox` belong to the visible silhouette. A person of whom less than a fifth is seen
    has no keypoints. An image depends on (seed, split, its number, image_size, max_people) only: asking for more images later
    gives the same first ones, and `num_workers` changes nothing. The folder appears complete or not at all.

    With `part_masks` it has `parts/{train,val}/*.png` too: a palette PNG for each image, of the classes 'person_parts'.

    Args:
        out_dir: the folder to make; its parents are made too.
        num_train: images of the split 'train', >= 1.
        num_val: images of the split 'val', >= 1.
        image_size: (w, h), each at least 64 px; people are about 0.45 to 0.88 of the height tall.
        seed: >= 0.
        max_people: in one image, 1..8; every number from 1 on is equally likely to be tried.
        num_workers: processes that render; 0 renders in this one.
        part_masks: also write a mask of the parts of the bodies for each image.

    Returns:
        `out_dir`, a data root for a dataset that reads COCO keypoints.

    Raises:
        ValueError: an argument is out of range, or `out_dir` holds something else.
    """
    out_dir = Path(out_dir)
    _check_arguments(num_train, num_val, image_size, seed, max_people, num_workers)
    recipe = dict(
        version=VERSION,
        num_train=num_train,
        num_val=num_val,
        image_size=list(image_size),
        seed=seed,
        max_people=max_people,
    )
    if part_masks:
        recipe['part_masks'] = True
    if _holds(out_dir, recipe):
        return out_dir
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    print_log(f'Drawing {num_train + num_val} images of synthetic people into {out_dir}, once.', 'current')
    with tempfile.TemporaryDirectory(prefix=f'.{out_dir.name}-', dir=out_dir.parent) as parent:
        folder = Path(parent) / out_dir.name
        for split, num_images in zip(SPLITS, (num_train, num_val)):
            _write_split(folder, split, num_images, recipe, num_workers)
        (folder / 'recipe.json').write_text(json.dumps(recipe, indent=1))
        try:
            os.rename(folder, out_dir)
        except OSError:
            if not _holds(out_dir, recipe):  # another process may have finished the same folder meanwhile
                raise
    return out_dir


def render_together(owner: str, split: str, data_root: str | Path, **recipe: Any) -> None:
    """Call `render_people` in the main process, once; the others wait for it, whatever comes of it.

    Args:
        owner: class of the data set that asks, for messages.
        split: that it will read.
        data_root: see `render_people`.
        recipe: likewise.

    Raises:
        ValueError: there is no such split; in the main process also what `render_people` raises.
    """
    if split not in SPLITS:
        raise ValueError(f"{owner}: `split` must be 'train' or 'val', got {split!r}.")
    try:
        if is_main_process():
            render_people(data_root, **recipe)
    finally:
        barrier()


def _check_arguments(
    num_train: int, num_val: int, image_size: tuple[int, int], seed: int, max_people: int, num_workers: int
) -> None:
    limits = dict(num_train=(num_train, 1), num_val=(num_val, 1), seed=(seed, 0), num_workers=(num_workers, 0))
    for name, (value, lowest) in limits.items():
        if value < lowest:
            raise ValueError(f'render_people: `{name}` must be at least {lowest}, got {value}.')
    if len(image_size) != 2 or min(image_size) < 64:
        raise ValueError(f'render_people: `image_size` must be (w, h) of at least 64 px each, got {image_size}.')
    if not 1 <= max_people <= MAX_PEOPLE:
        raise ValueError(f'render_people: `max_people` must be 1 to {MAX_PEOPLE}, got {max_people}.')


def _holds(out_dir: Path, recipe: dict[str, Any]) -> bool:
    """Return whether the folder holds this recipe; False when it is absent or empty."""
    if not out_dir.exists() or (out_dir.is_dir() and not any(out_dir.iterdir())):
        return False
    try:
        found = json.loads((out_dir / 'recipe.json').read_text())
    except (OSError, ValueError) as error:
        raise ValueError(
            f'render_people: `out_dir` must be absent, empty or rendered before, but {out_dir} has no readable recipe.json; '
            'choose another folder, or remove this one.'
        ) from error
    keys = [key for key in {**recipe, **found} if recipe.get(key) != found.get(key)]
    if keys:
        differences = ', '.join(f'`{key}` is {found.get(key)} there and {recipe.get(key)} here' for key in keys)
        raise ValueError(
            f'render_people: `out_dir` {out_dir} holds other synthetic people: {differences}; '
            'choose another folder, use the same values, or remove this one to render it anew.'
        )
    return True


def _write_split(folder: Path, split: str, num_images: int, recipe: dict[str, Any], num_workers: int) -> None:
    images_dir, annotation_dir = folder / 'images' / split, folder / 'annotations'
    images_dir.mkdir(parents=True)
    annotation_dir.mkdir(exist_ok=True)
    w, h = recipe['image_size']
    parts_dir = folder / 'parts' / split if recipe.get('part_masks') else None
    if parts_dir is not None:
        parts_dir.mkdir(parents=True)
    render = partial(_write_image, images_dir, parts_dir, split, (w, h), recipe['seed'], recipe['max_people'])
    annotations: list[dict[str, Any]] = []
    for index, people in enumerate(_map(render, num_images, num_workers)):
        for person in people:
            annotations.append(dict(id=len(annotations) + 1, image_id=index + 1, category_id=1, iscrowd=0, **person))
    content = dict(
        info=dict(description=f'mmpose_lite synthetic people, {split}', version=str(VERSION)),
        images=[dict(id=i + 1, file_name=_file_name(i), width=w, height=h) for i in range(num_images)],
        annotations=annotations,
        categories=[
            dict(
                id=1,
                name='person',
                supercategory='person',
                keypoints=list(META.keypoints),
                skeleton=[[a + 1, b + 1] for a, b in META.limbs],  # COCO counts keypoints from 1
            )
        ],
    )
    (annotation_dir / f'person_keypoints_{split}.json').write_text(json.dumps(content))


def _map(render: partial, num_images: int, num_workers: int) -> Iterator[list[dict[str, Any]]]:
    if num_workers == 0:
        yield from map(render, range(num_images))
        return
    with ProcessPoolExecutor(num_workers, initializer=cv2.setNumThreads, initargs=(0,)) as executor:
        yield from executor.map(render, range(num_images), chunksize=16)


def _file_name(index: int) -> str:
    return f'{index + 1:06d}.jpg'


def _write_image(
    images_dir: Path,
    parts_dir: Path | None,
    split: str,
    image_size: tuple[int, int],
    seed: int,
    max_people: int,
    index: int,
) -> list[dict[str, Any]]:
    rng = np.random.default_rng((seed, SPLITS.index(split), index))
    image, people, labels = _render(rng, image_size=image_size, max_people=max_people)
    if parts_dir is not None:
        mask = Image.fromarray(_PART_CLASSES[labels])
        mask.putpalette(np.array(PART_META.palette, np.uint8).tobytes())
        mask.save(parts_dir / f'{Path(_file_name(index)).stem}.png')
    _, encoded = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    (images_dir / _file_name(index)).write_bytes(encoded.tobytes())
    return people


def render_scene(
    rng: np.random.Generator, *, image_size: tuple[int, int], max_people: int
) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Draw one image.

    Args:
        rng: the only source of randomness.
        image_size: (w, h), px.
        max_people: 1..8.

    Returns:
        The image (H, W, 3), uint8 BGR, and for each person of whom anything is seen a dict with COCO's `keypoints`,
        `num_keypoints`, `bbox` (xywh), `area` and `segmentation`.
    """
    return _render(rng, image_size=image_size, max_people=max_people)[:2]


def _render(
    rng: np.random.Generator, *, image_size: tuple[int, int], max_people: int
) -> tuple[np.ndarray, list[dict[str, Any]], np.ndarray]:
    """Return image and people as `render_scene`, and (H, W) uint8: what of whom every pixel shows."""
    canvas = Canvas(_background(rng, image_size))
    figures = _place_figures(rng, image_size, int(rng.integers(1, max_people + 1)))
    silhouettes = []
    for p, figure in enumerate(figures):
        figure.draw(canvas, _first_label(p))
        silhouettes.append(_count_pixels(canvas.labels, p))
    for _ in range(rng.choice([0, 1, 2], p=[0.5, 0.35, 0.15])):
        _draw_object(rng, canvas, figures[rng.integers(len(figures))])
    people = [_annotate(canvas.labels, p, figure, silhouettes[p]) for p, figure in enumerate(figures)]
    return _photograph(rng, canvas.image), [person for person in people if person is not None], canvas.labels


def _first_label(p: int) -> int:
    return 1 + p * len(PARTS)


def _part_classes() -> np.ndarray:
    """Return (256,) uint8: label of a pixel -> its class in `PART_META`; objects are background."""
    of_part = [PART_META.classes.index(_CLASS_OF_PART[part.removeprefix('left_').removeprefix('right_')]) for part in PARTS]
    table = np.zeros(256, np.uint8)
    table[1 : _first_label(MAX_PEOPLE)] = of_part * MAX_PEOPLE
    return table


_PART_CLASSES = _part_classes()


def _mask(labels: np.ndarray, p: int) -> np.ndarray:
    return (labels >= _first_label(p)) & (labels < _first_label(p + 1))


def _count_pixels(labels: np.ndarray, p: int) -> int:
    return int(np.count_nonzero(_mask(labels, p)))


def _annotate(labels: np.ndarray, p: int, figure: Figure, silhouette: int) -> dict[str, Any] | None:
    """Return COCO's fields of person p from the labels of the finished picture, or None when nothing of it is seen."""
    mask = mask_api.encode(np.asfortranarray(_mask(labels, p), dtype=np.uint8))
    area = int(mask_api.area(mask))
    if area == 0:
        return None
    keypoints = np.zeros((META.num_keypoints, 3))
    if area >= MIN_SEEN_SHARE * silhouette:
        h, w = labels.shape
        for k, name in enumerate(META.keypoints):
            x, y = figure.joints[name][:2].round(2)
            column, row = round(x), round(y)
            if 0 <= column < w and 0 <= row < h:
                part = int(labels[row, column]) - _first_label(p)
                seen = 0 <= part < len(PARTS) and figure.is_seen(name, PARTS[part])
                keypoints[k] = x, y, 2 if seen else 1
    return dict(
        keypoints=[float(v) if i % 3 < 2 else int(v) for i, v in enumerate(keypoints.ravel())],
        num_keypoints=int(np.count_nonzero(keypoints[:, 2])),
        bbox=mask_api.toBbox(mask).tolist(),
        area=area,
        segmentation=dict(size=[int(n) for n in mask['size']], counts=mask['counts'].decode('ascii')),
    )


def _place_figures(rng: np.random.Generator, image_size: tuple[int, int], num_people: int) -> list[Figure]:
    """Return up to `num_people` figures, far (small) ones first; a nearer one covers at most a quarter of the box of another."""
    size = np.array(image_size, dtype=float)
    placed: list[Figure] = []
    for height in np.sort(rng.uniform(0.45, 0.88, num_people)) * size[1]:
        figure = Figure.sample(rng)
        low, high = figure.extent()
        box = (high - low) * height
        inset = 0.2 if rng.random() < 0.1 else 0.5  # share of its box that the middle keeps from the edge of the image
        low_center, high_center = np.minimum(size / 2, inset * box), np.maximum(size / 2, size - inset * box)
        for _ in range(20):
            candidate = figure.placed(rng.uniform(low_center, high_center), height)
            if all(_covered_share(other, candidate) < 0.25 for other in placed):
                placed.append(candidate)
                break
    return placed


def _covered_share(behind: Figure, front: Figure) -> float:
    """Return which share of the box of `behind` lies in the box of `front`."""
    (low, high), (front_low, front_high) = behind.extent(), front.extent()
    overlap = np.clip(np.minimum(high, front_high) - np.maximum(low, front_low), 0, None)
    return float(overlap.prod() / (high - low).prod())


def _background(rng: np.random.Generator, image_size: tuple[int, int]) -> np.ndarray:
    """Return (H, W, 3) uint8: smooth colours, a texture, and clutter, some of it shaped and coloured like limbs."""
    w, h = image_size
    corners = np.array([[random_color(rng) for _ in range(2)] for _ in range(2)], np.float32)
    image = cv2.resize(corners, (w, h), interpolation=cv2.INTER_LINEAR)
    for cell, strength in ((48, 45), (12, 25), (3, 18)):
        coarse = rng.normal(0, rng.uniform(0, strength), (h // cell + 2, w // cell + 2, 1)).astype(np.float32)
        image += cv2.resize(coarse, (w, h), interpolation=cv2.INTER_CUBIC)[..., None]
    canvas = Canvas(image.clip(0, 255).astype(np.uint8))
    for _ in range(rng.integers(0, 10)):
        _draw_shape(rng, canvas, rng.random(2) * (w, h), float(rng.uniform(0.03, 0.3)) * h, _clutter_color(rng), None)
    return canvas.image


def _clutter_color(rng: np.random.Generator) -> Color:
    return random_skin(rng) if rng.random() < 0.25 else random_color(rng)


def _draw_shape(
    rng: np.random.Generator, canvas: Canvas, center: np.ndarray, reach: float, color: Color, label: int | None
) -> None:
    """Draw a box, a bar, a blob or a many-cornered piece of about `reach` px from its centre."""
    kind = rng.choice(['box', 'bar', 'blob', 'shard'])
    turn = rng.uniform(0, 2 * np.pi)
    if kind == 'box':
        turn = rng.normal(0, 0.1)
        corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * rng.uniform(0.4, 1, 2)
    elif kind == 'bar':
        corners = hull_of_discs(np.array([[-1.5, 0.0], [1.5, 0.0]]), rng.uniform(0.05, 0.25, 2))
    elif kind == 'blob':
        corners = hull_of_discs(rng.uniform(-0.5, 0.5, (3, 2)), rng.uniform(0.3, 0.6, 3))
    else:
        corners = hull_of_discs(rng.uniform(-1, 1, (5, 2)), np.full(5, 0.01))
    c, s = np.cos(turn), np.sin(turn)
    outline = center + reach * corners @ np.array([[c, s], [-s, c]])
    canvas.fill(outline, shade(color, 0.75), label)
    canvas.fill(center + (outline - center) * 0.88, color)


def _draw_object(rng: np.random.Generator, canvas: Canvas, figure: Figure) -> None:
    """Draw an object in front of some part of a figure."""
    low, high = figure.extent()
    center = low + rng.random(2) * (high - low)
    _draw_shape(rng, canvas, center, float(rng.uniform(0.05, 0.16)) * figure.height, _clutter_color(rng), OBJECT_LABEL)


def _photograph(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Return the picture as a camera would give it: contrast, brightness, softness and noise vary."""
    if rng.random() < 0.4:
        image = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.4, 0.9)))
    gain, offset = rng.uniform(0.75, 1.15), rng.uniform(-15, 25)
    noise = rng.standard_normal(image.shape, np.float32) * np.float32(rng.uniform(0, 7))
    return (image * np.float32(gain) + np.float32(offset) + noise).clip(0, 255).astype(np.uint8)
