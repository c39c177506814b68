# COCO 2017 people as RTMPose trains on them.
# Differs from mmpose: PhotometricDistortion stands for its HSV jitter, there is no blur and no cut-out, and the last 30 epochs
# are augmented like the others.
_base_ = './coco_topdown_256x192.py'

train_pipeline = [
    dict(type='LoadImage'),
    dict(type='GetBBoxCenterScale'),
    dict(type='RandomFlip'),
    dict(type='RandomHalfBody'),
    dict(type='RandomBBoxTransform', scale_factor=(0.6, 1.4), rotate_factor=80),
    dict(type='TopdownAffine', input_size={{_base_.input_size}}),
    dict(type='PhotometricDistortion'),
    dict(type='PackPoseInputs'),
]
train_dataloader = dict(batch_size=256, num_workers=8, dataset=dict(pipeline=train_pipeline))
