"""Data samples, keypoint metadata and box formats."""

from mmpose_lite.structures.boxes import bbox_cs_to_xyxy, bbox_xywh_to_xyxy, bbox_xyxy_to_cs, bbox_xyxy_to_xywh
from mmpose_lite.structures.data_samples import PoseDataSample, SampleBatch
from mmpose_lite.structures.keypoint_meta import KeypointMeta

__all__ = [
    'KeypointMeta',
    'PoseDataSample',
    'SampleBatch',
    'bbox_cs_to_xyxy',
    'bbox_xywh_to_xyxy',
    'bbox_xyxy_to_cs',
    'bbox_xyxy_to_xywh',
]
