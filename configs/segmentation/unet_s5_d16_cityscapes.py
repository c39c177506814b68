# U-Net of five stages, Cityscapes, from scratch.
_base_ = [
    '../_base_/segmentation_iter_runtime.py',
    '../_base_/datasets/cityscapes_512x1024.py',
    '../_base_/schedules/sgd_poly_160k.py',
]

norm_cfg = dict(type='SyncBN')
model = dict(
    type='EncoderDecoder',
    backbone=dict(type='UNet', base_channels=64, num_stages=5, upsample_cfg=dict(type='InterpConv'), norm_cfg=norm_cfg),
    decode_head=dict(type='FCNHead', in_channels=64, in_index=0, channels=64, num_convs=1, concat_input=False, norm_cfg=norm_cfg),
    auxiliary_head=dict(
        type='FCNHead',
        in_channels=128,
        in_index=1,
        channels=64,
        num_convs=1,
        concat_input=False,
        norm_cfg=norm_cfg,
        loss_decode=dict(type='CrossEntropyLoss', loss_weight=0.4),
    ),
)

train_dataloader = dict(batch_size=4)
