"""Heads of segmentation networks: feature maps in, class scores of pixels out."""

from mmpose_lite.models.heads.seg.aspp_head import ASPPHead, DepthwiseSeparableASPPHead
from mmpose_lite.models.heads.seg.deep_supervision_head import DeepSupervisionHead
from mmpose_lite.models.heads.seg.duc_head import DUCHead
from mmpose_lite.models.heads.seg.fcn_head import FCNHead, FCNSkipHead
from mmpose_lite.models.heads.seg.psp_head import PSPHead

__all__ = ['ASPPHead', 'DUCHead', 'DeepSupervisionHead', 'DepthwiseSeparableASPPHead', 'FCNHead', 'FCNSkipHead', 'PSPHead']
