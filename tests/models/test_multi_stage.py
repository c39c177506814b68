"""Networks with several sets of heatmaps: stacked hourglass, CPM, MSPN, CPN."""

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from mmpose_lite.engine.config import load_config
from mmpose_lite.errors import ConfigError
from mmpose_lite.models.backbones.cpm import CPM
from mmpose_lite.models.backbones.hourglass import HourglassNet
from mmpose_lite.models.backbones.mspn import MSPN
from mmpose_lite.models.backbones.resnet import ResNet
from mmpose_lite.models.layers.conv_module import ConvModule
from mmpose_lite.ops.heatmap_resize import resize_maps
from mmpose_lite.registry import BACKBONES, HEADS, MODELS, NECKS
from mmpose_lite.structures import SampleBatch
from tests.conftest import REPO
from tests.parity import Reference, weights_module
from tests.tiny_training import assert_learns

K = 14  # keypoints of lsp14
HEATMAPS = dict(type='HeatmapCodec', input_size=(64, 64), heatmap_size=(16, 16), sigma=1.5)
LEVELS = dict(type='MegviiHeatmapCodec', input_size=(64, 64), heatmap_size=(16, 16), kernel_sizes=(7, 5, 3))
OHKM = [dict(type='KeypointMSELoss', use_target_weight=True, loss_weight=0.25)] * 2 + [
    dict(type='KeypointOHKMMSELoss', use_target_weight=True)
]


def hourglass(**args: object) -> dict:
    cfg = dict(type='HourglassNet', downsample_times=2, num_stacks=2, feat_channel=8, stem_channels=8)
    return {**cfg, 'stage_channels': (8, 8, 12), 'stage_blocks': (1, 2, 1), **args}


def cpm(**args: object) -> dict:
    return {**dict(type='CPM', out_channels=K, stem_channels=8, feat_channels=8, middle_channels=4, num_stages=3), **args}


def mspn(**args: object) -> dict:
    cfg = dict(type='MSPN', unit_channels=8, num_stages=2, num_units=3, num_blocks=(1, 2, 1), res_top_channels=8)
    return {**cfg, **args}


def estimator(name: str) -> dict:
    """Return the config of a thin network for 64x64 crops of a person with the 14 keypoints of LSP."""
    three_stages = dict(num_stages=3, strides=(1, 2, 2), dilations=(1, 1, 1))
    parts = {
        'hourglass': dict(
            backbone=hourglass(), head=dict(type='CPMHead', in_channels=8, num_stages=2, stage_weights=(0.5, 1), codec=HEATMAPS)
        ),
        'cpm': dict(
            backbone=cpm(),
            head=dict(type='CPMHead', num_stages=3, final_layer=None, codec={**HEATMAPS, 'heatmap_size': (8, 8), 'sigma': 1.0}),
        ),
        'mspn': dict(
            backbone=mspn(),
            head=dict(type='MSPNHead', unit_channels=8, num_stages=2, num_units=3, loss=OHKM * 2, codec=LEVELS),
        ),
        'cpn': dict(
            backbone=dict(type='ResNet', depth=18, base_channels=8, stem_channels=8, out_indices=(0, 1, 2)) | three_stages,
            neck=dict(type='CPNGlobalNet', in_channels=(8, 16, 32), out_channels=8),
            head=dict(type='CPNHead', in_channels=8, num_levels=3, refine_channels=8, loss=[OHKM[0], *OHKM], codec=LEVELS),
        ),
    }
    test_cfg = dict(flip_test=True, shift_heatmap=name in ('hourglass', 'cpm'))
    return dict(type='TopdownPoseEstimator', meta='lsp14', test_cfg=test_cfg, **parts[name])


NAMES = ('hourglass', 'cpm', 'mspn', 'cpn')
OUTPUTS = dict(hourglass=2, cpm=3, mspn=6, cpn=4)


def samples(keypoints: Tensor) -> SampleBatch:
    B = len(keypoints)
    return SampleBatch({'keypoints_input': keypoints, 'keypoints_visible': torch.ones(keypoints.shape[:2])}, [1] * B, [{}] * B)


@pytest.mark.parametrize(
    ('config', 'name'),
    [
        ('hourglass52_coco_256x256', 'pose_hourglass52_256x256'),
        ('cpm_coco_256x192', 'pose_cpm_256x192'),
        ('mspn50_coco_256x192', 'pose_mspn50_256x192'),
    ],
)
def test_the_config_is_the_reference(shared: Path, config: str, name: str) -> None:
    weights, reference = weights_module(shared), Reference.load(shared, name)
    cfg = load_config(REPO / f'configs/pose/topdown/{config}.py')
    model = MODELS.build(cfg.model, meta=cfg.meta)
    reference.check_keys(model)
    keys = [key for key in reference.outputs if '@' not in key]
    if keys:
        with torch.no_grad():
            outs = weights.fill_(model)(weights.inputs(reference.input_shape))
        assert len(outs) == len(keys)
        for i, out in enumerate(outs):
            reference.check_output(f'head.{i}', out)


@pytest.mark.parametrize('name', NAMES)
def test_every_stage_gives_heatmaps_and_the_loss_reaches_every_parameter(name: str) -> None:
    model = MODELS.build(estimator(name))
    model.init_weights()
    batch = samples(torch.rand(2, K, 2) * 48 + 8)
    images = torch.randn(2, 3, 64, 64)
    outs = model(images)
    assert len(outs) == OUTPUTS[name]
    assert {out.shape for out in outs} == {(2, K, 8, 8) if name == 'cpm' else (2, K, 16, 16)}
    if name != 'cpn':
        feats = model.extract_feat(images)
        assert [feat.shape[1] for feat in feats] == list(model.backbone.out_channels)
        assert [64 // feat.shape[-1] for feat in feats] == list(model.backbone.strides)
    losses = model(images, batch, mode='loss')
    assert list(losses) == ['loss_kpt', 'acc_pose']
    losses['loss_kpt'].backward()
    assert not [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]


@pytest.mark.parametrize(('name', 'lr', 'steps'), [('hourglass', 0.02, 8), ('cpm', 0.02, 8), ('mspn', 2.0, 20), ('cpn', 2.0, 20)])
def test_learns_one_batch(name: str, lr: float, steps: int) -> None:
    """Targets of height 255 behind a batch norm of gain 1 need the large rate."""
    assert_learns(estimator(name), steps=steps, lr=lr)


@pytest.mark.parametrize('name', NAMES)
def test_prediction_is_that_of_the_last_stage(name: str) -> None:
    model = MODELS.build(estimator(name)).eval()
    outs = model(torch.randn(2, 3, 64, 64))
    keypoints, scores = model.head.decode(outs)
    last_keypoints, last_scores = model.head.codec.decode(outs[-1])
    assert torch.equal(keypoints, last_keypoints)
    assert torch.equal(scores, last_scores)


@pytest.mark.parametrize('name', NAMES)
def test_a_mirrored_image_merges_into_its_mirrored_prediction(name: str) -> None:
    model = MODELS.build(estimator(name)).eval()
    flip = [int(i) for i in model.meta.flip_indices]
    maps, mirrored = ([torch.randn(2, K, 16, 16) for _ in range(3)] for _ in range(2))
    merged = model.head.merge_flipped(maps, mirrored, flip)
    expected = torch.stack([mirrored[-1][:, flip[k]].flip(-1) for k in range(K)], dim=1)
    assert len(merged) == 1
    torch.testing.assert_close(merged[-1], (maps[-1] + expected) / 2)
    back = model.head.merge_flipped(mirrored, maps, flip)[-1]
    torch.testing.assert_close(back[:, flip].flip(-1), merged[-1])
    shifted = model.head.merge_flipped(maps, mirrored, flip, shift=True)[-1]
    torch.testing.assert_close(shifted[..., 1:], (maps[-1][..., 1:] + expected[..., :-1]) / 2)


def test_loss_is_the_weighted_sum_over_the_stages() -> None:
    head = HEADS.build(
        dict(type='CPMHead', num_stages=3, final_layer=None, stage_weights=(0.5, 0, 2), codec=HEATMAPS), meta='lsp14'
    )
    batch = samples(torch.rand(2, K, 2) * 64)
    batch.keypoints_visible[1, 2] = 0
    maps = [torch.randn(2, K, 16, 16) for _ in range(3)]
    target, _ = head.codec.encode(batch.keypoints_input[:, None], batch.keypoints_visible[:, None])
    errors = [(pred - target).square() for pred in maps]
    for error in errors:
        error[1, 2] = 0
    expected = 0.5 * errors[0].mean() + 2 * errors[2].mean()
    torch.testing.assert_close(head.loss(maps, batch)['loss_kpt'], expected)


def test_each_unit_learns_its_own_level() -> None:
    """Two stages; the second is one level sharper. Each map equal to its target: no loss; a wrong level: a loss."""
    codec = {**LEVELS, 'kernel_sizes': (9, 7, 5, 3)}
    head = HEADS.build(
        dict(type='MSPNHead', num_stages=2, num_units=3, unit_channels=4, level_indices=(0, 1, 2, 1, 2, 3), codec=codec),
        meta='lsp14',
    )
    batch = samples(torch.rand(2, K, 2) * 64)
    levels, _ = head.codec.encode(batch.keypoints_input[:, None], batch.keypoints_visible[:, None])
    head.predict_layers = nn.ModuleList(_Give(levels[:, i]) for i in (0, 1, 2, 1, 2, 3))
    feats = [torch.zeros(2, 4, 16, 16)] * 6
    losses = head.loss(feats, batch)
    assert losses['loss_kpt'].item() == 0
    assert losses['acc_pose'].item() == 1
    head.predict_layers[3] = _Give(levels[:, 2])
    assert head.loss(feats, batch)['loss_kpt'].item() > 0


class _Give(nn.Module):
    def __init__(self, maps: Tensor) -> None:
        super().__init__()
        self.maps = maps

    def forward(self, *_: object) -> Tensor:
        return self.maps


def test_only_the_hardest_keypoints_count_in_the_refined_maps() -> None:
    cfg = load_config(REPO / 'configs/pose/topdown/cpn_resnet50_coco_256x192.py')
    head = HEADS.build(cfg.model.head, meta='coco17')
    target, pred = torch.zeros(1, 17, 4, 4), torch.arange(1.0, 18)[None, :, None, None].expand(1, 17, 4, 4)
    weight = torch.ones(1, 17)
    hardest = sum(k * k for k in range(10, 18)) / 8
    assert head.loss_module[-1](pred, target, weight).item() == pytest.approx(hardest)
    assert head.loss_module[0](pred, target, weight).item() == pytest.approx(0.5 * sum(k * k for k in range(1, 18)) / 17)
    assert head.level_indices == (0, 1, 2, 3, 3)


def test_the_stacks_are_chained() -> None:
    """The second map depends on the first hourglass, the first not on the second."""
    backbone = BACKBONES.build(hourglass(num_stacks=3)).eval()
    before = backbone(image := torch.randn(1, 3, 64, 64))
    with torch.no_grad():
        backbone.hourglass_modules[1].up1[0].bn1.weight.mul_(3)
    after = backbone(image)
    assert [torch.equal(a, b) for a, b in zip(before, after)] == [True, False, False]


@pytest.mark.parametrize('num_stacks', range(1, 9))
def test_one_to_eight_stacks(num_stacks: int) -> None:
    backbone = BACKBONES.build(hourglass(num_stacks=num_stacks)).eval()
    assert [tuple(m.shape) for m in backbone(torch.randn(1, 3, 36, 20))] == [(1, 8, 9, 5)] * num_stacks


def test_a_stage_of_cpm_reads_the_heatmaps_before_it() -> None:
    backbone = BACKBONES.build(cpm()).eval()
    before = backbone(image := torch.randn(1, 3, 64, 64))
    with torch.no_grad():
        backbone.out_convs[0][1].conv.bias.add_(1)
    after = backbone(image)
    torch.testing.assert_close(after[1], before[1] + 1)
    assert torch.equal(after[0], before[0])
    assert not torch.equal(after[2], before[2])


def test_a_stage_of_mspn_adds_the_skips_of_the_one_before() -> None:
    """What a stage hands over comes from both its ways, and is added at the same size of the next."""
    backbone = BACKBONES.build(mspn()).eval()
    first, second = backbone.multi_stage_mspn
    x = backbone.top(torch.randn(1, 3, 64, 64))
    outs, skips, cross = first(x, None)
    down = first.downsample(x, None)
    assert [skip.shape for skip in skips] == [d.shape for d in down]
    unit = first.upsample.up3
    torch.testing.assert_close(skips[0], unit.out_skip1(down[0]) + unit.out_skip2(outs[-1]))
    torch.testing.assert_close(cross, unit.cross_conv(outs[-1]))
    plain = second.downsample.layer1(cross)
    torch.testing.assert_close(second.downsample(cross, skips)[0], plain + skips[0])


def test_mspn_loads_a_resnet_into_every_stage(tmp_path: Path) -> None:
    resnet = ResNet(50, stem_channels=8, base_channels=8)
    resnet.init_weights()
    with torch.no_grad():
        resnet.layer2[0].downsample[1].bias.fill_(7)
    torch.save(resnet.state_dict(), tmp_path / 'resnet50.pth')
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'resnet50.pth'))
    backbone = MSPN(num_stages=2, num_blocks=(3, 4, 6, 3), unit_channels=8, res_top_channels=8, init_cfg=init_cfg)
    backbone.init_weights()
    assert torch.equal(backbone.top.top[0].conv.weight, resnet.conv1.weight)
    for stage in backbone.multi_stage_mspn:
        assert torch.equal(stage.downsample.layer4[2].conv2.weight, resnet.layer4[2].conv2.weight)
        assert (stage.downsample.layer2[0].downsample.bn.bias == 7).all()
        assert stage.downsample.layer1[0].bn3.weight.count_nonzero() == resnet.layer1[0].bn3.weight.count_nonzero()


def test_global_net_adds_coarse_maps_to_finer_ones() -> None:
    neck = NECKS.build(dict(type='CPNGlobalNet', in_channels=(4, 6, 8), out_channels=5)).eval()
    feats = [torch.randn(1, 4, 9, 7), torch.randn(1, 6, 5, 4), torch.randn(1, 8, 3, 2)]
    outs = neck(feats)
    assert [tuple(out.shape) for out in outs] == [(1, 5, 9, 7), (1, 5, 5, 4), (1, 5, 3, 2)]
    torch.testing.assert_close(outs[2], neck.laterals[2](feats[2]))
    larger = nn.functional.interpolate(outs[2], size=(5, 4), mode='bilinear', align_corners=True)
    torch.testing.assert_close(outs[1], neck.laterals[1](feats[1]) + neck.upsamples[1](larger))


def test_deeper_maps_pass_more_bottlenecks() -> None:
    head = HEADS.build(dict(type='CPNHead', in_channels=8, refine_channels=8), meta='lsp14')
    assert [len(blocks) for blocks in head.cascade] == [0, 1, 2, 3]
    feats = [torch.randn(2, 8, 16 // 2**i, 12 // 2**i) for i in range(4)]
    assert [tuple(out.shape) for out in head(feats)] == [(2, K, 16, 12)] * 5


@pytest.mark.parametrize('name', ['hourglass', 'cpm'])
def test_initial_values(name: str) -> None:
    model = MODELS.build(estimator(name))
    model.init_weights()
    conv = model.backbone.stem[0].conv
    assert conv.weight.std().item() == pytest.approx(0.001, rel=0.1)


def test_initial_values_of_he() -> None:
    backbone = MSPN(num_stages=1)
    backbone.init_weights()
    conv = backbone.multi_stage_mspn[0].upsample.up1.in_skip.conv  # 2048 -> 256
    assert conv.weight.std().item() == pytest.approx((2 / 256) ** 0.5, rel=0.05)
    assert not backbone.multi_stage_mspn[0].downsample.layer1[0].bn3.weight.any()


def test_batch_norm_can_be_replaced() -> None:
    norm_cfg = dict(type='GN', num_groups=2)
    for cfg in (hourglass(norm_cfg=norm_cfg), cpm(norm_cfg=norm_cfg), mspn(norm_cfg=norm_cfg)):
        assert not [m for m in BACKBONES.build(cfg).modules() if isinstance(m, nn.BatchNorm2d)]


def test_conv_module() -> None:
    x = torch.randn(2, 3, 9, 8)
    module = ConvModule(3, 4, kernel_size=3, stride=2, with_norm=False, act='silu')
    torch.testing.assert_close(module(x), nn.functional.silu(module.conv(x)))
    assert module(x).shape == (2, 4, 5, 4)
    assert sorted(module.state_dict()) == ['conv.bias', 'conv.weight']
    normed = ConvModule(3, 4, kernel_size=3)
    assert normed(x).min() == 0
    assert 'conv.bias' not in normed.state_dict()
    assert 'bn.weight' in normed.state_dict()
    with pytest.raises(ValueError, match='`kernel_size` must be odd, got 2'):
        ConvModule(3, 4, kernel_size=2)
    with pytest.raises(ValueError, match=r"`act` must be one of .* or None, got 'tanh'"):
        ConvModule(3, 4, act='tanh')


@pytest.mark.parametrize(
    ('cls', 'args', 'message'),
    [
        (HourglassNet, dict(num_stacks=9), '`num_stacks` must be 1 to 8, got 9'),
        (HourglassNet, dict(downsample_times=0), '`downsample_times` must be 1 or more'),
        (HourglassNet, dict(stage_blocks=(1, 1)), r'need one positive entry per size \(6\)'),
        (CPM, dict(), '`out_channels` or `meta` must be given'),
        (CPM, dict(out_channels=3, meta='lsp14'), 'CPM: `out_channels` must be the 14 keypoints of `meta`, got 3'),
        (CPM, dict(out_channels=3, num_stages=0), '`num_stages` must be 1 or more'),
        (MSPN, dict(num_stages=0), '`num_stages` must be 1 or more'),
        (MSPN, dict(num_units=1), '`num_units` must be 2 or more'),
        (MSPN, dict(num_blocks=(1, 1)), r'`num_blocks` needs one positive entry per unit \(4\)'),
        (MSPN, dict(init_cfg=dict(type='Normal')), '`init_cfg` must be'),
    ],
)
def test_wrong_arguments_of_backbones(cls: type, args: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cls(**args)


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (dict(type='CPMHead', num_stages=2), '`in_channels` must be given with `final_layer`'),
        (dict(type='CPMHead', num_stages=2, in_channels=8, final_layer=None), 'must have 14 channels, one per keypoint, got 8'),
        (dict(type='CPMHead', num_stages=2, in_channels=8, final_layer=dict(kernel_size=2)), 'odd number'),
        (dict(type='CPMHead', num_stages=2, in_channels=8, final_layer=dict(padding=1)), 'odd number'),
        (dict(type='CPMHead', num_stages=2, in_channels=8, out_channels=3), '`out_channels` must be the 14 keypoints'),
        (dict(type='CPMHead', num_stages=2, in_channels=8, stage_weights=(1,)), r'`stage_weights` needs .* \(2\), got 1'),
        (dict(type='MSPNHead', num_stages=2, num_units=3, loss=OHKM), r'`loss` needs one entry per set of heatmaps \(6\), got 3'),
        (dict(type='MSPNHead', num_stages=1, level_indices=(0, 1)), r'`level_indices` needs .* \(4\), got 2'),
        (
            dict(type='CPMHead', num_stages=2, in_channels=8, codec=dict(type='SimCCCodec', input_size=(64, 64))),
            r'CPMHead: `codec` must make heatmaps, .*got SimCCCodec\(',
        ),
    ],
)
def test_wrong_arguments_of_heads(args: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        HEADS.build(copy.deepcopy(args), meta='lsp14')


def test_wrong_calls() -> None:
    maps, batch = [torch.zeros(1, K, 16, 16)] * 2, samples(torch.rand(1, K, 2) * 64)
    cfg = dict(type='CPMHead', num_stages=2, final_layer=None)
    with pytest.raises(ConfigError, match='CPMHead: `codec` must be given for loss and predict'):
        HEADS.build(cfg, meta='lsp14').loss(maps, batch)
    head = HEADS.build({**cfg, 'codec': HEATMAPS}, meta='lsp14')
    with pytest.raises(ConfigError, match='needs 2 maps of the backbone or neck, got 3'):
        head([*maps, maps[0]])
    with pytest.raises(ValueError, match=r'gives maps of .* = \(1, 14, 8, 8\), the targets are \(1, 14, 16, 16\)'):
        head.loss([m[..., :8, :8] for m in maps], batch)
    with pytest.raises(ConfigError, match=r'`level_indices` must name .*; the codec has 3 levels, got None'):
        HEADS.build({**cfg, 'codec': LEVELS}, meta='lsp14').loss(maps, batch)
    mspn_head = dict(type='MSPNHead', unit_channels=4, num_stages=1, num_units=2, codec=HEATMAPS)
    with pytest.raises(ValueError, match=r'the codec has one level, got \(0, 1\)'):
        HEADS.build(mspn_head, meta='lsp14').loss([torch.zeros(1, 4, 8, 8), torch.zeros(1, 4, 16, 16)], batch)
    with pytest.raises(ConfigError, match='has 2 entries, the backbone gives 1 maps'):
        NECKS.build(dict(type='CPNGlobalNet', in_channels=(4, 8)))([torch.zeros(1, 4, 8, 8)])
    with pytest.raises(ValueError, match='needs two or more maps'):
        NECKS.build(dict(type='CPNGlobalNet', in_channels=(4,)))


@pytest.mark.parametrize('name', ['MegviiHeatmapCodec', 'HeatmapCodec'])
def test_scales_of_the_last_set_are_averaged(name: str) -> None:
    codec = LEVELS if name == 'MegviiHeatmapCodec' else HEATMAPS
    head = HEADS.build(dict(type='CPMHead', num_stages=2, final_layer=None, codec=codec), meta='lsp14')
    first, second = torch.rand(2, K, 16, 16), torch.rand(2, K, 24, 24)
    (merged,) = head.merge_scales([(torch.zeros_like(first), first), (torch.zeros_like(second), second)])
    frame = {'MegviiHeatmapCodec': 'middle', 'HeatmapCodec': 'origin'}[name]
    torch.testing.assert_close(merged, (first + resize_maps(second, (16, 16), frame=frame)) / 2)
    keypoints, scores = head.decode((merged,))
    assert (keypoints.shape, scores.shape) == ((2, K, 2), (2, K))
    assert head.input_frame == 'origin'
