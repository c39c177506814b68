"""Configs as text, for work dirs, logs and checkpoints."""

import keyword
import math
from collections.abc import Mapping
from typing import Any

from mmengine.config import Config

_WIDTH = 100
_INDENT = 4


class ReadableConfig(Config):
    """mmengine's config; its text keeps the order of the keys and a line for whatever fits on one.

    mmengine has yapf lay the text out, which takes 0.5 to 1.3 s for each start of a run and gives every size and stage a line
    per number.
    """

    @property
    def pretty_text(self) -> str:
        """The config as Python."""
        return ''.join(f'{key} = {_layout(value, 0, len(key) + 3)}\n' for key, value in self.to_dict().items())


def _layout(value: Any, indent: int, used: int) -> str:
    """Return a value as Python, its further lines indented, where `used` columns of its first line are taken."""
    flat = _flat(value)
    if not value or not isinstance(value, Mapping | list | tuple) or indent + used + len(flat) < _WIDTH:
        return flat
    inner = indent + _INDENT
    start, parts, end = _parts(value)
    lines = [f'{" " * inner}{head}{_layout(part, inner, len(head))},\n' for head, part in parts]
    return f'{start}\n{"".join(lines)}{" " * indent}{end}'


def _flat(value: Any) -> str:
    """Return a value as one line of Python."""
    if isinstance(value, float) and not math.isfinite(value):
        return f"float('{value}')"
    if not isinstance(value, Mapping | list | tuple):
        return repr(value)
    start, parts, end = _parts(value)
    comma = ',' if isinstance(value, tuple) and len(value) == 1 else ''
    return f'{start}{", ".join(head + _flat(part) for head, part in parts)}{comma}{end}'


def _parts(value: Mapping | list | tuple) -> tuple[str, list[tuple[str, Any]], str]:
    """Return how a container begins, its parts, each with what stands before it, and how it ends."""
    if isinstance(value, list):
        return '[', [('', part) for part in value], ']'
    if isinstance(value, tuple):
        return '(', [('', part) for part in value], ')'
    if all(isinstance(key, str) and key.isidentifier() and not keyword.iskeyword(key) for key in value):
        return 'dict(', [(f'{key}=', part) for key, part in value.items()], ')'
    return '{', [(f'{key!r}: ', part) for key, part in value.items()], '}'
