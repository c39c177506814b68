# COCO 2017 people, whole images: {data_root}/annotations, train2017, val2017. The pipelines, which hold the size of the input,
# are in the files coco_bottomup_{h}x{w}.py beside this one.
meta = 'coco17'
data_root = 'data/coco'

train_dataloader = dict(
    batch_size=16,
    num_workers=4,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='CocoKeypointDataset',
        data_mode='bottomup',
        ann_file='annotations/person_keypoints_train2017.json',
        data_prefix=dict(img='train2017'),
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='CocoKeypointDataset',
        data_mode='bottomup',
        ann_file='annotations/person_keypoints_val2017.json',
        data_prefix=dict(img='val2017'),
        test_mode=True,
    ),
)
test_dataloader = val_dataloader

# A person's score is the grouping's own, and the grouping finds nobody twice.
val_evaluator = [dict(type='CocoMetric', score_mode='bbox', nms_mode='none')]
test_evaluator = val_evaluator
