"""Models that find bright spots, one in a crop or all of an image: what they predict is known without training."""

import shutil
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, max_pool2d

from mmpose_lite.codecs.pose_groups import PoseGroups
from mmpose_lite.registry import BACKBONES, HEADS

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

# A person is a spot with two feet: three of COCO's keypoints, the middle hip not among them.
BOTTOMUP_CONFIG = """
custom_imports = dict(imports=['brightest'])
meta = dict(keypoints=['spot', 'left_foot', 'right_foot'], limbs=[['spot', 'left_foot'], ['spot', 'right_foot']])
model = dict(type='BottomupPoseEstimator', backbone=dict(type='Brightness'), head=dict(type='SpotsHead'))
test_dataloader = dict(dataset=dict(
    type='CocoKeypointDataset',
    data_mode='bottomup',
    ann_file='absent.json',
    pipeline=[
        dict(type='LoadImage'), dict(type='BottomupResize', input_size=(120, 120), resize_mode='expand', size_factor=8),
        dict(type='PackPoseInputs')]))
"""
FEET = np.array([[0, 0], [-8, 24], [8, 24]], np.float32)  # px of the input


@BACKBONES.register_module(force=True)
class Brightness(nn.Module):
    """Grey values at half the size, above 0, as a feature map of one channel."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return (self.gain * avg_pool2d(3 + x.mean(dim=1, keepdim=True), 2),)


@HEADS.register_module(force=True)
class SpotsHead(nn.Module):
    """A person at each spot, the brightest first. The right foot is never found where the spot is in the lowest quarter."""

    def forward(self, feats: tuple[Tensor, ...]) -> Tensor:
        return feats[0]

    def decode(self, raw: Tensor) -> list[PoseGroups]:
        groups = []
        for grey in raw[:, 0]:
            peaks = (grey == max_pool2d(grey[None], 9, 1, 4)[0]) & (grey > grey.min() + 0.5 * (raw.max() - raw.min()))
            rows, columns = peaks.nonzero(as_tuple=True)
            spots = torch.stack((columns, rows), dim=1).numpy()[:, None] * 2 + 0.5
            scores = np.full((len(spots), 3), 0.5, np.float32)
            scores[spots[:, 0, 1] > 1.5 * len(grey), 2] = 0
            groups.append(PoseGroups((spots + FEET).astype(np.float32), scores, np.full(len(spots), 0.75, np.float32)))
        return groups


def write_project(folder: Path, config: str = CONFIG) -> tuple[Path, Path]:
    """Write config, module and checkpoint into `folder`; return the paths of config and checkpoint."""
    shutil.copy(__file__, folder / 'brightest.py')
    (folder / 'config.py').write_text(config)
    torch.save(dict(state_dict={'backbone.gain': torch.full((1,), 2.0)}), folder / 'weights.pth')
    return folder / 'config.py', folder / 'weights.pth'


def spots(*centers: tuple[int, int], size: tuple[int, int] = (200, 120)) -> np.ndarray:
    """Return a dark picture (w, h) with a soft bright spot at each (x, y)."""
    y, x = np.mgrid[: size[1], : size[0]]
    grey = sum(np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * 3.0**2)) for cx, cy in centers)
    return np.repeat((30 + 220 * np.clip(grey, 0, 1)).astype(np.uint8)[..., None], 3, axis=2)
