# What every run shares: hooks, processes, log.
default_scope = 'mmpose_lite'

default_hooks = dict(
    runtime_info=dict(type='MonitorHook'),  # stops at a loss that is not finite
    timer=dict(type='IterTimerHook'),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    param_scheduler=dict(type='ParamSchedulerHook'),
    logger=dict(type='LogHook', interval=50),
    checkpoint=dict(type='CheckpointHook', interval=1, max_keep_ckpts=2),
    draw=dict(type='DrawPredictionsHook', num_images=16),
    summary=dict(type='SummaryHook'),
    progress=dict(type='ProgressHook'),
)

env_cfg = dict(cudnn_benchmark=True)
# Add dict(type='TensorboardVisBackend') to see the curves in TensorBoard.
visualizer = dict(type='Visualizer', vis_backends=[])
log_level = 'INFO'
