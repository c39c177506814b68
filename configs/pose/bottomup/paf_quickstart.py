# Part affinity fields (Cao et al., CVPR 2017, arXiv:1611.08050) in minutes on two CPU cores: a small network on synthetic
# people that are drawn on the first run.
_base_ = '../../_base_/default_runtime.py'

meta = 'coco17'
data_root = 'data/synthetic_people'
recipe = dict(num_train=2200, num_val=150, image_size=(320, 256), seed=0, max_people=3)  # images; (w, h); as in quickstart.py
input_size = (256, 192)  # (w, h): three quarters of the images, multiples of the 32 px of the coarsest map
mask_size = (32, 24)  # stride 8: with half the cells of stride 4 in each direction the fields are learnt in far fewer steps
codec = dict(
    type='PAFCodec',
    meta='openpose18',
    input_size=input_size,  # (w, h)
    heatmap_size=mask_size,
    sigma=1.0,  # cells
    limb_width=1.0,
    # What the metric rewards: a keypoint that was not found is wrong for certain, one of low score may be right.
    keypoint_thr=0.05,
    limb_thr=0.02,
    min_support=0.8,
    min_person_score=0.2,
)

model = dict(
    type='BottomupPoseEstimator',
    # The backbone of quickstart.py: a quarter of ResNet-18's multiplications. Its maps of stride 8, 16 and 32 are joined at
    # stride 8: places come from the fine ones, and who is who from the coarse ones.
    backbone=dict(type='ResNet', depth=18, stem_channels=32, base_channels=32, out_indices=(1, 2, 3), zero_init_residual=False),
    neck=dict(type='FeatureMapProcessor', concat=True),
    head=dict(
        type='OpenPoseHead',
        in_channels=64 + 128 + 256,
        stages=[dict(type='LightweightRefinementStage', maps=('fields', 'heatmaps'), num_blocks=2, channels=96)],
        codec=codec,
    ),
    test_cfg=dict(flip_test=True),
)

train_pipeline = [
    dict(type='LoadImage'),
    dict(type='RandomFlip'),
    dict(
        type='BottomupRandomAffine',
        input_size=input_size,
        shift_factor=0.05,
        scale_factor=(0.9, 1.1),
        scale_type='long',
        rotate_prob=0,
    ),
    dict(type='GenerateLossMask', mask_size=mask_size),
    dict(type='PackPoseInputs'),
]
val_pipeline = [
    dict(type='LoadImage'),
    dict(type='BottomupResize', input_size=input_size),
    dict(type='PackPoseInputs'),
]
train_dataloader = dict(
    batch_size=16,
    num_workers=1,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type='SyntheticPeopleDataset', split='train', data_mode='bottomup', pipeline=train_pipeline, **recipe),
)
val_dataloader = dict(
    batch_size=32,
    num_workers=1,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='SyntheticPeopleDataset', split='val', data_mode='bottomup', test_mode=True, pipeline=val_pipeline, **recipe
    ),
)
test_dataloader = val_dataloader
# A person's score is the grouping's own, and the grouping finds nobody twice.
val_evaluator = [dict(type='CocoMetric', ann_file='annotations/person_keypoints_val.json', score_mode='bbox', nms_mode='none')]
test_evaluator = val_evaluator

num_epochs = 10
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
