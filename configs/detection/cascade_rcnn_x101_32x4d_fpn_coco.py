# Cascade R-CNN on ResNeXt-101-32x4d and FPN, COCO; mmdet's cascade-rcnn_x101-32x4d_fpn_1x_coco.
_base_ = './cascade_rcnn_resnet50_fpn_coco.py'

model = dict(
    backbone=dict(
        depth=101,
        groups=32,
        width_per_group=4,
        init_cfg=dict(
            type='Pretrained', checkpoint='https://download.openmmlab.com/pretrain/third_party/resnext101_32x4d-a5af3160.pth'
        ),
    ),
)
