# The schedule of RTMPose, arXiv:2303.07399, Sec. 3.2: 420 epochs of AdamW at a total batch size of 1024, lr 4e-3 for the first
# half, then along a cosine to a twentieth of it; averaged weights.
num_epochs = 420
base_lr = 4e-3
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=num_epochs, val_interval=10)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=base_lr, weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0, bias_decay_mult=0, bypass_duplicate=True),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-5, by_epoch=False, begin=0, end=1000),
    dict(
        type='CosineAnnealingLR',
        by_epoch=True,
        begin=num_epochs // 2,
        end=num_epochs,
        T_max=num_epochs // 2,
        eta_min=base_lr * 0.05,
        convert_to_iter_based=True,
    ),
]
custom_hooks = [
    dict(type='EMAHook', ema_type='ExpMomentumEMA', momentum=0.0002, update_buffers=True, priority=49),  # before the checkpoint
]
auto_scale_lr = dict(enable=False, base_batch_size=1024)
