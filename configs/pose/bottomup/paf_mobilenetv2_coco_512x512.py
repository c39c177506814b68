# Part affinity fields (Cao et al., CVPR 2017, arXiv:1611.08050) on MobileNetV2 (Sandler et al., CVPR 2018, arXiv:1801.04381)
# with the deconvolutions of Simple Baselines (arXiv:1804.06208). Not published together: sigma is that of 512x512 heatmap
# networks (AE, HigherHRNet), the limbs are as wide as OpenPose's in px.
_base_ = [
    '../../_base_/default_runtime.py',
    '../../_base_/schedules/adam_300e.py',
    '../../_base_/datasets/coco_bottomup_512x512.py',
]

codec = dict(
    type='PAFCodec', meta='openpose18', input_size={{_base_.input_size}}, heatmap_size=(128, 128), sigma=2.0, limb_width=2.0
)  # (w, h); cells
model = dict(
    type='BottomupPoseEstimator',
    backbone=dict(
        type='MobileNetV2',
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://mobilenet_v2'),
    ),
    head=dict(
        type='PAFHead',
        in_channels=1280,
        deconv_out_channels=(256, 256, 256),
        loss_heatmap=dict(type='MaskedMSELoss'),
        loss_field=dict(type='MaskedMSELoss'),
        codec=codec,
    ),
    test_cfg=dict(flip_test=True),
)
train_dataloader = dict(batch_size=24)
default_hooks = dict(checkpoint=dict(save_best='coco/AP', interval=10))
