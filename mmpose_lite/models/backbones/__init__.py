"""Backbones: image in, tuple of feature maps out, finest first."""

from mmpose_lite.models.backbones.cpm import CPM
from mmpose_lite.models.backbones.cspnext import CSPNeXt
from mmpose_lite.models.backbones.hourglass import HourglassNet
from mmpose_lite.models.backbones.hrnet import HRNet
from mmpose_lite.models.backbones.mobilenet_v1 import MobileNetV1
from mmpose_lite.models.backbones.mobilenet_v2 import MobileNetV2
from mmpose_lite.models.backbones.mspn import MSPN
from mmpose_lite.models.backbones.openpose_vgg import OpenPoseVGG
from mmpose_lite.models.backbones.resnet import BasicBlock, Bottleneck, ResNet, make_stage
from mmpose_lite.models.backbones.resnet_variants import PreActResNet, ResNetV1d, SEResNet
from mmpose_lite.models.backbones.timm_backbone import TimmBackbone
from mmpose_lite.models.backbones.unet import UNet, UNetPlusPlus
from mmpose_lite.models.backbones.vgg import VGG
from mmpose_lite.models.backbones.vit import VisionTransformer

__all__ = [
    'CPM',
    'MSPN',
    'VGG',
    'BasicBlock',
    'Bottleneck',
    'CSPNeXt',
    'HRNet',
    'HourglassNet',
    'MobileNetV1',
    'MobileNetV2',
    'OpenPoseVGG',
    'PreActResNet',
    'ResNet',
    'ResNetV1d',
    'SEResNet',
    'TimmBackbone',
    'UNet',
    'UNetPlusPlus',
    'VisionTransformer',
    'make_stage',
]
