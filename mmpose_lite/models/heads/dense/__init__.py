"""Heads on every cell of feature maps: proposals, or detections at once."""

from mmpose_lite.models.heads.dense.center_head import CenterNetHead
from mmpose_lite.models.heads.dense.fcos_head import FCOSHead
from mmpose_lite.models.heads.dense.ga_rpn_head import GARPNHead
from mmpose_lite.models.heads.dense.retina_head import RetinaHead
from mmpose_lite.models.heads.dense.rpn_head import RPNHead

__all__ = ['CenterNetHead', 'FCOSHead', 'GARPNHead', 'RPNHead', 'RetinaHead']
