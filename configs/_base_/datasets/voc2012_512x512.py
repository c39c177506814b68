# PASCAL VOC 2012, cut to 512x512 for training, whole images for evaluation: {data_root} is VOCdevkit/VOC2012, as it is unpacked.
meta = 'voc2012'
data_root = 'data/VOCdevkit/VOC2012'
input_size = (512, 512)  # (w, h)
image_size = (2048, 512)  # (w, h): images become 512 px high

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
    batch_size=4,
    num_workers=2,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='SegmentationDataset',
        ann_file='ImageSets/Segmentation/train.txt',
        data_prefix=dict(img='JPEGImages', seg_map='SegmentationClass'),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=2,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='SegmentationDataset',
        ann_file='ImageSets/Segmentation/val.txt',
        data_prefix=dict(img='JPEGImages', seg_map='SegmentationClass'),
        test_mode=True,
        pipeline=val_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = [dict(type='IoUMetric', iou_metrics=['mIoU'])]
test_evaluator = val_evaluator
