# 40 epochs of a hundred images from scratch: Adam, two epochs of warm-up, a cosine. Minutes on two cores.
num_epochs = 40
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=num_epochs, val_interval=num_epochs)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
# bfloat16 where the processor has it, float32 elsewhere.
optim_wrapper = dict(type='AutocastOptimWrapper', optimizer=dict(type='Adam', lr=2e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=30),
    dict(type='CosineAnnealingLR', by_epoch=True, T_max=num_epochs, eta_min=1e-5, convert_to_iter_based=True),
]
