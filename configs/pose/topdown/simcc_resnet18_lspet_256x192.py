# SimCC with ResNet-18, from scratch, on Leeds Sports Pose Extended, trained as resnet18_lspet_256x192.py.
# Li et al., SimCC, ECCV 2022, arXiv:2107.03332.
_base_ = [
    '../../_base_/default_runtime.py',
    '../../_base_/datasets/lspet_topdown_256x192.py',
    '../../_base_/schedules/scratch_10e.py',
]

codec = dict(type='SimCCCodec', input_size={{_base_.input_size}}, sigma=6.0, simcc_split_ratio=2.0)  # (w, h); bins; bins / px
model = dict(
    type='TopdownPoseEstimator',
    backbone=dict(type='ResNet', depth=18, zero_init_residual=False),
    head=dict(
        type='SimCCHead',
        in_channels=512,
        in_featuremap_size=(6, 8),  # input_size / 32
        linear_init='marginal',  # from normal values, 1,000 steps are too few to learn where the bins lie on the map
        loss=dict(type='KLDiscretLoss', use_target_weight=True),
        codec=codec,
    ),
    test_cfg=dict(flip_test=True, shift_heatmap=True),
)

optim_wrapper = dict(optimizer=dict(lr=1e-3))  # SimCC's, twice that of heatmaps
default_hooks = dict(checkpoint=dict(save_best='pck/PCK@0.2'))
