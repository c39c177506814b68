# CenterNet on ResNet-18 with deformable convolutions in the neck, COCO; mmdet's centernet_r18-dcnv2_8xb16-crop512-140e_coco, with
# the data and the schedule of this family in place of random crops and 140 epochs. (Published weights are tested on images of
# their own size: without DetResize.)
_base_ = [
    '../_base_/detection_runtime.py',
    '../_base_/datasets/coco_detection.py',
    '../_base_/schedules/sgd_1x.py',
]

model = dict(
    type='SingleStageDetector',
    backbone=dict(
        type='ResNet',
        depth=18,
        out_indices=(3,),
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet18'),
    ),
    neck=dict(type='CTResNetNeck', in_channels=512, num_deconv_filters=(256, 128, 64), num_deconv_kernels=(4, 4, 4)),
    bbox_head=dict(
        type='CenterNetHead',
        in_channels=64,
        feat_channels=64,
        loss_center_heatmap=dict(type='GaussianFocalLoss'),
        loss_wh=dict(type='L1Loss', loss_weight=0.1),
        loss_offset=dict(type='L1Loss'),
    ),
)
optim_wrapper = dict(clip_grad=dict(max_norm=35, norm_type=2))
