"""OpenPose of 2017 and 2019 and Lightweight OpenPose: the same networks as the published ones, under our names."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import vgg

from mmpose_lite.checkpoints.layouts import convert_layout
from mmpose_lite.checkpoints.reading import torchvision_url
from mmpose_lite.engine.config import load_config
from mmpose_lite.models.backbones import OpenPoseVGG
from mmpose_lite.models.necks import LightweightCPM
from mmpose_lite.registry import BACKBONES, HEADS, LAYERS, MODELS
from tests.conftest import REPO
from tests.parity import Reference, weights_module

CODEC = dict(type='PAFCodec', meta='openpose18', input_size=(64, 64), heatmap_size=(8, 8), sigma=1.0, limb_width=1.0)
BOTH = ('fields', 'heatmaps')
MAPS = dict(fields=38, heatmaps=19)


def from_config(name: str) -> nn.Module:
    cfg = load_config(REPO / 'configs/pose/bottomup' / f'{name}.py')
    return MODELS.build(cfg.model, meta=cfg.meta).eval()


def head(stages: list[dict[str, Any]], **args: Any) -> nn.Module:
    return HEADS.build(dict(type='OpenPoseHead', in_channels=8, stages=stages, codec=CODEC, meta='coco17', **args))


# ----------------------------------------------------------------------------------------------------------------------- 2017
def test_openpose_of_2017_is_the_published_network(shared: Path) -> None:
    reference, weights = Reference.load(shared, 'pose_openpose_vgg19'), weights_module(shared)
    theirs = {name: weights.tensor_for(name, shape) for name, shape in reference.keys.items()}
    conversion = convert_layout(theirs)
    assert conversion.layout == 'OpenPose in PyTorch'
    assert conversion.renamed.keys() == theirs.keys()

    model = from_config('openpose_vgg19_coco_368x368')
    model.load_state_dict(conversion.state_dict)
    with torch.no_grad():
        maps = model(weights.inputs(reference.input_shape))
    assert len(maps.fields) == len(maps.heatmaps) == 6
    for stage in (1, 2, 6):
        reference.check_output(f'stage{stage}.paf', maps.fields[stage - 1])
        reference.check_output(f'stage{stage}.heatmap', maps.heatmaps[stage - 1])


def test_the_trunk_is_vgg19_of_torchvision(torchvision_file: Callable[..., None]) -> None:
    theirs = vgg.make_layers(vgg.cfgs['E'])  # VGG-19 without the classifier's 120 million weights
    content = {f'features.{name}': value for name, value in theirs.state_dict().items()}
    torchvision_file(torchvision_url('vgg19').rpartition('/')[2], content)
    ours = OpenPoseVGG(init_cfg=dict(type='Pretrained', checkpoint='torchvision://vgg19')).eval()
    ours.init_weights()
    x = torch.randn(1, 3, 64, 32)
    with torch.no_grad():
        torch.testing.assert_close(ours.features(x), theirs[:23](x))  # conv4_2 is the tenth convolution
        (out,) = ours(x)
    assert out.shape == (1, 128, 8, 4)
    assert (ours.out_channels, ours.strides) == ((128,), (8,))


@pytest.mark.parametrize('frozen_stages', [-1, 0, 1, 3])
def test_frozen_stages_of_the_trunk(frozen_stages: int) -> None:
    model = OpenPoseVGG(depth=11, base_channels=8, frozen_stages=frozen_stages).train()
    last = (-1, 1, 3, 6)[max(frozen_stages, 0)]  # the stages of VGG-11 end at these layers
    for name, parameter in model.named_parameters():
        frozen = name.startswith('features') and int(name.split('.')[1]) <= last
        assert parameter.requires_grad != frozen, name


def test_prelu_stands_where_the_authors_have_it() -> None:
    """Behind conv4_2, conv4_3_CPM and conv4_4_CPM."""
    model = OpenPoseVGG(depth=19, base_channels=8, act='prelu')
    slopes = [name for name, module in model.named_modules() if isinstance(module, nn.PReLU)]
    assert slopes == ['features.12.activate', 'cpm.0.activate', 'cpm.1.activate']


def test_learning_rates_of_2017_are_the_published_ones(tmp_path: Path) -> None:
    """Four times as fast from the second stage on, biases twice as fast and without decay."""
    from mmengine.optim import build_optim_wrapper

    cfg = load_config(REPO / 'configs/pose/bottomup/openpose_vgg19_coco_368x368.py')
    model = MODELS.build(cfg.model, meta=cfg.meta)
    groups = build_optim_wrapper(model, cfg.optim_wrapper).optimizer.param_groups
    found = {id(group['params'][0]): (group['lr'] / 4e-5, group['weight_decay'] / 5e-4) for group in groups}
    for name, parameter in model.named_parameters():
        factor = 4 if name.startswith('head.stages') and not name.startswith('head.stages.0.') else 1
        expected = (2 * factor, 0) if name.endswith('bias') else (factor, 1)
        assert found[id(parameter)] == pytest.approx(expected), name


# ----------------------------------------------------------------------------------------------------------------------- 2019
def test_openpose_of_2019_makes_fields_first() -> None:
    model = from_config('openpose2019_vgg19_coco_368x368')
    seen = []
    for stage in model.head.stages:
        stage.register_forward_pre_hook(lambda _, args: seen.append(args[0].shape[1]))
    with torch.no_grad():
        maps = model(torch.zeros(1, 3, 64, 96))
    assert [tuple(m.shape) for m in maps.fields] == [(1, 38, 8, 12)] * 4
    assert [tuple(m.shape) for m in maps.heatmaps] == [(1, 19, 8, 12)] * 2
    # Features; and fields; and, from the second stage of heatmaps on, heatmaps.
    assert seen == [128, 166, 166, 166, 166, 185]
    widths = [[block.convs[0].conv.out_channels for block in getattr(s, s.maps[0])[:5]] for s in model.head.stages]
    assert widths == [[96] * 5, *[[128] * 5] * 3, [96] * 5, [128] * 5]


def test_a_dense_block_puts_its_three_convolutions_side_by_side() -> None:
    stage = LAYERS.build(dict(type='OpenPoseDenseStage', in_channels=4, out_channels=dict(fields=2), num_blocks=1, channels=3))
    block = stage.fields[0]
    x = torch.randn(2, 4, 5, 6)
    first = block.convs[0](x)
    second = block.convs[1](first)
    third = block.convs[2](second)
    torch.testing.assert_close(block(x), torch.cat((first, second, third), dim=1))


# ---------------------------------------------------------------------------------------------------------------- lightweight
def lightweight_weights(backbone: bool = True) -> dict[str, Tensor]:
    """Return random weights under the names of the published code, values near those of a network that keeps its scale."""
    tensors: dict[str, Tensor] = {}

    def conv(name: str, c_in: int, c_out: int, size: int = 3, groups: int = 1, bias: bool = True) -> None:
        fan_in = c_in // groups * size**2
        tensors[f'{name}.weight'] = torch.randn(c_out, c_in // groups, size, size) * (2 / fan_in) ** 0.5
        if bias:
            tensors[f'{name}.bias'] = torch.randn(c_out) * 0.1

    def norm(name: str, channels: int) -> None:
        tensors[f'{name}.weight'], tensors[f'{name}.bias'] = torch.rand(channels) + 0.5, torch.randn(channels) * 0.1
        tensors[f'{name}.running_mean'], tensors[f'{name}.running_var'] = torch.randn(channels) * 0.1, torch.rand(channels) + 0.5
        tensors[f'{name}.num_batches_tracked'] = torch.tensor(7)

    conv('model.0.0', 3, 32, bias=False)
    norm('model.0.1', 32)
    channels = 32
    for block, c_out in enumerate((64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512), start=1):
        conv(f'model.{block}.0', channels, channels, groups=channels, bias=False)
        norm(f'model.{block}.1', channels)
        conv(f'model.{block}.3', channels, c_out, 1, bias=False)
        norm(f'model.{block}.4', c_out)
        channels = c_out
    if not backbone:
        return tensors
    conv('cpm.align.0', 512, 128, 1)
    for i in range(3):
        conv(f'cpm.trunk.{i}.0', 128, 128, groups=128, bias=False)
        conv(f'cpm.trunk.{i}.2', 128, 128, 1, bias=False)
    conv('cpm.conv.0', 128, 128)
    for i in range(3):
        conv(f'initial_stage.trunk.{i}.0', 128, 128)
    for i in range(5):
        start = f'refinement_stages.0.trunk.{i}'
        conv(f'{start}.initial.0', 185 if i == 0 else 128, 128, 1)
        for j in range(2):
            conv(f'{start}.trunk.{j}.0', 128, 128)
            norm(f'{start}.trunk.{j}.1', 128)
    for stage, hidden in (('initial_stage', 512), ('refinement_stages.0', 128)):
        for maps, c_out in (('heatmaps', 19), ('pafs', 38)):
            conv(f'{stage}.{maps}.0.0', 128, hidden, 1)
            conv(f'{stage}.{maps}.1.0', hidden, c_out, 1)
    return tensors


def lightweight_maps(weights: dict[str, Tensor], x: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Return (heatmaps, fields) of both stages, computed from weights under the published names."""

    def conv(x: Tensor, name: str, *, stride: int = 1, dilation: int = 1) -> Tensor:
        weight = weights[f'{name}.weight']
        padding, groups = dilation * (weight.shape[-1] // 2), x.shape[1] // weight.shape[1]
        return functional.conv2d(x, weight, weights.get(f'{name}.bias'), stride, padding, dilation, groups)

    def norm(x: Tensor, name: str) -> Tensor:
        mean, var, weight, bias = (weights[f'{name}.{leaf}'] for leaf in ('running_mean', 'running_var', 'weight', 'bias'))
        return functional.batch_norm(x, mean, var, weight, bias).relu()

    def branches(x: Tensor, stage: str) -> tuple[Tensor, Tensor]:
        heatmaps, fields = (conv(conv(x, f'{stage}.{m}.0.0').relu(), f'{stage}.{m}.1.0') for m in ('heatmaps', 'pafs'))
        return heatmaps, fields

    x = norm(conv(x, 'model.0.0', stride=2), 'model.0.1')
    for block in range(1, 12):
        x = norm(
            conv(x, f'model.{block}.0', stride=2 if block in (2, 4) else 1, dilation=2 if block == 7 else 1), f'model.{block}.1'
        )
        x = norm(conv(x, f'model.{block}.3'), f'model.{block}.4')
    x = conv(x, 'cpm.align.0').relu()
    trunk = x
    for i in range(3):
        trunk = functional.elu(conv(functional.elu(conv(trunk, f'cpm.trunk.{i}.0')), f'cpm.trunk.{i}.2'))
    features = x = conv(x + trunk, 'cpm.conv.0').relu()
    for i in range(3):
        x = conv(x, f'initial_stage.trunk.{i}.0').relu()
    heatmaps, fields = branches(x, 'initial_stage')
    x = torch.cat((features, heatmaps, fields), dim=1)
    for i in range(5):
        start = f'refinement_stages.0.trunk.{i}'
        x = conv(x, f'{start}.initial.0').relu()
        y = norm(conv(x, f'{start}.trunk.0.0'), f'{start}.trunk.0.1')
        x = x + norm(conv(y, f'{start}.trunk.1.0', dilation=2), f'{start}.trunk.1.1')
    return [(heatmaps, fields), branches(x, 'refinement_stages.0')]


def test_lightweight_openpose_is_the_published_network() -> None:
    weights = lightweight_weights()
    conversion = convert_layout(weights)
    assert conversion.layout == 'Lightweight OpenPose, or its MobileNet'
    assert conversion.renamed.keys() == weights.keys()
    model = from_config('lightweight_openpose_mobilenet_coco_368x368')
    model.load_state_dict(conversion.state_dict)
    x = torch.randn(1, 3, 64, 72)
    with torch.no_grad():
        maps = model(x)
        for stage, (heatmaps, fields) in enumerate(lightweight_maps(weights, x)):
            torch.testing.assert_close(maps.heatmaps[stage], heatmaps, rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(maps.fields[stage], fields, rtol=1e-4, atol=1e-4)


def test_its_mobilenet_loads_by_init_cfg(tmp_path: Path) -> None:
    """The ImageNet file has the same names, behind `module.`, and a classifier."""
    weights = lightweight_weights(backbone=False)
    content = {f'module.{name}': value for name, value in weights.items()} | {'module.fc.weight': torch.zeros(2, 512)}
    torch.save({'state_dict': content}, tmp_path / 'mobilenet.pth.tar')
    cfg = load_config(REPO / 'configs/pose/bottomup/lightweight_openpose_mobilenet_coco_368x368.py').model.backbone
    backbone = BACKBONES.build({**cfg, 'init_cfg': dict(type='Pretrained', checkpoint=str(tmp_path / 'mobilenet.pth.tar'))})
    backbone.init_weights()
    ours = backbone.state_dict()
    assert len(ours) == len(weights)
    assert torch.equal(ours['blocks.10.pointwise.conv.weight'], weights['model.11.3.weight'])
    assert torch.equal(ours['conv1.bn.running_var'], weights['model.0.1.running_var'])


# --------------------------------------------------------------------------------------------------------------------- stages
def test_stages_read_the_latest_fields_heatmaps_and_features() -> None:
    stage = dict(type='OpenPoseStage', maps=BOTH, kernel_size=1, num_convs=1, channels=4, last_channels=4)
    model = head([stage, dict(stage, maps=('heatmaps',)), stage])
    seen = []
    for module in model.stages:
        module.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    x = torch.randn(1, 8, 8, 8)
    maps = model((torch.zeros(1, 3, 16, 16), x))
    assert torch.equal(seen[0], x)
    assert torch.equal(seen[1], torch.cat((maps.fields[0], maps.heatmaps[0], x), dim=1))
    assert torch.equal(seen[2], torch.cat((maps.fields[0], maps.heatmaps[1], x), dim=1))
    assert (len(maps.fields), len(maps.heatmaps)) == (2, 3)


STAGES = [
    dict(type='OpenPoseStage', kernel_size=3, num_convs=2, channels=6, last_channels=7),
    dict(type='OpenPoseDenseStage', num_blocks=2, channels=4, last_channels=6),
    dict(type='LightweightInitialStage', channels=6, last_channels=7),
    dict(type='LightweightRefinementStage', num_blocks=2, channels=6),
]


@pytest.mark.parametrize('cfg', STAGES, ids=lambda cfg: cfg['type'])
def test_a_stage_gives_the_maps_it_is_asked_for(cfg: dict[str, Any]) -> None:
    for wanted in (BOTH, ('fields',), ('heatmaps',)):
        stage = LAYERS.build(cfg, in_channels=5, out_channels={maps: MAPS[maps] for maps in wanted})
        stage.init_weights()
        made = stage(torch.randn(2, 5, 7, 9))
        assert {maps: tuple(value.shape) for maps, value in made.items()} == {maps: (2, MAPS[maps], 7, 9) for maps in wanted}
        sum(value.square().sum() for value in made.values()).backward()
        assert all(parameter.grad is not None for parameter in stage.parameters())


def test_initial_values() -> None:
    def weights(kind: str, **args: Any) -> nn.Module:
        stage = LAYERS.build(dict(type=kind, in_channels=64, out_channels=MAPS, **args))
        stage.init_weights()
        return stage

    plain = weights('OpenPoseStage')
    assert plain.fields[1].conv.weight.std().item() == pytest.approx(0.01, rel=0.02)
    dense = weights('OpenPoseDenseStage')
    assert dense.fields[1].convs[0].conv.weight.std().item() == pytest.approx((1 / (384 * 9)) ** 0.5, rel=0.02)
    light = weights('LightweightInitialStage')
    assert light.trunk[0].conv.weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.02)
    assert light.fields[-1].conv.weight.std().item() == pytest.approx(0.001, rel=0.02)
    neck = LightweightCPM(64)
    neck.init_weights()
    assert neck.trunk[0][0].conv.weight.std().item() == pytest.approx((2 / 9) ** 0.5, rel=0.1)
    trunk = OpenPoseVGG(base_channels=16)
    trunk.init_weights()
    assert trunk.cpm[0].conv.weight.std().item() == pytest.approx((1 / (128 * 9)) ** 0.5, rel=0.02)
    for module in (plain, dense, light, neck, trunk):
        assert all((value == 0).all() for name, value in module.named_parameters() if name.endswith('bias'))


# --------------------------------------------------------------------------------------------------------------------- errors
@pytest.mark.parametrize(
    ('maps', 'message'),
    [
        ('fields', r"`maps` of stage 0 must be a selection of \('fields', 'heatmaps'\), got 'fields'"),
        (None, '`maps` of stage 0 must be'),
        (('pafs',), '`maps` of stage 0 must be'),
        (('fields',), r"OpenPoseHead: `stages` must make fields and heatmaps, got \[\('fields',\)\]"),
    ],
)
def test_stages_that_make_too_little(maps: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        head([dict(type='OpenPoseStage', maps=maps)])


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match=r'`stage_weights` needs one entry per stage \(1\), got \(1, 2\)'):
        head([dict(type='OpenPoseStage', maps=BOTH)], stage_weights=(1, 2))
    with pytest.raises(ValueError, match='`cpm_channels` needs one or more entries'):
        OpenPoseVGG(cpm_channels=())
    with pytest.raises(ValueError, match='OpenPoseVGG: `frozen_stages` must be -1 to 3, got 4'):
        OpenPoseVGG(frozen_stages=4)
    for kind, argument in (
        ('OpenPoseStage', 'num_convs'),
        ('OpenPoseDenseStage', 'num_blocks'),
        ('LightweightRefinementStage', 'num_blocks'),
    ):
        with pytest.raises(ValueError, match=f'{kind}: `{argument}` must be 1 or more, got 0'):
            LAYERS.build(dict(type=kind, in_channels=4, out_channels=MAPS, **{argument: 0}))
