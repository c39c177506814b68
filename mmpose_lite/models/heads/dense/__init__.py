"""Heads on every cell of feature maps: proposals."""

from mmpose_lite.models.heads.dense.rpn_head import RPNHead

__all__ = ['RPNHead']
