# Faster R-CNN on ResNet-50 and FPN with context-aware RoI pooling, COCO: for small objects.
_base_ = './faster_rcnn_resnet50_fpn_coco.py'

model = dict(roi_head=dict(bbox_roi_extractor=dict(roi_layer=dict(type='ContextAwareRoIPool'))))
