"""tools/benchmark.py: every command runs and says what it measured; how fast this machine is, is not tested."""

import json
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from mmpose_lite.apis.benchmark import Report, Stopwatch, in_turns
from mmpose_lite.apis.benchmark_network import made_up_batch, without_pretrained
from mmpose_lite.apis.benchmark_ops import made_up_coco, made_up_people
from mmpose_lite.apis.cli import run_command
from mmpose_lite.codecs import PAFCodec
from mmpose_lite.engine.config import load_config
from tools.benchmark import main


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A thin network, and nine images of one person each."""
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')  # --device cpu sets it; here it is put back
    (tmp_path / 'images').mkdir()
    annotations = []
    for i in range(9):
        cv2.imwrite(str(tmp_path / f'images/{i}.jpg'), np.full((80, 60, 3), 20 * i, np.uint8))
        keypoints = [20, 20, 2, 30, 60, 2]
        annotations.append(dict(id=i + 1, image_id=i, category_id=1, bbox=[10, 10, 40, 60], keypoints=keypoints))
    images = [dict(id=i, file_name=f'{i}.jpg') for i in range(9)]
    (tmp_path / 'people.json').write_text(json.dumps(dict(images=images, categories=[dict(id=1)], annotations=annotations)))
    path = tmp_path / 'config.py'
    path.write_text(
        f"""
_base_ = {str(Path(__file__).resolve().parents[2] / 'configs/_base_/default_runtime.py')!r}
meta = dict(keypoints=['head', 'foot'])
data_root = {str(tmp_path)!r}
model = dict(
    type='TopdownPoseEstimator',
    backbone=dict(type='ResNet', depth=18, base_channels=16, stem_channels=16,
                  init_cfg=dict(type='Pretrained', checkpoint='is/never/loaded.pth')),
    head=dict(type='HeatmapHead', in_channels=128, deconv_out_channels=(8,), deconv_kernel_sizes=(4,),
              codec=dict(type='HeatmapCodec', input_size=(64, 64), heatmap_size=(4, 4))),
    test_cfg=dict(flip_test=True, shift_heatmap=True))
train_dataloader = dict(batch_size=2, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=True), dataset=dict(
    type='CocoKeypointDataset', ann_file='people.json', data_prefix=dict(img='images'), pipeline=[
        dict(type='LoadImage'), dict(type='GetBBoxCenterScale'), dict(type='RandomFlip'),
        dict(type='TopdownAffine', input_size=(64, 64)), dict(type='PackPoseInputs')]))
test_dataloader = dict(dataset=dict(train_dataloader['dataset'], test_mode=True, pipeline=[
    dict(type='LoadImage'), dict(type='GetBBoxCenterScale'), dict(type='TopdownAffine', input_size=(64, 64)),
    dict(type='PackPoseInputs')]))
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=1)
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.001))
"""
    )
    return path


def measure(tmp_path: Path, *arguments: object) -> dict:
    """Run the command with one repeat, check the form of what it writes, and return it."""
    out = tmp_path / 'out.json'
    assert run_command(main, [*map(str, arguments), '--repeats', '1', '--out', str(out)]) == 0
    content = json.loads(out.read_text())
    assert {'cpu', 'cores', 'threads', 'torch'} <= content['machine'].keys()
    for row in content['rows'].values():
        assert row['min'] <= row['median'] <= row['max']
        assert all(np.isfinite(row['values']))
    return content


def test_data(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    rows = measure(tmp_path, 'data', config, '--num', 4, '--workers', 1)['rows']
    assert rows['pipeline / decoding']['median'] == pytest.approx(
        rows['pipeline, one process']['median'] / rows['decoding alone']['median']
    )
    steps = [name for name in rows if name.startswith('step ')]
    assert steps == [f'step {s}' for s in ('LoadImage', 'GetBBoxCenterScale', 'RandomFlip', 'TopdownAffine', 'PackPoseInputs')]
    assert len(rows['step LoadImage']['values']) == 4
    assert rows['loader, 1 workers']['median'] > 0
    assert 'growth of a worker' in capsys.readouterr().out


def test_train_leaves_nothing_behind(config: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob('*'))
    content = measure(tmp_path, 'train', config, '--device', 'cpu', '--iterations', 2, '--compare', 'all')
    rows = content['rows']
    for variant in ('contiguous', 'fp32', 'amp'):
        for part in ('to device, normalise', 'forward', 'backward', 'optimiser', "host's time in hooks"):
            assert rows[f'{variant}: {part}']['median'] > 0
        assert rows[f'{variant}: steps alone']['unit'] == 'images/s'
    assert {'fp32 / contiguous, speed', 'amp / contiguous, speed'} <= rows.keys()
    assert 0 <= rows['waiting for data']['median'] <= 100
    assert any('peak memory' in note for note in content['notes'])
    assert sorted(tmp_path.rglob('*')) == sorted([*before, tmp_path / 'out.json'])


def test_train_on_made_up_batches_with_a_trace(config: Path, tmp_path: Path) -> None:
    (tmp_path / 'people.json').unlink()
    call = ('train', config, '--device', 'cpu', '--iterations', 2, '--synthetic', '--amp', '--profile', tmp_path / 'trace.json')
    content = measure(tmp_path, *call)
    assert 'waiting for data' not in content['rows']
    assert 'amp: forward' in content['rows']
    assert any('2 iterations; cudaStreamSynchronize 0' in note for note in content['notes'])
    assert json.loads((tmp_path / 'trace.json').read_text())['traceEvents']


@pytest.mark.parametrize('more', [(), ('--synthetic', '--compare', 'channels-last')])
def test_infer(config: Path, tmp_path: Path, more: tuple[str, ...]) -> None:
    content = measure(tmp_path, 'infer', config, '--device', 'cpu', '--batch-size', 1, 11, *more)
    assert 'flip test on' in content['title']
    names = ['channels-last', 'contiguous'] if more else ['fp32']
    parts = [f'{name}, batch {size}: {part}' for name in names for size in (1, 11) for part in ('whole', 'network', 'decoding')]
    assert set(parts) <= content['rows'].keys()
    assert ('contiguous / channels-last, batch 11, speed' in content['rows']) == bool(more)


@pytest.mark.parametrize('command', [('train', '--iterations', 1), ('infer', '--batch-size', 2, '--amp')], ids=['train', 'infer'])
def test_a_bottomup_network_on_made_up_batches(command: tuple, tmp_path: Path, repo: Path) -> None:
    """Of another size than the config's, which is that of a video, say."""
    config = repo / 'configs/pose/bottomup/lightweight_openpose_mobilenet_coco_368x368.py'
    size = ('model.head.codec.input_size=(64,48)', 'model.head.codec.heatmap_size=(8,6)', 'train_dataloader.batch_size=2')
    rows = measure(tmp_path, command[0], config, *command[1:], '--synthetic', '--device', 'cpu', '--cfg-options', *size)['rows']
    assert rows['fp32: steps alone' if command[0] == 'train' else 'amp, batch 2: whole']['median'] > 0


def test_decode(tmp_path: Path) -> None:
    rows = measure(tmp_path, 'decode', '--shape', 2, 3, 16, 12, '--people', 1, 3, '--device', 'cpu')['rows']
    runs = ('encode', 'decode', 'decode, channels-last')
    heatmaps = [f'{variant} {run}' for variant in ('msra', 'dark', 'udp') for run in runs]
    assert list(rows) == [*heatmaps, *(f'paf {run}, N = {count}' for count in (1, 3) for run in ('encode', 'decode'))]


def test_nms_of_boxes(tmp_path: Path) -> None:
    content = measure(tmp_path, 'nms', '--of', 'boxes', '--num', 9, '--device', 'cpu')
    names = ('hard', 'soft linear', 'soft gaussian', 'IoU-guided', 'weighted', 'softer', 'adaptive', 'DIoU', 'cluster', 'matrix')
    assert list(content['rows']) == [f'{name}, N = 9' for name in names]


def test_nms_from_the_shell(tmp_path: Path, repo: Path) -> None:
    command = [sys.executable, repo / 'tools/benchmark.py', 'nms', '--num', '7', '--repeats', '1', '--device', 'cpu']
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert 'soft_oks_nms, N = 7' in done.stdout


def test_eval(tmp_path: Path) -> None:
    content = measure(tmp_path, 'eval', '--images', 6, '--people', 20)
    assert content['rows']['pycocotools']['median'] > 0
    assert content['notes'][0].startswith('AP 0.')


def test_both_evaluations_agree(tmp_path: Path) -> None:
    pytest.importorskip('faster_coco_eval')
    notes = measure(tmp_path, 'eval', '--images', 6, '--people', 20)['notes']
    assert float(notes[-1].split(':')[1]) < 1e-9


def test_wrong_calls(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for arguments, message in (
        (['train', '--cfg-options', 'optim_wrapper=None', '--device', 'cpu'], 'the config needs `optim_wrapper`'),
        (['infer', '--cfg-options', 'model.head.codec=None', '--synthetic', '--device', 'cpu'], 'input_size'),
        (['infer', '--checkpoint', 'none.pth', '--device', 'cpu'], 'none.pth'),
        (['data', '--cfg-options', 'train_dataloader=None'], 'no `train_dataloader`'),
    ):
        assert run_command(main, [arguments[0], str(config), *arguments[1:]]) == 2
        assert message in capsys.readouterr().err
    for arguments in ([], ['decode', '--repeats', '0'], ['train']):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == 2


def test_report() -> None:
    report = Report('title', dict(cpu='x'), notes=['note'])
    report.add('speed', [3, 1, 2], 'images/s')
    report.add_ratio('ratio', [4, 6], [2, 2])
    assert report.to_dict()['rows'] == {
        'speed': dict(median=2, min=1, max=3, values=[3, 1, 2], unit='images/s'),
        'ratio': dict(median=2.5, min=2, max=3, values=[2, 3], unit='x'),
    }
    lines = report.text().splitlines()
    assert lines[:2] == ['title', 'cpu x']
    assert lines[-1] == 'note'


def test_runs_take_turns_and_are_timed() -> None:
    order = []
    seconds = in_turns({'a': lambda: (order.append('a'), time.sleep(0.03)), 'b': lambda: order.append('b')}, repeats=2)
    assert order[-1] == 'b'
    assert [len(values) for values in seconds.values()] == [2, 2]
    assert min(seconds['a']) >= 0.03 > max(seconds['b'])
    first_a = order.index('a')
    assert 'b' in order[first_a : len(order) - order[::-1].index('a')]  # a runs again after b

    watch = Stopwatch('cpu')
    for _ in range(3):
        watch.mark()
    assert len(watch.seconds()) == 2


def test_made_up_data(config: Path) -> None:
    batch = made_up_batch(load_config(config), 3)
    assert batch['inputs'].shape == (3, 3, 64, 64)
    assert batch['data_samples'].keypoints_input.shape == (3, 2, 2)
    assert 'loss_mask' not in batch['data_samples']
    content, detections = made_up_coco(4, 10, 5, 2)
    assert (len(content['images']), len(content['annotations']), len(detections)) == (4, 10, 20)
    assert {d['image_id'] for d in detections} == {1, 2, 3, 4}
    assert all(len(d['keypoints']) == 15 for d in detections)
    assert made_up_coco(4, 10, 5, 2)[1] == detections


@pytest.mark.parametrize('num', [1, 2, 5, 30])
def test_made_up_people_are_found(num: int) -> None:
    codec = PAFCodec((656, 368), (82, 46), meta='openpose18')
    keypoints = torch.from_numpy(made_up_people(num, (656, 368), codec.meta))[None]
    assert keypoints.shape == (1, num, 18, 2)
    (people,) = codec.decode(*codec.encode(keypoints, torch.ones(1, num, 18)))
    assert len(people.scores) == num
    distances = np.linalg.norm(people.keypoints[:, None] - keypoints.numpy(), axis=-1)
    assert (np.median(distances, axis=-1).min(axis=1) < 2).all()  # px; arms may lie on top of each other


def test_without_pretrained_keeps_the_rest() -> None:
    model = dict(a=[dict(init_cfg=dict(type='Pretrained', checkpoint='x'), b=1)], init_cfg=dict(type='Other'))
    assert without_pretrained(model) == dict(a=[dict(b=1)], init_cfg=dict(type='Other'))


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_stopwatch_times_the_device() -> None:
    watch = Stopwatch('cuda')
    watch.mark()
    torch.cuda._sleep(100_000_000)
    watch.mark()
    assert watch.seconds()[0] > 0.01
