"""Benchmark of the suppressions of boxes."""

# Letters: N boxes.
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from mmpose_lite.apis.benchmark import Report, in_turns, machine
from mmpose_lite.registry import NMS

_SCENE = 1000.0  # px, both sides of the made-up picture
_SIDES = (10.0, 110.0)  # px, of the boxes: most overlap some others, few overlap by half
_VARIANTS = {
    'hard': dict(type='HardNMS'),
    'soft linear': dict(type='SoftNMS', method='linear'),
    'soft gaussian': dict(type='SoftNMS', method='gaussian'),
    'IoU-guided': dict(type='IoUGuidedNMS'),
    'weighted': dict(type='WeightedNMS'),
    'softer': dict(type='SofterNMS'),
    'adaptive': dict(type='AdaptiveNMS'),
    'DIoU': dict(type='DIoUNMS'),
    'cluster': dict(type='ClusterNMS'),
    'matrix': dict(type='MatrixNMS'),
}


def benchmark_box_nms(counts: Sequence[int], *, repeats: int, device: str) -> Report:
    """Time every variant, in ms for all N boxes of one image and one class.

    Args:
        counts: N of each run.
        repeats: of each.
        device: 'cpu' or 'cuda'.
    """
    runs: dict[str, Callable[[], object]] = {}
    for count in counts:
        boxes, scores, extras = made_up_boxes(count, device=device)
        for name, cfg in _VARIANTS.items():
            nms = NMS.build(cfg)
            runs[f'{name}, N = {count}'] = lambda nms=nms, b=boxes, s=scores, e=extras: nms(b, s, **e)
    sides = ' to '.join(f'{side:.0f}' for side in _SIDES)
    report = Report(f'suppression of boxes of {sides} px in {_SCENE:.0f}x{_SCENE:.0f} px', machine(device))
    for name, seconds in in_turns(runs, repeats=repeats, device=device).items():
        report.add(name, [1000 * s for s in seconds], 'ms')
    return report


def made_up_boxes(count: int, *, device: str = 'cpu') -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Return boxes (N, 4) evenly spread over a picture, scores (N,) and every extra that a variant may need, by name."""
    generator = torch.Generator().manual_seed(0)
    numbers = torch.rand(count, 11, generator=generator)
    corners, (least, most) = numbers[:, :2] * _SCENE, _SIDES
    boxes = torch.cat([corners, corners + least + (most - least) * numbers[:, 2:4]], dim=1)
    extras = dict(pred_ious=numbers[:, 5], densities=numbers[:, 6], variances=0.1 + numbers[:, 7:])
    return boxes.to(device), numbers[:, 4].to(device), {name: values.to(device) for name, values in extras.items()}
