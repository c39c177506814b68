# The head of Simple Baselines (arXiv:1804.06208) on a backbone of timm (pip install timm): ConvNeXt-T, Liu et al., CVPR 2022,
# arXiv:2201.03545.
_base_ = [
    '../../_base_/default_runtime.py',
    '../../_base_/schedules/adam_210e.py',
    '../../_base_/datasets/coco_topdown_256x192.py',
]

codec = dict(type='HeatmapCodec', input_size={{_base_.input_size}}, heatmap_size=(48, 64), sigma=2.0)  # (w, h); cells
model = dict(
    type='TopdownPoseEstimator',
    backbone=dict(
        type='TimmBackbone',
        model_name='convnext_tiny',
        pretrained=True,
    ),
    head=dict(
        type='HeatmapHead',
        in_channels=768,
        loss=dict(type='KeypointMSELoss', use_target_weight=True),
        codec=codec,
    ),
    test_cfg=dict(flip_test=True, shift_heatmap=True),
)
default_hooks = dict(checkpoint=dict(save_best='coco/AP', interval=10))
