"""tools/convert_checkpoint.py as a user calls it: what it says, what it refuses, and that the results load."""

import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision

from mmpose_lite.apis.cli import run_command
from mmpose_lite.apis.infer import init_model
from mmpose_lite.checkpoints.reading import load_checkpoint_file
from tests.parity import relative_error, weights_module
from tests.thin_zoo import CONVOLUTION, old_weights
from tests.tiny import write_config

Convert = Callable[..., int]


@pytest.fixture
def convert(repo: Path) -> Convert:
    """The command, in this process."""
    spec = importlib.util.spec_from_file_location('tool_convert_checkpoint', repo / 'tools/convert_checkpoint.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return lambda *args: run_command(module.main, [*map(str, args)])


def test_there_and_back(convert: Convert, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """The weights of a network under the names of mmpose 0.x, converted, give its outputs."""
    config, source, target = write_config(tmp_path, CONVOLUTION), tmp_path / 'old.pth', tmp_path / 'new.pth'
    torch.save({'state_dict': old_weights(config), 'optimizer': {'lr': 1}, 'meta': {'epoch': 3}}, source)
    assert convert(source, target, '--config', config) == 0
    out = capsys.readouterr().out
    for line in (
        'names are those of mmpose 0.x',
        'renamed 18 x keypoint_head -> head',
        'renamed 7 x keypoint_head.final_layer -> head.conv_layers',
        'renamed 2 x keypoint_head.final_layer.N -> head.final_layer',
        'left out: optimizer, meta',
        'backbone 120/120, head 27/27',
        f'wrote {target}',
    ):
        assert line in out.splitlines()
    written = torch.load(target, weights_only=True)
    assert set(written) == {'meta', 'state_dict'}
    assert written['meta']['layout'] == 'mmpose 0.x'
    # Loaded as they are or converted: the same network.
    x = torch.rand(1, 3, 64, 64)
    outputs = [init_model(config, path)(x, None, mode='tensor') for path in (source, target)]
    assert torch.equal(*outputs)


def test_the_ending_of_another_format_is_refused(convert: Convert, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    source = tmp_path / 'old.pth'
    torch.save({'head.final_layer.weight': torch.zeros(1)}, source)
    assert convert(source, tmp_path / 'new.safetensors') == 2
    assert '`target` must end in .pth, the format that is written, got new.safetensors' in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ['old.pth']


def test_a_published_training_checkpoint(convert: Convert, shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """mmpose 1.x: the names are ours; what is written holds weights alone, and gives the stored outputs."""
    source, target = shared / 'parity/checkpoints/mmpose_resnet18thin_lspet.pth', tmp_path / 'thin.pth'
    config = tmp_path / 'thin.py'
    config.write_text(
        """
meta = 'lsp14'
model = dict(
    type='TopdownPoseEstimator',
    backbone=dict(type='ResNet', depth=18, base_channels=8, stem_channels=8),
    head=dict(type='HeatmapHead', in_channels=64, deconv_out_channels=(16, 16, 16)))
"""
    )
    assert convert(source, target, '--config', config) == 0
    out = capsys.readouterr().out
    assert 'names are ours already' in out
    assert 'left out: ' in out
    for name in ('optimizer', 'message_hub', 'ema_state_dict'):
        assert name in out
    assert target.stat().st_size < source.stat().st_size / 2
    model = init_model(config, target)
    with np.load(source.with_suffix('.npz')) as arrays:
        expected = next(iter(arrays.values()))
    with torch.no_grad():
        ours = model(weights_module(shared).inputs([2, 3, 128, 96]), None, mode='tensor')
    assert relative_error(ours.numpy(), expected) < 1e-4


def test_a_backbone_of_torchvision_by_name(
    convert: Convert, torchvision_file: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    theirs = torchvision.models.resnet18()
    torchvision_file('resnet18-f37072fd.pth', theirs.state_dict())
    config = tmp_path / 'pose.py'
    config.write_text(
        "meta = 'lsp14'\nmodel = dict(type='TopdownPoseEstimator', backbone=dict(type='ResNet', depth=18), "
        "head=dict(type='HeatmapHead', in_channels=512))\n"
    )
    assert convert('torchvision://resnet18', tmp_path / 'r18.pth', '--config', config) == 0
    out = capsys.readouterr().out
    assert 'names are those of ResNet of torchvision, timm or Simple Baselines' in out
    assert 'dropped 2 x fc: the classifier' in out
    assert 'put backbone. before 120 names' in out
    assert 'backbone 120/120, head 0/17: 17 missing' in out
    weights = load_checkpoint_file(tmp_path / 'r18.pth')['state_dict']
    assert torch.equal(weights['backbone.conv1.weight'], theirs.conv1.weight)


def test_what_is_refused(convert: Convert, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    config, source, target = write_config(tmp_path), tmp_path / 'a.pth', tmp_path / 'b.pth'

    def refused(*args: object) -> str:
        assert convert(*args) == 2
        assert not target.exists()
        return capsys.readouterr().err

    assert 'does not exist' in refused(source, target)
    torch.save({'encoder.weight': torch.ones(1)}, source)
    assert 'are of no layout that is known here: encoder.weight' in refused(source, target)
    torch.save({'keypoint_head.other.weight': torch.ones(1)}, source)
    assert f'nothing fits the model of {config}' in refused(source, target, '--config', config)
    assert 'Near names' in refused(source, target, '--config', 'hrnet_w32_coco_256x129')
    source.write_text('<!DOCTYPE html><html>')
    assert 'web page' in refused(source, target)
    torch.save({'keypoint_head.x': Path()}, source)
    assert 'is more than weights' in refused(source, target)


def test_a_file_is_not_replaced_unasked(convert: Convert, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    source, target = tmp_path / 'a.pth', tmp_path / 'b.pth'
    torch.save({'keypoint_head.x': torch.ones(1)}, source)
    target.touch()
    assert convert(source, target) == 2
    assert 'b.pth exists' in capsys.readouterr().err
    assert target.stat().st_size == 0
    assert convert(source, target, '--overwrite') == 0
    assert list(load_checkpoint_file(target)['state_dict']) == ['head.x']
