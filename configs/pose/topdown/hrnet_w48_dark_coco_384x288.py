# Sun et al., Deep High-Resolution Representation Learning for Human Pose Estimation, CVPR 2019, arXiv:1902.09212;
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
        type='HRNet',
        extra=dict(
            stage1=dict(num_modules=1, num_branches=1, block='BOTTLENECK', num_blocks=(4,), num_channels=(64,)),
            stage2=dict(num_modules=1, num_branches=2, block='BASIC', num_blocks=(4, 4), num_channels=(48, 96)),
            stage3=dict(num_modules=4, num_branches=3, block='BASIC', num_blocks=(4, 4, 4), num_channels=(48, 96, 192)),
            stage4=dict(num_modules=3, num_branches=4, block='BASIC', num_blocks=(4, 4, 4, 4), num_channels=(48, 96, 192, 384)),
        ),
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://download.openmmlab.com/mmpose/pretrain_models/hrnet_w48-8ef0771d.pth',
        ),
    ),
    head=dict(
        type='HeatmapHead',
        in_channels=48,
        deconv_out_channels=None,
        loss=dict(type='KeypointMSELoss', use_target_weight=True),
        codec=codec,
    ),
    test_cfg=dict(flip_test=True, shift_heatmap=True),
)
train_dataloader = dict(batch_size=32)
default_hooks = dict(checkpoint=dict(save_best='coco/AP', interval=10))
