# DeepLabV3+ on ResNet-18 with output stride 16, from scratch, on the pedestrians of Penn-Fudan; dice and focal loss.
_base_ = [
    '../_base_/segmentation_runtime.py',
    '../_base_/datasets/pennfudan_256x256.py',
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
        out_channels=1,
        # Where the network knows nothing, p = 0.5, this focal loss is 0.087: ten times it is as large as dice.
        loss_decode=[
            dict(type='DiceLoss', naive_dice=True, avg_non_ignore=True),
            dict(type='FocalLoss', alpha=0.5, loss_weight=10.0, avg_non_ignore=True),
        ],
    ),
)

default_hooks = dict(checkpoint=dict(interval={{_base_.num_epochs}}, save_best='seg/IoU.person'))
randomness = dict(seed=0)
