"""Whole networks: preprocessing, backbone, neck, head."""

from mmpose_lite.models.estimators.topdown import TopdownPoseEstimator

__all__ = ['TopdownPoseEstimator']
