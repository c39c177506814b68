"""What a set of keypoints is: names, mirror pairs, limbs, OKS sigmas, colours. The one source of every count.

The pixel rule, for the whole project: x = 0 is the centre of the leftmost pixel, as in mmpose. A horizontal flip of an image
`w` px wide maps x to w - 1 - x. COCO's annotations are used as they stand, without adding half a pixel (detectron2 adds it).
Boxes have edges, not pixels, but flip by the same w - 1 - x so that they stay on their keypoints.
"""

import colorsys
import difflib
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mmpose_lite.structures.keypoint_tables import BUILTIN
from mmpose_lite.structures.sides import mirrored_name, side_of, swaps_by_name

Color = tuple[int, int, int]

_LOWER_BODY = ('hip', 'pelvis', 'thigh', 'knee', 'shin', 'ankle', 'foot', 'heel', 'toe')
DEFAULT_SIGMA = 0.079  # mean of COCO's 17 is 0.063; 0.079 is COCO's shoulder, a joint of middling precision


@dataclass(frozen=True)
class KeypointMeta:
    """Description of K keypoints.

    Attributes:
        name: of the convention, e.g. 'coco17'.
        keypoints: K unique names; order is the order of channels.
        swaps: K indices; entry i is the keypoint that i becomes under a horizontal flip. An involution.
        limbs: L pairs of indices, drawn as bones; PAF fields follow the same order.
        sigmas: K per-keypoint constants of the OKS, as COCO defines them (object scale = sqrt(area)).
        colors: K RGB triples in 0..255.
        limb_colors: L RGB triples in 0..255.
        lower_body: indices of the keypoints below the waist, for cutting people in half.
        derived: keypoint name -> the names it is the mean of, for making it from annotations that lack it (`KeypointConverter`).
    """

    name: str
    keypoints: tuple[str, ...]
    swaps: tuple[int, ...]
    limbs: tuple[tuple[int, int], ...]
    sigmas: tuple[float, ...]
    colors: tuple[Color, ...]
    limb_colors: tuple[Color, ...]
    lower_body: tuple[int, ...]
    derived: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)

    @property
    def num_keypoints(self) -> int:
        return len(self.keypoints)

    @property
    def num_limbs(self) -> int:
        return len(self.limbs)

    @property
    def flip_indices(self) -> np.ndarray:
        """`swaps` as an index array: `flipped[:, k] = maps[:, flip_indices[k]]`."""
        return np.array(self.swaps, dtype=np.int64)

    def to_dict(self) -> dict[str, Any]:
        """Return the plain form that `from_dict` reads: keypoints and limbs by name."""
        return dict(
            name=self.name,
            keypoints=list(self.keypoints),
            swaps=[[self.keypoints[i], self.keypoints[j]] for i, j in enumerate(self.swaps) if i < j],
            limbs=[[self.keypoints[a], self.keypoints[b]] for a, b in self.limbs],
            sigmas=list(self.sigmas),
            colors=[list(color) for color in self.colors],
            limb_colors=[list(color) for color in self.limb_colors],
            lower_body=[self.keypoints[i] for i in self.lower_body],
            derived={name: list(parts) for name, parts in self.derived.items()},
        )

    @classmethod
    def from_dict(cls, spec: Mapping[str, Any]) -> 'KeypointMeta':
        """Make a meta from plain values; only `keypoints` is required.

        Args:
            spec: `keypoints` (K names, or the number K), and optionally `name`; `swaps` (pairs of names or indices; found from
                left and right, or l and r, in the names when absent); `limbs` (pairs of names or indices); `sigmas` (K numbers or
                one for all);
                `colors` and `limb_colors` (RGB triples); `lower_body` (names or indices; found from the names when absent);
                `derived` (a keypoint -> names of this or another convention whose mean it is).

        Raises:
            ValueError: a name is unknown or double, swaps are no involution, a list has the wrong length.
        """
        known = ('name', 'keypoints', 'swaps', 'limbs', 'sigmas', 'colors', 'limb_colors', 'lower_body', 'derived')
        unknown = [key for key in spec if key not in known]
        if unknown:
            raise ValueError(f'KeypointMeta: unknown keys {unknown}; known keys are {list(known)}.')
        if 'keypoints' not in spec:
            raise ValueError('KeypointMeta: `keypoints` is missing: a list of K names, or the number K.')
        names = spec['keypoints']
        names = tuple(f'keypoint_{i}' for i in range(names)) if isinstance(names, int) else tuple(names)
        if not names or isinstance(spec['keypoints'], str) or not all(isinstance(n, str) for n in names):
            raise ValueError(f'KeypointMeta: `keypoints` must be one or more names, got {names!r}.')
        double = sorted({n for n in names if names.count(n) > 1})
        if double:
            raise ValueError(f'KeypointMeta: `keypoints` must be unique, got {double} more than once.')
        limbs = tuple(_pair(names, pair, 'limbs') for pair in spec.get('limbs', ()))
        sigmas = spec.get('sigmas', DEFAULT_SIGMA)
        sigmas = (float(sigmas),) * len(names) if isinstance(sigmas, int | float) else tuple(float(s) for s in sigmas)
        if len(sigmas) != len(names) or min(sigmas) <= 0:
            raise ValueError(f'KeypointMeta: `sigmas` must be one positive number or {len(names)}, got {sigmas}.')
        swaps = _swaps(names, spec['swaps']) if spec.get('swaps') is not None else _found_swaps(names)
        colors = _colors(spec.get('colors'), _side_colors(names), 'colors')
        limb_colors = _colors(
            spec.get('limb_colors'),
            _limb_colors(names, limbs, colors),
            'limb_colors',
        )
        lower = spec.get('lower_body', [n for n in names if any(part in n.lower() for part in _LOWER_BODY)])
        lower_body = tuple(_index(names, k, 'lower_body') for k in lower)
        derived = _derived(names, spec.get('derived', {}))
        return cls(str(spec.get('name', 'custom')), names, swaps, limbs, sigmas, colors, limb_colors, lower_body, derived)

    @classmethod
    def load(cls, spec: 'KeypointMeta | Mapping[str, Any] | str | Path') -> 'KeypointMeta':
        """Return the meta of a built-in name ('coco17', ..., see `BUILTIN`), a .json file or a dict as in `from_dict`."""
        if isinstance(spec, KeypointMeta):
            return spec
        if isinstance(spec, Mapping):
            return cls.from_dict(spec)
        if str(spec) in BUILTIN:
            return cls.from_dict({'name': str(spec), **BUILTIN[str(spec)]})
        path = Path(str(spec))
        if path.suffix == '.json':
            if not path.is_file():
                raise FileNotFoundError(f'KeypointMeta: the file {str(path)!r} given as `meta` does not exist.')
            try:
                content = json.loads(path.read_bytes())
                if isinstance(content, Mapping) and 'annotations' in content:
                    raise ValueError(f'KeypointMeta: this is a file of annotations. {_suggested(content)}')
                return cls.from_dict({'name': path.stem, **content})
            except (TypeError, ValueError) as error:
                raise ValueError(f'{path}: {error}') from error
        near = difflib.get_close_matches(str(spec), BUILTIN, n=1)
        hint = f' Did you mean {near[0]!r}?' if near else ''
        raise ValueError(
            f'KeypointMeta: `meta` must be one of {sorted(BUILTIN)}, a .json file or a dict, got {str(spec)!r}.{hint}'
        )


def _suggested(content: Mapping[str, Any]) -> str:
    """Return what a meta of a COCO-style file would be; its skeleton counts keypoints from 1."""
    for category in content.get('categories') or ():
        names, skeleton = category.get('keypoints'), category.get('skeleton') or ()
        if names and all(1 <= end <= len(names) for limb in skeleton for end in limb):
            limbs = [[names[end - 1] for end in limb] for limb in skeleton]
            return f'Write a file of your own for `meta`: {json.dumps(dict(keypoints=names, limbs=limbs), ensure_ascii=False)}'
    return 'Write a file of your own for `meta`, with the names of the `keypoints`, which its categories do not tell.'


def _index(names: tuple[str, ...], value: str | int, what: str) -> int:
    if isinstance(value, str) and value in names:
        return names.index(value)
    if isinstance(value, int) and 0 <= value < len(names):
        return value
    near = difflib.get_close_matches(str(value), names, n=1)
    hint = f' Did you mean {near[0]!r}?' if near else ''
    raise ValueError(f'KeypointMeta: `{what}` names the keypoint {value!r}, which is not one of the {len(names)}.{hint}')


def _pair(names: tuple[str, ...], pair: Sequence[str | int], what: str) -> tuple[int, int]:
    if isinstance(pair, str) or len(pair) != 2:
        raise ValueError(f'KeypointMeta: `{what}` must be pairs of keypoints, got {pair!r}.')
    return _index(names, pair[0], what), _index(names, pair[1], what)


def _derived(names: tuple[str, ...], given: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    for name, parts in given.items():
        _index(names, name, 'derived')
        if isinstance(parts, str) or not parts or not all(isinstance(part, str) for part in parts) or name in parts:
            raise ValueError(
                f'KeypointMeta: `derived` must give the names of other keypoints whose mean {name!r} is, got {parts!r}.'
            )
    return {name: tuple(parts) for name, parts in given.items()}


def _swaps(names: tuple[str, ...], pairs: Sequence[Sequence[str | int]]) -> tuple[int, ...]:
    swaps = list(range(len(names)))
    for pair in pairs:
        a, b = _pair(names, pair, 'swaps')
        for here, there in ((a, b), (b, a)):
            if swaps[here] not in (here, there):
                raise ValueError(
                    f'KeypointMeta: `swaps` must be an involution, but {names[here]!r} is paired with both '
                    f'{names[swaps[here]]!r} and {names[there]!r}.'
                )
        swaps[a], swaps[b] = b, a
    return tuple(swaps)


def _found_swaps(names: tuple[str, ...]) -> tuple[int, ...]:
    """Return the swaps that the names tell; warn of those with a side whose other side is missing."""
    swaps = swaps_by_name(names)
    lonely = [name for i, name in enumerate(names) if swaps[i] == i and side_of(name)]
    if lonely:
        warnings.warn(
            f'KeypointMeta: {lonely[0]!r} has no {mirrored_name(lonely[0])!r} to change places with when an image is mirrored'
            f'{f", and so {len(lonely) - 1} more" if len(lonely) > 1 else ""}; correct the name, or give `swaps` ([] for none).',
            stacklevel=3,
        )
    return swaps


def _colors(given: Sequence[Sequence[int]] | None, default: tuple[Color, ...], what: str) -> tuple[Color, ...]:
    if given is None:
        return default
    colors = tuple((int(c[0]), int(c[1]), int(c[2])) for c in given)
    if len(colors) != len(default):
        raise ValueError(f'KeypointMeta: `{what}` needs {len(default)} RGB triples, got {len(colors)}.')
    return colors


_MIDDLE: Color = (51, 153, 255)


def _side_colors(names: tuple[str, ...]) -> tuple[Color, ...]:
    """Left green, right orange, middle blue; without sides, hues around the circle (fingers stay apart)."""
    sided = any(side_of(n) for n in names)

    def color(i: int, name: str) -> Color:
        if sided:
            return {'left': (0, 255, 0), 'right': (255, 128, 0), '': _MIDDLE}[side_of(name)]
        r, g, b = colorsys.hsv_to_rgb(i / len(names), 0.9, 1.0)
        return (round(255 * r), round(255 * g), round(255 * b))

    return tuple(color(i, n) for i, n in enumerate(names))


def _limb_colors(names: tuple[str, ...], limbs: tuple[tuple[int, int], ...], colors: tuple[Color, ...]) -> tuple[Color, ...]:
    """The colour of a limb's second keypoint; between left and right, that of the middle."""
    return tuple(_MIDDLE if {side_of(names[a]), side_of(names[b])} == {'left', 'right'} else colors[b] for a, b in limbs)
