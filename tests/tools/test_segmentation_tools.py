"""Segmentation from the command line: check, train, test, and what they leave behind."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import REPO
from tests.tiny import call, rows


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
    import importlib.util

    from mmpose_lite.apis.cli import run_command

    spec = importlib.util.spec_from_file_location('tool_check_dataset', REPO / 'tools' / 'check_dataset.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return run_command(module.main, [str(config), *args])


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
