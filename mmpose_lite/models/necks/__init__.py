"""Necks: feature maps in, feature maps out."""

from mmpose_lite.models.necks.cpn_global_net import CPNGlobalNet
from mmpose_lite.models.necks.feature_map_processor import FeatureMapProcessor
from mmpose_lite.models.necks.fpn import FPN
from mmpose_lite.models.necks.lightweight_cpm import LightweightCPM

__all__ = ['FPN', 'CPNGlobalNet', 'FeatureMapProcessor', 'LightweightCPM']
