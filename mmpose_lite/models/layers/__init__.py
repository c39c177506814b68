"""Layers that several networks share."""

from mmpose_lite.models.layers.attention import CBAM, BoTAttention, SELayer
from mmpose_lite.models.layers.conv_module import ConvModule
from mmpose_lite.models.layers.deform_conv import DCN, DCNv2, DeformConv2d
from mmpose_lite.models.layers.deform_roi_pool import DeformRoIPoolPack, ModulatedDeformRoIPoolPack
from mmpose_lite.models.layers.drop_path import DropPath
from mmpose_lite.models.layers.gau import GatedAttentionUnit, ScaleNorm
from mmpose_lite.models.layers.masked_conv import MaskedConv2d
from mmpose_lite.models.layers.non_local import NonLocal2d
from mmpose_lite.models.layers.norm import LayerNorm2d, build_norm_layer
from mmpose_lite.models.layers.openpose_stages import (
    LightweightInitialStage,
    LightweightRefinementStage,
    OpenPoseDenseStage,
    OpenPoseStage,
)
from mmpose_lite.models.layers.roi_pool import ContextAwareRoIPool, PSRoIAlign, RoIAlign, RoIPool
from mmpose_lite.models.layers.separable import DepthwiseSeparableConvModule, SeparableConv2d
from mmpose_lite.models.layers.upsample import DeconvModule, InterpConv

__all__ = [
    'CBAM',
    'DCN',
    'BoTAttention',
    'ContextAwareRoIPool',
    'ConvModule',
    'DCNv2',
    'DeconvModule',
    'DeformConv2d',
    'DeformRoIPoolPack',
    'DepthwiseSeparableConvModule',
    'DropPath',
    'GatedAttentionUnit',
    'InterpConv',
    'LayerNorm2d',
    'LightweightInitialStage',
    'LightweightRefinementStage',
    'MaskedConv2d',
    'ModulatedDeformRoIPoolPack',
    'NonLocal2d',
    'OpenPoseDenseStage',
    'OpenPoseStage',
    'PSRoIAlign',
    'RoIAlign',
    'RoIPool',
    'SELayer',
    'ScaleNorm',
    'SeparableConv2d',
    'build_norm_layer',
]
