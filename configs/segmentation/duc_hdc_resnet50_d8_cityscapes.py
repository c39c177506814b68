# Dense upsampling convolution on ResNet-50 with hybrid dilation, Cityscapes.
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
        # arXiv:1702.08502, Sec. 4.1.2: rates 1, 2, 3 in turn, and 3, 4, 5 in the last stage, in place of 2 and 4.
        dilations=(1, 1, (1, 2, 3), (3, 4, 5)),
        out_indices=(0, 1, 2, 3),
        norm_cfg=norm_cfg,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://download.openmmlab.com/pretrain/third_party/resnet50_v1c-2cccc1ad.pth',
        ),
    ),
    decode_head=dict(
        type='DUCHead',
        in_channels=2048,
        channels=512,
        upscale=8,
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
