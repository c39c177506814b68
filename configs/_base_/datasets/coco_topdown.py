# COCO 2017 people: {data_root}/annotations, train2017, val2017, person_detection_results. The pipelines, which hold the size of
# the crop, are in the files coco_topdown_{h}x{w}.py beside this one.
meta = 'coco17'
data_root = 'data/coco'

train_dataloader = dict(
    batch_size=64,
    num_workers=4,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='CocoKeypointDataset',
        ann_file='annotations/person_keypoints_train2017.json',
        data_prefix=dict(img='train2017'),
    ),
)
val_dataloader = dict(
    batch_size=64,
    num_workers=4,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='CocoKeypointDataset',
        ann_file='annotations/person_keypoints_val2017.json',
        data_prefix=dict(img='val2017'),
        # The published protocol: boxes of a detector (56.4 AP on people). Set None for the annotated boxes.
        bbox_file='person_detection_results/COCO_val2017_detections_AP_H_56_person.json',
        test_mode=True,
    ),
)
test_dataloader = val_dataloader

val_evaluator = [dict(type='CocoMetric', score_mode='bbox_keypoint', nms_mode='oks_nms', nms_thr=0.9)]
test_evaluator = val_evaluator
