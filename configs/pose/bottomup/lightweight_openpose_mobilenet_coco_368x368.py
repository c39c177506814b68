# Osokin, Real-time 2D Multi-Person Pose Estimation on CPU: Lightweight OpenPose, arXiv:1811.12004, with one refinement stage.
# Optimiser, learning rates, decay, schedule, sigma (7 px) and limb width (8 px) are those of the author's code, except that
# biases and norms of the refinement stage are treated like its other weights. The author begins with MobileNet weights of
# ImageNet (mobilenet_sgd_68.848.pth.tar of pytorch-mobilenet, without a public address that can be read here): set
# model.backbone.init_cfg to dict(type='Pretrained', checkpoint=...) for such a file.
_base_ = ['../../_base_/default_runtime.py', '../../_base_/datasets/coco_bottomup_368x368.py']

codec = dict(
    type='PAFCodec', meta='openpose18', input_size={{_base_.input_size}}, heatmap_size=(46, 46), sigma=0.875, limb_width=1.0
)  # (w, h); cells
both = ('fields', 'heatmaps')
model = dict(
    type='BottomupPoseEstimator',
    # As published, for published weights: pixels minus 128, by 256, in BGR.
    data_preprocessor=dict(type='PoseDataPreprocessor', mean=(128, 128, 128), std=(256, 256, 256), bgr_to_rgb=False),
    backbone=dict(
        type='MobileNetV1',  # up to conv5_5; conv4_2 without its stride, conv5_1 dilated
        block_strides=(1, 2, 1, 2, 1, 1, 1, 1, 1, 1, 1),
        block_dilations=(1, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1),
    ),
    neck=dict(type='LightweightCPM', in_channels=512, out_channels=128),
    head=dict(
        type='OpenPoseHead',
        in_channels=128,
        stages=[
            dict(type='LightweightInitialStage', maps=both, channels=128, last_channels=512),
            dict(type='LightweightRefinementStage', maps=both, num_blocks=5, channels=128),
        ],
        loss_heatmap=dict(type='MaskedMSELoss', loss_weight=0.5),
        loss_field=dict(type='MaskedMSELoss', loss_weight=0.5),
        codec=codec,
    ),
    test_cfg=dict(flip_test=False),
)

train_dataloader = dict(batch_size=80)
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=280, val_interval=10)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='Adam', lr=4e-5, weight_decay=5e-4),
    paramwise_cfg=dict(
        bias_lr_mult=2,
        bias_decay_mult=0,
        norm_decay_mult=0,
        dwconv_decay_mult=0,
        custom_keys={'head.stages.1.': dict(lr_mult=4)},
    ),
)
param_scheduler = [dict(type='MultiStepLR', by_epoch=True, milestones=[100, 200, 260], gamma=0.333)]
auto_scale_lr = dict(enable=False, base_batch_size=80)
default_hooks = dict(checkpoint=dict(save_best='coco/AP', interval=10))
