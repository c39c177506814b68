# What runs of segmentation share: pictures of masks; the best checkpoint by the mean IoU.
_base_ = './default_runtime.py'

default_hooks = dict(draw=dict(type='DrawSegmentationHook'), checkpoint=dict(save_best='seg/mIoU'))
