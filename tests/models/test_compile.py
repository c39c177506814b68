"""torch.compile sees a network as one graph; `fullgraph=True` raises at the first break."""

from typing import Any

import pytest
import torch

from mmpose_lite.registry import BACKBONES

THIN_HRNET: dict[str, Any] = dict(
    type='HRNet',
    extra=dict(
        stage1=dict(num_modules=1, num_branches=1, block='BOTTLENECK', num_blocks=(1,), num_channels=(4,)),
        stage2=dict(num_modules=1, num_branches=2, block='BASIC', num_blocks=(1, 1), num_channels=(4, 8)),
        stage3=dict(num_modules=2, num_branches=3, block='BASIC', num_blocks=(1, 1, 1), num_channels=(4, 8, 16)),
        stage4=dict(num_modules=1, num_branches=4, block='BASIC', num_blocks=(1,) * 4, num_channels=(4, 8, 16, 32)),
    ),
)


@pytest.mark.parametrize(
    'backbone', [THIN_HRNET, dict(type='ResNet', depth=18, base_channels=8, stem_channels=16)], ids=['hrnet', 'resnet']
)
def test_one_graph_in_channels_last_memory(backbone: dict[str, Any]) -> None:
    model = BACKBONES.build(backbone).eval().to(memory_format=torch.channels_last)
    crops = torch.randn(2, 3, 64, 64).to(memory_format=torch.channels_last)
    torch._dynamo.reset()
    compiled = torch.compile(model, backend='eager', fullgraph=True)
    with torch.no_grad():
        for ours, plain in zip(compiled(crops), model(crops), strict=True):
            torch.testing.assert_close(ours, plain)
            assert ours.is_contiguous(memory_format=torch.channels_last)
