# FCN-8s on VGG-16 with batch norm, PASCAL VOC 2012. `in_index` and `in_channels` of the last one or two maps give FCN-32s or 16s.
_base_ = [
    '../_base_/segmentation_iter_runtime.py',
    '../_base_/datasets/voc2012_512x512.py',
    '../_base_/schedules/sgd_poly_40k.py',
]

model = dict(
    type='EncoderDecoder',
    backbone=dict(
        type='VGG', depth=16, out_indices=(2, 3, 4), init_cfg=dict(type='Pretrained', checkpoint='torchvision://vgg16_bn')
    ),
    decode_head=dict(type='FCNSkipHead', in_channels=(256, 512, 512), in_index=(0, 1, 2), channels=4096, upsample='deconv'),
)
