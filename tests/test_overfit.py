"""The end-to-end proof on real people: a thin network learns COCO's images by heart, and finds in them who is annotated."""

from pathlib import Path

from tests.conftest import REPO
from tests.tiny import rows, train

NUM_ITERS = 700

CONFIG = """
_base_ = {base!r}
meta = 'coco17'
data_root = {data!r}
input_size, mask_size = (320, 256), (80, 64)  # (w, h); stride 4
codec = dict(type='PAFCodec', meta='openpose18', input_size=input_size, heatmap_size=mask_size, sigma=1.25, limb_width=2.0)
model = dict(
    type='BottomupPoseEstimator',
    backbone=dict(
        type='ResNet', depth=18, stem_channels=16, base_channels=16, out_indices=(0, 1, 2, 3), zero_init_residual=False),
    neck=dict(type='FeatureMapProcessor', concat=True),
    head=dict(
        type='OpenPoseHead',
        in_channels=16 + 32 + 64 + 128,
        stages=[dict(type='LightweightRefinementStage', maps=('fields', 'heatmaps'), num_blocks=1, channels=64)],
        loss_heatmap=dict(type='MaskedMSELoss', loss_weight=4.0),  # places have to be exact, fields only have a direction
        codec=codec))
place = [dict(type='LoadImage'), dict(type='BottomupResize', input_size=input_size)]
mask = [dict(type='GenerateLossMask', mask_size=mask_size), dict(type='PackPoseInputs')]
dataset = dict(type='CocoKeypointDataset', data_mode='bottomup', ann_file='test_coco.json', data_prefix=dict(img=''))
train_dataloader = dict(
    batch_size=4, num_workers=0, sampler=dict(type='InfiniteSampler', shuffle=False),
    dataset=dict(dataset, pipeline=place + mask))
val_dataloader = dict(
    batch_size=4, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(dataset, test_mode=True, pipeline=place + [dict(type='PackPoseInputs')]))
val_evaluator = [dict(type='CocoMetric', score_mode='bbox', nms_mode='none')]
train_cfg = dict(type='IterBasedTrainLoop', max_iters={iters}, val_interval={iters})
val_cfg = dict(type='ValLoop')
optim_wrapper = dict(type='AutocastOptimWrapper', optimizer=dict(type='Adam', lr=3e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=30),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=30, end={iters}, eta_min=1e-5)]
default_hooks = dict(
    logger=dict(interval=100), checkpoint=dict(interval={iters}, by_epoch=False), draw=None, summary=None, progress=None)
randomness = dict(seed=0)
"""


def test_a_thin_network_learns_real_people_by_heart(shared: Path, tmp_path: Path) -> None:
    """Twelve people in four images, from 1,870 to 27,789 px^2, and two without labels, whom the loss mask leaves out."""
    config = tmp_path / 'overfit.py'
    base = str(REPO / 'configs' / '_base_' / 'default_runtime.py')
    config.write_text(CONFIG.format(base=base, data=str(shared / 'data' / 'coco_sample'), iters=NUM_ITERS))
    assert train(config, tmp_path / 'run') == 0
    (figures,) = rows(tmp_path / 'run', 'val')
    assert figures['coco/AP'] >= 0.95
