"""Heads: feature maps in, losses or predictions out."""

from mmpose_lite.models.heads.pose import CPMHead, CPNHead, HeatmapHead, MSPNHead, OpenPoseHead, PAFHead, RTMCCHead, SimCCHead
from mmpose_lite.models.heads.roi import SingleRoIExtractor
from mmpose_lite.models.heads.seg import (
    ASPPHead,
    DeepSupervisionHead,
    DepthwiseSeparableASPPHead,
    DUCHead,
    FCNHead,
    FCNSkipHead,
    PSPHead,
)

__all__ = [
    'ASPPHead',
    'CPMHead',
    'CPNHead',
    'DUCHead',
    'DeepSupervisionHead',
    'DepthwiseSeparableASPPHead',
    'FCNHead',
    'FCNSkipHead',
    'HeatmapHead',
    'MSPNHead',
    'OpenPoseHead',
    'PAFHead',
    'PSPHead',
    'RTMCCHead',
    'SimCCHead',
    'SingleRoIExtractor',
]
