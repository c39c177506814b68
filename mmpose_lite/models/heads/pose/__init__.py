"""Heads that predict keypoints."""

from mmpose_lite.models.heads.pose.heatmap_head import HeatmapHead

__all__ = ['HeatmapHead']
