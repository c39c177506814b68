"""Heads: feature maps in, losses or predictions out."""

from mmpose_lite.models.heads.pose import CPMHead, CPNHead, HeatmapHead, MSPNHead, RTMCCHead, SimCCHead

__all__ = ['CPMHead', 'CPNHead', 'HeatmapHead', 'MSPNHead', 'RTMCCHead', 'SimCCHead']
