# Faster R-CNN on HRNetV2p-W32, COCO; mmdet's faster-rcnn_hrnetv2p-w32-1x_coco.
_base_ = './faster_rcnn_resnet50_fpn_coco.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='HRNet',
        extra=dict(
            stage1=dict(num_modules=1, num_branches=1, block='BOTTLENECK', num_blocks=(4,), num_channels=(64,)),
            stage2=dict(num_modules=1, num_branches=2, block='BASIC', num_blocks=(4, 4), num_channels=(32, 64)),
            stage3=dict(num_modules=4, num_branches=3, block='BASIC', num_blocks=(4, 4, 4), num_channels=(32, 64, 128)),
            stage4=dict(num_modules=3, num_branches=4, block='BASIC', num_blocks=(4, 4, 4, 4), num_channels=(32, 64, 128, 256)),
        ),
        multiscale_output=True,
        norm_eval=True,
        init_cfg=dict(
            type='Pretrained', checkpoint='https://download.openmmlab.com/pretrain/third_party/hrnetv2_w32-dc9eeb4f.pth'
        ),
    ),
    neck=dict(_delete_=True, type='HRFPN', in_channels=(32, 64, 128, 256), out_channels=256),
)
