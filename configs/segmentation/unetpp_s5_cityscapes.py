# UNet++ of five stages with deep supervision, Cityscapes, from scratch. The schedule is U-Net's: the paper has none for street
# scenes. model.prune(n), or `level=n` of backbone and head, keeps the first n of the four decoders.
_base_ = [
    '../_base_/segmentation_iter_runtime.py',
    '../_base_/datasets/cityscapes_512x1024.py',
    '../_base_/schedules/sgd_poly_160k.py',
]

norm_cfg = dict(type='SyncBN')
model = dict(
    type='EncoderDecoder',
    backbone=dict(type='UNetPlusPlus', base_channels=32, num_stages=5, norm_cfg=norm_cfg),
    decode_head=dict(type='DeepSupervisionHead', in_channels=32, num_levels=4),
)

train_dataloader = dict(batch_size=4)
