"""The whole bottom-up network; what it predicts is known, as a head with prepared answers stands in for a trained one."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from mmpose_lite.codecs.pose_groups import PoseGroups
from mmpose_lite.datasets import SyntheticPeopleDataset, pose_collate
from mmpose_lite.errors import ConfigError
from mmpose_lite.models.heads.pose.paf_head import PAFHead, PAFMaps
from mmpose_lite.registry import BACKBONES, HEADS, MODELS, TRANSFORMS
from mmpose_lite.structures import KeypointMeta, SampleBatch
from tests.standing_person import STANDING

META = KeypointMeta.load('coco17')
INPUT_SIZE, SIZE = (192, 128), (48, 32)  # (w, h); a cell is 4 px
CODEC = dict(type='PAFCodec', meta='openpose18', input_size=INPUT_SIZE, heatmap_size=SIZE, sigma=1.5, limb_width=1.0)
MODEL = dict(
    type='BottomupPoseEstimator',
    meta='coco17',
    backbone=dict(type='ResNet', depth=18, base_channels=16),
    head=dict(type='PAFHead', in_channels=128, deconv_out_channels=(8, 8, 8), codec=CODEC),
)


@BACKBONES.register_module(force=True)
class WholeImage(nn.Module):
    """The image itself as feature map."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return (x,)


@HEADS.register_module(force=True)
class PreparedPAFHead(PAFHead):
    """Gives the next of `answers`, whatever it reads; `seen` keeps what that was."""

    def __init__(self, meta: Any, codec: Any) -> None:
        super().__init__(3, meta=meta, codec=codec, deconv_out_channels=())
        self.answers: list[PAFMaps] = []
        self.seen: list[Tensor] = []

    def forward(self, feats: tuple[Tensor, ...]) -> PAFMaps:
        self.seen.append(feats[-1])
        return self.answers.pop(0)


def prepared(**test_cfg: Any) -> nn.Module:
    """Return a model whose head gives what a test puts into `head.answers`."""
    head = dict(type='PreparedPAFHead', codec=CODEC)
    return MODELS.build({**MODEL, 'backbone': dict(type='WholeImage'), 'head': head, 'test_cfg': test_cfg}).eval()


RESIZE = (dict(type='BottomupResize', input_size=INPUT_SIZE),)
AFFINE = (dict(type='BottomupRandomAffine', input_size=INPUT_SIZE, shift_factor=0, scale_type='long'),)


def images(*people: list[tuple[float, float, float]], steps: tuple[dict, ...] = RESIZE) -> dict:
    """Return a collated batch of noise pictures, 150 wide and 80 high, with (x, y, zoom) of the people in each."""
    pipeline = [
        TRANSFORMS.build(step) for step in (*steps, dict(type='GenerateLossMask', mask_size=SIZE), dict(type='PackPoseInputs'))
    ]
    rng, samples = np.random.default_rng(0), []
    for number, group in enumerate(people):
        keypoints = np.stack([STANDING * zoom + (x, y) for x, y, zoom in group]) if group else np.zeros((0, 17, 2))
        N = len(group)
        results = dict(
            img=rng.integers(0, 256, (80, 150, 3), dtype=np.uint8),
            ori_shape=(80, 150),
            **dict(img_path=f'{number}.png', img_id=number, rng=rng, ignore_regions=[]),
            bboxes=np.concatenate((keypoints.min(axis=1), keypoints.max(axis=1)), axis=1).astype(np.float32).reshape(N, 4),
            bbox_scores=np.ones(N, np.float32),
            category_ids=np.ones(N, np.int64),
            keypoints=keypoints.astype(np.float32),
            keypoints_visible=np.ones((N, 17), np.float32),
            areas=np.ones(N, np.float32),
            flip_indices=META.flip_indices,
        )
        for step in pipeline:
            results = step(results)
        samples.append(results)
    return pose_collate(samples)


TWO, ONE, NOBODY = [(40, 8, 1.0), (100, 4, 1.1)], [(70, 6, 1.0)], []


def ideal(model: nn.Module, batch: dict, *, mirrored: bool = False) -> PAFMaps:
    """Return the maps that are right for the images, or for the mirrored ones."""
    samples = batch['data_samples'].to('cpu')
    keypoints, visible = samples.padded('keypoints_input'), samples.padded('keypoints_visible')
    if mirrored:
        keypoints, visible = keypoints[:, :, list(META.swaps)].clone(), visible[:, :, list(META.swaps)]
        keypoints[..., 0] = INPUT_SIZE[0] - 1 - keypoints[..., 0]
    targets = model.head.codec.encode(*model.head.to_codec(keypoints, visible))
    return PAFMaps((targets.heatmaps,), (targets.fields,))


def assert_found(predictions: list, batch: dict, *, tolerance: float = 1.0) -> None:
    """Demand exactly the people of the batch, each keypoint within `tolerance` px of the image."""
    for sample, wanted in zip(predictions, batch['data_samples']):
        gt, pred = np.asarray(wanted.gt_instances.keypoints), sample.pred_instances.keypoints
        assert pred.shape == gt.shape
        distances = np.linalg.norm(pred[:, None] - gt[None], axis=-1).max(axis=-1)  # (N, N)
        assert (distances.min(axis=0, initial=np.inf) <= tolerance).all()


# ----------------------------------------------------------------------------------------------------------------- prediction
@pytest.mark.parametrize('steps', [RESIZE, AFFINE], ids=['resized', 'turned'])
@pytest.mark.parametrize('flip_test', [False, True])
def test_perfect_maps_give_the_people_of_the_images(steps: tuple[dict, ...], flip_test: bool) -> None:
    model, batch = prepared(flip_test=flip_test), images(TWO, ONE, NOBODY, steps=steps)
    model.head.answers = [ideal(model, batch), ideal(model, batch, mirrored=True)]
    predictions = model.test_step(batch)
    assert len(predictions) == 3
    if steps is RESIZE:
        assert_found(predictions, batch)
    # Turned images may show a part of the people: who is found is where they are in the file.
    for sample, group in zip(predictions, (TWO, ONE, NOBODY)):
        for keypoints, scores in zip(sample.pred_instances.keypoints, sample.pred_instances.keypoint_scores):
            distances = [np.linalg.norm(STANDING * zoom + (x, y) - keypoints, axis=-1)[scores > 0.5] for x, y, zoom in group]
            assert min(d.max() for d in distances) < 2  # px
    assert len(predictions[0].pred_instances) == 2
    for number, sample in enumerate(predictions):
        pred, N = sample.pred_instances, len(sample.pred_instances)
        assert (pred.keypoint_scores.shape, pred.bboxes.shape, pred.bbox_scores.shape) == ((N, 17), (N, 4), (N,))
        assert {pred[key].dtype for key in pred.keys()} == {np.dtype('float32')}  # noqa: SIM118  InstanceData is no dict
        assert (sample.img_id, sample.img_path) == (number, f'{number}.png')
        assert 'keypoints' in sample.gt_instances


def test_what_is_not_found_has_no_place_and_no_part_in_the_box() -> None:
    model, batch = prepared(), images(ONE)
    keypoints = np.arange(34, dtype=np.float32).reshape(1, 17, 2) + 50
    scores = np.full((1, 17), 0.9, np.float32)
    scores[0, [0, 16]] = 0
    (sample,) = model.to_image_frame([PoseGroups(keypoints, scores, np.array([0.7], np.float32))], batch['data_samples'])
    matrix = np.vstack((sample.warp_matrix, (0, 0, 1)))
    expected = (np.linalg.inv(matrix) @ np.vstack((keypoints[0].T, np.ones(17))))[:2].T
    pred = sample.pred_instances
    np.testing.assert_allclose(pred.keypoints[0, 1:16], expected[1:16], rtol=1e-5)
    assert (pred.keypoints[0, [0, 16]] == 0).all()
    np.testing.assert_allclose(pred.bboxes[0], [*expected[1], *expected[15]], rtol=1e-5)
    np.testing.assert_allclose(pred.bbox_scores, [0.7])


def test_the_flip_test_looks_at_the_mirrored_image() -> None:
    model, batch = prepared(flip_test=True), images(TWO)
    model.head.answers = [ideal(model, batch), ideal(model, batch, mirrored=True)]
    model.test_step(batch)
    plain, mirrored = model.head.seen
    assert torch.equal(mirrored, plain.flip(-1))


def test_without_flip_test_the_network_runs_once() -> None:
    model, batch = prepared(), images(TWO)
    model.head.answers = [ideal(model, batch)]
    model.test_step(batch)
    assert len(model.head.seen) == 1


def test_scales_are_looked_at_in_turn_scale_1_first() -> None:
    model, batch = prepared(scales=(0.5, 1, 2), flip_test=True), images(TWO)
    maps, flipped = ideal(model, batch), ideal(model, batch, mirrored=True)
    resized = [
        PAFMaps(*((nn.functional.interpolate(m[0], scale_factor=scale, mode='bilinear'),) for m in one))
        for scale in (0.5, 2)
        for one in (maps, flipped)
    ]
    model.head.answers = [maps, flipped, *resized]
    predictions = model.test_step(batch)
    assert [tuple(x.shape[-2:]) for x in model.head.seen] == [(128, 192)] * 2 + [(64, 96)] * 2 + [(256, 384)] * 2
    assert torch.equal(model.head.seen[3], model.head.seen[2].flip(-1))
    assert_found(predictions, batch, tolerance=2.0)


def test_scaled_inputs_have_sides_that_every_stride_divides() -> None:
    model = prepared(scales=(1, 0.7))
    model.head.answers = [PAFMaps((torch.zeros(1, 19, 32, 48),), (torch.zeros(1, 38, 32, 48),))] * 2
    model.test_step(images(TWO))
    assert model.head.seen[1].shape[-2:] == (96, 128)  # 0.7 * (128, 192) = (89.6, 134.4)


def test_a_permuted_batch_gives_the_permuted_result() -> None:
    model, order = prepared(), [2, 0, 1]
    here, there = images(TWO, ONE, NOBODY), images(NOBODY, TWO, ONE)
    model.head.answers = [ideal(model, here), ideal(model, there)]
    first, second = model.test_step(here), model.test_step(there)
    for i, sample in zip(order, second):
        np.testing.assert_allclose(sample.pred_instances.keypoints, first[i].pred_instances.keypoints, atol=1e-3)  # px


def test_inputs_of_any_size_are_looked_at() -> None:
    """As BottomupResize with 'expand' makes them."""
    steps = (dict(type='BottomupResize', input_size=(128, 128), resize_mode='expand'),)
    batch = images(TWO, steps=steps)
    assert batch['inputs'].shape == (1, 3, 128, 256)
    model = prepared()
    model.head.codec = type(model.head.codec)(
        **{k: v for k, v in CODEC.items() if k != 'type'} | dict(input_size=(256, 128), heatmap_size=(64, 32))
    )
    maps = ideal(model, batch)
    model = prepared()
    model.head.answers = [maps]
    assert_found(model.test_step(batch), batch)


# ---------------------------------------------------------------------------------------------------------------------- modes
def test_each_mode() -> None:
    model, batch = MODELS.build(MODEL), images(TWO, NOBODY)
    data = model.data_preprocessor(batch, training=True)
    maps = model(**data, mode='tensor')
    assert (maps.heatmaps[0].shape, maps.fields[0].shape) == ((2, 19, 32, 48), (2, 38, 32, 48))
    losses = model(**data, mode='loss')
    assert list(losses) == ['loss_heatmap', 'loss_field']
    sum(losses.values()).backward()
    assert all(p.grad is not None for p in model.parameters())
    predictions = model(**data, mode='predict')
    assert len(predictions) == 2


def test_evaluation_can_report_the_loss() -> None:
    model, batch = prepared(with_loss=True), images(TWO)
    maps = ideal(model, batch)
    model.head.answers = [maps, maps]
    *predictions, last = model.val_step(batch)
    assert len(predictions) == 1
    assert isinstance(last, BaseDataElement)
    assert {name: value.item() for name, value in last.loss.items()} == dict(loss_heatmap=0, loss_field=0)


def test_train_step() -> None:
    from mmengine.optim import OptimWrapper

    model = MODELS.build(MODEL)
    model.init_weights()
    before = [p.detach().clone() for p in model.parameters()]
    logged = model.train_step(images(TWO, NOBODY), OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1)))
    assert {'loss', 'loss_heatmap', 'loss_field'} == set(logged)
    assert logged['loss'] == logged['loss_heatmap'] + logged['loss_field']
    assert any(not torch.equal(a, b) for a, b in zip(before, model.parameters()))


# ------------------------------------------------------------------------------------------------------------------- learning
def thin(**model: Any) -> dict[str, Any]:
    return {
        **MODEL,
        'backbone': dict(type='ResNet', depth=18, stem_channels=16, base_channels=16, zero_init_residual=False),
        **model,
    }


BOTH = ('fields', 'heatmaps')
COARSE = {**CODEC, 'heatmap_size': (24, 16), 'sigma': 1.0}
NETWORKS = {
    'PAFHead on ResNet': MODEL,
    'OpenPose 2017': dict(
        MODEL,
        backbone=dict(type='OpenPoseVGG', depth=11, base_channels=8, cpm_channels=(16,)),
        head=dict(
            type='OpenPoseHead',
            in_channels=16,
            stages=[
                dict(type='OpenPoseStage', maps=BOTH, kernel_size=3, num_convs=3, channels=16, last_channels=32),
                dict(type='OpenPoseStage', maps=BOTH, kernel_size=7, num_convs=2, channels=16, last_channels=16),
            ],
            codec=COARSE,
        ),
    ),
    'OpenPose 2019': dict(
        MODEL,
        backbone=dict(type='OpenPoseVGG', depth=11, base_channels=8, cpm_channels=(16,), act='prelu'),
        head=dict(
            type='OpenPoseHead',
            in_channels=16,
            stages=[
                dict(type='OpenPoseDenseStage', maps=maps, num_blocks=2, channels=8, last_channels=16)
                for maps in (('fields',), ('fields',), ('heatmaps',))
            ],
            codec=COARSE,
        ),
    ),
    'Lightweight OpenPose': dict(
        MODEL,
        backbone=dict(
            type='MobileNetV1', widen_factor=0.25, block_strides=(1, 2, 1, 2, 1, 1, 1), block_dilations=(1, 1, 1, 1, 1, 1, 2)
        ),
        neck=dict(type='LightweightCPM', in_channels=128, out_channels=16),
        head=dict(
            type='OpenPoseHead',
            in_channels=16,
            stages=[
                dict(type='LightweightInitialStage', maps=BOTH, channels=16, last_channels=32),
                dict(type='LightweightRefinementStage', maps=BOTH, num_blocks=2, channels=16),
            ],
            codec=COARSE,
        ),
    ),
}


def train(cfg: dict[str, Any], batch: dict, *, steps: int, lr: float) -> tuple[nn.Module, list[float]]:
    """Return the model and the loss before each step of Adam; initial values set, the learning rate falls along a cosine."""
    model = MODELS.build(cfg)
    model.init_weights()
    data = model.data_preprocessor(batch, training=True)
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    losses = []
    model.train()
    for _ in range(steps):
        total = sum(model(**data, mode='loss').values())
        losses.append(total.item())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        schedule.step()
    return model, losses


def resized_mask(batch: dict, cfg: dict[str, Any]) -> dict:
    """Return the batch with a mask of the size of the network's maps, 1 everywhere."""
    W, H = cfg['head']['codec']['heatmap_size']
    samples = batch['data_samples']
    fields = {name: getattr(samples, name) for name in samples.keys()}  # noqa: SIM118
    maps = {'loss_mask': np.ones((len(samples), H, W), np.uint8)}
    return {**batch, 'data_samples': SampleBatch(fields, samples.counts, samples.metainfo, maps=maps)}


@pytest.mark.parametrize(
    ('name', 'steps'), [('PAFHead on ResNet', 16), ('OpenPose 2017', 30), ('OpenPose 2019', 8), ('Lightweight OpenPose', 10)]
)
def test_every_network_learns(name: str, steps: int) -> None:
    cfg = NETWORKS[name]
    _, losses = train(cfg, resized_mask(images(TWO, ONE), cfg), steps=steps, lr=5e-3)
    assert losses[-1] < 0.8 * losses[0], losses


def test_a_small_network_learns_a_picture_by_heart(tmp_path: Path) -> None:
    """Two drawn people, 96 px high; maps at stride 4."""
    size, mask_size = (128, 96), (32, 24)
    pipeline = [
        *(dict(type='LoadImage'), dict(type='BottomupResize', input_size=size)),
        *(dict(type='GenerateLossMask', mask_size=mask_size), dict(type='PackPoseInputs')),
    ]
    recipe = dict(num_train=6, num_val=1, image_size=size, max_people=2)
    data = SyntheticPeopleDataset('train', data_root=str(tmp_path / 'people'), data_mode='bottomup', pipeline=pipeline, **recipe)
    batch = next(batch for batch in (pose_collate([item]) for item in data) if batch['data_samples'].counts == [2])
    cfg = dict(
        MODEL,
        # Two stages at stride 4: enough for one picture.
        backbone=dict(
            **dict(type='ResNet', depth=18, stem_channels=32, base_channels=32, num_stages=2, out_indices=(1,)),
            **dict(strides=(1, 1), dilations=(1, 2), zero_init_residual=False),
        ),
        head=dict(
            type='PAFHead',
            in_channels=64,
            deconv_out_channels=(),
            codec={**CODEC, 'input_size': size, 'heatmap_size': mask_size},
        ),
    )
    model, losses = train(cfg, batch, steps=200, lr=2e-3)
    assert losses[-1] < 0.1 * losses[0], losses
    model.eval()
    for module in model.modules():  # one picture: the averages of the norms are behind the weights
        if isinstance(module, nn.BatchNorm2d):
            module.train()
    (sample,) = model.test_step(batch)
    assert (sample.pred_instances.keypoint_scores > 0.3).all()
    assert_found([sample], batch, tolerance=2.0)


# --------------------------------------------------------------------------------------------------------------------- errors
def test_wrong_options() -> None:
    with pytest.raises(ValueError, match=r"`test_cfg` takes \('flip_test', 'scales', 'with_loss'\), got \['shift_heatmap'\]"):
        prepared(shift_heatmap=True)
    for scales in ((0.5, 2), (1, -1), (1, 1, 2)):
        with pytest.raises(ValueError, match=r'`test_cfg\.scales` must be different positive numbers, 1 among them'):
            prepared(scales=scales)


def test_what_the_head_cannot_do_is_said_at_once() -> None:
    @HEADS.register_module(force=True)
    class Plain(nn.Module):
        pass

    cfg = {**MODEL, 'backbone': dict(type='WholeImage'), 'head': dict(type='Plain')}
    with pytest.raises(ValueError, match=r'`test_cfg\.scales` needs a head with merge_scales; Plain has none'):
        MODELS.build({**cfg, 'test_cfg': dict(scales=(1, 2))})
    with pytest.raises(ValueError, match=r'`test_cfg\.flip_test` needs a head with merge_flipped; Plain has none'):
        MODELS.build({**cfg, 'test_cfg': dict(flip_test=True)})
    lopsided = dict(keypoints=['nose', 'left_eye', 'right_eye'], limbs=[['nose', 'left_eye']])
    cfg = {**MODEL, 'meta': lopsided, 'head': {**MODEL['head'], 'codec': {**CODEC, 'meta': lopsided}}}
    MODELS.build(cfg)
    with pytest.raises(ValueError, match='mirror'):
        MODELS.build({**cfg, 'test_cfg': dict(flip_test=True)})


def test_mirrored_images_are_not_evaluated() -> None:
    model, batch = prepared(), images(TWO, steps=(dict(type='RandomFlip', prob=1), *RESIZE))
    model.head.answers = [ideal(model, batch)]
    with pytest.raises(ConfigError, match=r'0\.png is mirrored.* take RandomFlip out of the pipeline'):
        model.test_step(batch)


@pytest.mark.parametrize(('width', 'cells'), [(190, 48), (184, 48), (176, 44)])
def test_the_maps_of_a_flip_test_span_the_input(width: int, cells: int) -> None:
    """Else cell i of the mirrored image is not cell W - 1 - i of the image: 6 strides of 32 px are 48 cells of 4 px."""
    batch = images(TWO, steps=(dict(type='BottomupResize', input_size=(width, 128)),))
    maps = PAFMaps((torch.zeros(1, 19, 32, cells),), (torch.zeros(1, 38, 32, cells),))
    plain, flipped = prepared(), prepared(flip_test=True)
    plain.head.answers, flipped.head.answers = [maps], [maps, maps]
    plain.test_step(batch)
    if width == 4 * cells:
        flipped.test_step(batch)
        return
    with pytest.raises(ConfigError, match=rf'maps must span the inputs, got 48 cells of 4 px for {width} px\. Make `input_size`'):
        flipped.test_step(batch)


def test_people_instead_of_images_are_refused() -> None:
    """Of a data set without `data_mode='bottomup'`; the network would learn that nobody else is in the image."""
    model, batch = prepared(), images(TWO)
    batch['data_samples'].metainfo[0]['ann_id'] = 7
    for mode in ('loss', 'predict'):
        with pytest.raises(ConfigError, match=r"set `data_mode='bottomup'` in the config of the dataset"):
            model(torch.zeros(1, 3, 96, 64), batch['data_samples'], mode)


def test_wrong_calls() -> None:
    model, inputs = prepared(), torch.zeros(1, 3, 96, 64)
    with pytest.raises(ValueError, match=r"BottomupPoseEstimator: `mode` must be one of .* got 'los'"):
        model(inputs, mode='los')
    with pytest.raises(ValueError, match="mode 'loss' needs `data_samples`, what belongs to the inputs, got None"):
        model(inputs, mode='loss')
