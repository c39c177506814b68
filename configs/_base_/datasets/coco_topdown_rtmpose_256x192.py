# COCO 2017 people as RTMPose trains on them, arXiv:2303.07399, Sec. 3.2: strong augmentation, weaker in the last epochs, for
# which a config gives `train_pipeline_stage2` to a PipelineSwitchHook.
_base_ = './coco_topdown_256x192.py'

cut_out = dict(
    type='CoarseDropout', min_holes=1, max_holes=1, min_height=0.2, max_height=0.4, min_width=0.2, max_width=0.4
)  # one hole, a fifth to two fifths of each side
train_pipeline = [
    dict(type='LoadImage'),
    dict(type='GetBBoxCenterScale'),
    dict(type='RandomFlip'),
    dict(type='RandomHalfBody'),
    dict(type='RandomBBoxTransform', scale_factor=(0.6, 1.4), rotate_factor=80.0),
    dict(type='TopdownAffine', input_size={{_base_.input_size}}),
    dict(type='YOLOXHSVRandomAug'),
    dict(type='Blur', prob=0.1),
    dict(type='MedianBlur', prob=0.1),
    dict(cut_out, prob=1.0),
    dict(type='PackPoseInputs'),
]
train_pipeline_stage2 = [
    dict(type='LoadImage'),
    dict(type='GetBBoxCenterScale'),
    dict(type='RandomFlip'),
    dict(type='RandomHalfBody'),
    dict(type='RandomBBoxTransform', shift_factor=0.0, scale_factor=(0.75, 1.25), rotate_factor=60.0),
    dict(type='TopdownAffine', input_size={{_base_.input_size}}),
    dict(type='YOLOXHSVRandomAug'),
    dict(type='Blur', prob=0.1),
    dict(type='MedianBlur', prob=0.1),
    dict(cut_out, prob=0.5),
    dict(type='PackPoseInputs'),
]
train_dataloader = dict(batch_size=256, num_workers=8, drop_last=True, dataset=dict(pipeline=train_pipeline))
