# The head of Simple Baselines (arXiv:1804.06208) on SE-ResNet-152: Hu et al., CVPR 2018, arXiv:1709.01507.
# From scratch: no ImageNet weights are published in our keys.
_base_ = [
    '../../_base_/default_runtime.py',
    '../../_base_/schedules/adam_210e.py',
    '../../_base_/datasets/coco_topdown_256x192.py',
]

codec = dict(type='HeatmapCodec', input_size={{_base_.input_size}}, heatmap_size=(48, 64), sigma=2.0)  # (w, h); cells
model = dict(
    type='TopdownPoseEstimator',
    backbone=dict(
        type='SEResNet',
        depth=152,
    ),
    head=dict(
        type='HeatmapHead',
        in_channels=2048,
        loss=dict(type='KeypointMSELoss', use_target_weight=True),
        codec=codec,
    ),
    test_cfg=dict(flip_test=True, shift_heatmap=True),
)
train_dataloader = dict(batch_size=32)
default_hooks = dict(checkpoint=dict(save_best='coco/AP', interval=10))
