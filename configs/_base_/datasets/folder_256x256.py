# Your own folder at 256x256: {data_root}/images/{train,val} and {data_root}/masks/{train,val}, whose names are the same.
meta = dict(classes=['background', 'object'])  # or a JSON file; its classes are the values in the masks
data_root = 'data/mine'
input_size = (256, 256)  # (w, h)

train_pipeline = [
    dict(type='LoadImage'),
    dict(type='LoadSegMap'),
    # Scale 1 is that of the evaluation.
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
    dataset=dict(
        type='SegmentationDataset', data_prefix=dict(img='images/train', seg_map='masks/train'), pipeline=train_pipeline
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=1,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='SegmentationDataset',
        data_prefix=dict(img='images/val', seg_map='masks/val'),
        test_mode=True,
        pipeline=val_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = [dict(type='IoUMetric', iou_metrics=['mIoU', 'mDice']), dict(type='BoundaryFScore')]
test_evaluator = val_evaluator
