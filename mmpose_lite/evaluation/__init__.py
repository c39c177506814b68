"""Metrics of predictions against ground truth."""

from mmpose_lite.evaluation.coco_oks import CocoMetric
from mmpose_lite.evaluation.keypoint import AUC, EPE, MpiiPCKAccuracy, PCKAccuracy

__all__ = ['AUC', 'EPE', 'CocoMetric', 'MpiiPCKAccuracy', 'PCKAccuracy']
