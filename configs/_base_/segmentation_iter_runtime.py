# What runs of segmentation share that count iterations.
_base_ = './segmentation_runtime.py'

default_hooks = dict(checkpoint=dict(by_epoch=False, interval=4000))
