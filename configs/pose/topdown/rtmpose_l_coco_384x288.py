# Jiang et al., RTMPose: Real-Time Multi-Person Pose Estimation based on MMPose, arXiv:2303.07399.
_base_ = [
    '../../_base_/default_runtime.py',
    '../../_base_/schedules/adamw_flat_cosine_420e.py',
    '../../_base_/datasets/coco_topdown_rtmpose_384x288.py',
]

# (w, h); sigma along x and y in bins (half a px each): the root of a sixteenth of their number, Sec. 3.3.2
codec = dict(type='SimCCCodec', input_size={{_base_.input_size}}, sigma=(6.0, 6.93), simcc_split_ratio=2.0, normalize=False)
model = dict(
    type='TopdownPoseEstimator',
    backbone=dict(
        type='CSPNeXt',
        deepen_factor=1.0,
        widen_factor=1.0,
        init_cfg=dict(
            type='Pretrained',
            prefix='backbone.',
            checkpoint='https://download.openmmlab.com/mmpose/v1/projects/rtmposev1/'
            'cspnext-l_udp-aic-coco_210e-256x192-273b7631_20230130.pth',
        ),
    ),
    head=dict(
        type='RTMCCHead',
        in_channels=1024,
        in_featuremap_size=(9, 12),  # input_size / 32
        loss=dict(type='KLDiscretLoss', use_target_weight=True, beta=10.0, label_softmax=True),
        codec=codec,
    ),
    test_cfg=dict(flip_test=True),
)
default_hooks = dict(
    checkpoint=dict(save_best='coco/AP', interval=10),
    pipeline_switch=dict(type='PipelineSwitchHook', switch_epoch=-30, switch_pipeline={{_base_.train_pipeline_stage2}}),
)
