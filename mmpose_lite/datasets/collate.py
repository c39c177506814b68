"""Samples -> one batch: a uint8 tensor and the packed instances."""

# Letters: B images of H x W px.
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.registry import FUNCTIONS
from torch import Tensor
from torch.utils.data import get_worker_info

from mmpose_lite.errors import ConfigError
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
        ConfigError: the pipeline does not end with PackPoseInputs.
        ValueError: the images differ in size, or the instances do not fit together.
    """
    if 'inputs' not in samples[0]:
        raise ConfigError(f'pose_collate: the pipeline must end with PackPoseInputs, got samples with {sorted(samples[0])}.')
    shapes = {sample['inputs'].shape for sample in samples}
    if len(shapes) > 1:
        raise ValueError(f'pose_collate: all images of a batch need one size, got {sorted(shapes)}; end with a crop or a resize.')
    images = _empty_batch((len(samples), *samples[0]['inputs'].shape))
    view = images.numpy()
    for row, sample in enumerate(samples):
        view[row] = sample['inputs']
    return dict(inputs=images.permute(0, 3, 1, 2), data_samples=SampleBatch.pack(samples))


@FUNCTIONS.register_module()
def detection_collate(samples: Sequence[dict[str, Any]], *, size_divisor: int = 32) -> dict[str, Any]:
    """Join what PackDetInputs made of images of any sizes; they are filled up with 0 at the right and below.

    Args:
        samples: dicts with `inputs` (h, w, 3) uint8, `instances` (with `masks` (N, h, ceil(w / 8)) where they have masks),
            `maps` (`gt_semantic_seg`, filled up with 255) and `metainfo`.
        size_divisor: width and height of the batch become multiples of it.

    Returns:
        `inputs`: (B, 3, H, W) uint8, channels-last in memory; `data_samples`: SampleBatch, whose images have `input_size`, the
        (w, h) of the batch.

    Raises:
        ValueError: the instances do not fit together, or the divisor is below 1.
    """
    if size_divisor < 1:
        raise ValueError(f'detection_collate: `size_divisor` must be 1 or more, got {size_divisor}.')
    H, W = (-(-max(sample['inputs'].shape[axis] for sample in samples) // size_divisor) * size_divisor for axis in range(2))
    images = _empty_batch((len(samples), H, W, 3))
    view = images.numpy()
    filled = []
    for row, sample in enumerate(samples):
        h, w = sample['inputs'].shape[:2]
        view[row, :h, :w] = sample['inputs']
        view[row, h:] = 0
        view[row, :h, w:] = 0
        instances, maps = dict(sample['instances']), dict(sample.get('maps', {}))
        if 'masks' in instances:
            instances['masks'] = _filled_up(instances['masks'], (H, -(-W // 8)), 0)
        if 'gt_semantic_seg' in maps:
            stride = sample['metainfo']['semantic_stride']
            maps['gt_semantic_seg'] = _filled_up(maps['gt_semantic_seg'], (-(-H // stride), -(-W // stride)), 255)
        filled.append(dict(instances=instances, maps=maps, metainfo={**sample['metainfo'], 'input_size': (W, H)}))
    return dict(inputs=images.permute(0, 3, 1, 2), data_samples=SampleBatch.pack(filled))


def _filled_up(arrays: np.ndarray, shape: tuple[int, int], value: int) -> np.ndarray:
    """Return (..., *shape) arrays that hold (..., h, w) ones at their top left, and `value` elsewhere."""
    filled = np.full((*arrays.shape[:-2], *shape), value, arrays.dtype)
    filled[..., : arrays.shape[-2], : arrays.shape[-1]] = arrays
    return filled


def build_collate(cfg: Mapping[str, Any] | None) -> Callable[[Sequence[dict[str, Any]]], dict[str, Any]]:
    """Return what `collate_fn` of a loader's config names, with its arguments; None is `pose_collate`.

    Raises:
        ConfigError: there is no such function.
    """
    args = dict(type='pose_collate') if cfg is None else dict(cfg) if isinstance(cfg, Mapping) else dict(type=cfg)
    name = args.pop('type', None)
    function = FUNCTIONS.get(name) if isinstance(name, str) else None
    if function is None:
        ours = [known for known, value in FUNCTIONS.module_dict.items() if value.__module__ == __name__]
        raise ConfigError(
            f'`collate_fn` must be a dict whose `type` is a registered function, such as {", ".join(ours)}, got {cfg!r}.'
        )
    return partial(function, **args)


def init_worker(worker: int) -> None:
    """Set up a data worker: one thread each, for there are as many workers as there are cores to use."""
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
