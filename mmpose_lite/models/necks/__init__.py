"""Necks: feature maps in, feature maps out."""

from mmpose_lite.models.necks.aspp_neck import ASPPNeck
from mmpose_lite.models.necks.bfp import BFP
from mmpose_lite.models.necks.cpn_global_net import CPNGlobalNet
from mmpose_lite.models.necks.ct_resnet_neck import CTResNetNeck
from mmpose_lite.models.necks.feature_map_processor import FeatureMapProcessor
from mmpose_lite.models.necks.fpn import FPN
from mmpose_lite.models.necks.hrfpn import HRFPN
from mmpose_lite.models.necks.lightweight_cpm import LightweightCPM
from mmpose_lite.models.necks.neck_parts import build_neck
from mmpose_lite.models.necks.pafpn import PAFPN

__all__ = [
    'BFP',
    'FPN',
    'HRFPN',
    'PAFPN',
    'ASPPNeck',
    'CPNGlobalNet',
    'CTResNetNeck',
    'FeatureMapProcessor',
    'LightweightCPM',
    'build_neck',
]
