# Libra R-CNN on ResNet-101 and FPN, COCO; mmdet's libra-faster-rcnn_r101_fpn_1x_coco.
_base_ = './libra_faster_rcnn_resnet50_fpn_coco.py'

model = dict(
    backbone=dict(depth=101, init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet101')),
)
