# The schedule of Simple Baselines and HRNet: 210 epochs, lr 5e-4 at a total batch size of 512, divided by 10 at 170 and 200.
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=210, val_interval=10)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=5e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(type='MultiStepLR', by_epoch=True, milestones=[170, 200], gamma=0.1),
]
auto_scale_lr = dict(enable=False, base_batch_size=512)
