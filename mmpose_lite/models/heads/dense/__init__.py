"""Heads on every cell of feature maps: proposals."""

from mmpose_lite.models.heads.dense.ga_rpn_head import GARPNHead
from mmpose_lite.models.heads.dense.rpn_head import RPNHead

__all__ = ['GARPNHead', 'RPNHead']
