# Li et al., Rethinking on Multi-Stage Networks for Human Pose Estimation, arXiv:1901.00148; two stages on ResNet-50.
_base_ = [
    '../../_base_/default_runtime.py',
    '../../_base_/schedules/adam_210e.py',
    '../../_base_/datasets/coco_topdown_256x192.py',
]

num_stages = 2
codec = dict(
    type='MegviiHeatmapCodec',
    input_size={{_base_.input_size}},  # (w, h), as heatmap_size
    heatmap_size=(48, 64),
    kernel_sizes=(11, 9, 7, 5),  # cells, coarse to fine
)
coarse = dict(type='KeypointMSELoss', use_target_weight=True, loss_weight=0.25)
finest = dict(type='KeypointOHKMMSELoss', use_target_weight=True, topk=8)
model = dict(
    type='TopdownPoseEstimator',
    backbone=dict(
        type='MSPN',
        num_stages=num_stages,
        num_blocks=(3, 4, 6, 3),
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet50'),
    ),
    head=dict(
        type='MSPNHead',
        num_stages=num_stages,
        loss=[coarse, coarse, coarse, finest] * num_stages,
        codec=codec,
    ),
    test_cfg=dict(flip_test=True, shift_heatmap=False),  # this codec's cells mirror onto cells
)
train_dataloader = dict(batch_size=32)
optim_wrapper = dict(optimizer=dict(lr=5e-3))
auto_scale_lr = dict(base_batch_size=256)
val_evaluator = [dict(type='CocoMetric', score_mode='bbox_keypoint', nms_mode='none')]  # as the published figures
test_evaluator = val_evaluator
default_hooks = dict(checkpoint=dict(save_best='coco/AP', interval=10))
