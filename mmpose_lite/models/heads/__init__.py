"""Heads: feature maps in, losses or predictions out."""

from mmpose_lite.models.heads.dense import CenterNetHead, FCOSHead, GARPNHead, RetinaHead, RPNHead
from mmpose_lite.models.heads.pose import CPMHead, CPNHead, HeatmapHead, MSPNHead, OpenPoseHead, PAFHead, RTMCCHead, SimCCHead
from mmpose_lite.models.heads.roi import (
    CascadeRoIHead,
    ConvFCBBoxHead,
    FCNMaskHead,
    FusedSemanticHead,
    HybridTaskCascadeRoIHead,
    PositionSensitiveBBoxHead,
    RFCNRoIHead,
    Shared2FCBBoxHead,
    SingleRoIExtractor,
    StandardRoIHead,
)
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
    'CascadeRoIHead',
    'CenterNetHead',
    'ConvFCBBoxHead',
    'DUCHead',
    'DeepSupervisionHead',
    'DepthwiseSeparableASPPHead',
    'FCNHead',
    'FCNMaskHead',
    'FCNSkipHead',
    'FCOSHead',
    'FusedSemanticHead',
    'GARPNHead',
    'HeatmapHead',
    'HybridTaskCascadeRoIHead',
    'MSPNHead',
    'OpenPoseHead',
    'PAFHead',
    'PSPHead',
    'PositionSensitiveBBoxHead',
    'RFCNRoIHead',
    'RPNHead',
    'RTMCCHead',
    'RetinaHead',
    'Shared2FCBBoxHead',
    'SimCCHead',
    'SingleRoIExtractor',
    'StandardRoIHead',
]
