"""Heads of segmentation networks, and the dilation of their backbones."""

import copy
import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from mmpose_lite.engine.config import load_config
from mmpose_lite.models.backbones.gridding import gridding_holes
from mmpose_lite.models.heads.seg.decode_head import pixel_accuracy
from mmpose_lite.registry import BACKBONES, HEADS, LOSSES, MODELS
from mmpose_lite.structures import SampleBatch
from tests.conftest import REPO
from tests.memory_format import channels_last_throughout
from tests.no_sync import NoSync
from tests.parity import Reference, weights_module

FEATS = dict(channels=(4, 8, 12, 16), sizes=(16, 8, 4, 4))  # of strides 4, 8, 16, 16 on 64 x 64 px
CONFIGS = {
    'seg_fcn_r50_d8': 'fcn_resnet50_d8',
    'seg_pspnet_r50_d8': 'pspnet_resnet50_d8',
    'seg_deeplabv3_r50_d8': 'deeplabv3_resnet50_d8',
    'seg_deeplabv3plus_r50_d8': 'deeplabv3plus_resnet50_d8',
    'seg_unet_s5_d16': 'unet_s5_d16',
    'seg_hrnet_w18_fcn': 'hrnet_w18_fcn',
}
THIN = {
    'FCNHead': dict(in_channels=16, channels=6),
    'FCNSkipHead': dict(in_channels=(4, 8, 16), in_index=(0, 1, 3), channels=6, kernel_size=3),
    'PSPHead': dict(in_channels=16, channels=6, pool_scales=(1, 2)),
    'ASPPHead': dict(in_channels=16, channels=6, dilations=(1, 2)),
    'DepthwiseSeparableASPPHead': dict(in_channels=16, channels=6, dilations=(1, 2), c1_in_channels=4, c1_channels=2),
    'DUCHead': dict(in_channels=16, channels=6, upscale=16),
}
SIZES = dict(FCNSkipHead=16, DepthwiseSeparableASPPHead=16, DUCHead=64)  # of the logits; others 4


def build(name: str, **args: object) -> nn.Module:
    return HEADS.build(dict(type=name, num_classes=3, **{**THIN[name], **args}))


def feats(B: int = 2) -> tuple[Tensor, ...]:
    return tuple(torch.randn(B, c, s, s) for c, s in zip(FEATS['channels'], FEATS['sizes']))


def samples(B: int = 2, *, num_classes: int = 3, size: int = 64) -> SampleBatch:
    labels = torch.randint(0, num_classes, (B, size, size), dtype=torch.uint8)
    labels[:, :5] = 255
    return SampleBatch({}, [0] * B, [{}] * B, maps=dict(gt_seg_map=labels))


@pytest.mark.parametrize(('name', 'config'), CONFIGS.items())
def test_the_keys_are_the_reference(shared: Path, name: str, config: str) -> None:
    cfg = load_config(REPO / f'configs/segmentation/{config}_cityscapes.py')
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    Reference.load(shared, name).check_keys(model)


@pytest.mark.parametrize(('name', 'config'), CONFIGS.items())
def test_the_outputs_are_the_reference(shared: Path, name: str, config: str) -> None:
    weights, reference = weights_module(shared), Reference.load(shared, name)
    if not reference.outputs:
        pytest.skip('no outputs are stored; `test_pyramids_by_hand` and tests/models/test_hrnet.py compare these parts')
    model = MODELS.build(load_config(REPO / f'configs/segmentation/{config}_cityscapes.py').model)
    weights.fill_(model)
    with torch.no_grad():
        maps = model.extract_feat(weights.inputs(reference.input_shape))
        for key in reference.outputs:
            if '@' not in key:
                reference.check_output(key, getattr(model, key)(maps))


@pytest.mark.parametrize('name', THIN)
def test_logits_losses_and_gradients(name: str) -> None:
    head = build(name)
    head.init_weights()
    maps = tuple(m.requires_grad_() for m in feats())
    logits = head(maps)
    size = SIZES.get(name, 4)
    assert logits.shape == (2, 3, size, size)
    assert head.predict(maps, (60, 70)).shape == (2, 3, 60, 70)
    losses = head.loss(maps, samples())
    assert list(losses) == ['loss_ce', 'acc_seg']
    assert not losses['acc_seg'].requires_grad
    losses['loss_ce'].backward()
    unused = [key for key, p in head.named_parameters() if p.grad is None]
    assert not unused
    assert maps[-1].grad.abs().sum() > 0


@pytest.mark.parametrize('name', THIN)
def test_the_memory_format_is_kept(name: str) -> None:
    head = build(name).eval().to(memory_format=torch.channels_last)
    maps = [x.contiguous(memory_format=torch.channels_last) for x in feats()]
    with channels_last_throughout(head):
        head(maps)


@pytest.mark.parametrize('name', THIN)
def test_nothing_waits_for_the_device(name: str) -> None:
    head, maps, batch = build(name), feats(), samples()
    with NoSync():
        head.loss(maps, batch)['loss_ce'].backward()


def test_the_loss_is_that_of_enlarged_logits() -> None:
    head = build(
        'FCNHead',
        dropout_ratio=0,
        loss_decode=[
            dict(type='CrossEntropyLoss', loss_weight=0.5, avg_non_ignore=True),
            dict(type='DiceLoss', use_sigmoid=False),
            dict(type='FocalLoss', loss_name='loss_focal'),
            dict(type='CrossEntropyLoss'),
        ],
    )
    maps, batch = feats(), samples()
    losses = head.loss(maps, batch)
    assert list(losses) == ['loss_ce', 'loss_dice', 'loss_focal', 'acc_seg']
    logits = functional.interpolate(head(maps), size=(64, 64), mode='bilinear', align_corners=False)
    labels = batch.gt_seg_map.long()
    plain = functional.cross_entropy(logits, labels, ignore_index=255, reduction='sum')
    expected = 0.5 * plain / (labels != 255).sum() + plain / labels.numel()
    torch.testing.assert_close(losses['loss_ce'], expected)
    torch.testing.assert_close(losses['loss_dice'], LOSSES.build(dict(type='DiceLoss', use_sigmoid=False))(logits, labels))


def test_accuracy_by_hand() -> None:
    logits = torch.tensor([[[[2.0, 0.0, 1.0, 9.0]], [[1.0, 1.0, 0.0, 0.0]]]])  # predicted 0, 1, 0, 0
    labels = torch.tensor([[[0, 1, 1, 255]]])
    assert pixel_accuracy(logits, labels, threshold=0.5, ignore_index=255).item() == pytest.approx(2 / 3)
    single = torch.tensor([[[[-3.0, 3.0, 0.5, 0.0]]]])  # 0.5 is a probability of 0.62
    assert pixel_accuracy(single, labels, threshold=0.7, ignore_index=255).item() == pytest.approx(2 / 3)
    assert pixel_accuracy(single, labels, threshold=0.5, ignore_index=255).item() == pytest.approx(1.0)
    nothing = torch.full_like(labels, 255)
    assert pixel_accuracy(logits, nothing, threshold=0.5, ignore_index=255).item() == 0


def test_one_channel_for_two_classes() -> None:
    head = HEADS.build(
        dict(
            type='FCNHead',
            num_classes=2,
            out_channels=1,
            **THIN['FCNHead'],
            loss_decode=[
                dict(type='CrossEntropyLoss', use_sigmoid=True, avg_non_ignore=True),
                dict(type='DiceLoss'),
                dict(type='LovaszLoss', loss_type='binary'),
                dict(type='FocalTverskyLoss'),
            ],
        )
    )
    maps, batch = feats(), samples(num_classes=2)
    losses = head.eval().loss(maps, batch)
    assert list(losses) == ['loss_ce', 'loss_dice', 'loss_lovasz', 'loss_focal_tversky', 'acc_seg']
    logits = head.predict(maps, (64, 64))[:, 0]
    counted = batch.gt_seg_map != 255
    expected = functional.binary_cross_entropy_with_logits(logits[counted], batch.gt_seg_map[counted].float())
    torch.testing.assert_close(losses['loss_ce'], expected)


def test_the_ignored_label_is_handed_to_the_losses() -> None:
    head = build('FCNHead', ignore_index=0, loss_decode=[dict(type='CrossEntropyLoss'), dict(type='DiceLoss', ignore_index=7)])
    assert [loss.ignore_index for loss in head.loss_decode] == [0, 7]


def test_initial_values() -> None:
    head = HEADS.build(dict(type='FCNHead', in_channels=256, channels=128, num_classes=19))
    head.init_weights()
    assert head.conv_seg.weight.std().item() == pytest.approx(0.01, rel=0.1)
    assert head.convs[0].conv.weight.std().item() == pytest.approx((2 / (128 * 9)) ** 0.5, rel=0.05)


def test_several_maps_are_brought_to_the_size_of_the_first() -> None:
    head = build(
        'FCNHead',
        in_channels=(4, 8),
        in_index=(0, 1),
        input_transform='resize_concat',
        num_convs=0,
        channels=12,
        concat_input=False,
    )
    maps = feats()
    joined = torch.cat((maps[0], functional.interpolate(maps[1], size=(16, 16), mode='bilinear')), dim=1)
    torch.testing.assert_close(head.eval()(maps), head.conv_seg(joined))


def test_skips_begin_as_fcn_32s() -> None:
    """With the initial values the skips add nothing, and transposed convolutions enlarge as bilinear interpolation does."""
    head = build('FCNSkipHead', dropout_ratio=0).eval()
    head.init_weights()
    maps = tuple(torch.randn(1, c, s, s) for c, s in zip((4, 8, 12, 16), (32, 16, 8, 8)))
    coarse = head.conv_seg(head.features(maps))
    twice = functional.interpolate(
        functional.interpolate(coarse, scale_factor=2, mode='bilinear'), scale_factor=2, mode='bilinear'
    )
    inner = (slice(None), slice(None), slice(6, -6), slice(6, -6))  # at the border a transposed convolution fades out
    torch.testing.assert_close(head(maps)[inner], twice[inner])
    bilinear = build('FCNSkipHead', dropout_ratio=0, upsample='bilinear').eval()
    assert not any('deconvs' in key for key in bilinear.state_dict())


@pytest.mark.parametrize('sizes', [((13, 13), (7, 7)), ((12, 14), (6, 7)), ((13, 15), (6, 7))])  # (h, w); the last rounds down
def test_doubled_scores_stay_where_they_are(sizes: tuple[tuple[int, int], ...]) -> None:
    """Scores that are the place of their cell's centre in px remain so, up to the border, where a cell has no neighbour."""
    head = build('FCNSkipHead', in_channels=(8, 16), in_index=(0, 1), dropout_ratio=0).eval()
    head.init_weights()
    finer, coarse = sizes
    places = torch.arange(coarse[1], dtype=torch.float32) * 32 + 16
    head.features = lambda feats: feats[-1]
    head.conv_seg = nn.Identity()
    scores = head((torch.zeros(1, 8, *finer), places.expand(1, 3, *coarse)))
    expected = torch.arange(finer[1], dtype=torch.float32) * 16 + 8
    assert scores.shape[2:] == finer
    torch.testing.assert_close(scores[0, 0, 1:-2, 1:-2], expected[1:-2].expand(finer[0] - 3, -1))


@pytest.mark.parametrize('upsample', ['bilinear', 'deconv'])
@pytest.mark.parametrize(('index', 'stride'), [((2,), 32), ((1, 2), 16), ((0, 1, 2), 8)])
def test_fcn_32s_16s_and_8s(index: tuple[int, ...], stride: int, upsample: str) -> None:
    """As many maps as are named are read, and the logits have the stride in the network's name; gradients reach every layer."""
    channels = (4, 6, 8)
    head = build('FCNSkipHead', in_channels=[channels[i] for i in index], in_index=index, upsample=upsample)
    maps = tuple(torch.randn(2, c, 64 // s, 96 // s, requires_grad=True) for c, s in zip(channels, (8, 16, 32)))
    logits = head(maps)
    assert logits.shape[2:] == (64 // stride, 96 // stride)
    logits.square().sum().backward()
    assert [i for i, x in enumerate(maps) if x.grad is not None] == list(index)
    assert all(p.grad is not None for p in head.parameters())


def test_skips_add_the_scores_of_finer_maps() -> None:
    head = build('FCNSkipHead', dropout_ratio=0, upsample='bilinear').eval()
    maps = feats(1)
    before = head(maps)
    with torch.no_grad():
        head.skips[0].bias += torch.tensor((1.0, 2.0, 3.0))
    torch.testing.assert_close(head(maps) - before, torch.tensor((1.0, 2.0, 3.0)).view(1, 3, 1, 1).expand_as(before))


def test_dense_upsampling_puts_channels_into_pixels() -> None:
    head = build('DUCHead', upscale=2, dilations=(), channels=16, dropout_ratio=0).eval()
    maps = feats(1)
    channels, logits = head.conv_seg(maps[-1]), head(maps)
    for k, dy, dx in ((0, 0, 0), (1, 0, 1), (2, 1, 0)):
        torch.testing.assert_close(logits[0, k, dy::2, dx::2], channels[0, 4 * k + 2 * dy + dx])
    h, w = logits.shape[2:]
    torch.testing.assert_close(head.predict(maps, (h - 1, w)), logits[:, :, :-1])  # the last cells reach 1 px beyond the image
    assert head.predict(maps, (2 * h, 2 * w)).shape[2:] == (2 * h, 2 * w), 'of a map of another stride'


def conv_norm_relu(state: dict[str, Tensor], name: str, x: Tensor, *, dilation: int = 1, groups: int = 1) -> Tensor:
    """Return what the layer of that name in a state dict makes of (B, C, h, w), in eval mode."""
    weight = state[f'{name}.conv.weight']
    x = functional.conv2d(x, weight, padding=dilation * (weight.shape[-1] // 2), dilation=dilation, groups=groups)
    norm = (state[f'{name}.bn.{part}'] for part in ('running_mean', 'running_var', 'weight', 'bias'))
    return functional.batch_norm(x, *norm).relu()


@pytest.mark.parametrize('name', ['ASPPHead', 'DepthwiseSeparableASPPHead'])
def test_pyramids_by_hand(name: str) -> None:
    """DeepLabV3 and V3+ layer by layer, from their state dict alone: the figures of the papers in the order of mmseg's keys."""
    head = build(name, dilations=(1, 2, 3)).eval()
    for module in head.modules():  # statistics that the layers are seen to use
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 2)
    state, maps = head.state_dict(), feats()
    x, separable = maps[-1], name != 'ASPPHead'
    mean = conv_norm_relu(state, 'image_pool.1', x.mean(dim=(2, 3), keepdim=True)).expand(-1, -1, 4, 4)
    branches = [conv_norm_relu(state, 'aspp_modules.0', x)]
    for i, dilation in ((1, 2), (2, 3)):
        if separable:
            deep = conv_norm_relu(state, f'aspp_modules.{i}.depthwise_conv', x, dilation=dilation, groups=16)
            branches.append(conv_norm_relu(state, f'aspp_modules.{i}.pointwise_conv', deep))
        else:
            branches.append(conv_norm_relu(state, f'aspp_modules.{i}', x, dilation=dilation))
    y = conv_norm_relu(state, 'bottleneck', torch.cat((mean, *branches), dim=1))
    if separable:
        y = functional.interpolate(y, size=(16, 16), mode='bilinear', align_corners=False)
        y = torch.cat((y, conv_norm_relu(state, 'c1_bottleneck', maps[0])), dim=1)
        for i in range(2):
            y = conv_norm_relu(state, f'sep_bottleneck.{i}.depthwise_conv', y, groups=y.shape[1])
            y = conv_norm_relu(state, f'sep_bottleneck.{i}.pointwise_conv', y)
    logits = functional.conv2d(y, state['conv_seg.weight'], state['conv_seg.bias'])
    torch.testing.assert_close(head(maps), logits)


def test_pyramid_pooling_sees_the_whole_image() -> None:
    head = build('PSPHead').eval()
    maps = feats(1)
    moved = (*maps[:-1], maps[-1].clone())
    moved[-1][..., 0, 0] += 5
    assert (head(moved) - head(maps)).abs()[..., -1, -1].max() > 0


def deep(**args: object) -> nn.Module:
    return HEADS.build(dict(type='DeepSupervisionHead', in_channels=4, num_levels=3, num_classes=3, **args)).eval()


@pytest.mark.parametrize('out_channels', [1, 2])
def test_accurate_mode_averages_the_probabilities(out_channels: int) -> None:
    head = HEADS.build(
        dict(type='DeepSupervisionHead', in_channels=4, num_levels=3, num_classes=2, out_channels=out_channels)
    ).eval()
    maps = [torch.randn(2, 4, 5, 6) for _ in range(3)]
    activate = torch.sigmoid if out_channels == 1 else lambda x: x.softmax(dim=1)
    expected = torch.stack([activate(conv(x)) for conv, x in zip(head.conv_seg, maps)]).mean(dim=0)
    torch.testing.assert_close(activate(head(maps)), expected)


def test_each_level_is_supervised_and_can_be_the_last() -> None:
    head = deep()
    maps = [torch.randn(2, 4, 5, 6) for _ in range(3)]
    batch = samples(size=8)
    levels = []
    for level in (1, 2, 3):
        pruned = copy.deepcopy(head)
        pruned.prune(level)
        torch.testing.assert_close(pruned(maps[:level]), head.conv_seg[level - 1](maps[level - 1]))
        only = HEADS.build(dict(type='FCNHead', in_channels=4, channels=4, num_classes=3, num_convs=0, concat_input=False)).eval()
        only.conv_seg = head.conv_seg[level - 1]
        levels.append(only.loss([maps[level - 1]], batch)['loss_ce'])
    torch.testing.assert_close(head.loss(maps, batch)['loss_ce'], torch.stack(levels).mean())


@pytest.mark.parametrize(
    ('cfg', 'message'),
    [
        (dict(type='FCNHead', out_channels=2, **THIN['FCNHead']), r'FCNHead: `out_channels` must be `num_classes` \(3\), or 1'),
        (dict(type='FCNHead', in_channels=16, channels=8, num_convs=0), r'FCNHead: without convolutions .*`channels` \(8\)'),
        (dict(type='FCNHead', input_transform='concat', **THIN['FCNHead']), r"must be one of .*got 'concat'"),
        (dict(type='FCNHead', input_transform='resize_concat', **THIN['FCNHead']), 'need one entry per map, got 16 and -1'),
        (dict(type='FCNHead', loss_decode=dict(type='DiceLoss', loss_name='dice'), **THIN['FCNHead']), "must contain 'loss'"),
        (dict(type='FCNHead', loss_decode=[], **THIN['FCNHead']), '`loss_decode` must be the config of a loss'),
        (dict(type='FCNHead', num_classes=1, **THIN['FCNHead']), 'FCNHead: `num_classes` must be 2 or more, got 1'),
        (dict(type='FCNSkipHead', in_channels=(4, 8), in_index=(0,)), 'need one entry per map'),
        (dict(type='FCNSkipHead', in_channels=(4,), in_index=(0,), upsample='nearest'), "must be one of .*got 'nearest'"),
        (dict(type='ASPPHead', in_channels=16, channels=4, dilations=()), 'ASPPHead: `dilations` must be one or more positive'),
        (dict(type='DUCHead', in_channels=16, channels=4, upscale=0), 'DUCHead: `upscale` must be 1 or more, got 0'),
        (dict(type='DUCHead', in_channels=16, channels=4, dilations=()), r'`channels` must be `in_channels` \(16\), got 4'),
        (dict(type='DeepSupervisionHead', in_channels=4, level=5), '`level` must be 1 to 4, got 5'),
        (dict(type='DeepSupervisionHead', in_channels=4, mode='best'), "`mode` must be one of .*got 'best'"),
    ],
)
def test_errors(cfg: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        HEADS.build(dict(num_classes=3) | cfg)


@pytest.mark.parametrize('mode', ['accurate', 'fast'])
def test_levels_that_do_not_fit(mode: str) -> None:
    with pytest.raises(ValueError, match=r'needs one map per level \(3\), the backbone gives 2'):
        deep(mode=mode)([torch.randn(1, 4, 5, 6)] * 2)


@pytest.mark.parametrize(
    ('rates', 'holes'),
    [((1, 2, 5), []), ((1, 2, 9), [4, 5]), ((2, 2, 2), [1, 3, 5]), ((2, 4, 8), [1, 3, 5, 7, 9, 11, 13]), ((1,), []), ((), [])],
)
def test_holes_of_dilated_convolutions(rates: tuple[int, ...], holes: list[int]) -> None:
    assert gridding_holes(rates) == holes
    reach = sum(rates)
    x = torch.zeros(1, 1, 1, 2 * reach + 1, requires_grad=True)
    y = x
    for rate in rates:
        y = functional.conv2d(y, torch.ones(1, 1, 1, 3), padding=(0, rate), dilation=(1, rate))
    y[0, 0, 0, reach].backward()
    seen = torch.ones(1) if not rates else x.grad[0, 0, 0, reach:]
    assert [d for d in range(reach) if seen[d] == 0] == holes, 'the gradient says which inputs have an influence'


def dilated(dilations: tuple, depth: int = 50) -> nn.Module:
    cfg = dict(type='ResNet', depth=depth, stem_channels=8, base_channels=8, strides=(1, 2, 1, 1), dilations=dilations)
    return BACKBONES.build(cfg)


def test_hybrid_dilation_is_given_to_the_blocks_in_turn() -> None:
    model = dilated((1, 1, (1, 2, 3), (3, 4, 5)))
    assert [block.conv2.dilation[0] for block in model.layer3] == [1, 2, 3, 1, 2, 3]
    assert [block.conv2.dilation[0] for block in model.layer4] == [3, 4, 5]
    assert model(torch.rand(1, 3, 64, 64))[0].shape[-1] == 8


@pytest.mark.parametrize(
    ('dilations', 'warns'),
    [
        ((1, 1, (1, 2, 3), (3, 4, 5)), False),
        ((1, 1, (2, 4), (2, 4, 8)), True),
        ((1, 1, 2, (4, 8)), True),
        ((1, 1, 2, 4), False),  # the published form, which grids: its users did not ask
    ],
)
def test_gridding_is_warned_of(dilations: tuple, warns: bool) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        dilated(dilations)
    assert any('a grid with holes: what is 1 cells away' in str(w.message) for w in caught) == warns


def test_errors_of_dilations() -> None:
    for wrong in ((1, 1, (1, 0), 1), (1, 1, (), 1), (1, 1, 0, 1)):
        with pytest.raises(ValueError, match='ResNet: `dilations` must be positive, one or several for each stage'):
            dilated(wrong)
