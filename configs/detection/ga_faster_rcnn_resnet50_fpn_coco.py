# Faster R-CNN with guided anchoring on ResNet-50 and FPN, COCO; mmdet's ga-faster-rcnn_r50_fpn_1x_coco.
_base_ = [
    '../_base_/detection_runtime.py',
    '../_base_/datasets/coco_detection.py',
    '../_base_/schedules/sgd_1x.py',
]

strides = (4, 8, 16, 32, 64)
model = dict(
    type='TwoStageDetector',
    backbone=dict(
        type='ResNet',
        depth=50,
        out_indices=(0, 1, 2, 3),
        frozen_stages=1,
        norm_eval=True,
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet50'),
    ),
    neck=dict(type='FPN', in_channels=(256, 512, 1024, 2048), out_channels=256, num_outs=5),
    rpn_head=dict(
        type='GARPNHead',
        in_channels=256,
        approx_anchor_generator=dict(
            type='AnchorGenerator', octave_base_scale=8, scales_per_octave=3, ratios=(0.5, 1.0, 2.0), strides=strides
        ),
        square_anchor_generator=dict(type='AnchorGenerator', ratios=(1.0,), scales=(8,), strides=strides),
        anchor_coder=dict(type='DeltaXYWHBBoxCoder', target_stds=(0.07, 0.07, 0.14, 0.14)),
        bbox_coder=dict(type='DeltaXYWHBBoxCoder', target_stds=(0.07, 0.07, 0.11, 0.11)),
        ga_assigner=dict(type='ApproxMaxIoUAssigner', pos_iou_thr=0.7, neg_iou_thr=0.3, min_pos_iou=0.3),
        ga_sampler=dict(type='RandomSampler', num=256, pos_fraction=0.5, add_gt_as_proposals=False),
        assigner=dict(type='MaxIoUAssigner', pos_iou_thr=0.7, neg_iou_thr=0.3, min_pos_iou=0.3),
        sampler=dict(type='RandomSampler', num=256, pos_fraction=0.5, add_gt_as_proposals=False),
        loss_loc=dict(type='FocalLoss', gamma=2.0, alpha=0.25),
        loss_shape=dict(type='BoundedIoULoss', beta=0.2),
        loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=True),
        loss_bbox=dict(type='SmoothL1Loss', beta=1.0),
        nms=dict(type='HardNMS', iou_threshold=0.7),
        max_per_img_train=300,  # guided anchors are few and good
        max_per_img=300,
    ),
    roi_head=dict(
        type='StandardRoIHead',
        bbox_roi_extractor=dict(
            type='SingleRoIExtractor',
            roi_layer=dict(type='RoIAlign', output_size=7),
            out_channels=256,
            featmap_strides=strides[:4],
        ),
        bbox_head=dict(
            type='Shared2FCBBoxHead',
            bbox_coder=dict(type='DeltaXYWHBBoxCoder', target_stds=(0.05, 0.05, 0.1, 0.1)),
            loss_cls=dict(type='CrossEntropyLoss'),
            loss_bbox=dict(type='L1Loss'),
        ),
        assigner=dict(type='MaxIoUAssigner', pos_iou_thr=0.6, neg_iou_thr=0.6, min_pos_iou=0.6, match_low_quality=False),
        sampler=dict(type='RandomSampler', num=256, pos_fraction=0.25),
        nms=dict(type='HardNMS', iou_threshold=0.5),
        score_thr=0.001,
    ),
)

optim_wrapper = dict(clip_grad=dict(max_norm=35, norm_type=2))
