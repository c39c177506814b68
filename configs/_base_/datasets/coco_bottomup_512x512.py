# COCO 2017 people, whole images at 512x512 (h x w) with maps at stride 4: {data_root}/annotations, train2017, val2017.
meta = 'coco17'
data_root = 'data/coco'
input_size = (512, 512)  # (w, h)
mask_size = (128, 128)

train_pipeline = [
    dict(type='LoadImage'),
    dict(type='RandomFlip'),
    dict(type='BottomupRandomAffine', input_size=input_size),
    dict(type='GenerateLossMask', mask_size=mask_size),
    dict(type='PackPoseInputs'),
]
# The short side is resized to the input size, the other one follows: every image has its own size, so batches hold one.
val_pipeline = [
    dict(type='LoadImage'),
    dict(type='BottomupResize', input_size=input_size, resize_mode='expand', size_factor=32),
    dict(type='PackPoseInputs'),
]

train_dataloader = dict(
    batch_size=16,
    num_workers=4,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='CocoKeypointDataset',
        data_mode='bottomup',
        ann_file='annotations/person_keypoints_train2017.json',
        data_prefix=dict(img='train2017'),
        pipeline=train_pipeline,
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
        pipeline=val_pipeline,
    ),
)
test_dataloader = val_dataloader

# A person's score is the grouping's own, and the grouping finds nobody twice.
val_evaluator = [dict(type='CocoMetric', score_mode='bbox', nms_mode='none')]
test_evaluator = val_evaluator
