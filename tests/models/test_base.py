"""What a network says about its initial weights: nothing, unless it is asked."""

import logging

import pytest
import torch
from mmengine.logging import MMLogger

from mmpose_lite.registry import MODELS
from tests.tiny_training import topdown


@pytest.mark.parametrize('level', [logging.INFO, logging.DEBUG])
def test_init_weights_is_quiet(level: int, capfd: pytest.CaptureFixture) -> None:
    """mmengine's prints each parameter; at level DEBUG it still does."""
    model = MODELS.build(topdown(dict(type='ResNet', depth=18, stem_channels=4, base_channels=4), head=dict(in_channels=32)))
    logger = MMLogger.get_instance(f'quiet_{level}', log_level=level)
    assert MMLogger.get_current_instance() is logger
    before = model.backbone.conv1.weight.clone()
    model.init_weights()
    assert not torch.equal(before, model.backbone.conv1.weight)
    said = ''.join(capfd.readouterr())
    assert ('backbone.conv1.weight' in said) == (level == logging.DEBUG)
    assert ('Initialized by' in said) == (level == logging.DEBUG)
