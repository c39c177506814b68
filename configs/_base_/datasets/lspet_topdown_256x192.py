# Leeds Sports Pose Extended, cropped to 256x192 (h x w): {data_root}/images and two annotation files, as
# tools/convert_dataset.py lsp writes them.
meta = 'lsp14'
data_root = 'data/lspet'
input_size = (192, 256)  # (w, h)

train_pipeline = [
    dict(type='LoadImage'),
    dict(type='GetBBoxCenterScale'),
    dict(type='RandomFlip'),
    # Milder than the defaults, and no half bodies: ten epochs from scratch see too few crops to profit from harder ones.
    dict(type='RandomBBoxTransform', shift_factor=0.1, scale_factor=(0.75, 1.25), rotate_factor=40),
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
    batch_size=16,
    num_workers=2,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='CocoKeypointDataset',
        ann_file='person_keypoints_train.json',
        data_prefix=dict(img='images'),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=32,
    num_workers=2,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='CocoKeypointDataset',
        ann_file='person_keypoints_val.json',
        data_prefix=dict(img='images'),
        test_mode=True,
        pipeline=val_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = [dict(type='PCKAccuracy', thr=(0.2, 0.1), norm_item='bbox')]  # normalised by the longer side of the box
test_evaluator = val_evaluator
