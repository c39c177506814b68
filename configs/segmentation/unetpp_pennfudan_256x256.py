# A slim UNet++ with deep supervision, from scratch, on the pedestrians of Penn-Fudan; dice and focal loss.
_base_ = [
    '../_base_/segmentation_runtime.py',
    '../_base_/datasets/pennfudan_256x256.py',
    '../_base_/schedules/scratch_cosine_40e.py',
]

model = dict(
    type='EncoderDecoder',
    # Half the resolution and half the channels of the paper: what two cores can train in minutes.
    backbone=dict(type='UNetPlusPlus', base_channels=16, num_stages=5, stem_stride=2),
    decode_head=dict(
        type='DeepSupervisionHead',
        in_channels=16,
        num_levels=4,
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
