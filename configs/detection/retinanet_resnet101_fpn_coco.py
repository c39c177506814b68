# RetinaNet on ResNet-101 and FPN, COCO; mmdet's retinanet_r101_fpn_1x_coco.
_base_ = './retinanet_resnet50_fpn_coco.py'

model = dict(
    backbone=dict(depth=101, init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet101')),
)
