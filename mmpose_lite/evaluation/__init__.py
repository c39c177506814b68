"""Metrics of predictions against ground truth."""

from mmpose_lite.evaluation.coco_detection import CocoDetectionMetric
from mmpose_lite.evaluation.coco_oks import CocoMetric
from mmpose_lite.evaluation.coco_wholebody import CocoWholeBodyMetric
from mmpose_lite.evaluation.keypoint import AUC, EPE, NME, MpiiPCKAccuracy, PCKAccuracy
from mmpose_lite.evaluation.segmentation import BoundaryFScore, IoUMetric
from mmpose_lite.evaluation.voc_detection import VOCMetric

__all__ = [
    'AUC',
    'EPE',
    'NME',
    'BoundaryFScore',
    'CocoDetectionMetric',
    'CocoMetric',
    'CocoWholeBodyMetric',
    'IoUMetric',
    'MpiiPCKAccuracy',
    'PCKAccuracy',
    'VOCMetric',
]
