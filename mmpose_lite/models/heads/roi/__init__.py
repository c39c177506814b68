"""Heads on boxes: what they are, where exactly, and their masks."""

from mmpose_lite.models.heads.roi.extractor import SingleRoIExtractor

__all__ = ['SingleRoIExtractor']
