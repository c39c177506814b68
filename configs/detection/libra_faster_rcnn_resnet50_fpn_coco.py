# Libra R-CNN on ResNet-50 and FPN, COCO: IoU-balanced sampling, balanced pyramid and L1; mmdet's
# libra-faster-rcnn_r50_fpn_1x_coco.
_base_ = './faster_rcnn_resnet50_fpn_coco.py'

model = dict(
    neck=[
        dict(type='FPN', in_channels=(256, 512, 1024, 2048), out_channels=256, num_outs=5),
        dict(type='BFP', in_channels=256, num_levels=5, refine_level=2, refine_type='non_local'),
    ],
    rpn_head=dict(sampler=dict(neg_pos_ub=5)),
    roi_head=dict(
        bbox_head=dict(loss_bbox=dict(type='BalancedL1Loss', alpha=0.5, gamma=1.5, beta=1.0)),
        sampler=dict(
            type='CombinedSampler',
            num=512,
            pos_fraction=0.25,
            pos_sampler=dict(type='InstanceBalancedPosSampler'),
            neg_sampler=dict(type='IoUBalancedNegSampler', floor_thr=0, floor_fraction=0, num_bins=3),  # as mmdet's -1 works
        ),
    ),
)
