# DeepLabV3+ on ResNet-50 with output stride 8, Cityscapes.
_base_ = [
    '../_base_/segmentation_iter_runtime.py',
    '../_base_/datasets/cityscapes_512x1024.py',
    '../_base_/schedules/sgd_poly_40k.py',
]

norm_cfg = dict(type='SyncBN')
model = dict(
    type='EncoderDecoder',
    backbone=dict(
        type='ResNet',
        depth=50,
        deep_stem=True,  # ResNetV1c
        strides=(1, 2, 1, 1),
        dilations=(1, 1, 2, 4),
        contract_dilation=True,
        out_indices=(0, 1, 2, 3),
        norm_cfg=norm_cfg,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://download.openmmlab.com/pretrain/third_party/resnet50_v1c-2cccc1ad.pth',
        ),
    ),
    decode_head=dict(
        type='DepthwiseSeparableASPPHead',
        in_channels=2048,
        channels=512,
        c1_in_channels=256,
        c1_channels=48,
        dilations=(1, 12, 24, 36),
        norm_cfg=norm_cfg,
    ),
    auxiliary_head=dict(
        type='FCNHead',
        in_channels=1024,
        in_index=2,
        channels=256,
        num_convs=1,
        concat_input=False,
        norm_cfg=norm_cfg,
        loss_decode=dict(type='CrossEntropyLoss', loss_weight=0.4),
    ),
)
