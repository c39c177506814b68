"""Rendered Handpose Dataset: its pickles and images -> COCO-style files.

Source: Zimmermann and Brox, Learning to Estimate 3D Hand Pose from Single RGB Images, ICCV 2017, arXiv:1705.01389. Its README:
`anno_training.pickle` maps the number of an image to `uv_vis` (42, 3): u, v in px, and 1 where visible. Points 0 to 20 are the
left hand, 21 to 41 the right one: the wrist, then thumb, index, middle, ring and little finger, each from tip to palm, as in the
meta 'rhd21'.

A pickle can run any code when it is read, so these are read by an unpickler that knows plain values and arrays of numbers only.

Differs from mmpose's rhd_train.json: both hands of an image are kept (mmpose's has one); a point that is hidden, but inside the
image, has visibility 1, one outside has 0 (mmpose: all 1). Boxes are the same: the extent of the points and a tenth on each side.
"""

# Letters: N images, K = 21 keypoints.
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mmpose_lite.datasets.converters.coco_style import (
    check_images,
    check_new,
    coco_annotations,
    coco_category,
    coco_images,
    image_sizes,
    keypoint_boxes,
    write_coco,
)
from mmpose_lite.structures import KeypointMeta

NUM_JOINTS = 21
BOX_PADDING = 0.1  # of the extent, on each side: mmpose's boxes
FILES = {'training': 'rhd_train.json', 'evaluation': 'rhd_test.json'}


class _Dtype:
    """Stands in for numpy.dtype, whose own `__setstate__` trusts the file: numbers only."""

    def __init__(self, code: str, *flags: int) -> None:
        if not isinstance(code, str) or not re.fullmatch(r'b1|[iu][1248]|f[248]', code):
            raise pickle.UnpicklingError(f'it holds the dtype {code!r}')
        self.value = np.dtype(code)

    def __setstate__(self, state: tuple) -> None:
        self.value = self.value.newbyteorder('>' if state[1] == '>' else '<')


class _Array:
    """Stands in for numpy.ndarray."""

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, is_fortran, content = state
        content = content.encode('latin1') if isinstance(content, str) else content  # Python 2 wrote bytes as text
        self.value = np.frombuffer(content, dtype.value).reshape(shape, order='F' if is_fortran else 'C')


def _reconstruct(*args: Any) -> _Array:
    return _Array()  # its state follows


def _frombuffer(content: bytes, dtype: _Dtype, shape: tuple[int, ...], order: str) -> _Array:
    array = _Array()
    array.__setstate__((1, shape, dtype, order == 'F', content))
    return array


def _encode(text: str, encoding: str) -> bytes:
    """_codecs.encode, how Python 3 writes bytes in pickles of protocol 2."""
    return text.encode('latin1')


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        path = f'{module}.{name}'.replace('numpy._core', 'numpy.core')  # NumPy 2 and 1
        known = {
            'numpy.core.multiarray._reconstruct': _reconstruct,
            'numpy.core.numeric._frombuffer': _frombuffer,  # pickle protocol 5
            'numpy.ndarray': _Array,
            'numpy.dtype': _Dtype,
            '_codecs.encode': _encode,
        }
        if path not in known:
            raise pickle.UnpicklingError(f'it asks for {path}')
        return known[path]


def read_array_pickle(path: str | Path) -> Any:
    """Return what a pickle of dicts, lists, numbers, text and NumPy arrays of numbers holds; nothing a file names is imported.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no pickle, or holds anything else.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f'read_array_pickle: the file {str(path)!r} does not exist.')
    with open(path, 'rb') as file:
        try:
            return _unwrapped(_ArrayUnpickler(file, encoding='latin1').load())
        except Exception as error:  # a broken pickle raises whatever its bytes happen to mean
            raise ValueError(f'{path}: only pickles of plain values and arrays of numbers are read: {error}.') from error


def _unwrapped(value: Any) -> Any:
    if isinstance(value, _Array):
        return value.value
    if isinstance(value, dict):
        return {key: _unwrapped(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_unwrapped(item) for item in value]
    return value


def convert_rhd(root: str | Path, out: str | Path, *, overwrite: bool = False) -> list[Path]:
    """Write `rhd_train.json` of `training` and `rhd_test.json` of `evaluation`; file names start from `root`.

    A hand is kept if one of its points is visible and inside the image. Category 1 is 'hand'; `hand_type` says left or right.

    Args:
        root: the unpacked RHD_published_v2, with training/anno_training.pickle, training/color/00000.png, and the same for
            evaluation; one of the two folders is enough.
        out: folder for the files; made when absent.
        overwrite: replace files of these names in `out`.

    Returns:
        The files written.

    Raises:
        FileExistsError: `out` has such files already.
        FileNotFoundError: neither folder is there, or a file or image in it is missing.
        ValueError: a pickle does not hold what RHD's do, or an image is broken.
    """
    root = Path(root)
    splits = [split for split in FILES if (root / split).is_dir()]
    if not splits:
        raise FileNotFoundError(f'convert_rhd: `root` must have the folders training and evaluation, {str(root)!r} has neither.')
    check_new([Path(out) / FILES[split] for split in splits], overwrite=overwrite)
    return [_convert_split(root, split, Path(out) / FILES[split]) for split in splits]


def _convert_split(root: Path, split: str, out_file: Path) -> Path:
    annotations_file = root / split / f'anno_{split}.pickle'
    numbers, uv_vis = _points(read_array_pickle(annotations_file), annotations_file)
    names = [f'{number:05d}.png' for number in numbers]
    check_images('convert_rhd', root / split / 'color', names)
    sizes = image_sizes('convert_rhd', [root / split / 'color' / name for name in names])

    hands = uv_vis.reshape(-1, NUM_JOINTS, 3)  # left and right hand of the first image, then of the second ...
    image_ids, sizes_of_hands = np.repeat(numbers, 2), np.repeat(sizes, 2, axis=0)
    points = hands[..., :2].round(2)
    inside = ((points >= 0) & (points <= sizes_of_hands[:, None] - 1)).all(-1)
    v = np.where(inside, 1 + (hands[..., 2] > 0), 0)
    seen = np.flatnonzero((v == 2).any(1))
    bboxes, areas = keypoint_boxes(points[seen], v[seen] > 0, sizes_of_hands[seen], padding=BOX_PADDING)
    kept = areas > 0
    return write_coco(
        out_file,
        images=coco_images(numbers.tolist(), [f'{split}/color/{name}' for name in names], sizes),
        annotations=coco_annotations(
            image_ids[seen][kept],
            points[seen][kept],
            v[seen][kept],
            bboxes[kept],
            areas[kept],
            ids=np.arange(1, kept.sum() + 1),
            extra=[dict(hand_type=('left', 'right')[hand % 2]) for hand in seen[kept].tolist()],
        ),
        category=coco_category('hand', KeypointMeta.load('rhd21')),
        description=f'Rendered Handpose Dataset, {split}',
    )


def _points(content: Any, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers (N,) of the images and `uv_vis` (N, 42, 3)."""
    if not isinstance(content, dict) or not content:
        raise ValueError(f'{path}: must map the numbers of the images to annotations, got a {type(content).__name__}.')
    for number, entry in content.items():
        shape = np.shape(entry.get('uv_vis')) if isinstance(entry, Mapping) else None
        if not isinstance(number, int) or shape != (2 * NUM_JOINTS, 3):
            raise ValueError(f'{path}: entry {number!r} must be a number with `uv_vis` (42, 3), got {shape}.')
    numbers = np.array(sorted(content), np.int64)
    return numbers, np.array([content[number]['uv_vis'] for number in numbers.tolist()], np.float64)
