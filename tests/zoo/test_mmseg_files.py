"""Files as mmseg publishes them: its names, its metadata."""

from pathlib import Path

import pytest
import torch

from mmpose_lite.apis import init_model
from mmpose_lite.checkpoints.reading import load_checkpoint_file
from mmpose_lite.checkpoints.weights import extract_state_dict, load_state
from mmpose_lite.zoo.index import entries
from tests.parity import Reference

NETWORKS = {
    'seg_hrnet_w18_fcn': 'hrnet_w18_fcn_80k_cityscapes',
    'seg_pspnet_r50_d8': 'pspnet_resnet50_d8_cityscapes',
    'seg_deeplabv3plus_r50_d8': 'deeplabv3plus_resnet50_d8_80k_cityscapes',
    'seg_unet_s5_d16': 'unet_s5_d16_cityscapes',
}


@pytest.mark.parametrize(('network', 'name'), NETWORKS.items())
def test_a_file_of_mmseg_loads_whole(shared: Path, tmp_path: Path, network: str, name: str) -> None:
    """Every tensor of the published network has a number of its own, and is found under its name; nothing is left over."""
    assert name in entries()
    keys = Reference.load(shared, network).keys
    numbers = {key: i % 251 for i, key in enumerate(keys)}
    # One number in the file for each tensor, seen in its shape.
    weights = {key: torch.tensor(float(numbers[key])).expand(shape) for key, shape in keys.items()}
    meta = dict(
        mmseg_version='0.16.0+55b7b4f', iter=40000, CLASSES=('road', 'sidewalk'), PALETTE=[[128, 64, 128], [244, 35, 232]]
    )
    path = tmp_path / 'published.pth'
    torch.save(dict(meta=meta, state_dict=weights), path)

    model = init_model(name, path)
    for key, value in model.state_dict().items():
        if not key.startswith('data_preprocessor.'):
            assert (value == numbers[key]).all(), key
    assert load_state(model, extract_state_dict(load_checkpoint_file(path)), strict=True).complete
