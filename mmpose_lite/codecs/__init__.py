"""Keypoints <-> network targets; encode and decode side by side, batched, on any device."""

from mmpose_lite.codecs.ae import AECodec, AETargets
from mmpose_lite.codecs.heatmap import HeatmapCodec
from mmpose_lite.codecs.megvii_heatmap import MegviiHeatmapCodec
from mmpose_lite.codecs.paf import PAFCodec, PAFTargets
from mmpose_lite.codecs.pose_groups import PoseGroups
from mmpose_lite.codecs.simcc import SimCCCodec

__all__ = ['AECodec', 'AETargets', 'HeatmapCodec', 'MegviiHeatmapCodec', 'PAFCodec', 'PAFTargets', 'PoseGroups', 'SimCCCodec']
