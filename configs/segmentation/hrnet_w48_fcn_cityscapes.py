# HRNetV2-W48 with its four branches joined, Cityscapes.
_base_ = './hrnet_w18_fcn_cityscapes.py'

channels = (48, 96, 192, 384)
model = dict(
    backbone=dict(
        extra=dict(
            stage2=dict(num_channels=channels[:2]), stage3=dict(num_channels=channels[:3]), stage4=dict(num_channels=channels)
        ),
        init_cfg=dict(checkpoint='https://download.openmmlab.com/pretrain/third_party/hrnetv2_w48-d2186c55.pth'),
    ),
    decode_head=dict(in_channels=channels, channels=sum(channels)),
)
