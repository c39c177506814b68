# The head of Simple Baselines (arXiv:1804.06208) on BoTNet-50: Srinivas et al., CVPR 2021, arXiv:2101.11605.
_base_ = [
    '../../_base_/default_runtime.py',
    '../../_base_/schedules/adam_210e.py',
    '../../_base_/datasets/coco_topdown_256x192.py',
]

codec = dict(type='HeatmapCodec', input_size={{_base_.input_size}}, heatmap_size=(48, 64), sigma=2.0)  # (w, h); cells
model = dict(
    type='TopdownPoseEstimator',
    backbone=dict(
        type='ResNet',
        depth=50,
        plugins=[
            dict(
                cfg=dict(type='BoTAttention', max_size=(12, 16)),  # (w, h): what enters the last stage, input_size / 16
                stages=(False, False, False, True),
                position='conv2',
            )
        ],
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet50'),
    ),
    head=dict(
        type='HeatmapHead',
        in_channels=2048,
        loss=dict(type='KeypointMSELoss', use_target_weight=True),
        codec=codec,
    ),
    test_cfg=dict(flip_test=True, shift_heatmap=True),
)
default_hooks = dict(checkpoint=dict(save_best='coco/AP', interval=10))
