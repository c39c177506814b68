"""The whole top-down network; what it predicts is known, as a head with prepared answers stands in for a trained one."""

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.structures import BaseDataElement
from torch import Tensor, nn
from torch.nn.functional import interpolate

from mmpose_lite.datasets import pose_collate
from mmpose_lite.errors import ConfigError
from mmpose_lite.models.heads.pose.heatmap_head import HeatmapHead
from mmpose_lite.ops.heatmap_flip import flip_heatmaps
from mmpose_lite.registry import BACKBONES, CODECS, HEADS, MODELS, NECKS, TRANSFORMS
from mmpose_lite.structures import SampleBatch

META = dict(keypoints=['head', 'left_hand', 'right_hand'])
SWAPS = [0, 2, 1]
INPUT_SIZE = (64, 96)  # (w, h); a cell is 4 px
CODEC = dict(type='HeatmapCodec', input_size=INPUT_SIZE, heatmap_size=(16, 24), sigma=1.5)
MODEL = dict(
    type='TopdownPoseEstimator',
    meta=META,
    backbone=dict(type='ResNet', depth=18, base_channels=16),
    head=dict(type='HeatmapHead', in_channels=128, deconv_out_channels=(8, 8, 8), codec=CODEC),
)


@BACKBONES.register_module(force=True)
class Pixels(nn.Module):
    """The crop itself as feature map."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return (x,)


@NECKS.register_module(force=True)
class Doubling(nn.Module):
    def forward(self, feats: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(2 * feat for feat in feats)


@HEADS.register_module(force=True)
class PreparedHead(HeatmapHead):
    """Gives the next of `answers`, whatever it reads; `seen` keeps what that was."""

    def __init__(self, meta: Any, codec: Any) -> None:
        super().__init__(3, meta=meta, codec=codec, deconv_out_channels=None)
        self.answers: list[Tensor] = []
        self.seen: list[Tensor] = []

    def forward(self, feats: tuple[Tensor, ...]) -> Tensor:
        self.seen.append(feats[-1])
        return self.answers.pop(0)


def prepared(variant: str = 'msra', **test_cfg: Any) -> nn.Module:
    """Return a model whose head gives what a test puts into `head.answers`."""
    head = dict(type='PreparedHead', codec={**CODEC, 'variant': variant})
    return MODELS.build({**MODEL, 'backbone': dict(type='Pixels'), 'head': head, 'test_cfg': test_cfg}).eval()


def crops(boxes: list[tuple[float, ...]], *, udp: bool = False, augment: tuple[dict, ...] = ()) -> dict:
    """Return a collated batch of crops of noise pictures, keypoints in the middle of each box."""
    rng = np.random.default_rng(0)
    steps = [
        *(dict(type='LoadImage'), dict(type='GetBBoxCenterScale'), *augment),
        *(dict(type='TopdownAffine', input_size=INPUT_SIZE, use_udp=udp), dict(type='PackPoseInputs')),
    ]
    pipeline, samples = [TRANSFORMS.build(step) for step in steps], []
    for number, box in enumerate(boxes):
        x1, y1, x2, y2 = box
        results = dict(
            img=rng.integers(0, 256, (90, 120, 3), dtype=np.uint8),
            **dict(img_path=f'{number}.png', img_id=number, ann_id=number, category_id=1, rng=rng),
            bboxes=np.array([box], np.float32),
            bbox_scores=np.array([0.5 + number / 10], np.float32),
            keypoints=rng.uniform((x1, y1), (x2, y2), (1, 3, 2)).astype(np.float32),
            keypoints_visible=np.ones((1, 3), np.float32),
            areas=np.ones(1, np.float32),
            flip_indices=np.array(SWAPS),
        )
        for step in pipeline:
            results = step(results)
        samples.append(results)
    return pose_collate(samples)


BOXES = [(20, 10, 60, 70), (-10, 30, 50, 60.5), (55.5, 3, 118, 88)]


def perfect_maps(model: nn.Module, batch: dict, *, mirrored: bool = False) -> Tensor:
    """Return the heatmaps that are right for the crops, or for the mirrored ones."""
    keypoints = torch.as_tensor(batch['data_samples'].keypoints_input)
    if mirrored:
        keypoints = keypoints[:, SWAPS].clone()
        keypoints[..., 0] = INPUT_SIZE[0] - 1 - keypoints[..., 0]
    return model.head.codec.encode(keypoints[:, None], torch.ones(len(keypoints), 1, 3))[0]


def half_cell(predictions: list) -> np.ndarray:
    """Return the size of half a cell of each crop, in px of its image."""
    return np.array([sample.bbox_scale[0] / 16 / 2 for sample in predictions])


@pytest.mark.parametrize('variant', ['msra', 'dark', 'udp'])
@pytest.mark.parametrize('flip_test', [False, True])
def test_perfect_maps_give_the_keypoints_of_the_image(variant: str, flip_test: bool) -> None:
    model = prepared(variant, flip_test=flip_test, shift_heatmap=variant != 'udp')
    batch = crops(BOXES, udp=variant == 'udp')
    model.head.answers = [perfect_maps(model, batch), perfect_maps(model, batch, mirrored=True)]
    predictions = model.test_step(batch)
    assert len(predictions) == 3
    for number, (sample, tolerance) in enumerate(zip(predictions, half_cell(predictions))):
        pred, gt = sample.pred_instances, batch['data_samples'].keypoints[number]
        assert np.abs(pred.keypoints[0] - gt).max() <= tolerance
        assert pred.keypoints.shape == (1, 3, 2)
        assert pred.keypoint_scores.shape == (1, 3)
        assert {pred[key].dtype for key in pred.keys()} == {np.dtype('float32')}  # noqa: SIM118  InstanceData is no dict
        np.testing.assert_array_equal(pred.bboxes, [BOXES[number]])
        assert pred.bbox_scores == pytest.approx([0.5 + number / 10])
        assert (sample.img_id, sample.img_path) == (number, f'{number}.png')
        np.testing.assert_array_equal(sample.gt_instances.keypoints[0], gt)


@pytest.mark.filterwarnings('ignore:.*cells beside each other')
def test_the_flip_test_averages_with_the_mirrored_crop() -> None:
    batch = crops(BOXES)
    for shift in (False, True):
        model = prepared(flip_test=True, shift_heatmap=shift)
        first, second = torch.rand(2, 3, 3, 24, 16)
        model.head.answers = [first, second]
        predictions = model.test_step(batch)
        _, scores = model.head.codec.decode((first + flip_heatmaps(second, SWAPS, shift=shift)) / 2)
        np.testing.assert_allclose([p.pred_instances.keypoint_scores[0] for p in predictions], scores)
        plain, mirrored = model.head.seen
        assert torch.equal(mirrored, plain.flip(-1))


@pytest.mark.parametrize('flip_test', [False, True])
@pytest.mark.parametrize('variant', ['msra', 'dark', 'udp'])
def test_scales_are_averaged(variant: str, flip_test: bool) -> None:
    """Perfect maps of each size, averaged, still give the keypoints; passes come in the order of the scales."""
    model = prepared(variant, flip_test=flip_test, shift_heatmap=variant != 'udp', scales=(2.0, 1, 0.5))
    batch = crops(BOXES, udp=variant == 'udp')
    sizes = [(64, 96), (128, 192), (32, 64)]  # 48 is no multiple of 32
    for size in sizes:
        codec = CODECS.build({**CODEC, 'variant': variant, 'input_size': size, 'heatmap_size': (size[0] // 4, size[1] // 4)})
        keypoints = torch.as_tensor(batch['data_samples'].keypoints_input)
        gap = 1 if variant == 'udp' else 0
        keypoints = keypoints * torch.tensor([(new - gap) / (old - gap) for new, old in zip(size, INPUT_SIZE)])
        for mirrored in [False, True][: 1 + flip_test]:
            if mirrored:
                keypoints = keypoints[:, SWAPS].clone()
                keypoints[..., 0] = size[0] - 1 - keypoints[..., 0]
            model.head.answers.append(codec.encode(keypoints[:, None], torch.ones(3, 1, 3))[0])
    predictions = model.test_step(batch)
    for number, (sample, tolerance) in enumerate(zip(predictions, half_cell(predictions))):
        gt = batch['data_samples'].keypoints[number]
        assert np.abs(sample.pred_instances.keypoints[0] - gt).max() <= 1.2 * tolerance
    shapes = [tuple(seen.shape[:1:-1]) for seen in model.head.seen]
    assert shapes == [size for size in sizes for _ in range(1 + flip_test)]


@pytest.mark.parametrize('variant', ['dark', 'udp'])
def test_scales_show_the_same_point(variant: str) -> None:
    """A network that only thins out the crop finds a soft dot at the same place with several scales as with one."""
    point = torch.tensor([24.3, 63.6])
    y, x = torch.meshgrid(torch.arange(96.0), torch.arange(64.0), indexing='ij')
    dot = torch.exp(-((x - point[0]) ** 2 + (y - point[1]) ** 2) / (2 * 8.0**2)).expand(1, 3, 96, 64)
    stretch = [(n - 1) / n for n in INPUT_SIZE] if variant == 'udp' else (1.0, 1.0)  # see HeatmapCodec.decode
    model = prepared(variant, scales=(1, 0.5, 2))
    model.head.forward = lambda feats: (
        feats[-1][..., ::4, ::4]
        if variant == 'dark'
        else interpolate(feats[-1], size=[n // 4 for n in feats[-1].shape[-2:]], mode='bilinear', align_corners=True)
    )
    once, _ = model.head.decode(model.head((dot,)))
    several, _ = model.head.decode(model.merge_passes(model.head((dot,)), dot))
    np.testing.assert_allclose(several, once, atol=0.02)  # px
    np.testing.assert_allclose(once[0] * torch.tensor(stretch), point.expand(3, 2), atol=0.02)


@pytest.mark.parametrize('udp', [False, True])
def test_crops_and_codec_of_two_kinds_are_biased(udp: bool) -> None:
    """Why `check_crops` refuses them: near the right border perfect maps give a point 0.8 px beside the true one."""
    for variant in ('dark', 'udp'):
        model, batch = prepared(variant), crops(BOXES, udp=udp)
        keypoints = torch.tensor([51.0, 50.0]).repeat(3, 3, 1)
        batch['data_samples'].keypoints_input[:] = keypoints
        model.head.answers = [perfect_maps(model, batch)]
        for sample in model.test_step(batch):
            (W, H), scale = INPUT_SIZE, sample.bbox_scale
            gaps = np.array([W - 1, H - 1] if udp else [W, H])
            truth = keypoints[0].numpy() / gaps * scale + sample.bbox_center - scale / 2
            error = (sample.pred_instances.keypoints[0] - truth) / scale * [W, H]
            if udp == (variant == 'udp'):
                assert np.abs(error).max() < 0.25  # px of the crop
            else:
                assert np.abs(error)[:, 0].min() > 0.6


def test_without_flip_test_the_network_runs_once() -> None:
    model, batch = prepared(), crops(BOXES)
    model.head.answers = [perfect_maps(model, batch)]
    model.test_step(batch)
    assert len(model.head.seen) == 1


def test_a_permuted_batch_gives_the_permuted_result() -> None:
    model = MODELS.build({**MODEL, 'test_cfg': dict(flip_test=True, shift_heatmap=True)}).eval()
    batch, order = crops(BOXES), [2, 0, 1]
    samples = batch['data_samples']
    fields = {name: getattr(samples, name)[order] for name in samples.keys()}  # noqa: SIM118
    permuted = dict(
        inputs=batch['inputs'][order], data_samples=SampleBatch(fields, [1] * 3, [samples.metainfo[i] for i in order])
    )
    here, there = model.test_step(batch), model.test_step(permuted)
    for i, sample in zip(order, there):
        assert sample.img_id == here[i].img_id
        np.testing.assert_allclose(sample.pred_instances.keypoints, here[i].pred_instances.keypoints, atol=1e-3)  # px


def test_a_box_that_moves_over_the_image_takes_the_prediction_with_it() -> None:
    model = prepared()
    maps = torch.rand(1, 3, 24, 16)
    found = []
    for shift in (0.0, 7.5):
        model.head.answers = [maps]
        (sample,) = model.test_step(crops([(20 + shift, 10, 60 + shift, 70)]))
        found.append(sample.pred_instances.keypoints)
    np.testing.assert_allclose(found[1] - found[0], np.broadcast_to((7.5, 0.0), (1, 3, 2)), atol=1e-4)


def test_each_mode() -> None:
    model, batch = MODELS.build(MODEL), crops(BOXES)
    data = model.data_preprocessor(batch, training=True)
    assert model(**data, mode='tensor').shape == (3, 3, 24, 16)
    assert model(data['inputs']).shape == (3, 3, 24, 16)
    losses = model(**data, mode='loss')
    assert list(losses) == ['loss_kpt', 'acc_pose']
    losses['loss_kpt'].backward()
    assert all(p.grad is not None for p in model.parameters())
    predictions = model(**data, mode='predict')
    assert len(predictions) == 3
    assert not any(isinstance(v, Tensor) and v.requires_grad for v in predictions[0].pred_instances.values())


def test_neck_and_preprocessor_are_parts_of_the_config() -> None:
    cfg = {
        **MODEL,
        'backbone': dict(type='Pixels'),
        'neck': dict(type='Doubling'),
        'data_preprocessor': dict(type='PoseDataPreprocessor', mean=[0, 0, 0], std=[1, 1, 1], bgr_to_rgb=False),
        'head': dict(type='HeatmapHead', in_channels=3, deconv_out_channels=None, codec=CODEC),
    }
    model, batch = MODELS.build(cfg), crops(BOXES)
    (feat,) = model.extract_feat(model.data_preprocessor(batch)['inputs'])
    torch.testing.assert_close(feat, 2 * batch['inputs'].float())
    assert model.head.out_channels == 3  # from the meta
    twice = MODELS.build(cfg | dict(neck=[dict(type='Doubling'), dict(type='Doubling')]))
    torch.testing.assert_close(twice.extract_feat(batch['inputs'].float())[0], 4 * batch['inputs'].float())


def test_evaluation_can_report_the_loss() -> None:
    model, batch = prepared(with_loss=True), crops(BOXES)
    maps = perfect_maps(model, batch)
    model.head.answers = [maps, maps]
    *predictions, last = model.val_step(batch)
    assert len(predictions) == 3
    assert isinstance(last, BaseDataElement)
    assert list(last.keys()) == ['loss']
    assert list(last.loss) == ['loss_kpt']
    assert last.loss['loss_kpt'].item() == pytest.approx(0, abs=1e-6)


def test_without_labels_there_is_no_loss_to_report() -> None:
    """A detector's boxes."""
    model, batch = prepared(with_loss=True), crops(BOXES)
    samples = batch['data_samples']
    fields = {name: getattr(samples, name) for name in samples.keys() if not name.startswith('keypoints')}  # noqa: SIM118
    model.head.answers = [perfect_maps(model, batch)]
    predictions = model.test_step({**batch, 'data_samples': SampleBatch(fields, samples.counts, samples.metainfo)})
    assert len(predictions) == 3
    assert 'keypoints' not in predictions[0].gt_instances


def test_train_step() -> None:
    from mmengine.optim import OptimWrapper

    model = MODELS.build(MODEL)
    before = [p.detach().clone() for p in model.parameters()]
    logged = model.train_step(crops(BOXES), OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1)))
    assert {'loss', 'loss_kpt', 'acc_pose'} <= set(logged)
    assert logged['loss'] == logged['loss_kpt']  # the accuracy is not added
    assert any(not torch.equal(a, b) for a, b in zip(before, model.parameters()))


@pytest.mark.parametrize('augment', [dict(type='RandomFlip', prob=1), dict(type='RandomBBoxTransform', rotate_prob=1)])
def test_augmented_crops_are_not_evaluated(augment: dict) -> None:
    model, batch = prepared(), crops(BOXES, augment=(augment,))
    model.head.answers = [perfect_maps(model, batch)]
    with pytest.raises(ConfigError, match=r'the crop of 0\.png is mirrored or turned.* take RandomFlip and RandomBBoxTransform'):
        model.test_step(batch)


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match=r"`test_cfg` takes \('flip_test', .*'shift_heatmap'\), got \['flip_tset'\]"):
        MODELS.build({**MODEL, 'test_cfg': dict(flip_tset=True)})
    with pytest.raises(ValueError, match='`out_channels` must be the 3 keypoints of `meta`, got 17'):
        MODELS.build({**MODEL, 'head': {**MODEL['head'], 'out_channels': 17}})

    @HEADS.register_module(force=True)
    class Headless(nn.Module):
        pass

    with pytest.raises(ValueError, match='needs a head with merge_flipped; Headless has none'):
        MODELS.build({**MODEL, 'head': dict(type='Headless'), 'test_cfg': dict(flip_test=True)})
    with pytest.raises(ValueError, match='needs a head with merge_scales; Headless has none'):
        MODELS.build({**MODEL, 'head': dict(type='Headless'), 'test_cfg': dict(scales=(1, 2))})
    for scales in ((0.5, 2), (1, 1), (1, -1), 2, ()):
        with pytest.raises(ValueError, match=r'`test_cfg\.scales` must be different positive numbers, 1 among them'):
            prepared(scales=scales)


FINE = dict(type='HeatmapCodec', variant='dark')


@pytest.mark.parametrize(
    ('codec', 'heatmap_size', 'shift'),
    [
        (dict(type='HeatmapCodec', variant='msra'), (16, 24), True),
        (FINE, (16, 24), True),
        (FINE, (24, 36), True),  # cells of 2.7 px
        (FINE, (40, 60), False),  # of 1.6 px
        (FINE, (64, 96), False),  # of a px
        (dict(type='HeatmapCodec', variant='udp'), (16, 24), False),
        (dict(type='MegviiHeatmapCodec'), (16, 24), False),
    ],
)
def test_the_shift_of_a_flip_test_is_the_better_one(codec: dict, heatmap_size: tuple[int, int], shift: bool) -> None:
    codec = dict(codec, input_size=INPUT_SIZE, heatmap_size=heatmap_size)
    cfg = {**MODEL, 'backbone': dict(type='Pixels'), 'head': dict(type='PreparedHead', codec=codec)}
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        MODELS.build({**cfg, 'test_cfg': dict(shift_heatmap=not shift)})  # without a flip test nothing is shifted
        head = MODELS.build({**cfg, 'test_cfg': dict(flip_test=True, shift_heatmap=shift)}).head
    wrong = {**cfg, 'test_cfg': dict(flip_test=True, shift_heatmap=not shift)}
    if shift:
        with pytest.warns(UserWarning, match=r'averages maps that lie 0\.\d+ cells beside each other; with'):
            MODELS.build(wrong)
    else:
        with pytest.raises(ValueError, match=rf'`test_cfg\.shift_heatmap` must be False for {codec["type"]}\(.* got True'):
            MODELS.build(wrong)

    keypoints = torch.rand(200, 1, 1, 2) * torch.tensor([24.0, 48.0]) + torch.tensor([20.0, 24.0])
    mirrored = torch.stack((INPUT_SIZE[0] - 1 - keypoints[..., 0], keypoints[..., 1]), dim=-1)
    maps, flipped = (head.codec.encode(points, torch.ones(200, 1, 1))[0] for points in (keypoints, mirrored))
    maps, flipped = (m[:, -1] if m.ndim == 5 else m for m in (maps, flipped))
    errors = {}
    for shifted in (False, True):
        found, _ = head.decode(head.merge_flipped(maps, flipped, [0], shift=shifted))
        errors[shifted] = (found[:, 0, 0] - keypoints[:, 0, 0, 0]).mean().abs()
    assert errors[shift] < errors[not shift]


def test_wrong_calls() -> None:
    model, inputs = prepared(), torch.zeros(1, 3, 96, 64)
    with pytest.raises(ValueError, match=r"`mode` must be one of \('tensor', 'loss', 'predict'\), got 'los'"):
        model(inputs, mode='los')
    for mode in ('loss', 'predict'):
        with pytest.raises(ValueError, match=f"mode '{mode}' needs `data_samples`, what belongs to the inputs, got None"):
            model(inputs, mode=mode)
        with pytest.raises(ConfigError, match=r'`head\.codec\.input_size`, \(64, 96\), got \(48, 96\); give TopdownAffine'):
            model(inputs[..., :48], crops(BOXES)['data_samples'], mode=mode)
    assert not model.head.seen
