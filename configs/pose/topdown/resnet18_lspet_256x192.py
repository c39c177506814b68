# SimpleBaseline with ResNet-18, from scratch, on Leeds Sports Pose Extended: {data_root}/images and two annotation files, as
# tools/convert_dataset.py lsp writes them.
_base_ = [
    '../../_base_/default_runtime.py',
    '../../_base_/datasets/lspet_topdown_256x192.py',
    '../../_base_/schedules/scratch_10e.py',
]

codec = dict(type='HeatmapCodec', input_size={{_base_.input_size}}, heatmap_size=(48, 64), sigma=2.0)  # (w, h); sigma in cells
model = dict(
    type='TopdownPoseEstimator',
    # Blocks that begin as more than their shortcut learn faster from scratch.
    backbone=dict(type='ResNet', depth=18, zero_init_residual=False),
    head=dict(type='HeatmapHead', in_channels=512, loss=dict(type='KeypointMSELoss', use_target_weight=True), codec=codec),
    test_cfg=dict(flip_test=True, shift_heatmap=True),
)

default_hooks = dict(checkpoint=dict(save_best='pck/PCK@0.2'))
