# HRNet-W18-small (v2), from scratch, on Leeds Sports Pose Extended, trained as resnet18_lspet_256x192.py.
# Wang et al., Deep High-Resolution Representation Learning for Visual Recognition, TPAMI 2020, arXiv:1908.07919.
_base_ = [
    '../../_base_/default_runtime.py',
    '../../_base_/datasets/lspet_topdown_256x192.py',
    '../../_base_/schedules/scratch_10e.py',
]

codec = dict(type='HeatmapCodec', input_size={{_base_.input_size}}, heatmap_size=(48, 64), sigma=2.0)  # (w, h); cells
model = dict(
    type='TopdownPoseEstimator',
    backbone=dict(
        type='HRNet',
        extra=dict(
            stage1=dict(num_modules=1, num_branches=1, block='BOTTLENECK', num_blocks=(2,), num_channels=(64,)),
            stage2=dict(num_modules=1, num_branches=2, block='BASIC', num_blocks=(2, 2), num_channels=(18, 36)),
            stage3=dict(num_modules=3, num_branches=3, block='BASIC', num_blocks=(2, 2, 2), num_channels=(18, 36, 72)),
            stage4=dict(num_modules=2, num_branches=4, block='BASIC', num_blocks=(2, 2, 2, 2), num_channels=(18, 36, 72, 144)),
        ),
    ),
    head=dict(
        type='HeatmapHead',
        in_channels=18,
        deconv_out_channels=None,
        loss=dict(type='KeypointMSELoss', use_target_weight=True),
        codec=codec,
    ),
    test_cfg=dict(flip_test=True, shift_heatmap=True),
)

default_hooks = dict(checkpoint=dict(save_best='pck/PCK@0.2'))
