# Faster R-CNN on ResNet-50 and FPN with deformable RoI pooling, COCO; mmdet's faster-rcnn_r50-dpool_fpn_1x_coco.
_base_ = './faster_rcnn_resnet50_fpn_coco.py'

model = dict(roi_head=dict(bbox_roi_extractor=dict(roi_layer=dict(type='DeformRoIPoolPack', output_channels=256))))
