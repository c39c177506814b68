"""Heads: feature maps in, losses or predictions out."""

from mmpose_lite.models.heads.pose import HeatmapHead

__all__ = ['HeatmapHead']
