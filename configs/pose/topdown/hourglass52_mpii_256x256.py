# Newell et al., Stacked Hourglass Networks for Human Pose Estimation, ECCV 2016, arXiv:1603.06937; layers of Hourglass-52.
_base_ = [
    '../../_base_/default_runtime.py',
    '../../_base_/schedules/adam_210e.py',
    '../../_base_/datasets/mpii_topdown_256x256.py',
]

num_stacks = 1  # up to 8; each is supervised
codec = dict(type='HeatmapCodec', input_size={{_base_.input_size}}, heatmap_size=(64, 64), sigma=2.0)  # (w, h); cells
model = dict(
    type='TopdownPoseEstimator',
    backbone=dict(type='HourglassNet', num_stacks=num_stacks),
    head=dict(
        type='CPMHead',
        in_channels=256,
        num_stages=num_stacks,
        loss=dict(type='KeypointMSELoss', use_target_weight=True),
        codec=codec,
    ),
    test_cfg=dict(flip_test=True, shift_heatmap=True),
)
default_hooks = dict(checkpoint=dict(save_best='pck/PCKh@0.5', interval=10))
