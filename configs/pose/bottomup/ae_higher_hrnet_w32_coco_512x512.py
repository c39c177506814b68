# Cheng et al., HigherHRNet: Scale-Aware Representation Learning for Bottom-Up Human Pose Estimation, CVPR 2020, arXiv:1908.10357.
_base_ = [
    '../../_base_/default_runtime.py',
    '../../_base_/schedules/adam_300e.py',
    '../../_base_/datasets/coco_bottomup_512x512.py',
]

codec = dict(type='AECodec', input_size={{_base_.input_size}}, heatmap_size=(256, 256), sigma=2.0)  # (w, h); cells
model = dict(
    type='BottomupPoseEstimator',
    backbone=dict(
        type='HRNet',
        extra=dict(
            stage1=dict(num_modules=1, num_branches=1, block='BOTTLENECK', num_blocks=(4,), num_channels=(64,)),
            stage2=dict(num_modules=1, num_branches=2, block='BASIC', num_blocks=(4, 4), num_channels=(32, 64)),
            stage3=dict(num_modules=4, num_branches=3, block='BASIC', num_blocks=(4, 4, 4), num_channels=(32, 64, 128)),
            stage4=dict(num_modules=3, num_branches=4, block='BASIC', num_blocks=(4, 4, 4, 4), num_channels=(32, 64, 128, 256)),
        ),
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://download.openmmlab.com/mmpose/pretrain_models/hrnet_w32-36af842e.pth',
        ),
    ),
    head=dict(
        type='HigherAEHead',
        in_channels=32,
        deconv_out_channels=(32,),  # an output at stride 4, with tags, and one at stride 2
        loss_heatmap=dict(type='MaskedMSELoss', reduction='mean'),
        loss_tag=dict(type='AssociativeEmbeddingLoss', loss_weight=0.001),
        codec=codec,
    ),
    test_cfg=dict(flip_test=True),
)
train_dataloader = dict(batch_size=24)
default_hooks = dict(checkpoint=dict(save_best='coco/AP', interval=10))
