# DeepLabV3 on ResNet-101 with output stride 8, Cityscapes.
_base_ = './deeplabv3_resnet50_d8_cityscapes.py'

model = dict(
    backbone=dict(
        depth=101, init_cfg=dict(checkpoint='https://download.openmmlab.com/pretrain/third_party/resnet101_v1c-e67eebb6.pth')
    )
)
