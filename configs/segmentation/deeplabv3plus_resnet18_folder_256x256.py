# DeepLabV3+ on ResNet-18 with output stride 16, for a folder of your own: `data_root` and `meta` are all there is to set.
# Where there is a network, start from ImageNet: model.backbone.init_cfg.type=Pretrained
# model.backbone.init_cfg.checkpoint=torchvision://resnet18
_base_ = [
    '../_base_/segmentation_runtime.py',
    '../_base_/datasets/folder_256x256.py',
    '../_base_/schedules/scratch_cosine_40e.py',
]

model = dict(
    type='EncoderDecoder',
    backbone=dict(
        type='ResNet',
        depth=18,
        strides=(1, 2, 2, 1),
        dilations=(1, 1, 1, 2),
        out_indices=(0, 1, 2, 3),
        zero_init_residual=False,  # from scratch, blocks that begin as more than their shortcut learn faster
    ),
    decode_head=dict(
        type='DepthwiseSeparableASPPHead',
        in_channels=512,
        channels=128,
        c1_in_channels=64,
        dilations=(1, 6, 12, 18),
        loss_decode=[
            dict(type='CrossEntropyLoss', avg_non_ignore=True),
            dict(type='DiceLoss', use_sigmoid=False, per_class=True, avg_non_ignore=True),
        ],
    ),
)

train_dataloader = dict(drop_last=True)  # the batch norm of the map's mean cannot learn from a last batch of one image
default_hooks = dict(checkpoint=dict(interval={{_base_.num_epochs}}))
randomness = dict(seed=0)
