# HRNetV2-W18-small-v2, fewer blocks and modules than W18, with its four branches joined, Cityscapes.
_base_ = './hrnet_w18_fcn_cityscapes.py'

model = dict(
    backbone=dict(
        extra=dict(
            stage1=dict(num_blocks=(2,)),
            stage2=dict(num_blocks=(2, 2)),
            stage3=dict(num_modules=3, num_blocks=(2, 2, 2)),
            stage4=dict(num_modules=2, num_blocks=(2, 2, 2, 2)),
        ),
        init_cfg=dict(checkpoint='https://download.openmmlab.com/pretrain/third_party/hrnetv2_w18_small-b5a04e21.pth'),
    )
)
