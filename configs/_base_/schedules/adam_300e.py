# The schedule of bottom-up HRNets: 300 epochs, lr 1.5e-3 at a total batch size of 192, divided by 10 at 200 and 260.
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=300, val_interval=10)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=1.5e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(type='MultiStepLR', by_epoch=True, milestones=[200, 260], gamma=0.1),
]
auto_scale_lr = dict(enable=False, base_batch_size=192)
