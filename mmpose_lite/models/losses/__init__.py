"""Losses: tensors in, scalar out."""

from mmpose_lite.models.losses.classification import KLDiscretLoss
from mmpose_lite.models.losses.heatmap import AdaptiveWingLoss, KeypointMSELoss, KeypointOHKMMSELoss
from mmpose_lite.models.losses.reduction import reduce_loss
from mmpose_lite.models.losses.regression import L1Loss, SmoothL1Loss

__all__ = ['AdaptiveWingLoss', 'KLDiscretLoss', 'KeypointMSELoss', 'KeypointOHKMMSELoss', 'L1Loss', 'SmoothL1Loss', 'reduce_loss']
