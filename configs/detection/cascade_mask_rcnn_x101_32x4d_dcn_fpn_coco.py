# Cascade Mask R-CNN on ResNeXt-101-32x4d with deformable convolution in C3 to C5, FPN, COCO; mmdet's
# cascade-mask-rcnn_x101-32x4d-dconv-c3-c5_fpn_1x_coco.
_base_ = './cascade_mask_rcnn_x101_32x4d_fpn_coco.py'

model = dict(
    backbone=dict(dcn=dict(type='DCN', deform_groups=1, fallback_on_stride=False), stage_with_dcn=(False, True, True, True)),
)
