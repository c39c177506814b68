"""What the classes of a segmentation or of objects are: names and colours. The one source of their number."""

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmpose_lite.structures.class_tables import BUILTIN, hue_color
from mmpose_lite.structures.sides import swaps_by_name

Color = tuple[int, int, int]
IGNORE_INDEX = 255  # label of the pixels that belong to no class, in files as in memory
UNKNOWN_LABEL = 254  # marks, while a mask is read, pixels whose value is neither a class nor IGNORE_INDEX
MAX_CLASSES = 254  # labels are uint8, and two values are taken


@dataclass(frozen=True)
class ClassMeta:
    """Description of C classes; label k, of an object or of a pixel, is class k; 255 in a mask is no class.

    Classes of pixels have the background among them where there is one; classes of objects have none.

    Attributes:
        name: of the convention, e.g. 'cityscapes'.
        classes: C unique names; order is the order of labels and channels.
        palette: C RGB triples in 0..255, in which masks are drawn; coloured masks are read if all are different.
        swaps: C indices; entry k is the class that k becomes under a horizontal flip (left and right parts). An involution.
        category_ids: C different ids under which inference writes objects in COCO's form. Reading goes by names.
    """

    name: str
    classes: tuple[str, ...]
    palette: tuple[Color, ...]
    swaps: tuple[int, ...]
    category_ids: tuple[int, ...]

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    @property
    def flip_table(self) -> np.ndarray | None:
        """(256,) uint8 table from labels to those of the mirrored image; None where no class has a side."""
        if self.swaps == tuple(range(self.num_classes)):
            return None
        table = np.arange(256, dtype=np.uint8)
        table[: self.num_classes] = self.swaps
        return table

    def to_dict(self) -> dict[str, Any]:
        """Return the plain form that `from_dict` reads."""
        pairs = [[self.classes[i], self.classes[j]] for i, j in enumerate(self.swaps) if i < j]
        return dict(
            name=self.name,
            classes=list(self.classes),
            palette=[list(color) for color in self.palette],
            swaps=pairs,
            category_ids=list(self.category_ids),
        )

    @classmethod
    def from_dict(cls, spec: Mapping[str, Any]) -> 'ClassMeta':
        """Make a meta from plain values; only `classes` is required.

        Args:
            spec: `classes` (C names, or the number C), and optionally `name`; `palette` (C RGB triples); `swaps`
                (pairs of names; found from left and right, or l and r, in the names when absent); `category_ids` (C numbers;
                1 to C when absent).

        Raises:
            ValueError: a key is unknown, a name is double, a colour is out of range, or a list has the wrong length.
        """
        known = ('name', 'classes', 'palette', 'swaps', 'category_ids')
        unknown = [key for key in spec if key not in known]
        if unknown or 'classes' not in spec:
            raise ValueError(f'ClassMeta: needs `classes` and takes {known}, got the keys {list(spec)}.')
        names = spec['classes']
        names = tuple(f'class_{i}' for i in range(names)) if isinstance(names, int) else tuple(names)
        if isinstance(spec['classes'], str) or not all(isinstance(n, str) for n in names) or len(set(names)) < len(names):
            raise ValueError(f'ClassMeta: `classes` must be different names, got {names!r}.')
        if not 1 <= len(names) <= MAX_CLASSES:
            raise ValueError(f'ClassMeta: `classes` must be 1 to {MAX_CLASSES} names, got {len(names)}.')
        palette = default_palette(len(names)) if spec.get('palette') is None else _palette(spec['palette'], len(names))
        ids = tuple(range(1, len(names) + 1) if spec.get('category_ids') is None else spec['category_ids'])
        if len(set(ids)) != len(names) or len(ids) != len(names) or not all(isinstance(i, int) for i in ids):
            raise ValueError(f'ClassMeta: `category_ids` must be {len(names)} different integers, got {ids!r}.')
        return cls(str(spec.get('name', 'custom')), names, palette, _swaps(names, spec.get('swaps')), ids)

    @classmethod
    def load(cls, spec: 'ClassMeta | Mapping[str, Any] | str | Path') -> 'ClassMeta':
        """Return the meta of a built-in name ('cityscapes', ..., see `BUILTIN`), a .json file or a dict as in `from_dict`."""
        if isinstance(spec, ClassMeta):
            return spec
        if isinstance(spec, Mapping):
            return cls.from_dict(spec)
        if str(spec) in BUILTIN:
            return cls.from_dict({'name': str(spec), **BUILTIN[str(spec)]})
        path = Path(str(spec))
        if path.suffix == '.json':
            if not path.is_file():
                raise FileNotFoundError(f'ClassMeta: the file {str(path)!r} given as `meta` does not exist.')
            try:
                return cls.from_dict({'name': path.stem, **json.loads(path.read_bytes())})
            except (TypeError, ValueError) as error:
                raise ValueError(f'{path}: {error}') from error
        near = difflib.get_close_matches(str(spec), BUILTIN, n=1)
        hint = f' Did you mean {near[0]!r}?' if near else ''
        raise ValueError(f'ClassMeta: `meta` must be one of {sorted(BUILTIN)}, a .json file or a dict, got {str(spec)!r}.{hint}')


def default_palette(num_classes: int) -> tuple[Color, ...]:
    """Return black, then hues that are far apart from one another."""
    return ((0, 0, 0), *(hue_color(k) for k in range(num_classes - 1)))


def _palette(given: Sequence[Sequence[int]], num_classes: int) -> tuple[Color, ...]:
    palette = tuple((int(c[0]), int(c[1]), int(c[2])) for c in given)
    if len(palette) != num_classes:
        raise ValueError(f'ClassMeta: `palette` needs {num_classes} RGB triples, got {len(palette)}.')
    for color in palette:
        if min(color) < 0 or max(color) > 255:
            raise ValueError(f'ClassMeta: `palette` must hold RGB triples in 0..255, got {color}.')
    return palette


def _swaps(names: tuple[str, ...], pairs: Sequence[Sequence[str]] | None) -> tuple[int, ...]:
    if pairs is None:
        return swaps_by_name(names)
    swaps = list(range(len(names)))
    for pair in pairs:
        if len(pair) != 2 or not set(pair) <= set(names) or any(swaps[names.index(n)] != names.index(n) for n in pair):
            raise ValueError(f'ClassMeta: `swaps` must be pairs of classes, each class in one at most, got {list(pair)}.')
        a, b = (names.index(name) for name in pair)
        swaps[a], swaps[b] = b, a
    return tuple(swaps)
