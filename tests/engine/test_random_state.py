"""The random state of a run survives a file."""

import random
from pathlib import Path

import numpy as np
import torch

from mmpose_lite.checkpoints.writing import save_checkpoint_atomic
from mmpose_lite.engine.random_state import capture_rng_state, restore_rng_state


def _draw() -> list[float]:
    draws = [random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn(), torch.rand(1).item()]  # noqa: NPY002
    if torch.cuda.is_available():
        draws += [torch.rand(1, device=f'cuda:{index}').item() for index in range(torch.cuda.device_count())]
    return draws


def test_random_state_survives_a_file(tmp_path: Path) -> None:
    _draw()  # leaves half of a gauss pair in Python's and NumPy's generators
    save_checkpoint_atomic({'rng': capture_rng_state()}, tmp_path / 'rng.pth')
    expected = _draw()
    assert _draw() != expected
    restore_rng_state(torch.load(tmp_path / 'rng.pth', weights_only=True)['rng'])
    assert _draw() == expected
