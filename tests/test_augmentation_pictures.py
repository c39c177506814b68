"""The pictures of docs/detection.md are what the example draws."""

import importlib.util
from pathlib import Path

import cv2
import numpy as np

from tests.conftest import REPO

PICTURES = REPO / 'docs' / 'pictures'


def test_the_example_draws_them(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location('draw_augmentation', REPO / 'examples' / 'draw_augmentation.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.main(['--out', str(tmp_path / 'new'), '--people', str(tmp_path / 'people')]) == 0
    drawn = {path.name: cv2.imread(str(path)) for path in (tmp_path / 'new').glob('*.jpg')}
    assert drawn.keys() == {'multi_scale.jpg', 'mosaic.jpg', 'copy_paste.jpg', 'snip.jpg', 'sniper.jpg'}
    page = (REPO / 'docs' / 'detection.md').read_text()
    for name, picture in drawn.items():
        committed = cv2.imread(str(PICTURES / name))
        assert committed.shape == picture.shape, name
        assert np.abs(committed.astype(int) - picture).mean() < 5, f'{name}: draw it again'
        assert (PICTURES / name).stat().st_size < 100_000
        assert f'pictures/{name}' in page
