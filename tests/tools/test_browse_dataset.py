"""tools/browse_dataset.py: the right pictures, always the same ones, and the exit codes of wrong calls."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmpose_lite.apis.browse import SHEET_NAME, browse, contact_sheet
from mmpose_lite.apis.cli import run_command
from mmpose_lite.engine.config import ConfigError, load_config
from tools.browse_dataset import main

GREY = 90


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Two grey images of 200 x 120 px; the first shows two people, each with two keypoints, at 50 px intervals."""
    (tmp_path / 'images').mkdir()
    for name in ('a.png', 'b.png'):
        cv2.imwrite(str(tmp_path / 'images' / name), np.full((120, 200, 3), GREY, np.uint8))
    people = [
        dict(id=1, image_id=1, bbox=[20, 20, 60, 80], keypoints=[40, 40, 2, 60, 80, 1]),
        dict(id=2, image_id=1, bbox=[120, 20, 60, 80], keypoints=[140, 40, 2, 0, 0, 0]),
        dict(id=3, image_id=2, bbox=[20, 20, 60, 80], keypoints=[40, 40, 2, 60, 80, 2]),
    ]
    images = [dict(id=1, file_name='a.png'), dict(id=2, file_name='b.png')]
    content = dict(images=images, categories=[dict(id=1)], annotations=[dict(person, category_id=1) for person in people])
    (tmp_path / 'people.json').write_text(json.dumps(content))
    path = tmp_path / 'config.py'
    path.write_text(
        f"""
meta = dict(keypoints=['head', 'foot'], limbs=[['head', 'foot']])
data_root = {str(tmp_path)!r}
model = dict(type='TopdownPoseEstimator', backbone=dict(type='ResNet', depth=18), head=dict(type='HeatmapHead', in_channels=512,
    codec=dict(type='HeatmapCodec', input_size=(48, 64), heatmap_size=(12, 16))))
train_dataloader = dict(dataset=dict(type='CocoKeypointDataset', ann_file='people.json', data_prefix=dict(img='images'),
  pipeline=[
    dict(type='LoadImage'), dict(type='GetBBoxCenterScale'), dict(type='RandomFlip'), dict(type='RandomBBoxTransform'),
    dict(type='TopdownAffine', input_size=(48, 64)), dict(type='PackPoseInputs')]))
"""
    )
    return path


def coloured(picture: np.ndarray) -> np.ndarray:
    """Return where a picture is neither grey nor black nor white."""
    return np.ptp(picture.astype(int), axis=2) > 40


def test_crops_from_the_shell(config: Path, repo: Path, tmp_path: Path) -> None:
    arguments = [str(config), '--heatmaps', '--sheet', '--out']
    command = [sys.executable, repo / 'tools/browse_dataset.py', *arguments, tmp_path / 'once']
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert '3 pictures' in done.stdout
    assert run_command(main, [*arguments, str(tmp_path / 'again')]) == 0
    assert run_command(main, [*arguments, str(tmp_path / 'other'), '--seed', '1']) == 0
    once, again, other = ({p.name: p.read_bytes() for p in (tmp_path / f).iterdir()} for f in ('once', 'again', 'other'))
    assert sorted(once) == ['000_a_1.png', '001_a_2.png', '002_b_3.png', SHEET_NAME]
    assert again == once
    assert sorted(other) == sorted(once)
    assert all(other[name] != once[name] for name in once)
    picture = cv2.imread(str(tmp_path / 'once' / '000_a_1.png'))
    height, width = picture.shape[:2]
    assert (height > 512, width) == (True, 2 * 384 + 6)  # a caption, and two panels of the crop's shape
    assert coloured(picture[:, :384]).any()
    assert coloured(picture[:, 390:]).any()


def test_original_images_show_all_their_people(config: Path, tmp_path: Path) -> None:
    files = browse(load_config(config), tmp_path / 'out', mode='original', num=5)
    assert [file.name for file in files] == ['000_a.png', '001_b.png']
    two, one = (cv2.imread(str(file)) for file in files)
    factor = two.shape[1] // 200
    top = two.shape[0] - 120 * factor
    for x, y in ((40, 40), (60, 80), (140, 40)):
        assert coloured(two)[top + factor * y, factor * x]
    assert not coloured(two)[top + 8, 8]
    assert coloured(two)[:, 100 * factor :].any()
    assert not coloured(one)[:, 100 * factor :].any()


def test_a_sheet_has_rows() -> None:
    sheet = contact_sheet([np.full((10, 900, 3), shade, np.uint8) for shade in (10, 20, 30)], gap=4)
    assert sheet.shape == (28, 1804, 3)
    assert sheet[5, 5, 0] == 10
    assert sheet[5, 910, 0] == 20
    assert sheet[20, 5, 0] == 30
    assert (sheet[14:, 900:] == 255).all()


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--split', 'val'], 'no `val_dataloader`'),
        (['--cfg-options', 'model.head.codec=None', '--heatmaps'], 'needs a `model.head.codec`'),
        (['--cfg-options', 'train_dataloader.dataset.ann_file=none.json'], 'does not exist'),
    ],
)
def test_wrong_calls(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture, arguments: list[str], message: str) -> None:
    assert run_command(main, [str(config), '--out', str(tmp_path / 'out'), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_heatmaps_of_several_levels_are_the_finest(config: Path, tmp_path: Path) -> None:
    cfg = load_config(config)
    cfg.model.head.codec = dict(type='MegviiHeatmapCodec', input_size=(48, 64), heatmap_size=(12, 16), kernel_sizes=(11, 5))
    wide = browse(cfg, tmp_path / 'two', heatmaps=True, num=1)
    cfg.model.head.codec.kernel_sizes = (5,)
    fine = browse(cfg, tmp_path / 'one', heatmaps=True, num=1)
    np.testing.assert_array_equal(cv2.imread(str(wide[0])), cv2.imread(str(fine[0])))


@pytest.mark.parametrize('arguments', [['--num', '0'], ['--heatmaps', '--mode', 'original']])
def test_wrong_arguments(config: Path, tmp_path: Path, arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([str(config), '--out', str(tmp_path), *arguments])
    assert caught.value.code == 2


def test_wrong_arguments_of_the_function(config: Path, tmp_path: Path) -> None:
    cfg = load_config(config)
    with pytest.raises(ValueError, match=r"browse: `split` .* got 'train', 'cropped', 16"):
        browse(cfg, tmp_path, mode='cropped')
    with pytest.raises(ValueError, match='`heatmaps` are made for crops'):
        browse(cfg, tmp_path, mode='original', heatmaps=True)
    with pytest.raises(ConfigError, match='no `test_dataloader`'):
        browse(cfg, tmp_path, split='test')


BOTTOMUP = """
meta = dict(keypoints=['head', 'foot'], limbs=[['head', 'foot']])
data_root = {root!r}
model = dict(type='BottomupPoseEstimator', backbone=dict(type='ResNet', depth=18), head=dict(
    codec=dict(type='PAFCodec', input_size=(64, 64), heatmap_size=(16, 16), sigma=1.0, limb_width=1.0)))
train_dataloader = dict(dataset=dict(
    type='CocoKeypointDataset', data_mode='bottomup', ann_file='people.json', data_prefix=dict(img='images'), pipeline=[
        dict(type='LoadImage'), dict(type='BottomupResize', input_size=(64, 64)),
        dict(type='GenerateLossMask', mask_size=(16, 16)), dict(type='PackPoseInputs')]))
"""


@pytest.fixture
def bottomup(config: Path) -> Path:
    """The same images as inputs of 64 x 64 px (0.32 of their size), a crowd at the right of the first."""
    content = json.loads((config.parent / 'people.json').read_text())
    crowd = dict(id=4, image_id=1, category_id=1, iscrowd=1, segmentation=[[150, 0, 200, 0, 200, 120, 150, 120]])
    content['annotations'].append(crowd)
    (config.parent / 'people.json').write_text(json.dumps(content))
    (config.parent / 'bottomup.py').write_text(BOTTOMUP.format(root=str(config.parent)))
    return config.parent / 'bottomup.py'


def test_whole_images_show_all_people_and_what_is_left_out(bottomup: Path, tmp_path: Path) -> None:
    files = browse(load_config(bottomup), tmp_path / 'out', heatmaps=True)
    assert [file.name for file in files] == ['000_a.png', '001_b.png']
    picture = cv2.imread(str(files[0]))
    top = picture.shape[0] - 512
    image, heatmaps, fields = (picture[top:, left : left + 512] for left in (0, 518, 1036))
    zoom = 512 / 200
    for x, y in ((40, 40), (60, 80), (140, 40)):
        assert coloured(image)[round(zoom * y), round(zoom * x)]
        assert coloured(heatmaps)[round(zoom * y), round(zoom * x)]
    assert coloured(fields)[round(zoom * 60), round(zoom * 50)]  # the middle of the first person's limb
    assert not coloured(fields)[round(zoom * 40), round(zoom * 140)]  # the second has no labelled foot
    crowd, free = image[:300, round(zoom * 152) :], image[:60, : round(zoom * 148)]
    assert (crowd != GREY).any(axis=-1).mean() > 0.99
    assert (free == GREY).all()
    assert not (cv2.imread(str(files[1]))[-100:, round(zoom * 152) : 512] != 0).any()  # below the image the input is black


def test_original_images_show_what_is_left_out(bottomup: Path, tmp_path: Path) -> None:
    two, one = (cv2.imread(str(file)) for file in browse(load_config(bottomup), tmp_path / 'out', mode='original'))
    factor = two.shape[1] // 200
    assert (two[-10:, 152 * factor :] != GREY).any(axis=-1).all()
    assert (two[-10:, : 148 * factor] == GREY).all()
    assert (one[-10:] == GREY).all()
