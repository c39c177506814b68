# RetinaNet on ResNet-18 and FPN, COCO; mmdet's retinanet_r18_fpn_1x_coco.
_base_ = './retinanet_resnet50_fpn_coco.py'

model = dict(
    backbone=dict(depth=18, init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet18')),
    neck=dict(in_channels=(64, 128, 256, 512)),
)
