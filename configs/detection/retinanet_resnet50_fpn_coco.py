# RetinaNet on ResNet-50 and FPN, COCO; mmdet's retinanet_r50_fpn_1x_coco.
_base_ = [
    '../_base_/detection_runtime.py',
    '../_base_/datasets/coco_detection.py',
    '../_base_/schedules/sgd_1x.py',
]

model = dict(
    type='SingleStageDetector',
    backbone=dict(
        type='ResNet',
        depth=50,
        out_indices=(0, 1, 2, 3),
        frozen_stages=1,
        norm_eval=True,
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet50'),
    ),
    neck=dict(
        type='FPN',
        in_channels=(256, 512, 1024, 2048),
        out_channels=256,
        num_outs=5,
        start_level=1,
        add_extra_convs='on_input',
    ),
    bbox_head=dict(
        type='RetinaHead',
        in_channels=256,
        anchor_generator=dict(
            type='AnchorGenerator',
            octave_base_scale=4,
            scales_per_octave=3,
            ratios=(0.5, 1.0, 2.0),
            strides=(8, 16, 32, 64, 128),
        ),
        bbox_coder=dict(type='DeltaXYWHBBoxCoder'),
        assigner=dict(type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.4, min_pos_iou=0),
        loss_cls=dict(type='FocalLoss', gamma=2.0, alpha=0.25),
        loss_bbox=dict(type='L1Loss'),
        nms=dict(type='HardNMS', iou_threshold=0.5),
    ),
)
optim_wrapper = dict(optimizer=dict(lr=0.01))
