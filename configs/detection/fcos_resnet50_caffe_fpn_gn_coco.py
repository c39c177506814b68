# FCOS on ResNet-50 (weights of Caffe) and FPN, group norm in the head, COCO; mmdet's fcos_r50-caffe_fpn_gn-head_1x_coco.
_base_ = [
    '../_base_/detection_runtime.py',
    '../_base_/datasets/coco_detection.py',
    '../_base_/schedules/sgd_1x.py',
]

model = dict(
    type='SingleStageDetector',
    data_preprocessor=dict(
        type='DetDataPreprocessor', mean=(102.9801, 115.9465, 122.7717), std=(1.0, 1.0, 1.0), bgr_to_rgb=False
    ),
    backbone=dict(
        type='ResNet',
        depth=50,
        out_indices=(0, 1, 2, 3),
        frozen_stages=1,
        norm_cfg=dict(type='BN', requires_grad=False),
        norm_eval=True,
        style='caffe',
        init_cfg=dict(
            type='Pretrained', checkpoint='https://download.openmmlab.com/pretrain/third_party/resnet50_caffe-788b5fa3.pth'
        ),
    ),
    neck=dict(
        type='FPN',
        in_channels=(256, 512, 1024, 2048),
        out_channels=256,
        num_outs=5,
        start_level=1,
        add_extra_convs='on_output',
        relu_before_extra_convs=True,
    ),
    bbox_head=dict(
        type='FCOSHead',
        in_channels=256,
        strides=(8, 16, 32, 64, 128),
        norm_cfg=dict(type='GN', num_groups=32),
        loss_cls=dict(type='FocalLoss', gamma=2.0, alpha=0.25),
        loss_bbox=dict(type='IoULoss'),
        loss_centerness=dict(type='CrossEntropyLoss', use_sigmoid=True),
        nms=dict(type='HardNMS', iou_threshold=0.5),
    ),
)
optim_wrapper = dict(
    optimizer=dict(lr=0.01),
    paramwise_cfg=dict(bias_lr_mult=2.0, bias_decay_mult=0.0),
    clip_grad=dict(max_norm=35, norm_type=2),
)
param_scheduler = [
    dict(type='ConstantLR', factor=1 / 3, by_epoch=False, begin=0, end=500),
    dict(type='MultiStepLR', by_epoch=True, milestones=[8, 11], gamma=0.1),
]
