"""Losses: tensors in, scalar out."""

from mmpose_lite.models.losses.ae import AssociativeEmbeddingLoss
from mmpose_lite.models.losses.classification import KLDiscretLoss
from mmpose_lite.models.losses.cross_entropy import CrossEntropyLoss
from mmpose_lite.models.losses.focal import FocalLoss
from mmpose_lite.models.losses.gaussian_focal import GaussianFocalLoss
from mmpose_lite.models.losses.ghm import GHMC, GHMR
from mmpose_lite.models.losses.hard_examples import HardExampleCrossEntropyLoss
from mmpose_lite.models.losses.heatmap import AdaptiveWingLoss, KeypointMSELoss, KeypointOHKMMSELoss
from mmpose_lite.models.losses.iou import BoundedIoULoss, CIoULoss, DIoULoss, GIoULoss, IoULoss
from mmpose_lite.models.losses.lovasz import LovaszLoss
from mmpose_lite.models.losses.masked import MaskedFocalL2Loss, MaskedMSELoss
from mmpose_lite.models.losses.ohem import OhemCrossEntropy
from mmpose_lite.models.losses.reduction import reduce_loss
from mmpose_lite.models.losses.region import DiceLoss, GeneralizedDiceLoss
from mmpose_lite.models.losses.regression import (
    BalancedL1Loss,
    BoxKLLoss,
    L1Loss,
    MSELoss,
    SmoothL1Loss,
    small_box_weight,
)
from mmpose_lite.models.losses.tversky import FocalTverskyLoss, TverskyLoss

__all__ = [
    'GHMC',
    'GHMR',
    'AdaptiveWingLoss',
    'AssociativeEmbeddingLoss',
    'BalancedL1Loss',
    'BoundedIoULoss',
    'BoxKLLoss',
    'CIoULoss',
    'CrossEntropyLoss',
    'DIoULoss',
    'DiceLoss',
    'FocalLoss',
    'FocalTverskyLoss',
    'GIoULoss',
    'GaussianFocalLoss',
    'GeneralizedDiceLoss',
    'HardExampleCrossEntropyLoss',
    'IoULoss',
    'KLDiscretLoss',
    'KeypointMSELoss',
    'KeypointOHKMMSELoss',
    'L1Loss',
    'LovaszLoss',
    'MSELoss',
    'MaskedFocalL2Loss',
    'MaskedMSELoss',
    'OhemCrossEntropy',
    'SmoothL1Loss',
    'TverskyLoss',
    'reduce_loss',
    'small_box_weight',
]
