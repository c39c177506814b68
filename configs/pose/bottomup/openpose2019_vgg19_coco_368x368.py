# Cao et al., OpenPose: Realtime Multi-Person 2D Pose Estimation using Part Affinity Fields, TPAMI 2019, arXiv:1812.08008: four
# stages of fields, then two of heatmaps. Layers, optimiser, learning rates, decay, sigma (7 px) and limb width (8 px) are those
# of the authors' training files of body_25, but for COCO's keypoints, and with biases and slopes treated like the other
# weights.
_base_ = ['../../_base_/default_runtime.py', '../../_base_/datasets/coco_bottomup_368x368.py']

codec = dict(
    type='PAFCodec', meta='openpose18', input_size={{_base_.input_size}}, heatmap_size=(46, 46), sigma=0.875, limb_width=1.0
)  # (w, h); cells
model = dict(
    type='BottomupPoseEstimator',
    backbone=dict(
        type='OpenPoseVGG',
        depth=19,
        act='prelu',
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://vgg19'),
    ),
    head=dict(
        type='OpenPoseHead',
        in_channels=128,
        stages=[
            dict(type='OpenPoseDenseStage', maps=('fields',), channels=96, last_channels=256),
            *[dict(type='OpenPoseDenseStage', maps=('fields',), channels=128, last_channels=512)] * 3,
            dict(type='OpenPoseDenseStage', maps=('heatmaps',), channels=96, last_channels=256),
            dict(type='OpenPoseDenseStage', maps=('heatmaps',), channels=128, last_channels=512),
        ],
        loss_heatmap=dict(type='MaskedMSELoss', loss_weight=0.5),
        loss_field=dict(type='MaskedMSELoss', loss_weight=0.5),
        codec=codec,
    ),
    # The authors' best figures are at scales=(0.5, 1.0, 1.5, 2.0).
    test_cfg=dict(flip_test=False, scales=(1.0,)),
)

train_dataloader = dict(batch_size=10)
# 1,000,000 iterations over the 56,599 images with labelled people.
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=177, val_interval=5)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='Adam', lr=1e-4, weight_decay=5e-4),
    paramwise_cfg=dict(custom_keys={'head.stages.': dict(lr_mult=4)}),
)
halvings = [200000, 300000, 360000, 420000, 480000, 540000, 600000, 700000, 800000, 900000]  # iterations
param_scheduler = [dict(type='MultiStepLR', by_epoch=False, milestones=halvings, gamma=0.5)]
auto_scale_lr = dict(enable=False, base_batch_size=10)
default_hooks = dict(checkpoint=dict(save_best='coco/AP', interval=5))
