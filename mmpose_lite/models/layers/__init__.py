"""Layers that several networks share."""

from mmpose_lite.models.layers.norm import LayerNorm2d, build_norm_layer

__all__ = ['LayerNorm2d', 'build_norm_layer']
