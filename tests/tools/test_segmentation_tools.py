"""Segmentation from the command line: check, train, test, and what they leave behind."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as mask_api

from mmpose_lite.apis import init_model, segment
from mmpose_lite.apis.browse import browse
from mmpose_lite.apis.cli import run_command
from mmpose_lite.apis.media import VideoWriter
from mmpose_lite.datasets.seg_maps import read_values
from mmpose_lite.engine import optim
from mmpose_lite.engine.config import ConfigError, load_config
from mmpose_lite.engine.hooks.summary import write_metrics
from mmpose_lite.models.heads.seg.decode_head import DecodeHead
from mmpose_lite.registry import MODELS
from mmpose_lite.structures import ClassMeta, SampleBatch
from tests.conftest import REPO
from tests.tiny import call, rows
from tools import check_dataset


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A config that trains a thin U-Net for two epochs on six synthetic images; its data lie beside it."""
    path = tmp_path / 'parts.py'
    path.write_text(
        f"""
_base_ = {str(REPO / 'configs' / 'segmentation' / 'unet_synthetic_128x160.py')!r}
data_root = {str(tmp_path / 'people')!r}
recipe = dict(num_train=6, num_val=3, image_size=(96, 80), max_people=2)
model = dict(backbone=dict(base_channels=4), decode_head=dict(in_channels=4, channels=4))
train_dataloader = dict(batch_size=2, num_workers=0, dataset=dict(**recipe))
val_dataloader = dict(batch_size=1, num_workers=0, dataset=dict(**recipe))
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=2, val_interval=2)
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=2), draw=dict(num_images=2), summary=None)
"""
    )
    return path


def test_train_and_test(config: Path, tmp_path: Path) -> None:
    work_dir = tmp_path / 'work'
    assert call('train', config, '--work-dir', work_dir) == 0
    assert [row['iter'] for row in rows(work_dir)] == [1, 2, 3, 4, 5, 6]
    assert {'decode.loss_ce', 'decode.loss_dice', 'decode.acc_seg'} <= set(rows(work_dir)[0])
    (validation,) = rows(work_dir, 'val')
    assert 0 <= validation['seg/mIoU'] <= 1
    assert 'seg/IoU.upper_arm' in validation
    assert len(list((work_dir / 'predictions').glob('val_*.jpg'))) == 2
    assert (work_dir / 'confusion_val.png').is_file()
    assert list(work_dir.glob('best_seg_mIoU*.pth')), 'the best checkpoint by the mean IoU'
    checkpoint = (work_dir / 'last_checkpoint').read_text()
    out = tmp_path / 'metrics.json'
    assert call('test', config, checkpoint, '--work-dir', tmp_path / 'test', '--out', out) == 0
    assert validation['seg/mIoU'] == pytest.approx(json.loads(out.read_text())['metrics']['seg/mIoU'])


def test_the_score_of_a_class_that_does_not_occur_is_null(tmp_path: Path) -> None:
    """JSON has no NaN: what other programs read must not hold one."""
    path = tmp_path / 'new' / 'metrics.json'
    write_metrics(
        path, dict(split='val', metrics={'seg/IoU.cat': 0.5, 'seg/IoU.dog': float('nan'), 'seg/mIoU': np.float64('nan')})
    )
    assert json.loads(path.read_text(), parse_constant=pytest.fail) == dict(
        split='val', metrics={'seg/IoU.cat': 0.5, 'seg/IoU.dog': None, 'seg/mIoU': None}
    )


def test_check_names_file_value_and_count(config: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert call_check(config, '--allow-warnings') == 0
    assert 'upper_leg' in capsys.readouterr().out
    path = tmp_path / 'people' / 'parts' / 'train' / '000002.png'
    labels = np.array(Image.open(path))
    labels[:2, :3] = 77
    Image.fromarray(labels).save(path)
    report = tmp_path / 'report.json'
    assert call_check(config, '--json', str(report)) == 1
    out = capsys.readouterr().out
    assert '77 (6 px)' in out
    (error,) = [f for f in json.loads(report.read_text())['train']['findings'] if f['severity'] == 'error']
    assert error['code'] == 'label-value'
    assert error['where'].endswith('000002.png')

    assert call('train', config, '--work-dir', tmp_path / 'work') == 1, 'training does not begin'
    assert '77 (6 px)' in ''.join(capsys.readouterr())


def call_check(config: Path, *args: str) -> int:
    return run_command(check_dataset.main, [str(config), *args])


def test_images_of_training_in_the_validation_split_are_warned_of(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = config.read_text().replace(
        'test_dataloader = val', "val_dataloader['dataset']['split'] = 'train'\ntest_dataloader = val"
    )
    config.write_text(text)
    assert call_check(config) == 1
    assert 'shared-image' in capsys.readouterr().out


def test_a_missing_folder_is_a_wrong_config(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config.write_text(
        config.read_text()
        + f"""
train_dataloader = dict(
    dataset=dict(_delete_=True, type='SegmentationDataset', data_root={str(tmp_path / 'nowhere')!r}, pipeline=[]), batch_size=2)
"""
    )
    assert call_check(config) == 2
    assert "folder '" in ''.join(capsys.readouterr())


@pytest.fixture
def checkpoint(config: Path, tmp_path: Path) -> Path:
    """Weights that the config of `config` takes, untrained."""
    model = MODELS.build(load_config(config).model)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'weights.pth')
    return tmp_path / 'weights.pth'


def test_infer_writes_masks_run_lengths_and_pictures(config: Path, checkpoint: Path, tmp_path: Path) -> None:
    rng, folder, out = np.random.default_rng(0), tmp_path / 'in', tmp_path / 'out'
    folder.mkdir()
    for name, size in (('a.png', (60, 90)), ('b.jpg', (80, 50))):  # (h, w)
        Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(folder / name)
    (folder / 'c.png').write_text('no image')
    assert call('infer', config, checkpoint, folder, '--out', out) == 1, 'one file cannot be read, the others are written'
    entries = json.loads((out / 'results.json').read_text())
    for name, size in (('a', (60, 90)), ('b', (80, 50))):
        labels = read_values(str(out / 'masks' / f'{name}.png'))
        assert labels.shape == size
        regions = [entry for entry in entries if Path(entry['file_name']).stem == name]
        assert {entry['category_id'] for entry in regions} == set(np.unique(labels).tolist()) - {0}
        for entry in regions:
            decoded = mask_api.decode(dict(entry['segmentation'], counts=entry['segmentation']['counts'].encode()))
            np.testing.assert_array_equal(decoded, labels == entry['category_id'])
            assert entry['area'] == decoded.sum()
        assert cv2.imread(str(out / 'pictures' / f'{name}.jpg')).shape[:2] == size
    assert not (out / 'masks' / 'c.png').exists()


def test_infer_gives_every_frame_of_a_video_a_mask(config: Path, checkpoint: Path, tmp_path: Path) -> None:
    clip, out = tmp_path / 'clip.avi', tmp_path / 'out'
    with VideoWriter(clip, fps=5) as writer:
        for value in range(3):
            writer.add(np.full((48, 64, 3), 60 * value, np.uint8))
    assert call('infer', config, checkpoint, clip, '--out', out, '--no-pictures') == 0
    assert sorted(p.name for p in (out / 'masks' / 'clip.avi').iterdir()) == ['000000.png', '000001.png', '000002.png']
    assert not (out / 'pictures').exists()


def test_wrong_calls_of_infer(config: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = np.zeros((30, 40, 3), np.uint8)
    for name in ('a.png', 'a.bmp'):
        cv2.imwrite(str(tmp_path / name), image)
    assert call('infer', config, checkpoint, tmp_path / 'a.png', '--track', '--out', tmp_path / 'out') == 2
    assert call('infer', config, checkpoint, tmp_path / 'a.png', tmp_path / 'a.bmp', '--out', tmp_path / 'out') == 2
    assert 'would have one mask, masks/a.png' in ''.join(capsys.readouterr())


def test_segment_from_python(config: Path, checkpoint: Path) -> None:
    model = init_model(config, checkpoint)
    images = [np.random.default_rng(i).integers(0, 256, (40 + i, 50, 3), dtype=np.uint8) for i in range(2)]
    samples = segment(model, images)
    assert [sample.pred_seg_map.shape for sample in samples] == [(40, 50), (41, 50)]
    np.testing.assert_array_equal(segment(model, images[1])[0].pred_seg_map, samples[1].pred_seg_map)
    with pytest.raises(ValueError, match=r'segment: image 0 must be \(H, W, 3\) BGR uint8, got \(40, 50\) uint8'):
        segment(model, images[0][..., 0])
    with pytest.raises(RuntimeError, match='in training mode'):
        segment(model.train(), images)


@pytest.mark.parametrize('mode', ['augmented', 'original'])
def test_browse_draws_the_classes(config: Path, tmp_path: Path, mode: str) -> None:
    files = browse(load_config(config), tmp_path / 'pictures', num=2, mode=mode, sheet=True)
    assert len(files) == 2
    assert (tmp_path / 'pictures' / 'sheet.png').is_file()
    picture = cv2.imread(str(files[0]))
    colors = {tuple(color) for color in np.array(ClassMeta.load('person_parts').palette)[1:, ::-1].tolist()}
    found = {tuple(color) for color in np.unique(picture.reshape(-1, 3), axis=0).tolist()}
    assert colors & found, 'outlines are drawn in the full colours'
    with pytest.raises(ConfigError, match='`heatmaps` are of poses'):
        browse(load_config(config), tmp_path, heatmaps=True)


def test_browse_draws_files_of_joined_datasets(config: Path, tmp_path: Path) -> None:
    cfg = load_config(config)
    part = dict(cfg.train_dataloader.dataset)
    cfg.train_dataloader.dataset = dict(type='ConcatDataset', datasets=[part, part])
    assert len(browse(cfg, tmp_path / 'out', mode='original', num=100)) == 12


@pytest.fixture
def nested(config: Path) -> Path:
    """The same with a UNet++ of two levels."""
    config.write_text(
        config.read_text().replace(
            'model = dict(backbone=dict(base_channels=4), decode_head=dict(in_channels=4, channels=4))',
            "model = dict(backbone=dict(_delete_=True, type='UNetPlusPlus', base_channels=4, num_stages=3),\n"
            "    decode_head=dict(_delete_=True, type='DeepSupervisionHead', in_channels=4, num_levels=2))",
        )
    )
    return config


def test_a_level_of_unetpp_is_tested_with_the_weights_of_the_whole(nested: Path, tmp_path: Path) -> None:
    model = MODELS.build(load_config(nested).model)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'weights.pth')
    metrics = []
    for level in (1, 2):
        out = tmp_path / f'{level}.json'
        options = ['--cfg-options', f'model.backbone.level={level}', f'model.decode_head.level={level}']
        assert call('test', nested, tmp_path / 'weights.pth', '--work-dir', tmp_path / 'test', '--out', out, *options) == 0
        metrics.append(json.loads(out.read_text())['metrics']['seg/aAcc'])
    assert metrics[0] != metrics[1]


def test_benchmark_times_the_levels_of_unetpp(nested: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = ['benchmark', 'infer', nested, '--synthetic', '--repeats', '1', '--batch-size', '1']
    assert call(*args, '--levels', '1', '2', '--out', tmp_path / 'out.json') == 0
    timed = json.loads((tmp_path / 'out.json').read_text())['rows']
    assert list(timed) == [f'fp32, level {level}, batch 1: whole' for level in (1, 2)]
    assert call(*args, '--levels', '3') == 2
    assert '`level` must be 1 to 2, got 3' in ''.join(capsys.readouterr())


@pytest.fixture
def dtypes(monkeypatch: pytest.MonkeyPatch) -> list[torch.dtype]:
    """Of the logits of each step from now on; bfloat16 is used on any CPU."""
    found: list[torch.dtype] = []
    plain = DecodeHead.loss_by_logits

    def recorded(self: DecodeHead, logits: torch.Tensor, data_samples: SampleBatch) -> dict[str, torch.Tensor]:
        found.append(logits.dtype)
        return plain(self, logits, data_samples)

    monkeypatch.setattr(DecodeHead, 'loss_by_logits', recorded)
    monkeypatch.setattr(optim, 'computes_bfloat16', lambda device: True)
    return found


TRAIN_ONCE = ('--synthetic', '--iterations', '1', '--repeats', '1', '--cfg-options', 'input_size=(32,32)')


def test_benchmark_trains_as_the_config_does(config: Path, tmp_path: Path, dtypes: list) -> None:
    """This one in bfloat16, whether or not --amp asks for it."""
    assert call('benchmark', 'train', config, '--out', tmp_path / 'out.json', *TRAIN_ONCE) == 0
    assert 'amp: forward' in json.loads((tmp_path / 'out.json').read_text())['rows']
    assert set(dtypes) == {torch.bfloat16}


def test_benchmark_compares_float32_with_mixed_precision(config: Path, tmp_path: Path, dtypes: list) -> None:
    assert call('benchmark', 'train', config, '--compare', 'amp', '--out', tmp_path / 'out.json', *TRAIN_ONCE) == 0
    assert 'amp / fp32, speed' in json.loads((tmp_path / 'out.json').read_text())['rows']
    steps = 3  # of a turn: bare, with the engine, part by part
    assert dtypes == 2 * [*steps * [torch.float32], *steps * [torch.bfloat16]]


def test_benchmark_compares_whole_images_with_windows(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = ['benchmark', 'infer', config, '--synthetic', '--repeats', '1', '--batch-size', '1', '--compare', 'slide']
    windows = ['model.test_cfg.window_size=(64,64)', 'model.test_cfg.window_stride=(48,64)']
    assert call(*args, '--out', tmp_path / 'out.json', '--cfg-options', *windows) == 0
    assert 'windows of (64, 64) px (w, h) every (48, 64)' in ''.join(capsys.readouterr())
    timed = json.loads((tmp_path / 'out.json').read_text())['rows']
    whole, slide, ratio = (row['median'] for row in timed.values())
    assert list(timed) == ['whole images, batch 1: whole', 'windows, batch 1: whole', 'windows / whole images, batch 1, speed']
    assert ratio == pytest.approx(slide / whole)
    assert call(*args) == 2
    assert '`window_size`' in ''.join(capsys.readouterr())
    pose = REPO / 'configs' / 'quickstart.py'
    assert call('benchmark', 'infer', pose, '--synthetic', '--compare', 'slide') == 2
    assert 'is of segmentation' in ''.join(capsys.readouterr())
