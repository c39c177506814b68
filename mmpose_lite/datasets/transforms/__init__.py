"""Steps from a dataset's dict to what the network is shown. Each is a callable `dict -> dict`; they run in the workers.

Random steps take every number from `results['rng']`, a NumPy Generator that the dataset seeds per sample and epoch.
"""

from mmpose_lite.datasets.transforms.augment import PhotometricDistortion, RandomBBoxTransform, RandomFlip, RandomHalfBody
from mmpose_lite.datasets.transforms.loading import LoadImage
from mmpose_lite.datasets.transforms.topdown import GetBBoxCenterScale, PackPoseInputs, TopdownAffine

__all__ = [
    'GetBBoxCenterScale',
    'LoadImage',
    'PackPoseInputs',
    'PhotometricDistortion',
    'RandomBBoxTransform',
    'RandomFlip',
    'RandomHalfBody',
    'TopdownAffine',
]
