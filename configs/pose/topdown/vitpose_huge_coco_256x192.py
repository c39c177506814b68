# Xu et al., ViTPose: Simple Vision Transformer Baselines for Human Pose Estimation, NeurIPS 2022, arXiv:2204.12484;
# the classic decoder: two deconvolutions.
_base_ = [
    '../../_base_/default_runtime.py',
    '../../_base_/schedules/adam_210e.py',
    '../../_base_/datasets/coco_topdown_udp_256x192.py',
]

# (w, h); sigma in cells
codec = dict(type='HeatmapCodec', input_size={{_base_.input_size}}, heatmap_size=(48, 64), sigma=2.0, variant='udp')
model = dict(
    type='TopdownPoseEstimator',
    backbone=dict(
        type='VisionTransformer',
        arch='huge',
        img_size=(256, 192),  # (h, w)
        drop_path_rate=0.55,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://download.openmmlab.com/mmpose/v1/pretrained_models/mae_pretrain_vit_huge_20230913.pth',
        ),
    ),
    head=dict(
        type='HeatmapHead',
        in_channels=1280,
        deconv_out_channels=(256, 256),
        deconv_kernel_sizes=(4, 4),
        loss=dict(type='KeypointMSELoss', use_target_weight=True),
        codec=codec,
    ),
    test_cfg=dict(flip_test=True, shift_heatmap=False),  # UDP needs no shift
)
optim_wrapper = dict(
    optimizer=dict(type='AdamW', lr=5e-4, weight_decay=0.1),
    constructor='LayerDecayOptimWrapperConstructor',
    paramwise_cfg=dict(layer_decay_rate=0.85),
    clip_grad=dict(max_norm=1.0),
)
default_hooks = dict(checkpoint=dict(save_best='coco/AP', interval=10))
