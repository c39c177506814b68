# RetinaNet on ResNeXt-101-64x4d and FPN, COCO; mmdet's retinanet_x101-64x4d_fpn_1x_coco.
_base_ = './retinanet_resnet50_fpn_coco.py'

model = dict(
    backbone=dict(
        depth=101,
        groups=64,
        width_per_group=4,
        init_cfg=dict(
            type='Pretrained', checkpoint='https://download.openmmlab.com/pretrain/third_party/resnext101_64x4d-ee2c6f71.pth'
        ),
    ),
)
