# What runs of detection share: pictures of objects and mistakes; the best checkpoint by the AP of boxes.
_base_ = './default_runtime.py'

default_hooks = dict(draw=dict(type='DrawDetectionHook'), checkpoint=dict(save_best='coco/bbox_mAP'))
