# The quickstart of detection: a slim Mask R-CNN on synthetic people, which are drawn on the first run. Minutes on two CPU cores.
_base_ = '../_base_/detection_runtime.py'

meta = 'pedestrian'
data_root = 'data/synthetic_detection'
recipe = dict(num_train=500, num_val=100, image_size=(320, 256), seed=0, max_people=3)  # images; (w, h)
scale = (160, 128)  # (long, short) px
strides = (8, 16, 32)

model = dict(
    type='TwoStageDetector',
    backbone=dict(type='ResNet', depth=18, stem_channels=16, base_channels=16, out_indices=(1, 2, 3), zero_init_residual=False),
    neck=dict(type='FPN', in_channels=(32, 64, 128), out_channels=64, num_outs=3),
    rpn_head=dict(
        type='RPNHead',
        in_channels=64,
        feat_channels=64,
        # People are two to three times as high as wide.
        anchor_generator=dict(type='AnchorGenerator', scales=(3, 5), ratios=(1.0, 2.5), strides=strides),
        bbox_coder=dict(type='DeltaXYWHBBoxCoder'),
        assigner=dict(type='MaxIoUAssigner', pos_iou_thr=0.7, neg_iou_thr=0.3, min_pos_iou=0.3),
        sampler=dict(type='RandomSampler', num=64, pos_fraction=0.5, add_gt_as_proposals=False),
        loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=True),
        loss_bbox=dict(type='L1Loss'),
        nms=dict(type='HardNMS', iou_threshold=0.7),
        nms_pre_train=300,
        max_per_img_train=100,
        nms_pre=200,
        max_per_img=50,
    ),
    roi_head=dict(
        type='StandardRoIHead',
        bbox_roi_extractor=dict(
            type='SingleRoIExtractor',
            roi_layer=dict(type='RoIAlign', output_size=7),
            out_channels=64,
            featmap_strides=strides,
        ),
        bbox_head=dict(
            type='Shared2FCBBoxHead',
            in_channels=64,
            fc_out_channels=128,
            bbox_coder=dict(type='DeltaXYWHBBoxCoder', target_stds=(0.1, 0.1, 0.2, 0.2)),
            loss_cls=dict(type='CrossEntropyLoss'),
            loss_bbox=dict(type='L1Loss'),
        ),
        mask_roi_extractor=dict(
            type='SingleRoIExtractor',
            roi_layer=dict(type='RoIAlign', output_size=14),
            out_channels=64,
            featmap_strides=strides,
        ),
        mask_head=dict(
            type='FCNMaskHead',
            in_channels=64,
            conv_out_channels=32,
            num_convs=2,
            loss_mask=dict(type='CrossEntropyLoss', use_sigmoid=True),
        ),
        assigner=dict(type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.5, min_pos_iou=0.5, match_low_quality=False),
        sampler=dict(type='RandomSampler', num=32, pos_fraction=0.25),
        nms=dict(type='HardNMS', iou_threshold=0.5),
        max_per_img=20,
    ),
)

train_pipeline = [
    dict(type='LoadImage'),
    dict(type='LoadMasks'),
    dict(type='DetResize', scale=scale),
    dict(type='RandomFlip'),
    dict(type='PackDetInputs'),
]
val_pipeline = [dict(type='LoadImage'), dict(type='DetResize', scale=scale), dict(type='PackDetInputs')]
train_dataloader = dict(
    batch_size=8,
    num_workers=1,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='detection_collate'),
    dataset=dict(type='SyntheticPeopleDetection', split='train', with_masks=True, pipeline=train_pipeline, **recipe),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=1,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='detection_collate'),
    dataset=dict(type='SyntheticPeopleDetection', split='val', with_masks=True, test_mode=True, pipeline=val_pipeline, **recipe),
)
test_dataloader = val_dataloader
val_evaluator = [dict(type='CocoDetectionMetric', ann_file='annotations/person_keypoints_val.json', metric=['bbox', 'segm'])]
test_evaluator = val_evaluator

num_epochs = 24
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=num_epochs, val_interval=num_epochs)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
# bfloat16 where the processor has it, float32 elsewhere.
optim_wrapper = dict(
    type='AutocastOptimWrapper', optimizer=dict(type='AdamW', lr=1e-3, weight_decay=1e-4), clip_grad=dict(max_norm=10)
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type='CosineAnnealingLR', by_epoch=True, T_max=num_epochs, eta_min=1e-5, convert_to_iter_based=True),
]
default_hooks = dict(checkpoint=dict(interval=num_epochs))
randomness = dict(seed=0)
