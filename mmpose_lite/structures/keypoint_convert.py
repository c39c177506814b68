"""Keypoints of one convention as those of another."""

# Letters: K keypoints. The leading axes are free: people, images, both or none.
import operator
from functools import reduce
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from mmpose_lite.structures.keypoint_meta import KeypointMeta

Array = TypeVar('Array', np.ndarray, Tensor)


class KeypointConverter:
    """Turn keypoints of one convention into those of another, by name.

    A keypoint that the source lacks is the mean of those that the target's `derived` names; one that the target lacks is left
    out. Nothing is copied between host and device.

    Args:
        source: of what is given.
        target: of what is wanted.

    Raises:
        ValueError: a keypoint of the target is neither in the source nor the mean of keypoints that are.
    """

    def __init__(self, source: KeypointMeta, target: KeypointMeta) -> None:
        self.source = source
        self.target = target
        parts = {name: (name,) if name in source.keypoints else target.derived.get(name, ()) for name in target.keypoints}
        absent = [
            f'{name!r}' + (f' (the mean of {", ".join(names)})' if names else '')
            for name, names in parts.items()
            if not names or not set(names) <= set(source.keypoints)
        ]
        if absent:
            raise ValueError(
                f'KeypointConverter: `source` must have every keypoint of {target.name!r} or those it is derived from, but '
                f'{source.name!r} ({", ".join(source.keypoints)}) gives no {", ".join(absent)}. Rename keypoints of one of them, '
                f'or add to the `derived` of {target.name!r}.'
            )
        self._indices = [[source.keypoints.index(name) for name in names] for names in parts.values()]

    def __call__(self, keypoints: Array, visible: Array) -> tuple[Array, Array]:
        """Return the target's keypoints (..., K', 2) and visible (..., K').

        Args:
            keypoints: (..., K, 2) in any frame.
            visible: (..., K) flags or scores; a mean has the least of its parts: it is visible when all of them are.

        Raises:
            ValueError: the shapes do not fit together or to the source.
        """
        K = self.source.num_keypoints
        if tuple(keypoints.shape) != (*visible.shape, 2) or tuple(visible.shape[-1:]) != (K,):
            raise ValueError(
                f'KeypointConverter: `keypoints` must be (..., {K}, 2) and `visible` (..., {K}), as {self.source.name!r} has '
                f'{K} keypoints, got {tuple(keypoints.shape)} and {tuple(visible.shape)}.'
            )
        stack, minimum = (torch.stack, torch.minimum) if isinstance(keypoints, Tensor) else (np.stack, np.minimum)
        points = [_mean([keypoints[..., i, :] for i in parts]) for parts in self._indices]
        flags = [reduce(minimum, [visible[..., i] for i in parts]) for parts in self._indices]
        return stack(points, -2), stack(flags, -1)

    def __repr__(self) -> str:
        return f'KeypointConverter({self.source.name} -> {self.target.name})'


def _mean(parts: list[Array]) -> Array:
    return parts[0] if len(parts) == 1 else reduce(operator.add, parts) / len(parts)
