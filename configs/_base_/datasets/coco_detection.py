# COCO 2017 objects, images fitted into 1333x800 px (long x short side): {data_root}/annotations, train2017, val2017.
meta = 'coco80'
data_root = 'data/coco'
scale = (1333, 800)  # (long, short) px

train_pipeline = [
    dict(type='LoadImage'),
    dict(type='DetResize', scale=scale),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
val_pipeline = [
    dict(type='LoadImage'),
    dict(type='DetResize', scale=scale),
    dict(type='PackDetInputs'),
]
train_dataloader = dict(
    batch_size=2,
    num_workers=2,
    sampler=dict(type='DefaultSampler', shuffle=True),
    batch_sampler=dict(type='AspectRatioBatchSampler'),
    collate_fn=dict(type='detection_collate'),
    dataset=dict(
        type='CocoDetectionDataset',
        ann_file='annotations/instances_train2017.json',
        data_prefix=dict(img='train2017'),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=2,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='detection_collate'),
    dataset=dict(
        type='CocoDetectionDataset',
        ann_file='annotations/instances_val2017.json',
        data_prefix=dict(img='val2017'),
        test_mode=True,
        pipeline=val_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = [dict(type='CocoDetectionMetric', metric='bbox')]
test_evaluator = val_evaluator
