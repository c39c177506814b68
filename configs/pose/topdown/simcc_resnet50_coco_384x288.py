# Li et al., SimCC: a Simple Coordinate Classification Perspective for Human Pose Estimation, ECCV 2022, arXiv:2107.03332.
_base_ = [
    '../../_base_/default_runtime.py',
    '../../_base_/schedules/adam_210e.py',
    '../../_base_/datasets/coco_topdown_384x288.py',
]

codec = dict(type='SimCCCodec', input_size={{_base_.input_size}}, sigma=6.0, simcc_split_ratio=2.0)  # (w, h); bins; bins / px
model = dict(
    type='TopdownPoseEstimator',
    backbone=dict(
        type='ResNet',
        depth=50,
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet50'),
    ),
    head=dict(
        type='SimCCHead',
        in_channels=2048,
        in_featuremap_size=(9, 12),  # input_size / 32
        loss=dict(type='KLDiscretLoss', use_target_weight=True),
        codec=codec,
    ),
    test_cfg=dict(flip_test=True),
)
train_cfg = dict(max_epochs=140)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(type='MultiStepLR', by_epoch=True, milestones=[90, 120], gamma=0.1),
]
train_dataloader = dict(batch_size=32)
default_hooks = dict(checkpoint=dict(save_best='coco/AP', interval=10))
