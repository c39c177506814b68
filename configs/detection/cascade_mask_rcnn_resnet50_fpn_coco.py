# Cascade Mask R-CNN on ResNet-50 and FPN, COCO; mmdet's cascade-mask-rcnn_r50_fpn_1x_coco.
_base_ = [
    '../_base_/detection_runtime.py',
    '../_base_/datasets/coco_instance.py',
    '../_base_/schedules/sgd_1x.py',
    '../_base_/models/cascade_rcnn_resnet50_fpn.py',
]

model = dict(
    roi_head=dict(
        mask_roi_extractor=dict(
            type='SingleRoIExtractor',
            roi_layer=dict(type='RoIAlign', output_size=14),
            out_channels=256,
            featmap_strides=(4, 8, 16, 32),
        ),
        mask_head=dict(type='FCNMaskHead', loss_mask=dict(type='CrossEntropyLoss', use_sigmoid=True)),
    ),
)
