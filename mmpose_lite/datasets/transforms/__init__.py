"""Steps from a dataset's dict to what the network is shown. Each is a callable `dict -> dict`; they run in the workers.

Random steps take every number from `results['rng']`, a NumPy Generator that the dataset seeds per sample and epoch.
"""

from mmpose_lite.datasets.transforms.appearance import Blur, MedianBlur, YOLOXHSVRandomAug
from mmpose_lite.datasets.transforms.augment import PhotometricDistortion, RandomBBoxTransform, RandomFlip, RandomHalfBody
from mmpose_lite.datasets.transforms.bottomup import BottomupRandomAffine, BottomupResize, GenerateLossMask
from mmpose_lite.datasets.transforms.crops import SNIPERChip, SNIPResize
from mmpose_lite.datasets.transforms.detection import DetResize, LoadMasks, LoadSemanticSeg, PackDetInputs
from mmpose_lite.datasets.transforms.erasing import CoarseDropout, GridMask
from mmpose_lite.datasets.transforms.loading import LoadImage
from mmpose_lite.datasets.transforms.mixing import CopyPasteSmallObjects, Mosaic
from mmpose_lite.datasets.transforms.packing import PackPoseInputs
from mmpose_lite.datasets.transforms.segmentation import LoadSegMap, PackSegInputs, SegRandomCrop, SegResize
from mmpose_lite.datasets.transforms.topdown import GetBBoxCenterScale, TopdownAffine

__all__ = [
    'Blur',
    'BottomupRandomAffine',
    'BottomupResize',
    'CoarseDropout',
    'CopyPasteSmallObjects',
    'DetResize',
    'GenerateLossMask',
    'GetBBoxCenterScale',
    'GridMask',
    'LoadImage',
    'LoadMasks',
    'LoadSegMap',
    'LoadSemanticSeg',
    'MedianBlur',
    'Mosaic',
    'PackDetInputs',
    'PackPoseInputs',
    'PackSegInputs',
    'PhotometricDistortion',
    'RandomBBoxTransform',
    'RandomFlip',
    'RandomHalfBody',
    'SNIPERChip',
    'SNIPResize',
    'SegRandomCrop',
    'SegResize',
    'TopdownAffine',
    'YOLOXHSVRandomAug',
]
