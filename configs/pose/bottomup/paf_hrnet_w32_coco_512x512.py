# Part affinity fields (Cao et al., CVPR 2017, arXiv:1611.08050) on HRNet (Sun et al., CVPR 2019, arXiv:1902.09212). Not
# published together: sigma is that of 512x512 heatmap networks (AE, HigherHRNet), the limbs are as wide as OpenPose's in px.
_base_ = [
    '../../_base_/default_runtime.py',
    '../../_base_/schedules/adam_300e.py',
    '../../_base_/datasets/coco_bottomup_512x512.py',
]

codec = dict(
    type='PAFCodec', meta='openpose18', input_size={{_base_.input_size}}, heatmap_size=(128, 128), sigma=2.0, limb_width=2.0
)  # (w, h); cells
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
        type='PAFHead',
        in_channels=32,
        deconv_out_channels=(),
        loss_heatmap=dict(type='MaskedMSELoss'),
        loss_field=dict(type='MaskedMSELoss'),
        codec=codec,
    ),
    test_cfg=dict(flip_test=True),
)
train_dataloader = dict(batch_size=24)
default_hooks = dict(checkpoint=dict(save_best='coco/AP', interval=10))
