"""The log of a run as curves: losses, learning rate and validation metrics over the iterations, in one PNG."""

import json
import math
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmpose_lite.visualization.plots import new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Series = dict[str, tuple[list[float], list[float]]]

_COUNTERS = ('epoch', 'iter', 'step', 'time', 'data_time', 'memory', 'eta')  # progress and speed, not curves
_MAX_CURVES = 24  # of one panel: a metric per keypoint would bury the others


def plot_run(log: str | Path, out: str | Path, *, title: str = '') -> Path:
    """Draw the curves of a JSON-lines log into the PNG `out`; see `read_log` and `draw_curves`. Returns the path of the PNG."""
    return draw_curves(read_log(log), out, title=title)


def read_log(path: str | Path) -> list[dict[str, Any]]:
    """Return the lines of a JSON-lines log as dicts.

    A last line that is cut off (the run was killed, or is writing it now) is left out; any other line that is not a JSON
    object is left out with a warning.

    Raises:
        FileNotFoundError: there is no such file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'read_log: there is no log at {path}; a run writes it to its work dir.')
    lines = path.read_text(encoding='utf-8', errors='replace').split('\n')
    entries = []
    for number, line in enumerate(lines, start=1):
        try:
            entry = json.loads(line) if line.strip() else {}
        except ValueError:
            entry = None
        if isinstance(entry, dict):
            entries += [entry] if entry else []
        elif number < len(lines):
            warnings.warn(f'{path}, line {number}: not a JSON object, left out of the curves.', stacklevel=2)
    return entries


def collect_series(entries: Iterable[Mapping[str, Any]]) -> tuple[Series, Series]:
    """Return the curves of training and of validation: name -> (iterations, values).

    A line is of the validation if it says `split: 'val'`, or has neither `iter` nor `lr` (mmengine's own scalars.json). It
    stands at its `iter`, else at that of the last training line. Where a resumed run repeats iterations, its values replace
    the earlier ones from there on.
    """
    train: Series = {}
    val: Series = {}
    now = 0.0
    for entry in entries:
        is_val = entry['split'] != 'train' if 'split' in entry else not ('iter' in entry or 'lr' in entry)
        if 'iter' in entry or not is_val:
            now = float(entry.get('iter', entry.get('step', now)))
        for name, value in entry.items():
            if name in _COUNTERS or isinstance(value, bool) or not isinstance(value, int | float):
                continue
            iters, values = (val if is_val else train).setdefault(name, ([], []))
            while iters and iters[-1] >= now:
                iters.pop()
                values.pop()
            iters.append(now)
            values.append(float(value))
    return train, val


def draw_curves(entries: Iterable[Mapping[str, Any]], out: str | Path, *, title: str = '') -> Path:
    """Write one PNG with a panel each for losses, learning rate, other training scalars and validation metrics.

    Args:
        entries: the dicts of a log, in the order of writing: `epoch`, `iter`, `lr`, scalars, and `split: 'val'` on lines of
            metrics. Non-finite values leave a gap.
        out: the PNG; a reader sees either the previous one or the whole new one.
        title: above the panels.

    Returns:
        The path of the PNG. A log without any value gives a picture that says so.
    """
    train, val = collect_series(entries)
    panels = _panels(train, val)
    figure = new_figure(7.2 * min(2, len(panels)), 3.6 * math.ceil(len(panels) / 2))
    axes = figure.subplots(math.ceil(len(panels) / 2), min(2, len(panels)), squeeze=False).ravel()
    last = max((iters[-1] for iters, _ in (*train.values(), *val.values())), default=1.0)
    for axis, (name, curves) in zip(axes, panels.items()):
        _draw_panel(axis, name, curves)
        axis.set_xlim(0, 1.02 * max(last, 1.0))
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    if title:
        figure.suptitle(title)
    return save_figure(figure, out)


def _panels(train: Series, val: Series) -> dict[str, Series]:
    """Return panel title -> its curves, empty panels left out (but never all of them)."""
    val_losses = {f'val {name}': curve for name, curve in val.items() if 'loss' in name}
    metrics = {name: curve for name, curve in val.items() if 'loss' not in name}
    shares = {name: curve for name, curve in metrics.items() if all(-1 <= v <= 1 for v in curve[1] if math.isfinite(v))}
    rates = {name: curve for name, curve in train.items() if name.rsplit('/', 1)[-1] in ('lr', 'base_lr')}
    losses = {name: curve for name, curve in train.items() if 'loss' in name}
    panels = {
        'losses': losses | val_losses,
        'learning rate': {'lr': rates['lr']} if 'lr' in rates else rates,  # `base_lr` is the same for most schedules
        'validation metrics': shares,
        'validation metrics, other units': {name: curve for name, curve in metrics.items() if name not in shares},
        'training': {name: curve for name, curve in train.items() if name not in losses and name not in rates},
    }
    return {name: curves for name, curves in panels.items() if curves} or {'no values logged yet': {}}


def _draw_panel(axis: 'Axes', title: str, curves: Series) -> None:
    drawn = dict(list(curves.items())[:_MAX_CURVES])
    if len(drawn) < len(curves):
        title += f' (the first {len(drawn)} of {len(curves)})'
    for number, (name, (iters, values)) in enumerate(drawn.items()):
        stroke, marker = (('-', 'o'), (':', 's'), ('-.', '^'))[number // 10]  # matplotlib has ten colours
        style = '--' if name.startswith('val ') else stroke
        axis.plot(iters, values, style, label=name, linewidth=1.4, marker=marker if len(iters) < 40 else None, markersize=3)
    values = [v for _, ys in drawn.values() for v in ys if math.isfinite(v)]
    if 'loss' in title and values and min(values) > 0 and max(values) > 20 * min(values):
        axis.set_yscale('log')
    axis.set_title(title, fontsize=10, loc='left')
    axis.set_xlabel('iteration')
    axis.locator_params(axis='x', nbins=7, integer=True)
    axis.grid(alpha=0.3, which='both')
    if drawn:
        beside = dict(loc='upper left', bbox_to_anchor=(1.0, 1.02)) if len(drawn) > 4 else {}
        axis.legend(fontsize=7, ncols=1 + len(drawn) // 13, **beside)
