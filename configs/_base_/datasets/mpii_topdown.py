# MPII Human Pose: {data_root}/images, and in {data_root}/annotations the two files that tools/convert_dataset.py mpii writes.
# PCKh needs the head boxes of the validation split. The pipelines, which hold the size of the crop, are in the files
# mpii_topdown_{h}x{w}.py beside this one.
meta = 'mpii16'
data_root = 'data/mpii'

train_dataloader = dict(
    batch_size=64,
    num_workers=4,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='CocoKeypointDataset',
        ann_file='annotations/person_keypoints_train.json',
        data_prefix=dict(img='images'),
    ),
)
val_dataloader = dict(
    batch_size=64,
    num_workers=4,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='CocoKeypointDataset',
        ann_file='annotations/person_keypoints_val.json',
        data_prefix=dict(img='images'),
        test_mode=True,
    ),
)
test_dataloader = val_dataloader

val_evaluator = [dict(type='MpiiPCKAccuracy', thr=(0.5, 0.1))]
test_evaluator = val_evaluator
