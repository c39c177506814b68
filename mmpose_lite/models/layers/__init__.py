"""Layers that several networks share."""

from mmpose_lite.models.layers.attention import CBAM, BoTAttention, SELayer
from mmpose_lite.models.layers.conv_module import ConvModule
from mmpose_lite.models.layers.drop_path import DropPath
from mmpose_lite.models.layers.gau import GatedAttentionUnit, ScaleNorm
from mmpose_lite.models.layers.norm import LayerNorm2d, build_norm_layer
from mmpose_lite.models.layers.separable import SeparableConv2d

__all__ = [
    'CBAM',
    'BoTAttention',
    'ConvModule',
    'DropPath',
    'GatedAttentionUnit',
    'LayerNorm2d',
    'SELayer',
    'ScaleNorm',
    'SeparableConv2d',
    'build_norm_layer',
]
