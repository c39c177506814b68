"""Whether a network can learn: a few optimizer steps on one small batch."""

from typing import Any

import torch

from mmpose_lite.registry import MODELS
from mmpose_lite.structures import SampleBatch


def topdown(backbone: dict, *, head: dict | None = None, heatmap_size: tuple[int, int] = (16, 16)) -> dict:
    """Return the config of a heatmap network for 64x64 crops of a person with the 14 keypoints of LSP."""
    codec = dict(type='HeatmapCodec', input_size=(64, 64), heatmap_size=heatmap_size, sigma=1.5)
    return dict(
        type='TopdownPoseEstimator', meta='lsp14', backbone=backbone, head=dict(type='HeatmapHead', codec=codec, **head or {})
    )


def losses_of_training(cfg: dict[str, Any], *, steps: int = 10, lr: float = 2e-3) -> list[float]:
    """Return the loss before each step and after the last, of Adam on two noise images with a person each; initial values set."""
    model = MODELS.build(cfg)
    model.init_weights()
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(2, 3, 64, 64, generator=generator)
    fields = {
        'keypoints_input': torch.rand(2, model.meta.num_keypoints, 2, generator=generator) * 48 + 8,
        'keypoints_visible': torch.ones(2, model.meta.num_keypoints),
    }
    samples = SampleBatch(fields, [1, 1], [{}, {}])
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    losses = []
    model.train()
    for _ in range(steps + 1):
        total = sum(value for name, value in model(images, samples, mode='loss').items() if 'loss' in name)
        losses.append(total.item())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
    return losses


def assert_learns(cfg: dict[str, Any], *, steps: int = 10, lr: float = 2e-3) -> None:
    """Demand that the loss of `losses_of_training` falls by a fifth."""
    losses = losses_of_training(cfg, steps=steps, lr=lr)
    assert losses[-1] < 0.8 * losses[0], losses
