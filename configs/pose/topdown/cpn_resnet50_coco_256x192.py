# Chen et al., Cascaded Pyramid Network for Multi-Person Pose Estimation, CVPR 2018, arXiv:1711.07319; with the schedule of Simple
# Baselines.
_base_ = [
    '../../_base_/default_runtime.py',
    '../../_base_/schedules/adam_210e.py',
    '../../_base_/datasets/coco_topdown_256x192.py',
]

codec = dict(
    type='MegviiHeatmapCodec',
    input_size={{_base_.input_size}},  # (w, h), as heatmap_size
    heatmap_size=(48, 64),
    kernel_sizes=(15, 11, 9, 7),  # cells, coarse to fine
    blur_kernel_size=21,
)
global_loss = dict(type='KeypointMSELoss', use_target_weight=True, loss_weight=0.5)
refine_loss = dict(type='KeypointOHKMMSELoss', use_target_weight=True, topk=8)
model = dict(
    type='TopdownPoseEstimator',
    backbone=dict(
        type='ResNet',
        depth=50,
        out_indices=(0, 1, 2, 3),
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet50'),
    ),
    neck=dict(type='CPNGlobalNet', in_channels=(256, 512, 1024, 2048)),
    head=dict(
        type='CPNHead',
        loss=[global_loss, global_loss, global_loss, global_loss, refine_loss],
        codec=codec,
    ),
    test_cfg=dict(flip_test=True, shift_heatmap=False),  # this codec's cells mirror onto cells
)
train_dataloader = dict(batch_size=32)
default_hooks = dict(checkpoint=dict(save_best='coco/AP', interval=10))
