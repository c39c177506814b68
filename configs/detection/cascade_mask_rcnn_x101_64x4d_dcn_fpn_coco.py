# Cascade Mask R-CNN on ResNeXt-101-64x4d with deformable convolution in C3 to C5, FPN, COCO; as mmdet's
# cascade-mask-rcnn_x101-32x4d-dconv-c3-c5_fpn_1x_coco with wider groups.
_base_ = './cascade_mask_rcnn_x101_32x4d_dcn_fpn_coco.py'

model = dict(
    backbone=dict(
        groups=64,
        width_per_group=4,
        init_cfg=dict(
            type='Pretrained', checkpoint='https://download.openmmlab.com/pretrain/third_party/resnext101_64x4d-ee2c6f71.pth'
        ),
    ),
)
