# The embedded default: a small SimpleBaseline on synthetic people that are drawn on the first run. Minutes on two CPU cores.
_base_ = './_base_/default_runtime.py'

meta = 'coco17'
data_root = 'data/synthetic_people'
recipe = dict(num_train=2200, num_val=150, image_size=(320, 256), seed=0, max_people=3)  # images; (w, h)
codec = dict(type='HeatmapCodec', input_size=(96, 128), heatmap_size=(24, 32), sigma=2.0, variant='udp')  # (w, h); cells

model = dict(
    type='TopdownPoseEstimator',
    # A quarter of ResNet-18's multiplications: what two cores can train in minutes.
    backbone=dict(type='ResNet', depth=18, stem_channels=32, base_channels=32, zero_init_residual=False),
    head=dict(
        type='HeatmapHead',
        in_channels=256,
        deconv_out_channels=(64, 64, 64),
        loss=dict(type='KeypointMSELoss', use_target_weight=True),
        codec=codec,
    ),
    test_cfg=dict(flip_test=True),
)

train_pipeline = [
    dict(type='LoadImage'),
    dict(type='GetBBoxCenterScale', padding=1.1),
    dict(type='RandomFlip'),
    dict(type='RandomBBoxTransform', shift_factor=0.05, scale_factor=(0.9, 1.1), rotate_prob=0),
    dict(type='TopdownAffine', input_size=codec['input_size'], use_udp=True),
    dict(type='PackPoseInputs'),
]
val_pipeline = [
    dict(type='LoadImage'),
    dict(type='GetBBoxCenterScale', padding=1.1),
    dict(type='TopdownAffine', input_size=codec['input_size'], use_udp=True),
    dict(type='PackPoseInputs'),
]
train_dataloader = dict(
    batch_size=32,
    num_workers=1,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type='SyntheticPeopleDataset', split='train', pipeline=train_pipeline, **recipe),
)
val_dataloader = dict(
    batch_size=64,
    num_workers=1,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='SyntheticPeopleDataset', split='val', test_mode=True, pipeline=val_pipeline, **recipe),
)
test_dataloader = val_dataloader
val_evaluator = [dict(type='CocoMetric', ann_file='annotations/person_keypoints_val.json')]
test_evaluator = val_evaluator

num_epochs = 14
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=num_epochs, val_interval=num_epochs)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
# bfloat16 where the processor has it, float32 elsewhere.
optim_wrapper = dict(type='AutocastOptimWrapper', optimizer=dict(type='Adam', lr=3e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type='CosineAnnealingLR', by_epoch=True, T_max=num_epochs, eta_min=1e-5, convert_to_iter_based=True),
]
default_hooks = dict(checkpoint=dict(save_best='coco/AP', interval=num_epochs))
randomness = dict(seed=0)
