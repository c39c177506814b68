# Cityscapes, cut to 512x1024 (h x w) for training, whole images for evaluation: {data_root}/leftImg8bit and gtFine, with the
# labelTrainIds that cityscapesscripts writes.
meta = 'cityscapes'
data_root = 'data/cityscapes'
input_size = (1024, 512)  # (w, h)
image_size = (2048, 1024)  # (w, h)
suffixes = dict(img_suffix='_leftImg8bit.png', seg_map_suffix='_gtFine_labelTrainIds.png')

train_pipeline = [
    dict(type='LoadImage'),
    dict(type='LoadSegMap'),
    dict(type='SegRandomCrop', input_size=input_size, base_size=image_size, scale_range=(0.5, 2.0), cat_max_ratio=0.75),
    dict(type='RandomFlip'),
    dict(type='PhotometricDistortion'),
    dict(type='PackSegInputs'),
]
val_pipeline = [
    dict(type='LoadImage'),
    dict(type='SegResize', input_size=image_size),
    dict(type='LoadSegMap'),
    dict(type='PackSegInputs'),
]
train_dataloader = dict(
    batch_size=2,
    num_workers=2,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='SegmentationDataset',
        data_prefix=dict(img='leftImg8bit/train', seg_map='gtFine/train'),
        pipeline=train_pipeline,
        **suffixes,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=2,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='SegmentationDataset',
        data_prefix=dict(img='leftImg8bit/val', seg_map='gtFine/val'),
        test_mode=True,
        pipeline=val_pipeline,
        **suffixes,
    ),
)
test_dataloader = val_dataloader
val_evaluator = [dict(type='IoUMetric', iou_metrics=['mIoU'])]
test_evaluator = val_evaluator
