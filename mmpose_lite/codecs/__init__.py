"""Keypoints <-> network targets; encode and decode side by side, batched, on any device."""

from mmpose_lite.codecs.heatmap import HeatmapCodec
from mmpose_lite.codecs.megvii_heatmap import MegviiHeatmapCodec
from mmpose_lite.codecs.simcc import SimCCCodec

__all__ = ['HeatmapCodec', 'MegviiHeatmapCodec', 'SimCCCodec']
