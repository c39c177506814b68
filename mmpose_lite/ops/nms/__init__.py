"""Suppression of boxes: one signature, a class for each method, in the registry NMS."""

from mmpose_lite.ops.nms.averaging import IoUGuidedNMS, SofterNMS, WeightedNMS
from mmpose_lite.ops.nms.base import EXTRAS, NMSResult, Suppression
from mmpose_lite.ops.nms.greedy import AdaptiveNMS, DIoUNMS, HardNMS, SoftNMS
from mmpose_lite.ops.nms.multiclass import Detections, multiclass_nms
from mmpose_lite.ops.nms.parallel import ClusterNMS, MatrixNMS

__all__ = [
    'EXTRAS',
    'AdaptiveNMS',
    'ClusterNMS',
    'DIoUNMS',
    'Detections',
    'HardNMS',
    'IoUGuidedNMS',
    'MatrixNMS',
    'NMSResult',
    'SoftNMS',
    'SofterNMS',
    'Suppression',
    'WeightedNMS',
    'multiclass_nms',
]
