"""Keypoints <-> network targets; encode and decode side by side, batched, on any device."""

from mmpose_lite.codecs.heatmap import HeatmapCodec

__all__ = ['HeatmapCodec']
