"""Data samples, what keypoints and classes are, and box formats."""

from mmpose_lite.structures.boxes import (
    bbox_area,
    bbox_cxcywh_to_xyxy,
    bbox_xywh_to_xyxy,
    bbox_xyxy_to_cs,
    bbox_xyxy_to_cxcywh,
    bbox_xyxy_to_xywh,
)
from mmpose_lite.structures.class_meta import ClassMeta
from mmpose_lite.structures.data_samples import PoseDataSample, SampleBatch
from mmpose_lite.structures.det_sample import DetDataSample
from mmpose_lite.structures.keypoint_convert import KeypointConverter
from mmpose_lite.structures.keypoint_meta import KeypointMeta
from mmpose_lite.structures.seg_sample import SegDataSample

__all__ = [
    'ClassMeta',
    'DetDataSample',
    'KeypointConverter',
    'KeypointMeta',
    'PoseDataSample',
    'SampleBatch',
    'SegDataSample',
    'bbox_area',
    'bbox_cxcywh_to_xyxy',
    'bbox_xywh_to_xyxy',
    'bbox_xyxy_to_cs',
    'bbox_xyxy_to_cxcywh',
    'bbox_xyxy_to_xywh',
]
