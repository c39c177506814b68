# MPII Human Pose, cropped to 256x256 (h x w): {data_root}/images, and in {data_root}/annotations the two files that
# tools/convert_dataset.py mpii writes. PCKh needs the head boxes of the validation split.
meta = 'mpii16'
data_root = 'data/mpii'
input_size = (256, 256)  # (w, h)

train_pipeline = [
    dict(type='LoadImage'),
    dict(type='GetBBoxCenterScale'),
    dict(type='RandomFlip'),
    dict(type='RandomBBoxTransform', shift_prob=0.0),
    dict(type='TopdownAffine', input_size=input_size),
    dict(type='PackPoseInputs'),
]
val_pipeline = [
    dict(type='LoadImage'),
    dict(type='GetBBoxCenterScale'),
    dict(type='TopdownAffine', input_size=input_size),
    dict(type='PackPoseInputs'),
]
train_dataloader = dict(
    batch_size=64,
    num_workers=4,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='CocoKeypointDataset',
        ann_file='annotations/person_keypoints_train.json',
        data_prefix=dict(img='images'),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=64,
    num_workers=4,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='CocoKeypointDataset',
        ann_file='annotations/person_keypoints_val.json',
        data_prefix=dict(img='images'),
        test_mode=True,
        pipeline=val_pipeline,
    ),
)
test_dataloader = val_dataloader

val_evaluator = [dict(type='MpiiPCKAccuracy', thr=(0.5, 0.1))]
test_evaluator = val_evaluator
