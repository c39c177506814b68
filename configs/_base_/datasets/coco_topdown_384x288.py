# COCO 2017 people, cropped to 384x288 (h x w): {data_root}/annotations, train2017, val2017, person_detection_results.
meta = 'coco17'
data_root = 'data/coco'
input_size = (288, 384)  # (w, h)

train_pipeline = [
    dict(type='LoadImage'),
    dict(type='GetBBoxCenterScale'),
    dict(type='RandomFlip'),
    dict(type='RandomHalfBody'),
    dict(type='RandomBBoxTransform'),
    dict(type='TopdownAffine', input_size=input_size),
    dict(type='PackPoseInputs'),
]
val_pipeline = [
    dict(type='LoadImage'),
    dict(type='GetBBoxCenterScale'),
    dict(type='TopdownAffine', input_size=input_size),
    dict(type='PackPoseInputs'),
]

train_dataloader = dict(
    batch_size=64,
    num_workers=4,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='CocoKeypointDataset',
        ann_file='annotations/person_keypoints_train2017.json',
        data_prefix=dict(img='train2017'),
        pipeline=train_pipeline,
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
        pipeline=val_pipeline,
    ),
)
test_dataloader = val_dataloader

val_evaluator = [dict(type='CocoMetric', score_mode='bbox_keypoint', nms_mode='oks_nms', nms_thr=0.9)]
test_evaluator = val_evaluator
