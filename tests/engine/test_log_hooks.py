"""What a run shows and leaves: log lines and files, the bar on a terminal, metrics, curves, pictures."""

import csv
import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from mmengine.structures import InstanceData

from mmpose_lite.engine.hooks import DrawPredictionsHook, LogHook
from mmpose_lite.engine.hooks.log import _append
from mmpose_lite.structures import KeypointMeta, PoseDataSample
from mmpose_lite.visualization.curves import read_log
from tests import tiny
from tests.conftest import REPO
from tests.tiny import options, rows, write_config

PICTURES = """
val_evaluator = [dict(type='PCKAccuracy', thr=0.3), dict(type='EPE')]
default_hooks.update(
    draw=dict(type='DrawPredictionsHook', num_images=2),
    summary=dict(type='SummaryHook'),
    checkpoint=dict(save_best='epe/EPE', rule='less'))
"""


def on_a_terminal(tool: str, *args: object) -> tuple[int, str]:
    """Call `tools/{tool}.py` on a pseudo-terminal of 120 x 40; return its exit code and what appeared."""
    pty = pytest.importorskip('pty', reason='needs pseudo-terminals')
    ours, theirs = pty.openpty()
    env = {**os.environ, 'TERM': 'xterm-256color', 'COLUMNS': '120', 'LINES': '40', 'OMP_NUM_THREADS': '1'}
    command = [sys.executable, str(REPO / 'tools' / f'{tool}.py'), *map(str, args)]
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=REPO, env=env)
    os.close(theirs)
    shown: list[bytes] = []

    def read() -> None:
        while True:
            try:
                block = os.read(ours, 65536)
            except OSError:  # how Linux says that the other side is closed
                return
            if not block:
                return
            shown.append(block)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    code = process.wait(timeout=400)
    reader.join(timeout=10)
    os.close(ours)
    return code, b''.join(shown).decode()


@pytest.fixture(scope='module')
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_config(tmp_path_factory.mktemp('hooks'), PICTURES)


@pytest.fixture(scope='module')
def run(config: Path) -> tuple[Path, str]:
    """Return the work dir of a run on a terminal, and what the terminal showed."""
    work_dir = config.parent / 'run'
    code, shown = on_a_terminal('train', config, '--device', 'cpu', '--work-dir', work_dir)
    assert code == 0, shown
    return work_dir, shown


# ----------------------------------------------------------------------------------------------------------- the bar
def test_the_bar(run: tuple[Path, str]) -> None:
    """It counts iterations, tells the time left, and stands below whole log lines."""
    shown = re.sub(r'\x1b\[[0-9;?]*[a-zA-Z]', '', run[1])
    assert re.search(r'train +.* +6/6 +\d:\d\d:\d\d +left +\d:\d\d:\d\d', shown)
    assert re.search(r'Epoch\(train\) \[2\]\[3/3\] .*loss: 0\.\d+', shown)
    assert shown.count('Epoch(train) [2][3/3]') == 1


def test_the_last_line_says_what_there_is_to_look_at(run: tuple[Path, str]) -> None:
    names = ('metrics.json', 'curves.png', 'predictions/', 'log.jsonl', 'log.csv')
    assert f'The run is in {run[0]}: {", ".join(names)}.' in run[1]
    assert all((run[0] / name).exists() for name in names)


def test_the_terminal_is_left_clean(run: tuple[Path, str]) -> None:
    """As often as the cursor is hidden it is shown again."""
    assert run[1].count('\x1b[?25l') == run[1].count('\x1b[?25h') >= 1


def test_the_terminal_is_left_clean_by_a_run_that_fails(config: Path, tmp_path: Path) -> None:
    hooks = [dict(type='EndingHook', before=3, how='raise')]
    arguments = ('--device', 'cpu', '--work-dir', tmp_path, *options({'custom_hooks': hooks}))
    code, shown = on_a_terminal('train', config, *arguments)
    assert code == 1
    assert shown.count('\x1b[?25l') == shown.count('\x1b[?25h') >= 1
    assert shown.rindex('\x1b[?25h') < shown.rindex('process 0 has had enough')  # Python 3.13 colours the rest


def test_there_is_no_bar_in_a_file(config: Path, tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    assert tiny.train(config, tmp_path, default_hooks__logger__interval=2) == 0
    shown = ''.join(capfd.readouterr())
    assert '\x1b' not in shown
    assert 'eta: ' in shown
    assert [row['iter'] for row in rows(tmp_path)] == [2, 3, 5, 6]  # every second of an epoch, and its last


# ------------------------------------------------------------------------------------------------------------- files
def test_log_files(run: tuple[Path, str]) -> None:
    """The same rows in both forms."""
    lines = read_log(run[0] / 'log.jsonl')
    assert [(line['split'], line['epoch'], line['iter']) for line in lines] == [
        *[('train', 1, i) for i in (1, 2, 3)],
        ('val', 1, 3),
        *[('train', 2, i) for i in (4, 5, 6)],
        ('val', 2, 6),
    ]
    assert {'loss', 'loss_kpt', 'lr', 'grad_norm', 'time', 'data_time'} <= set(lines[0])
    assert {'pck/PCK@0.3', 'epe/EPE'} <= set(lines[3])
    with (run[0] / 'log.csv').open(newline='') as file:
        table = list(csv.DictReader(file))
    assert len(table) == len(lines)
    for line, row in zip(lines, table):
        assert {key: type(line[key])(value) for key, value in row.items() if value != ''} == line


def test_metrics_file(run: tuple[Path, str]) -> None:
    content = json.loads((run[0] / 'metrics.json').read_text())
    scores = [row['epe/EPE'] for row in rows(run[0], 'val')]
    assert (content['split'], content['epoch'], content['iter']) == ('val', 2, 6)
    assert content['metrics']['epe/EPE'] == scores[1]
    assert content['best']['best_score'] == min(scores)
    assert Path(content['best']['best_ckpt']).is_file()
    assert content['best']['best_ckpt'].endswith(f'best_epe_EPE_epoch_{scores.index(min(scores)) + 1}.pth')


def test_pictures(run: tuple[Path, str]) -> None:
    """Curves, and the first images of the split, each beside its truth."""
    curves = cv2.imread(str(run[0] / 'curves.png'))
    assert min(curves.shape[:2]) > 100
    pictures = sorted((run[0] / 'predictions').iterdir())
    assert len(pictures) == 2
    assert all(re.fullmatch(r'val_\d{3}_\d+\.jpg', path.name) for path in pictures)
    height, width = cv2.imread(str(pictures[0])).shape[:2]
    assert width >= 2 * 96  # two images of 96 x 64, and their titles
    assert height >= 64


def test_images_of_one_name_in_two_folders_have_a_picture_each(tmp_path: Path) -> None:
    hook = DrawPredictionsHook()
    for folder in ('a', 'b'):
        (tmp_path / folder).mkdir()
        cv2.imwrite(str(tmp_path / folder / '1.png'), np.zeros((40, 60, 3), np.uint8))
        person = PoseDataSample(metainfo=dict(img_path=str(tmp_path / folder / '1.png')))
        boxes = np.array([[5, 5, 30, 30]], np.float32)
        person.pred_instances = InstanceData(keypoints=np.zeros((1, 14, 2)), keypoint_scores=np.ones((1, 14)), bboxes=boxes)
        person.gt_instances = InstanceData()
        hook.after_val_iter(None, 0, outputs=[person])
    dataset = SimpleNamespace(metainfo=dict(keypoint_meta=KeypointMeta.load('lsp14')))
    hook.after_val_epoch(SimpleNamespace(work_dir=tmp_path, val_dataloader=SimpleNamespace(dataset=dataset)))
    assert sorted(path.name for path in (tmp_path / 'predictions').iterdir()) == ['val_000_1.jpg', 'val_001_1.jpg']


def test_new_columns_reach_the_whole_table(tmp_path: Path) -> None:
    log, table = tmp_path / 'log.jsonl', tmp_path / 'log.csv'
    _append(log, table, dict(iter=1, loss=0.5))
    _append(log, table, dict(iter=1, metric=float('nan')))
    _append(log, table, dict(loss=0.25, iter=2))
    assert table.read_text().splitlines() == ['iter,loss,metric', '1,0.5,', '1,,nan', '2,0.25,']
    assert [json.loads(line) for line in log.read_text().splitlines()] == [
        dict(iter=1, loss=0.5),
        dict(iter=1, metric=None),
        dict(iter=2, loss=0.25),
    ]


def test_a_new_run_begins_new_files(config: Path, tmp_path: Path) -> None:
    for _ in range(2):
        assert tiny.train(config, tmp_path, train_cfg__max_epochs=1, default_hooks__draw=None, default_hooks__summary=None) == 0
    assert [row['iter'] for row in rows(tmp_path)] == [1, 2, 3]
    assert len((tmp_path / 'log.csv').read_text().splitlines()) == 1 + 3 + 1


def test_wrong_interval() -> None:
    with pytest.raises(ValueError, match='LogHook: `interval` must be positive, got 0'):
        LogHook(interval=0)
