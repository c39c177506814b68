# Faster R-CNN on ResNet-18 and FPN for Penn-Fudan, whose box head also predicts IoU, variance and density: every suppression can
# be compared on it (tools/benchmark.py nms --config).
_base_ = './faster_rcnn_resnet18_pennfudan.py'

model = dict(
    roi_head=dict(
        bbox_head=dict(loss_bbox=dict(type='BoxKLLoss'), with_iou_branch=True, with_variance=True, with_density=True),
    ),
)
