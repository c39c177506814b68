"""What a detector learns where: anchors, which object an anchor answers for, which of them count, and the coding of boxes."""

from mmpose_lite.models.assign.anchors import AnchorGenerator
from mmpose_lite.models.assign.assigner import ApproxMaxIoUAssigner, Assignment, MaxIoUAssigner
from mmpose_lite.models.assign.box_coder import DeltaXYWHBBoxCoder
from mmpose_lite.models.assign.objects import Objects
from mmpose_lite.models.assign.samplers import (
    CombinedSampler,
    InstanceBalancedPosSampler,
    IoUBalancedNegSampler,
    OHEMSampler,
    RandomSampler,
    Sampled,
)

__all__ = [
    'AnchorGenerator',
    'ApproxMaxIoUAssigner',
    'Assignment',
    'CombinedSampler',
    'DeltaXYWHBBoxCoder',
    'InstanceBalancedPosSampler',
    'IoUBalancedNegSampler',
    'MaxIoUAssigner',
    'OHEMSampler',
    'Objects',
    'RandomSampler',
    'Sampled',
]
