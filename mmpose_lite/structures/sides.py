"""Left and right in the names of keypoints and classes."""

import re

_OTHER = {'left': 'right', 'right': 'left', 'l': 'r', 'r': 'l'}
_WORDS = re.compile('left|right', re.IGNORECASE)
# A letter counts where it stands alone ('l_eye', 'eye.R'), or before or behind a word as 'LShoulder' and 'earR' have it.
_LETTERS = re.compile(r'(?<![^\W_])[lrLR](?![^\W_])|^[lrLR](?=[A-Z][a-z])|(?<=[a-z])[LR]$')


def _sides(name: str) -> list[re.Match]:
    return list(_WORDS.finditer(name)) or list(_LETTERS.finditer(name))


def side_of(name: str) -> str:
    """Return 'left', 'right', or '' for a name without a side, or with both."""
    sides = {found.group()[0].lower() for found in _sides(name)}
    return {'l': 'left', 'r': 'right'}[sides.pop()] if len(sides) == 1 else ''


def mirrored_name(name: str) -> str:
    """Return the name with left and right exchanged: left_eye, Left Eye, LEFT_EYE, l_eye, eye.L, LEye; others as they are."""
    for found in reversed(_sides(name)):
        side = found.group()
        other = _OTHER[side.lower()]
        other = other.upper() if side.isupper() else other.capitalize() if side[0].isupper() else other
        name = name[: found.start()] + other + name[found.end() :]
    return name


def swaps_by_name(names: tuple[str, ...]) -> tuple[int, ...]:
    """Return for each name the index of its mirrored name; its own where that is not among the names."""
    swaps = list(range(len(names)))
    for i, name in enumerate(names):
        other = mirrored_name(name)
        if other in names and mirrored_name(other) == name:
            swaps[i] = names.index(other)
    return tuple(swaps)
