"""The number of keypoints a network predicts: from one declaration, `KeypointMeta`."""

from collections.abc import Mapping
from typing import Any

from mmpose_lite.structures import KeypointMeta


def keypoint_channels(owner: str, out_channels: int | None, meta: KeypointMeta | Mapping[str, Any] | str | None) -> int:
    """Return K.

    Args:
        owner: the class that asks, as errors call it.
        out_channels: K; None takes it from `meta`.
        meta: the keypoints: anything `KeypointMeta.load` understands.

    Raises:
        ValueError: neither is given, or they differ.
    """
    declared = None if meta is None else KeypointMeta.load(meta).num_keypoints
    if out_channels is None and declared is None:
        raise ValueError(f'{owner}: `out_channels` or `meta` must be given, got neither.')
    if None not in (out_channels, declared) and out_channels != declared:
        raise ValueError(
            f'{owner}: `out_channels` must be the {declared} keypoints of `meta`, got {out_channels}. '
            'Leave `out_channels` out, or name another `meta`.'
        )
    return declared if out_channels is None else out_channels
