# Faster R-CNN on ResNet-18 and FPN, from scratch, on the pedestrians of Penn-Fudan; minutes on two cores.
_base_ = ['../_base_/detection_runtime.py', '../_base_/datasets/pennfudan_detection_320x256.py']

strides = (4, 8, 16, 32, 64)
model = dict(
    type='TwoStageDetector',
    backbone=dict(
        type='ResNet',
        depth=18,
        out_indices=(0, 1, 2, 3),
        zero_init_residual=False,  # from scratch, blocks that begin as more than their shortcut learn faster
    ),
    neck=dict(type='FPN', in_channels=(64, 128, 256, 512), out_channels=256, num_outs=5),
    rpn_head=dict(
        type='RPNHead',
        in_channels=256,
        anchor_generator=dict(type='AnchorGenerator', scales=(4,), ratios=(0.5, 1.0, 2.0), strides=strides),
        bbox_coder=dict(type='DeltaXYWHBBoxCoder'),
        assigner=dict(type='MaxIoUAssigner', pos_iou_thr=0.7, neg_iou_thr=0.3, min_pos_iou=0.3),
        sampler=dict(type='RandomSampler', num=256, pos_fraction=0.5, add_gt_as_proposals=False),
        loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=True),
        loss_bbox=dict(type='L1Loss'),
        nms=dict(type='HardNMS', iou_threshold=0.7),
        nms_pre_train=1000,
        max_per_img=300,  # of two or three people; the box head on 1000 would take most of the time of a test
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
            bbox_coder=dict(type='DeltaXYWHBBoxCoder', target_stds=(0.1, 0.1, 0.2, 0.2)),
            loss_cls=dict(type='CrossEntropyLoss'),
            loss_bbox=dict(type='L1Loss'),
        ),
        assigner=dict(type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.5, min_pos_iou=0.5, match_low_quality=False),
        # An image has two or three people; of 512 boxes, as for COCO, hardly one in ten would be positive.
        sampler=dict(type='RandomSampler', num=128, pos_fraction=0.25),
        nms=dict(type='HardNMS', iou_threshold=0.5),
    ),
)

num_epochs = 20
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=num_epochs, val_interval=num_epochs)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=3e-4, weight_decay=1e-4, fused=True),  # fused: half the time of a step
    clip_grad=dict(max_norm=10),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=60),
    dict(type='MultiStepLR', by_epoch=True, milestones=[16], gamma=0.1),
]
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(interval=num_epochs))
randomness = dict(seed=0)
