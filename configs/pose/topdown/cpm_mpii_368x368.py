# Wei et al., Convolutional Pose Machines, CVPR 2016, arXiv:1602.00134.
_base_ = [
    '../../_base_/default_runtime.py',
    '../../_base_/schedules/adam_210e.py',
    '../../_base_/datasets/mpii_topdown_368x368.py',
]

num_stages = 6
codec = dict(type='HeatmapCodec', input_size={{_base_.input_size}}, heatmap_size=(46, 46), sigma=2.0)  # (w, h); cells
model = dict(
    type='TopdownPoseEstimator',
    backbone=dict(type='CPM', meta={{_base_.meta}}, num_stages=num_stages),
    head=dict(
        type='CPMHead',
        num_stages=num_stages,
        final_layer=None,
        loss=dict(type='KeypointMSELoss', use_target_weight=True),
        codec=codec,
    ),
    test_cfg=dict(flip_test=True, shift_heatmap=True),
)
default_hooks = dict(checkpoint=dict(save_best='pck/PCKh@0.5', interval=10))
