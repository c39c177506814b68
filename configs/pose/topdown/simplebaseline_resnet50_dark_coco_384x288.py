# Xiao et al., Simple Baselines for Human Pose Estimation and Tracking, ECCV 2018, arXiv:1804.06208;
# DARK: Zhang et al., CVPR 2020, arXiv:1910.06278.
_base_ = [
    '../../_base_/default_runtime.py',
    '../../_base_/schedules/adam_210e.py',
    '../../_base_/datasets/coco_topdown_384x288.py',
]

# (w, h); sigma in cells
codec = dict(type='HeatmapCodec', input_size={{_base_.input_size}}, heatmap_size=(72, 96), sigma=3.0, variant='dark')
model = dict(
    type='TopdownPoseEstimator',
    backbone=dict(
        type='ResNet',
        depth=50,
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet50'),
    ),
    head=dict(
        type='HeatmapHead',
        in_channels=2048,
        loss=dict(type='KeypointMSELoss', use_target_weight=True),
        codec=codec,
    ),
    test_cfg=dict(flip_test=True, shift_heatmap=True),
)
default_hooks = dict(checkpoint=dict(save_best='coco/AP', interval=10))
