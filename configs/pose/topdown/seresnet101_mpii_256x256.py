# The head of Simple Baselines (arXiv:1804.06208) on SE-ResNet-101: Hu et al., CVPR 2018, arXiv:1709.01507.
_base_ = [
    '../../_base_/default_runtime.py',
    '../../_base_/schedules/adam_210e.py',
    '../../_base_/datasets/mpii_topdown_256x256.py',
]

codec = dict(type='HeatmapCodec', input_size={{_base_.input_size}}, heatmap_size=(64, 64), sigma=2.0)  # (w, h); cells
model = dict(
    type='TopdownPoseEstimator',
    backbone=dict(
        type='SEResNet',
        depth=101,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://download.openmmlab.com/mmclassification/v0/se-resnet/se-resnet101_batch256_imagenet_20200804-ba5b51d4.pth',
            prefix='backbone.',
        ),
    ),
    head=dict(
        type='HeatmapHead',
        in_channels=2048,
        loss=dict(type='KeypointMSELoss', use_target_weight=True),
        codec=codec,
    ),
    test_cfg=dict(flip_test=True, shift_heatmap=True),
)
default_hooks = dict(checkpoint=dict(save_best='pck/PCKh@0.5', interval=10))
