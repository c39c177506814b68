# Wei et al., Convolutional Pose Machines, CVPR 2016, arXiv:1602.00134.
_base_ = [
    '../../_base_/default_runtime.py',
    '../../_base_/schedules/adam_210e.py',
    '../../_base_/datasets/coco_topdown_384x288.py',
]

num_stages = 6
codec = dict(type='HeatmapCodec', input_size={{_base_.input_size}}, heatmap_size=(36, 48), sigma=3.0)  # (w, h); cells
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
train_dataloader = dict(batch_size=32)
default_hooks = dict(checkpoint=dict(save_best='coco/AP', interval=10))
