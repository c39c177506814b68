# HRNetV2-W18 with its four branches joined, Cityscapes.
_base_ = [
    '../_base_/segmentation_iter_runtime.py',
    '../_base_/datasets/cityscapes_512x1024.py',
    '../_base_/schedules/sgd_poly_40k.py',
]

norm_cfg = dict(type='SyncBN')
channels = (18, 36, 72, 144)
model = dict(
    type='EncoderDecoder',
    backbone=dict(
        type='HRNet',
        extra=dict(
            stage1=dict(num_modules=1, num_branches=1, block='BOTTLENECK', num_blocks=(4,), num_channels=(64,)),
            stage2=dict(num_modules=1, num_branches=2, block='BASIC', num_blocks=(4, 4), num_channels=(18, 36)),
            stage3=dict(num_modules=4, num_branches=3, block='BASIC', num_blocks=(4, 4, 4), num_channels=(18, 36, 72)),
            stage4=dict(num_modules=3, num_branches=4, block='BASIC', num_blocks=(4, 4, 4, 4), num_channels=channels),
        ),
        multiscale_output=True,
        upsample_mode='bilinear',
        norm_cfg=norm_cfg,
        init_cfg=dict(
            type='Pretrained', checkpoint='https://download.openmmlab.com/pretrain/third_party/hrnetv2_w18-00eb2006.pth'
        ),
    ),
    decode_head=dict(
        type='FCNHead',
        in_channels=channels,
        in_index=(0, 1, 2, 3),
        input_transform='resize_concat',
        channels=270,  # their sum
        kernel_size=1,
        num_convs=1,
        concat_input=False,
        dropout_ratio=0,
        norm_cfg=norm_cfg,
    ),
)
