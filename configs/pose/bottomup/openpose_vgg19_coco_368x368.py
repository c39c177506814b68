# Cao et al., Realtime Multi-Person 2D Pose Estimation using Part Affinity Fields, CVPR 2017, arXiv:1611.08050. Optimiser,
# learning rates, decay, sigma (7 px), limb width (8 px) and the number of iterations are those of the authors' training files.
# For a checkpoint of pytorch_Realtime_Multi-Person_Pose_Estimation that takes pixels / 256 - 0.5 in BGR, set
# model.data_preprocessor to dict(type='PoseDataPreprocessor', mean=(128, 128, 128), std=(256, 256, 256), bgr_to_rgb=False).
_base_ = ['../../_base_/default_runtime.py', '../../_base_/datasets/coco_bottomup_368x368.py']

codec = dict(
    type='PAFCodec', meta='openpose18', input_size={{_base_.input_size}}, heatmap_size=(46, 46), sigma=0.875, limb_width=1.0
)  # (w, h); cells
both = ('fields', 'heatmaps')
model = dict(
    type='BottomupPoseEstimator',
    backbone=dict(
        type='OpenPoseVGG',
        depth=19,
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://vgg19'),
    ),
    head=dict(
        type='OpenPoseHead',
        in_channels=128,
        stages=[
            dict(type='OpenPoseStage', maps=both, kernel_size=3, num_convs=3, channels=128, last_channels=512),
            *[dict(type='OpenPoseStage', maps=both, kernel_size=7, num_convs=5, channels=128, last_channels=128)] * 5,
        ],
        # Half of the squares, as in the authors' files, for the learning rate to hold.
        loss_heatmap=dict(type='MaskedMSELoss', loss_weight=0.5),
        loss_field=dict(type='MaskedMSELoss', loss_weight=0.5),
        codec=codec,
    ),
    # The authors' best figures are at scales=(0.5, 1.0, 1.5, 2.0).
    test_cfg=dict(flip_test=False, scales=(1.0,)),
)

train_dataloader = dict(batch_size=10)
# 600,000 iterations over the 56,599 images with labelled people.
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=106, val_interval=5)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=4e-5, momentum=0.9, weight_decay=5e-4),
    paramwise_cfg=dict(
        bias_lr_mult=2,
        bias_decay_mult=0,
        custom_keys={
            **{f'head.stages.{stage}.': dict(lr_mult=4) for stage in range(1, 6)},
            **{
                f'head.stages.{stage}.{maps}.{layer}.conv.bias': dict(lr_mult=8, decay_mult=0)
                for stage in range(1, 6)
                for maps in ('fields', 'heatmaps')
                for layer in range(7)
            },
        },
    ),
)
param_scheduler = [dict(type='StepLR', by_epoch=False, step_size=136106, gamma=0.333)]
auto_scale_lr = dict(enable=False, base_batch_size=10)
default_hooks = dict(checkpoint=dict(save_best='coco/AP', interval=5))
