# COCO 2017 objects with their masks.
_base_ = './coco_detection.py'

train_pipeline = [
    dict(type='LoadImage'),
    dict(type='LoadMasks'),
    dict(type='DetResize', scale={{_base_.scale}}),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
train_dataloader = dict(dataset=dict(with_masks=True, pipeline=train_pipeline))
val_evaluator = [dict(type='CocoDetectionMetric', metric=['bbox', 'segm'])]
test_evaluator = val_evaluator
