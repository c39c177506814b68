# What runs of detection share: the best checkpoint by the AP of boxes.
_base_ = './default_runtime.py'

default_hooks = dict(checkpoint=dict(save_best='coco/bbox_mAP', rule='greater'))
