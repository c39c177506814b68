# Pedestrians of Penn-Fudan, images fitted into 320x256 px (long x short side): {data_root}/images, instances_train.json (which
# lists 119 images) and instances_val.json (51).
meta = 'pedestrian'
data_root = 'data/pennfudan'
scale = (320, 256)  # (long, short) px

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
    batch_size=4,
    num_workers=1,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='detection_collate'),
    dataset=dict(type='CocoDetectionDataset', ann_file='instances_train.json', pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=1,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='detection_collate'),
    dataset=dict(type='CocoDetectionDataset', ann_file='instances_val.json', test_mode=True, pipeline=val_pipeline),
)
test_dataloader = val_dataloader
val_evaluator = [dict(type='CocoDetectionMetric', metric='bbox')]
test_evaluator = val_evaluator
