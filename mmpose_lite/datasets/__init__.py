"""Annotation files -> dicts -> batches."""

from mmpose_lite.datasets.coco_keypoints import CocoKeypointDataset
from mmpose_lite.datasets.collate import pose_collate
from mmpose_lite.datasets.sampling import ConcatDataset, DefaultSampler, InfiniteSampler
from mmpose_lite.datasets.segmentation import CocoSegmentationDataset, SegmentationDataset, SyntheticPeopleSegmentation
from mmpose_lite.datasets.synthetic_people import SyntheticPeopleDataset

__all__ = [
    'CocoKeypointDataset',
    'CocoSegmentationDataset',
    'ConcatDataset',
    'DefaultSampler',
    'InfiniteSampler',
    'SegmentationDataset',
    'SyntheticPeopleDataset',
    'SyntheticPeopleSegmentation',
    'pose_collate',
]
