# Rendered Handpose Dataset, cropped to 256x256 (h x w): {data_root}/training/color, evaluation/color, and in
# {data_root}/annotations the two files that tools/convert_dataset.py rhd writes.
meta = 'rhd21'
data_root = 'data/rhd'
input_size = (256, 256)  # (w, h)
use_udp = False  # with UDP's codec too: the published figures are those of crops by the plain matrix

train_pipeline = [
    dict(type='LoadImage'),
    dict(type='GetBBoxCenterScale'),
    dict(type='RandomFlip'),
    dict(type='RandomBBoxTransform', rotate_factor=180.0, scale_factor=(0.7, 1.3)),
    dict(type='TopdownAffine', input_size=input_size, use_udp=use_udp),
    dict(type='PackPoseInputs'),
]
val_pipeline = [
    dict(type='LoadImage'),
    dict(type='GetBBoxCenterScale'),
    dict(type='TopdownAffine', input_size=input_size, use_udp=use_udp),
    dict(type='PackPoseInputs'),
]
train_dataloader = dict(
    batch_size=64,
    num_workers=4,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='CocoKeypointDataset',
        ann_file='annotations/rhd_train.json',
        data_prefix=dict(img=''),  # file names in the annotations start from data_root
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=64,
    num_workers=4,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='CocoKeypointDataset',
        ann_file='annotations/rhd_test.json',
        data_prefix=dict(img=''),
        test_mode=True,
        pipeline=val_pipeline,
    ),
)
test_dataloader = val_dataloader

val_evaluator = [dict(type='PCKAccuracy', thr=0.2), dict(type='AUC'), dict(type='EPE')]
test_evaluator = val_evaluator
