"""Samples -> one batch: a uint8 tensor and the packed instances."""

# Letters: B images of H x W px.
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.registry import FUNCTIONS
from torch import Tensor
from torch.utils.data import get_worker_info

from mmpose_lite.structures import SampleBatch


def _empty_batch(shape: tuple[int, ...]) -> Tensor:
    """Return an uninitialised uint8 tensor; in a worker it lies in shared memory, so that it reaches the trainer uncopied."""
    if get_worker_info() is None:
        return torch.empty(shape, dtype=torch.uint8)
    storage = torch.UntypedStorage._new_shared(int(np.prod(shape)), device='cpu')
    return torch.empty(0, dtype=torch.uint8).set_(storage, 0, shape)


@FUNCTIONS.register_module()
def pose_collate(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Join what PackPoseInputs made.

    Args:
        samples: dicts with `inputs` (H, W, 3) uint8, all of one size, `instances` and `metainfo`.

    Returns:
        `inputs`: (B, 3, H, W) uint8, channels-last in memory; `data_samples`: SampleBatch.

    Raises:
        ValueError: the images differ in size, or the instances do not fit together.
    """
    shapes = {sample['inputs'].shape for sample in samples}
    if len(shapes) > 1:
        raise ValueError(f'pose_collate: all images of a batch need one size, got {sorted(shapes)}; end with a crop or a resize.')
    images = _empty_batch((len(samples), *samples[0]['inputs'].shape))
    view = images.numpy()
    for row, sample in enumerate(samples):
        view[row] = sample['inputs']
    return dict(inputs=images.permute(0, 3, 1, 2), data_samples=SampleBatch.pack(samples))


def init_worker(worker: int) -> None:
    """Set up a data worker: one thread each, for there are as many workers as there are cores to use."""
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
