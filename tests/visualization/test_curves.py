"""Curves: reading of whole, torn and resumed logs, and what ends in which panel."""

import json
import math
import sys
import warnings
from pathlib import Path

import cv2
import pytest
from matplotlib.figure import Figure

from mmpose_lite.visualization import draw_curves, plot_run, read_log
from mmpose_lite.visualization.curves import _draw_panel, _panels, collect_series

TRAIN = [dict(epoch=1, iter=i, lr=1e-3, loss=1 / i, loss_aux=0.1, acc_pose=0.5, time=0.2, data_time=0.1) for i in (10, 20, 30)]
VAL = [dict(split='val', epoch=1, iter=30, **{'coco/AP': 0.25, 'EPE': 12.5, 'loss': 0.3})]


def write(path: Path, entries: list[dict], tail: str = '') -> Path:
    path.write_text(''.join(json.dumps(entry) + '\n' for entry in entries) + tail)
    return path


def test_curves_of_training_and_validation() -> None:
    train, val = collect_series(TRAIN + VAL)
    assert train['loss'] == ([10, 20, 30], [1 / 10, 1 / 20, 1 / 30])
    assert set(train) == {'lr', 'loss', 'loss_aux', 'acc_pose'}
    assert val == {'coco/AP': ([30], [0.25]), 'EPE': ([30], [12.5]), 'loss': ([30], [0.3])}
    panels = _panels(train, val)
    assert {name: set(curves) for name, curves in panels.items()} == {
        'losses': {'loss', 'loss_aux', 'val loss'},
        'learning rate': {'lr'},
        'validation metrics': {'coco/AP'},
        'validation metrics, other units': {'EPE'},
        'training': {'acc_pose'},
    }


def test_lines_of_mmengine_stand_at_the_last_iteration() -> None:
    """mmengine writes a validation line with `step` = epoch and no `iter`."""
    lines = [dict(lr=0.1, loss=1.0, epoch=1, iter=40, step=40), {'coco/AP': 0.5, 'time': 1.0, 'step': 1}]
    assert collect_series(lines)[1] == {'coco/AP': ([40], [0.5])}


def test_a_resumed_run_replaces_what_it_repeats() -> None:
    lines = [dict(iter=i, loss=1.0) for i in (10, 20, 30, 40)] + [dict(iter=i, loss=2.0) for i in (25, 35)]
    assert collect_series(lines)[0]['loss'] == ([10, 20, 25, 35], [1, 1, 2, 2])


def test_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    log = write(tmp_path / 'log.jsonl', TRAIN, '{"epoch": 2, "it')
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert read_log(log) == TRAIN


def test_a_broken_line_in_the_middle_is_left_out_with_a_warning(tmp_path: Path) -> None:
    log = write(tmp_path / 'log.jsonl', TRAIN[:1], '{"epoch": 1, "i' + json.dumps(TRAIN[1]) + '\n' + json.dumps(TRAIN[2]) + '\n')
    with pytest.warns(UserWarning, match='line 2: not a JSON object'):
        assert read_log(log) == [TRAIN[0], TRAIN[2]]


def test_a_missing_log_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r'no log at .*gone\.jsonl'):
        read_log(tmp_path / 'gone.jsonl')


@pytest.mark.parametrize(
    'entries',
    [[], TRAIN[:1], VAL, TRAIN + VAL, [dict(iter=1, loss=math.nan, lr=0.1)], [dict(iter=i, loss=10.0**-i) for i in range(9)]],
    ids=['empty', 'one line', 'only val', 'whole', 'nan', 'many decades'],
)
def test_any_log_gives_a_picture(tmp_path: Path, entries: list[dict]) -> None:
    out = plot_run(write(tmp_path / 'log.jsonl', entries), tmp_path / 'deep' / 'curves.png', title='a run')
    picture = cv2.imread(str(out))
    assert picture is not None
    assert picture.std() > 5
    assert [p.name for p in out.parent.iterdir()] == ['curves.png']


def test_a_metric_per_keypoint_does_not_bury_the_panel() -> None:
    axis = Figure().subplots()
    _draw_panel(axis, 'validation metrics', {f'PCK/keypoint_{k}': ([1.0, 2.0], [0.5, 0.6]) for k in range(133)})
    assert len(axis.lines) == 24
    assert axis.get_title(loc='left') == 'validation metrics (the first 24 of 133)'


def test_all_curves_of_a_panel_look_different() -> None:
    """matplotlib itself begins anew after ten; boxes and masks have 24 metrics."""
    for length in (1, 60):
        axis = Figure().subplots()
        points = [float(i) for i in range(length)]
        _draw_panel(axis, 'validation metrics', {f'metric {k}': (points, points) for k in range(24)})
        looks = {(line.get_color(), line.get_linestyle(), line.get_marker()) for line in axis.get_lines()}
        assert len(looks) == 24


def test_pyplot_is_not_touched(tmp_path: Path) -> None:
    before = 'matplotlib.pyplot' in sys.modules
    draw_curves(TRAIN, tmp_path / 'c.png')
    assert ('matplotlib.pyplot' in sys.modules) == before
