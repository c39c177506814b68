"""EncoderDecoder: modes, windows, scales and flips, the way back to the original image."""

import copy
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from mmpose_lite.datasets.collate import pose_collate
from mmpose_lite.models.estimators.segmentation import EncoderDecoder, window_starts
from mmpose_lite.registry import BACKBONES, DATASETS, HEADS, MODELS
from mmpose_lite.structures import SampleBatch

RESNET = dict(type='ResNet', depth=18, stem_channels=8, base_channels=8, out_indices=(0, 1, 2, 3), zero_init_residual=False)
HEAD = dict(type='FCNHead', in_channels=64, channels=8, num_convs=1, concat_input=False, dropout_ratio=0)
TWO_MAPS = dict(in_channels=(8, 16), input_transform='resize_concat')
SKIPS = dict(type='FCNSkipHead', in_channels=(16, 32, 64), channels=8, kernel_size=3)
FINE = dict(type='DepthwiseSeparableASPPHead', in_channels=64, channels=8, dilations=(1, 2), c1_in_channels=8, c1_channels=4)
PYRAMID = dict(type='FPN', in_channels=(8, 16, 32, 64), out_channels=16, num_outs=4)
SIDES = dict(classes=['sky', 'left_arm', 'right_arm'])


@BACKBONES.register_module()
class PixelBackbone(nn.Module):
    """The image itself as the one map."""

    out_channels = (3,)
    strides = (1,)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the image."""
        return (x,)


@HEADS.register_module()
class PixelHead(nn.Module):
    """The image's channels as logits, and the sizes it was asked for; sees no pixel but its own unless it `blurs`."""

    in_index, threshold = 0, 0.5

    def __init__(self, num_classes: int, *, out_channels: int = 3, blurs: bool = False) -> None:
        super().__init__()
        self.num_classes, self.in_channels, self.out_channels, self.blurs = num_classes, 3, out_channels, blurs
        self.sizes: list[tuple[int, ...]] = []

    def maps_read(self) -> dict[str, tuple[tuple[int, ...], int]]:
        """Return the one map."""
        return dict(in_channels=((self.in_index,), self.in_channels))

    def forward(self, feats: tuple[Tensor, ...]) -> Tensor:
        """Return the logits."""
        self.sizes.append(tuple(feats[0].shape))
        x = functional.avg_pool2d(feats[0], 3, stride=1, padding=1) if self.blurs else feats[0]
        return x[:, : self.out_channels]

    def predict(self, feats: tuple[Tensor, ...], size: tuple[int, int]) -> Tensor:
        """Return the logits."""
        return self(feats)


def pixels(meta: Any = SIDES, *, blurs: bool = False, out_channels: int = 3, **test_cfg: Any) -> EncoderDecoder:
    head = dict(type='PixelHead', out_channels=out_channels, blurs=blurs)
    return MODELS.build(
        dict(type='EncoderDecoder', backbone=dict(type='PixelBackbone'), decode_head=head, meta=meta, test_cfg=test_cfg)
    ).eval()


def network(**args: Any) -> EncoderDecoder:
    return MODELS.build(dict(type='EncoderDecoder', backbone=RESNET, decode_head=HEAD, meta='person') | args)


def batch(B: int = 2, size: tuple[int, int] = (64, 48), *, labels: bool = True, **metainfo: Any) -> SampleBatch:
    maps = dict(gt_seg_map=torch.randint(0, 2, (B, *size), dtype=torch.uint8)) if labels else {}
    return SampleBatch({}, [0] * B, [dict(img_path=f'{i}.png', **metainfo) for i in range(B)], maps=maps)


def test_modes() -> None:
    model = network(auxiliary_head=dict(HEAD, in_channels=32, in_index=2)).eval()
    x, samples = torch.randn(2, 3, 64, 48), batch()
    assert model(x).shape == (2, 2, 2, 2)
    losses = model(x, samples, mode='loss')
    assert list(losses) == ['decode.loss_ce', 'decode.acc_seg', 'aux.loss_ce', 'aux.acc_seg']
    predictions = model(x, samples, mode='predict')
    assert [p.img_path for p in predictions] == ['0.png', '1.png']
    for i, p in enumerate(predictions):
        assert p.pred_seg_map.shape == (64, 48)
        assert p.pred_seg_map.dtype == np.uint8
        np.testing.assert_array_equal(p.gt_seg_map, samples.gt_seg_map[i].numpy())
    logits = functional.interpolate(model(x), size=(64, 48), mode='bilinear')
    np.testing.assert_array_equal(predictions[1].pred_seg_map, logits[1].argmax(dim=0).numpy())


def test_several_auxiliary_heads() -> None:
    heads = [dict(HEAD, in_channels=c, in_index=i) for c, i in ((16, 1), (32, 2))]
    model = network(auxiliary_head=heads)
    losses = model(torch.randn(2, 3, 64, 48), batch(), mode='loss')
    assert [name for name in losses if 'loss' in name] == ['decode.loss_ce', 'aux_0.loss_ce', 'aux_1.loss_ce']
    assert 'auxiliary_head.1.conv_seg.weight' in model.state_dict()
    model.init_weights()
    assert model.auxiliary_head[1].conv_seg.weight.std().item() < 0.03, 'its own initial values are set too'


def test_it_learns() -> None:
    torch.manual_seed(0)
    model = network()
    model.init_weights()
    labels = torch.zeros(2, 64, 64, dtype=torch.uint8)
    labels[0, :, 32:] = 1
    labels[1, :32] = 1
    x = labels[:, None] + 0.1 * torch.randn(2, 3, 64, 64)
    samples = SampleBatch({}, [0, 0], [{}, {}], maps=dict(gt_seg_map=labels))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    values = []
    for _ in range(20):
        losses = model(x, samples, mode='loss')
        optimizer.zero_grad()
        losses['decode.loss_ce'].backward()
        optimizer.step()
        values.append(losses['decode.loss_ce'].item())
    assert values[-1] < 0.5 * values[0], values


def test_window_starts() -> None:
    assert window_starts(10, 4, 3) == [0, 3, 6]
    assert window_starts(11, 4, 3) == [0, 3, 6, 7]
    assert window_starts(4, 4, 3) == [0]


@pytest.mark.parametrize('window_batch', [1, 4, 100])
def test_windows_are_averaged(window_batch: int) -> None:
    """Against a loop over the windows, one at a time; the border of a window is seen in the result."""
    model = pixels(blurs=True, mode='slide', window_size=(8, 6), window_stride=(5, 4), window_batch=window_batch)
    x = torch.randn(2, 3, 13, 17)
    total, counts = torch.zeros(2, 3, 13, 17), torch.zeros(13, 17)
    for y in (0, 4, 7):
        for left in (0, 5, 9):
            window = (slice(y, y + 6), slice(left, left + 8))
            total[..., window[0], window[1]] += functional.avg_pool2d(x[..., window[0], window[1]], 3, stride=1, padding=1)
            counts[window] += 1
    torch.testing.assert_close(model.logits(x), total / counts)
    assert len(model.decode_head.sizes) == -(-9 // window_batch)
    assert model.decode_head.sizes[0] == (2 * min(window_batch, 9), 3, 6, 8)
    assert not torch.allclose(model.logits(x), pixels(blurs=True).logits(x))


def test_windows_on_a_head_that_sees_single_pixels_change_nothing() -> None:
    x = torch.randn(1, 3, 13, 17)
    model = pixels(mode='slide', window_size=(8, 8), window_stride=(3, 3))
    torch.testing.assert_close(model.logits(x), x)
    torch.testing.assert_close(pixels(mode='slide', window_size=(80, 80), window_stride=(3, 3)).logits(x), x)


def test_flips_swap_sides() -> None:
    model = pixels(flip_test=True)
    x = torch.randn(1, 3, 4, 6)
    mirrored = x.flip(-1).softmax(dim=1).flip(-1)[:, [0, 2, 1]]
    torch.testing.assert_close(model.scores(x), (x.softmax(dim=1) + mirrored) / 2)
    assert pixels(meta=dict(classes=3), flip_test=True).class_meta.swaps == (0, 1, 2)


def test_scales_are_averaged() -> None:
    model = pixels(scales=(0.5, 1.0))
    x = torch.randn(1, 3, 8, 12)
    half = functional.interpolate(x, size=(4, 6), mode='bilinear').softmax(dim=1)
    expected = (x.softmax(dim=1) + functional.interpolate(half, size=(8, 12), mode='bilinear')) / 2
    torch.testing.assert_close(model.scores(x), expected)
    assert [size[2:] for size in model.decode_head.sizes] == [(4, 6), (8, 12)]
    assert pixels(scales=(0.05,)).scores(x).shape == x.shape, 'an image keeps one pixel'
    assert pixels(scales=0.5).scales == (0.5,), 'as poses take it'


@pytest.mark.parametrize(('threshold', 'expected'), [(0.5, [[0, 1, 1, 0]]), (0.7, [[0, 0, 1, 0]])])
@pytest.mark.parametrize('flip_test', [False, True])
def test_one_channel_is_compared_with_the_threshold(flip_test: bool, threshold: float, expected: list) -> None:
    model = pixels(meta='person', out_channels=1, flip_test=flip_test)
    model.decode_head.threshold = threshold
    x = torch.tensor([[-1.0, 0.5, 2.0, -0.1]]).expand(1, 3, 1, 4)
    (sample,) = model(x, batch(1, labels=False), mode='predict')
    assert sample.pred_seg_map.tolist() == expected


@pytest.mark.parametrize(('scale', 'rows', 'margin'), [(1.0, 20, 2), (0.5, 14, 4)])  # what edges do not blur
def test_predictions_come_back_to_the_size_of_the_image(scale: float, rows: int, margin: int) -> None:
    """The input is an image of 40 x 20 px (w x h) at half size, and black below it."""
    model = pixels(scales=(scale,))
    x = torch.zeros(1, 3, 16, 20)
    x[0, 0] = 1.0  # class 0
    x[0, 1, :10, 10:] = 2.0  # right half of the image: class 1
    x[0, 2, 10:] = 9.0  # below the image, and not of it
    (sample,) = model(x, batch(1, labels=False, ori_shape=(20, 40), img_shape=(10, 20)), mode='predict')
    assert sample.pred_seg_map.shape == (20, 40)
    assert (sample.pred_seg_map[:rows, : 20 - margin] == 0).all()
    assert (sample.pred_seg_map[:rows, 20 + margin :] == 1).all()
    assert not (sample.pred_seg_map[:rows] == 2).any()
    assert 'gt_seg_map' not in sample


@pytest.mark.parametrize('mode', ['fit', 'stretch'])
def test_images_of_several_sizes_are_evaluated_in_one_batch(tmp_path: Path, mode: str) -> None:
    """Each of four quarters of a colour that is its class; the masks keep the sizes of their images."""
    steps = [dict(type='LoadImage'), dict(type='SegResize', input_size=(48, 48), resize_mode=mode), dict(type='LoadSegMap')]
    for folder in ('images', 'masks'):
        (tmp_path / folder).mkdir()
    for name, (h, w) in dict(a=(40, 20), b=(30, 60), c=(48, 48)).items():
        labels = np.zeros((h, w), np.uint8)
        labels[: h // 2, w // 2 :], labels[h // 2 :, : w // 2] = 1, 2
        cv2.imwrite(str(tmp_path / f'images/{name}.png'), 255 * np.eye(3, dtype=np.uint8)[2 - labels])  # BGR
        cv2.imwrite(str(tmp_path / f'masks/{name}.png'), labels)
    cfg = dict(type='SegmentationDataset', meta=dict(classes=3), data_root=str(tmp_path), test_mode=True)
    dataset = DATASETS.build(dict(cfg, pipeline=[*steps, dict(type='PackSegInputs')]))
    batch = pose_collate([dataset[i] for i in range(3)])
    assert 'gt_seg_map' not in batch['data_samples'], 'it would go to the device and back'
    samples = pixels(meta=dict(classes=3)).test_step(batch)
    assert [sample.gt_seg_map.shape for sample in samples] == [(40, 20), (30, 60), (48, 48)]
    for sample in samples:
        assert (sample.pred_seg_map == sample.gt_seg_map).mean() > 0.9, 'but for the edges of the quarters'
        assert 'gt_seg_map' not in sample.metainfo, 'it stands beside the prediction'
    with pytest.raises(ValueError, match=r'masks must have the size of the inputs .* to learn from, got None; in a pipeline'):
        pixels(meta=dict(classes=3))(torch.zeros(3, 3, 48, 48), batch['data_samples'], mode='loss')


def test_permuting_the_batch_permutes_the_predictions() -> None:
    model = network(test_cfg=dict(flip_test=True, scales=(1.0, 1.5))).eval()
    x = torch.randn(3, 3, 64, 48)
    ours, theirs = (model(images, batch(3), mode='predict') for images in (x, x.flip(0)))
    for a, b in zip(ours, reversed(theirs)):
        np.testing.assert_array_equal(a.pred_seg_map, b.pred_seg_map)


def test_heads_that_read_several_maps_of_a_row_of_necks() -> None:
    necks = [PYRAMID, dict(type='BFP', in_channels=16, num_levels=4, refine_level=1)]
    for head in (SKIPS | dict(in_channels=(16, 16, 16)), FINE | dict(in_channels=16, c1_in_channels=16)):
        model = network(neck=necks, decode_head=head).eval()
        assert model(torch.randn(1, 3, 64, 48)).shape == (1, 2, *((8, 6) if head['type'] == 'FCNSkipHead' else (16, 12)))
    assert FINE['in_channels'] == 64
    assert network(decode_head=FINE | dict(c1_in_channels=0)).decode_head.c1_bottleneck is None


def test_classes_come_from_the_meta() -> None:
    assert network().decode_head.num_classes == 2
    nameless = MODELS.build(dict(type='EncoderDecoder', backbone=RESNET, decode_head=dict(HEAD, num_classes=5)))
    assert nameless.class_meta.classes == ('class_0', 'class_1', 'class_2', 'class_3', 'class_4')


def test_pruning() -> None:
    model = MODELS.build(
        dict(
            type='EncoderDecoder',
            backbone=dict(type='UNetPlusPlus', base_channels=4, num_stages=4),
            decode_head=dict(type='DeepSupervisionHead', in_channels=4, num_levels=3),
            meta='person',
        )
    ).eval()
    x = torch.randn(1, 3, 16, 16)
    second = model.decode_head.conv_seg[1](model.extract_feat(x)[1])
    pruned = copy.deepcopy(model)
    pruned.prune(2)
    torch.testing.assert_close(pruned(x), second)
    config = dict(
        type='EncoderDecoder',
        backbone=dict(type='UNetPlusPlus', base_channels=4, num_stages=4, level=2),
        decode_head=dict(type='DeepSupervisionHead', in_channels=4, num_levels=3, level=2),
        meta='person',
    )
    built = MODELS.build(config).eval()
    report = built.load_state_dict(model.state_dict(), strict=False)
    assert not report.missing_keys, 'a checkpoint of the whole network has all that a pruned one needs'
    torch.testing.assert_close(built(x), second)
    with pytest.raises(ValueError, match='ResNet has no levels to prune'):
        network().prune(1)


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (dict(test_cfg=dict(crop_size=(8, 8))), r"`test_cfg` takes \('mode', 'window_size'.*got \['crop_size'\]"),
        (dict(test_cfg=dict(mode='sliding')), r"`test_cfg.mode` must be one of \('whole', 'slide'\), got 'sliding'"),
        (dict(test_cfg=dict(mode='slide')), r"mode='slide'` needs `window_size` .* got None and None"),
        (dict(test_cfg=dict(mode='slide', window_size=(8, 8), window_stride=(9, 8))), 'no larger'),
        (dict(test_cfg=dict(mode='slide', window_size=8, window_stride=(8, 8))), r'got 8 and \(8, 8\)'),
        (dict(test_cfg=dict(mode='slide', window_size=(8, 8), window_stride=(8, 8, 8))), r'got \(8, 8\) and \(8, 8, 8\)'),
        (dict(test_cfg=dict(scales=())), r'`test_cfg.scales` must be positive numbers'),
        (
            dict(auxiliary_head=dict(HEAD, in_index=2)),
            r'`auxiliary_head.in_channels` is 64 for map 2, but the maps of `backbone` \(ResNet\) have \(8, 16, 32, 64\)',
        ),
        (dict(auxiliary_head=dict(HEAD, in_index=4)), '`auxiliary_head.in_channels` is 64 for map 4'),
        (dict(auxiliary_head=dict(HEAD, **TWO_MAPS, in_index=(0, 4))), '`auxiliary_head.in_channels` is 24 for map 0, 4'),
        (dict(auxiliary_head=dict(HEAD, **TWO_MAPS, in_index=(0, 2))), r'is 24 for map 0, 2, .* have \(8, 16, 32, 64\)'),
        (dict(decode_head=SKIPS | dict(in_channels=(16, 16, 64))), r'`decode_head.in_channels\[1\]` is 16 for map -2, but'),
        (dict(decode_head=FINE | dict(c1_in_channels=16)), r'`decode_head.c1_in_channels` is 16 for map 0, .*\(8, 16, 32, 64\)'),
        (dict(decode_head=FINE | dict(c1_index=4)), '`decode_head.c1_in_channels` is 8 for map 4, but'),
        (
            dict(decode_head=FINE, neck=[PYRAMID, dict(type='BFP', in_channels=16, num_levels=4)]),
            r'`decode_head.in_channels` is 64 for map -1, but the maps of `neck` \(Necks\) have \(16, 16, 16, 16\) channels',
        ),
        (
            dict(neck=dict(type='FeatureMapProcessor', concat=True, in_channels=(8, 16, 32, 64))),
            r'`decode_head.in_channels` is 64 for map -1, but the maps of `neck` \(FeatureMapProcessor\) have \(120,\) channels',
        ),
    ],
)
def test_errors(args: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        network(**args)


def test_other_errors() -> None:
    model = network()
    with pytest.raises(ValueError, match=r"`mode` must be one of .*got 'train'"):
        model(torch.randn(1, 3, 32, 32), mode='train')
    with pytest.raises(ValueError, match="mode 'loss' needs `data_samples`"):
        model(torch.randn(1, 3, 32, 32), mode='loss')
    with pytest.raises(
        ValueError, match=r'the size of the inputs \(h, w\) \(32, 32\) to learn from, got \(64, 48\); in a pipeline'
    ):
        model(torch.randn(2, 3, 32, 32), batch(), mode='loss')
    with pytest.raises(ValueError, match=r'`decode_head.num_classes` must be the 2 classes of `meta` \(person\), got 3'):
        MODELS.build(dict(type='EncoderDecoder', backbone=RESNET, decode_head=dict(HEAD, num_classes=3), meta='person'))
    with pytest.raises(ValueError, match=r'`meta` must name the classes, or `decode_head.num_classes` say'):
        MODELS.build(dict(type='EncoderDecoder', backbone=RESNET, decode_head=HEAD))
