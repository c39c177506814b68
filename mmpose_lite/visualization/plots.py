"""Figures of matplotlib, without its state of the whole process."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def new_figure(width: float, height: float) -> 'Figure':
    """Return an empty figure of this size in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=110, layout='constrained')


def save_figure(figure: 'Figure', path: str | Path) -> Path:
    """Write a figure into a PNG, whose folder is made; a reader sees either the previous one or the whole new one."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f'.{path.name}.{os.getpid()}.part')
    try:
        figure.savefig(partial, format='png')
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path
