"""A model whose one keypoint is the brightest spot of the crop: what it predicts is known without training."""

import shutil
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from mmpose_lite.registry import BACKBONES

CONFIG = """
custom_imports = dict(imports=['brightest'])
meta = dict(keypoints=['spot'])
model = dict(
    type='TopdownPoseEstimator',
    backbone=dict(type='Brightness'),
    head=dict(
        type='HeatmapHead', in_channels=1, deconv_out_channels=None, final_layer=None,
        codec=dict(type='HeatmapCodec', input_size=(64, 64), heatmap_size=(32, 32))))
test_dataloader = dict(dataset=dict(
    type='CocoKeypointDataset',
    ann_file='absent.json',
    pipeline=[
        dict(type='LoadImage'), dict(type='GetBBoxCenterScale'), dict(type='TopdownAffine', input_size=(64, 64)),
        dict(type='PackPoseInputs')]))
"""


@BACKBONES.register_module(force=True)
class Brightness(nn.Module):
    """Grey values at half the size, above 0, as a feature map of one channel."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return (self.gain * avg_pool2d(3 + x.mean(dim=1, keepdim=True), 2),)


def write_project(folder: Path) -> tuple[Path, Path]:
    """Write config, module and checkpoint into `folder`; return the paths of config and checkpoint."""
    shutil.copy(__file__, folder / 'brightest.py')
    (folder / 'config.py').write_text(CONFIG)
    torch.save(dict(state_dict={'backbone.gain': torch.full((1,), 2.0)}), folder / 'weights.pth')
    return folder / 'config.py', folder / 'weights.pth'


def spots(*centers: tuple[int, int], size: tuple[int, int] = (200, 120)) -> np.ndarray:
    """Return a dark picture (w, h) with a soft bright spot at each (x, y)."""
    y, x = np.mgrid[: size[1], : size[0]]
    grey = sum(np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * 3.0**2)) for cx, cy in centers)
    return np.repeat((30 + 220 * np.clip(grey, 0, 1)).astype(np.uint8)[..., None], 3, axis=2)
