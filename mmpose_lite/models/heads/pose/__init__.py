"""Heads that predict keypoints."""

from mmpose_lite.models.heads.pose.ae_head import AEHead, AEMaps, HigherAEHead
from mmpose_lite.models.heads.pose.cpm_head import CPMHead
from mmpose_lite.models.heads.pose.cpn_head import CPNHead
from mmpose_lite.models.heads.pose.heatmap_head import HeatmapHead
from mmpose_lite.models.heads.pose.mspn_head import MSPNHead
from mmpose_lite.models.heads.pose.openpose_head import OpenPoseHead
from mmpose_lite.models.heads.pose.paf_head import PAFHead, PAFMaps
from mmpose_lite.models.heads.pose.rtmcc_head import RTMCCHead
from mmpose_lite.models.heads.pose.simcc_head import SimCCHead

__all__ = [
    'AEHead',
    'AEMaps',
    'CPMHead',
    'CPNHead',
    'HeatmapHead',
    'HigherAEHead',
    'MSPNHead',
    'OpenPoseHead',
    'PAFHead',
    'PAFMaps',
    'RTMCCHead',
    'SimCCHead',
]
