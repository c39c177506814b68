import math
from pathlib import Path

import pytest
import torch
from torch import nn

from mmpose_lite.engine.hooks import ExpMomentumEMA
from tests.tiny import train, weights, write_config


def test_momentum_falls_from_one_to_its_value() -> None:
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    average = ExpMomentumEMA(model, momentum=0.1, gamma=5)
    expected = 0.0
    for step in range(40):
        nn.init.constant_(model.weight, step)
        average.update_parameters(model)
        share = 0.1 + 0.9 * math.exp(-(1 + step) / 5)
        expected = step if step == 0 else (1 - share) * expected + share * step
    assert average.module.weight.item() == pytest.approx(expected, rel=1e-5)


def test_wrong_gamma() -> None:
    with pytest.raises(ValueError, match='`gamma` must be positive, got 0'):
        ExpMomentumEMA(nn.Linear(1, 1), gamma=0)


def test_a_run_saves_averaged_weights(tmp_path: Path) -> None:
    average = "type='EMAHook', ema_type='ExpMomentumEMA', momentum=0.1, gamma=2, update_buffers=True, priority=49"
    config = write_config(tmp_path, f'custom_hooks = [dict({average})]')
    assert train(config, tmp_path / 'run') == 0
    checkpoint = tmp_path / 'run' / 'epoch_2.pth'
    averaged = weights(checkpoint)
    raw = {key.removeprefix('module.'): value for key, value in weights(checkpoint, 'ema_state_dict').items()}
    name = 'backbone.conv1.weight'
    assert averaged[name].shape == raw[name].shape
    assert not torch.equal(averaged[name], raw[name])
    assert train(config, tmp_path / 'run', '--resume', train_cfg__max_epochs=3) == 0
    assert (tmp_path / 'run' / 'epoch_3.pth').is_file()
