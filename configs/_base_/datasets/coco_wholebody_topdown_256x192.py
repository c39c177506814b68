# COCO-WholeBody, cropped to 256x192 (h x w): COCO's images, and in {data_root}/wholebody the two files that
# tools/convert_dataset.py wholebody writes.
_base_ = './coco_topdown_256x192.py'

meta = 'wholebody133'
train_dataloader = dict(dataset=dict(ann_file='wholebody/coco_wholebody_train_v1.0.json'))
val_dataloader = dict(dataset=dict(ann_file='wholebody/coco_wholebody_val_v1.0.json'))
test_dataloader = val_dataloader

val_evaluator = [dict(type='CocoWholeBodyMetric', score_mode='bbox_keypoint', nms_mode='oks_nms', nms_thr=0.9)]
test_evaluator = val_evaluator
