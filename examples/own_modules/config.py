# A network, a dataset and a metric of one's own. Data: python examples/own_modules/make_csv.py
_base_ = '../../configs/_base_/default_runtime.py'
custom_imports = dict(imports=['own_modules'])  # own_modules.py beside this file

meta = 'coco17'  # or a .json file: nothing else changes with the number of keypoints
data_root = 'data/csv_people'
codec = dict(type='HeatmapCodec', input_size=(96, 128), heatmap_size=(24, 32), sigma=1.5)  # (w, h); sigma in cells

model = dict(
    type='TopdownPoseEstimator',
    backbone=dict(type='PlainNet', width=64),
    head=dict(type='HeatmapHead', in_channels=64, deconv_out_channels=(64, 64), deconv_kernel_sizes=(4, 4), codec=codec),
)
pipeline = [
    dict(type='LoadImage'),
    dict(type='GetBBoxCenterScale'),
    dict(type='TopdownAffine', input_size=codec['input_size']),
    dict(type='PackPoseInputs'),
]
train_dataloader = dict(
    batch_size=16,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type='CsvKeypointDataset', csv_file='train.csv', pipeline=pipeline),
)
val_dataloader = dict(
    batch_size=16,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='CsvKeypointDataset', csv_file='val.csv', pipeline=pipeline, test_mode=True),
)
test_dataloader = val_dataloader
val_evaluator = [dict(type='MedianErrorPx'), dict(type='PCKAccuracy', thr=0.2, norm_item='bbox')]
test_evaluator = val_evaluator

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=5, val_interval=5)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=2e-3))
