# Faster R-CNN on ResNet-50 with deformable convolution in C3 to C5, and FPN, COCO; mmdet's
# faster-rcnn_r50-dconv-c3-c5_fpn_1x_coco.
_base_ = './faster_rcnn_resnet50_fpn_coco.py'

model = dict(
    backbone=dict(
        dcn=dict(type='DCN', deform_groups=1, fallback_on_stride=False),
        stage_with_dcn=(False, True, True, True),
    ),
)
