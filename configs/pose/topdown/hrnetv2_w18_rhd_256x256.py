# HRNet-W18 V2, all branches joined: Wang et al., TPAMI 2020, Sec. 3.3, arXiv:1908.07919.
_base_ = [
    '../../_base_/default_runtime.py',
    '../../_base_/schedules/adam_210e.py',
    '../../_base_/datasets/rhd_topdown_256x256.py',
]

codec = dict(type='HeatmapCodec', input_size={{_base_.input_size}}, heatmap_size=(64, 64), sigma=2.0)  # (w, h); cells
model = dict(
    type='TopdownPoseEstimator',
    backbone=dict(
        type='HRNet',
        extra=dict(
            stage1=dict(num_modules=1, num_branches=1, block='BOTTLENECK', num_blocks=(4,), num_channels=(64,)),
            stage2=dict(num_modules=1, num_branches=2, block='BASIC', num_blocks=(4, 4), num_channels=(18, 36)),
            stage3=dict(num_modules=4, num_branches=3, block='BASIC', num_blocks=(4, 4, 4), num_channels=(18, 36, 72)),
            stage4=dict(num_modules=3, num_branches=4, block='BASIC', num_blocks=(4, 4, 4, 4), num_channels=(18, 36, 72, 144)),
        ),
        multiscale_output=True,
        upsample_mode='bilinear',
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://download.openmmlab.com/pretrain/third_party/hrnetv2_w18-00eb2006.pth',
        ),
    ),
    neck=dict(type='FeatureMapProcessor', concat=True),
    head=dict(
        type='HeatmapHead',
        in_channels=270,  # 18 + 36 + 72 + 144
        deconv_out_channels=None,
        conv_out_channels=(270,),
        conv_kernel_sizes=(1,),
        loss=dict(type='KeypointMSELoss', use_target_weight=True),
        codec=codec,
    ),
    test_cfg=dict(flip_test=True, shift_heatmap=True),
)
default_hooks = dict(checkpoint=dict(save_best='auc/AUC', interval=10))
