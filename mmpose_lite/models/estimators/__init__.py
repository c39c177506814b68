"""Whole networks: preprocessing, backbone, neck, head."""

from mmpose_lite.models.estimators.bottomup import BottomupPoseEstimator
from mmpose_lite.models.estimators.segmentation import EncoderDecoder
from mmpose_lite.models.estimators.single_stage import SingleStageDetector
from mmpose_lite.models.estimators.topdown import TopdownPoseEstimator
from mmpose_lite.models.estimators.two_stage import TwoStageDetector

__all__ = ['BottomupPoseEstimator', 'EncoderDecoder', 'SingleStageDetector', 'TopdownPoseEstimator', 'TwoStageDetector']
