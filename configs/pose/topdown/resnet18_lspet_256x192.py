# SimpleBaseline with ResNet-18, from scratch, on Leeds Sports Pose Extended: {data_root}/images and two annotation files, as
# tools/convert_dataset.py lsp writes them.
_base_ = '../../_base_/default_runtime.py'

meta = 'lsp14'
data_root = 'data/lspet'
codec = dict(type='HeatmapCodec', input_size=(192, 256), heatmap_size=(48, 64), sigma=2.0)  # (w, h); sigma in cells

model = dict(
    type='TopdownPoseEstimator',
    backbone=dict(type='ResNet', depth=18),
    head=dict(type='HeatmapHead', in_channels=512, loss=dict(type='KeypointMSELoss', use_target_weight=True), codec=codec),
    test_cfg=dict(flip_test=True, shift_heatmap=True),
)

train_pipeline = [
    dict(type='LoadImage'),
    dict(type='GetBBoxCenterScale'),
    dict(type='RandomFlip'),
    dict(type='RandomHalfBody'),
    dict(type='RandomBBoxTransform'),
    dict(type='TopdownAffine', input_size=codec['input_size']),
    dict(type='PackPoseInputs'),
]
val_pipeline = [
    dict(type='LoadImage'),
    dict(type='GetBBoxCenterScale'),
    dict(type='TopdownAffine', input_size=codec['input_size']),
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

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=10, val_interval=10)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=5e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=50),  # warm-up: half an epoch
    dict(type='MultiStepLR', by_epoch=True, milestones=[7, 9], gamma=0.1),
]
default_hooks = dict(checkpoint=dict(save_best='pck/PCK@0.2', rule='greater'))
