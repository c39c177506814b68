"""Heads on boxes: what they are, where exactly, and their masks."""

from mmpose_lite.models.heads.roi.bbox_head import ConvFCBBoxHead, Shared2FCBBoxHead
from mmpose_lite.models.heads.roi.cascade_roi_head import CascadeRoIHead
from mmpose_lite.models.heads.roi.extractor import SingleRoIExtractor
from mmpose_lite.models.heads.roi.htc_roi_head import HybridTaskCascadeRoIHead
from mmpose_lite.models.heads.roi.mask_head import FCNMaskHead
from mmpose_lite.models.heads.roi.rfcn_head import PositionSensitiveBBoxHead, RFCNRoIHead
from mmpose_lite.models.heads.roi.semantic_head import FusedSemanticHead
from mmpose_lite.models.heads.roi.standard_roi_head import StandardRoIHead

__all__ = [
    'CascadeRoIHead',
    'ConvFCBBoxHead',
    'FCNMaskHead',
    'FusedSemanticHead',
    'HybridTaskCascadeRoIHead',
    'PositionSensitiveBBoxHead',
    'RFCNRoIHead',
    'Shared2FCBBoxHead',
    'SingleRoIExtractor',
    'StandardRoIHead',
]
