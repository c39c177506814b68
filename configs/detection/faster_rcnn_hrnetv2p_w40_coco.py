# Faster R-CNN on HRNetV2p-W40, COCO; mmdet's faster-rcnn_hrnetv2p-w40-1x_coco.
_base_ = './faster_rcnn_hrnetv2p_w32_coco.py'

model = dict(
    backbone=dict(
        extra=dict(
            stage2=dict(num_channels=(40, 80)),
            stage3=dict(num_channels=(40, 80, 160)),
            stage4=dict(num_channels=(40, 80, 160, 320)),
        ),
        init_cfg=dict(
            type='Pretrained', checkpoint='https://download.openmmlab.com/pretrain/third_party/hrnetv2_w40-ed0b031c.pth'
        ),
    ),
    neck=dict(in_channels=(40, 80, 160, 320)),
)
