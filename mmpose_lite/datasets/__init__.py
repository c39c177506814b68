"""Annotation files -> dicts -> batches."""

from mmpose_lite.datasets.coco_detection import CocoDetectionDataset
from mmpose_lite.datasets.coco_keypoints import CocoKeypointDataset
from mmpose_lite.datasets.collate import detection_collate, pose_collate
from mmpose_lite.datasets.joining import ClassBalancedDataset, ConcatDataset, RepeatDataset
from mmpose_lite.datasets.mixing import MultiImageMixDataset
from mmpose_lite.datasets.sampling import AspectRatioBatchSampler, DefaultSampler, InfiniteSampler
from mmpose_lite.datasets.segmentation import CocoSegmentationDataset, SegmentationDataset, SyntheticPeopleSegmentation
from mmpose_lite.datasets.synthetic_people import SyntheticPeopleDataset, SyntheticPeopleDetection
from mmpose_lite.datasets.voc_detection import VOCDetectionDataset

__all__ = [
    'AspectRatioBatchSampler',
    'ClassBalancedDataset',
    'CocoDetectionDataset',
    'CocoKeypointDataset',
    'CocoSegmentationDataset',
    'ConcatDataset',
    'DefaultSampler',
    'InfiniteSampler',
    'MultiImageMixDataset',
    'RepeatDataset',
    'SegmentationDataset',
    'SyntheticPeopleDataset',
    'SyntheticPeopleDetection',
    'SyntheticPeopleSegmentation',
    'VOCDetectionDataset',
    'detection_collate',
    'pose_collate',
]
