# FCN on ResNet-18 with output stride 8, Cityscapes.
_base_ = './fcn_resnet50_d8_cityscapes.py'

model = dict(
    backbone=dict(
        depth=18, init_cfg=dict(checkpoint='https://download.openmmlab.com/pretrain/third_party/resnet18_v1c-b5776b93.pth')
    ),
    decode_head=dict(in_channels=512, channels=128),
    auxiliary_head=dict(in_channels=256, channels=64),
)
