"""Sizes, (w, h) as everywhere."""

from collections.abc import Sequence


def checked_size(owner: str, name: str, size: Sequence[int]) -> tuple[int, int]:
    """Return an argument that is a size, as two integers.

    Args:
        owner: class that takes the argument, for messages.
        name: of the argument.
        size: (w, h).

    Raises:
        ValueError: it is no two positive numbers.
    """
    if len(size) != 2 or min(size) < 1:
        raise ValueError(f'{owner}: `{name}` must be (w, h) of positive numbers, got {tuple(size)}.')
    return int(size[0]), int(size[1])
