# The quickstart of segmentation: a slim U-Net on the parts of synthetic people, which are drawn on the first run. Minutes on two
# CPU cores.
_base_ = '../_base_/segmentation_runtime.py'

meta = 'person_parts'
data_root = 'data/synthetic_parts'
recipe = dict(num_train=600, num_val=100, image_size=(320, 256), seed=0, max_people=3)  # images; (w, h)
input_size = (160, 128)  # (w, h)

model = dict(
    type='EncoderDecoder',
    backbone=dict(type='UNet', base_channels=16),
    decode_head=dict(
        type='FCNHead',
        in_channels=16,
        in_index=0,
        channels=16,
        num_convs=1,
        concat_input=False,
        # Nine of ten pixels are background: dice counts the parts alike.
        loss_decode=[
            dict(type='CrossEntropyLoss', avg_non_ignore=True),
            dict(type='DiceLoss', use_sigmoid=False, per_class=True, per_image=False, avg_non_ignore=True),
        ],
    ),
)

train_pipeline = [
    dict(type='LoadImage'),
    dict(type='LoadSegMap'),
    dict(type='SegRandomCrop', input_size=input_size, base_size=input_size, scale_range=(0.9, 1.4), cat_max_ratio=0.97),
    dict(type='RandomFlip'),
    dict(type='PackSegInputs'),
]
val_pipeline = [
    dict(type='LoadImage'),
    dict(type='SegResize', input_size=input_size),
    dict(type='LoadSegMap'),
    dict(type='PackSegInputs'),
]
train_dataloader = dict(
    batch_size=16,
    num_workers=1,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type='SyntheticPeopleSegmentation', split='train', pipeline=train_pipeline, **recipe),
)
val_dataloader = dict(
    batch_size=16,
    num_workers=1,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='SyntheticPeopleSegmentation', split='val', test_mode=True, pipeline=val_pipeline, **recipe),
)
test_dataloader = val_dataloader
val_evaluator = [dict(type='IoUMetric', iou_metrics=['mIoU', 'mDice'])]
test_evaluator = val_evaluator

num_epochs = 20
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=num_epochs, val_interval=num_epochs)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
# bfloat16 where the processor has it, float32 elsewhere.
optim_wrapper = dict(type='AutocastOptimWrapper', optimizer=dict(type='Adam', lr=3e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=30),
    dict(type='CosineAnnealingLR', by_epoch=True, T_max=num_epochs, eta_min=1e-5, convert_to_iter_based=True),
]
default_hooks = dict(checkpoint=dict(interval=num_epochs))
randomness = dict(seed=0)
