"""Backbones: image in, tuple of feature maps out, finest first."""

from mmpose_lite.models.backbones.resnet import BasicBlock, Bottleneck, ResNet, make_stage

__all__ = ['BasicBlock', 'Bottleneck', 'ResNet', 'make_stage']
