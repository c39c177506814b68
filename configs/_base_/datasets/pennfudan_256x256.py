# Pedestrians of Penn-Fudan at 256x256: {data_root}/images, masks, instances_train.json (which lists 119 images) and
# instances_val.json (51).
meta = 'person'
data_root = 'data/pennfudan'
input_size = (256, 256)  # (w, h)

train_pipeline = [
    dict(type='LoadImage'),
    dict(type='LoadSegMap'),
    # Scale 1 is that of the evaluation. A fifth of the pixels is person, so background may have most of a part.
    dict(type='SegRandomCrop', input_size=input_size, base_size=input_size, scale_range=(0.8, 1.6), cat_max_ratio=0.95),
    dict(type='RandomFlip'),
    dict(type='PhotometricDistortion'),
    dict(type='PackSegInputs'),
]
val_pipeline = [
    dict(type='LoadImage'),
    dict(type='SegResize', input_size=input_size, resize_mode='fit'),
    dict(type='LoadSegMap'),
    dict(type='PackSegInputs'),
]
train_dataloader = dict(
    batch_size=8,
    num_workers=1,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type='SegmentationDataset', ann_file='instances_train.json', pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=1,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='SegmentationDataset', ann_file='instances_val.json', test_mode=True, pipeline=val_pipeline),
)
test_dataloader = val_dataloader
val_evaluator = [dict(type='IoUMetric', iou_metrics=['mIoU', 'mDice']), dict(type='BoundaryFScore')]
test_evaluator = val_evaluator
