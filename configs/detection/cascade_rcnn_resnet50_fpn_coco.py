# Cascade R-CNN on ResNet-50 and FPN, COCO; mmdet's cascade-rcnn_r50_fpn_1x_coco.
_base_ = [
    '../_base_/detection_runtime.py',
    '../_base_/datasets/coco_detection.py',
    '../_base_/schedules/sgd_1x.py',
    '../_base_/models/cascade_rcnn_resnet50_fpn.py',
]
