# Faster R-CNN on HRNetV2p-W18, COCO; mmdet's faster-rcnn_hrnetv2p-w18-1x_coco.
_base_ = './faster_rcnn_hrnetv2p_w32_coco.py'

model = dict(
    backbone=dict(
        extra=dict(
            stage2=dict(num_channels=(18, 36)),
            stage3=dict(num_channels=(18, 36, 72)),
            stage4=dict(num_channels=(18, 36, 72, 144)),
        ),
        init_cfg=dict(
            type='Pretrained', checkpoint='https://download.openmmlab.com/pretrain/third_party/hrnetv2_w18-00eb2006.pth'
        ),
    ),
    neck=dict(in_channels=(18, 36, 72, 144)),
)
