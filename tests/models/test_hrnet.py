from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

from mmpose_lite.engine.config import load_config
from mmpose_lite.models.backbones.hrnet import HRModule, HRNet
from mmpose_lite.models.backbones.resnet import BasicBlock
from mmpose_lite.registry import BACKBONES, MODELS
from tests.conftest import REPO
from tests.parity import Reference, weights_module
from tests.tiny_training import assert_learns, topdown


def extra(channels: int, *, blocks: int = 4, modules: tuple[int, int, int] = (1, 4, 3), stem: int = 64) -> dict:
    stages = dict(
        stage1=dict(num_modules=1, num_branches=1, block='BOTTLENECK', num_blocks=(blocks,), num_channels=(stem,)),
    )
    for number, num_modules in zip((2, 3, 4), modules, strict=True):
        stages[f'stage{number}'] = dict(
            num_modules=num_modules,
            num_branches=number,
            block='BASIC',
            num_blocks=(blocks,) * number,
            num_channels=tuple(channels * 2**i for i in range(number)),
        )
    return stages


def thin(**args: object) -> dict:
    return dict(type='HRNet', extra=extra(4, blocks=1, modules=(1, 1, 2), stem=8), **args)


class Part(nn.Module):
    """A backbone alone, under the name it has in a whole network."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone


def test_the_config_of_w32_is_the_reference(shared: Path) -> None:
    weights, reference = weights_module(shared), Reference.load(shared, 'pose_hrnet_w32_256x192')
    cfg = load_config(REPO / 'configs/pose/topdown/hrnet_w32_coco_256x192.py')
    model = weights.fill_(MODELS.build(cfg.model, meta=cfg.meta))
    reference.check_keys(model)
    with torch.no_grad():
        reference.check_output('head', model(weights.inputs(reference.input_shape)))


@pytest.mark.parametrize(
    ('name', 'channels'), [('det_faster_rcnn_hrnetv2p_w32', 32), ('seg_hrnet_w18_fcn', 18), ('pose_ae_hrnet_w32_512', 32)]
)
def test_keys_of_other_networks_on_it(shared: Path, name: str, channels: int) -> None:
    backbone = HRNet(extra(channels), multiscale_output='ae' not in name)
    Reference.load(shared, name).check_keys(Part(backbone), prefixes=('backbone.',))


@pytest.mark.parametrize('name', ['hrnet_w48_coco_256x192', 'hrnet_w32_coco_384x288', 'hrnet_w48_coco_384x288'])
def test_configs_of_other_widths_and_sizes(name: str) -> None:
    cfg = load_config(REPO / f'configs/pose/topdown/{name}.py')
    width = int(name[7:9])
    assert cfg.model.backbone.extra.to_dict() == extra(width)
    assert cfg.model.head.in_channels == width
    w, h = cfg.codec.input_size
    assert tuple(cfg.codec.heatmap_size) == (w // 4, h // 4)
    assert tuple(cfg.train_pipeline[-2].input_size) == (w, h)


@pytest.mark.parametrize('size', [(64, 96), (60, 45)])
@pytest.mark.parametrize('upsample_mode', ['nearest', 'bilinear'])
@pytest.mark.parametrize('multiscale_output', [False, True])
def test_maps_have_the_stated_channels_and_strides(size: tuple[int, int], upsample_mode: str, multiscale_output: bool) -> None:
    model = BACKBONES.build(thin(multiscale_output=multiscale_output, upsample_mode=upsample_mode)).eval()
    outs = model(torch.rand(1, 3, *size))
    assert model.out_channels == ((4, 8, 16, 32) if multiscale_output else (4,))
    assert model.strides == ((4, 8, 16, 32) if multiscale_output else (4,))
    expected = [(1, c, -(-size[0] // s), -(-size[1] // s)) for c, s in zip(model.out_channels, model.strides, strict=True)]
    assert [tuple(out.shape) for out in outs] == expected


@pytest.mark.parametrize('mode', ['nearest', 'bilinear'])
def test_fusion_adds_every_branch_to_every_output(mode: str) -> None:
    module = HRModule(BasicBlock, (1, 1, 1), (2, 3, 4), num_outputs=3, upsample_mode=mode).eval()
    maps = [torch.randn(1, c, 8 // 2**i, 8 // 2**i) for i, c in enumerate((2, 3, 4))]
    outs = module(maps)
    xs = [branch(x) for branch, x in zip(module.branches, maps, strict=True)]
    args = {} if mode == 'nearest' else dict(align_corners=False)
    for i, paths in enumerate(module.fuse_layers):
        total = torch.zeros_like(xs[i])
        for j, path in enumerate(paths):
            y = xs[i] if j == i else path(xs[j])
            total += functional.interpolate(y, scale_factor=2 ** (j - i), mode=mode, **args) if j > i else y
        torch.testing.assert_close(outs[i], total.clamp(min=0))


def test_odd_maps_are_fused_as_in_mmseg() -> None:
    """A coarse map is doubled first, and brought to an odd size then, which is not the same as in one step."""
    module = HRModule(BasicBlock, (1, 1), (2, 3), num_outputs=1, upsample_mode='bilinear').eval()
    maps = [torch.randn(1, 2, 9, 7), torch.randn(1, 3, 5, 4)]
    fine, coarse = (branch(x) for branch, x in zip(module.branches, maps, strict=True))
    doubled = nn.Upsample(scale_factor=2, mode='bilinear', align_corners=False)(module.fuse_layers[0][1](coarse))
    fitted = functional.interpolate(doubled, size=(9, 7), mode='bilinear', align_corners=False)
    torch.testing.assert_close(module(maps)[0], (fine + fitted).clamp(min=0))


def test_the_finest_map_does_not_depend_on_what_else_is_returned() -> None:
    one, four = BACKBONES.build(thin()).eval(), BACKBONES.build(thin(multiscale_output=True)).eval()
    one.load_state_dict({key: value for key, value in four.state_dict().items() if key in one.state_dict()})
    x = torch.rand(1, 3, 64, 64)
    torch.testing.assert_close(one(x)[0], four(x)[0])


@pytest.mark.parametrize('frozen_stages', [-1, 0, 1, 3, 4])
def test_frozen_stages_hold_after_train(frozen_stages: int) -> None:
    model = BACKBONES.build(thin(frozen_stages=frozen_stages))
    assert model.train() is model
    before = {key: value.clone() for key, value in model.named_buffers() if 'running' in key}
    out = model(torch.rand(2, 3, 64, 64))[0]
    if frozen_stages < 4:
        out.sum().backward()
    names = {0: ('conv', 'bn'), 1: ('layer1.', 'transition1.'), 2: ('stage2.', 'transition2.'), 3: ('stage3.', 'transition3.')}
    names[4] = ('stage4.',)
    frozen = tuple(name for number, parts in names.items() if number <= frozen_stages for name in parts)
    for name, parameter in model.named_parameters():
        assert (parameter.grad is None) == name.startswith(frozen), name
    for name, buffer in model.named_buffers():
        if 'running' in name:
            assert torch.equal(buffer, before[name]) == name.startswith(frozen), name


def test_norm_eval_keeps_running_statistics() -> None:
    model = BACKBONES.build(thin(norm_eval=True)).train()
    before = model.stage4[0].branches[0][0].bn1.running_mean.clone()
    model(torch.rand(2, 3, 32, 32))
    assert torch.equal(model.stage4[0].branches[0][0].bn1.running_mean, before)
    assert model.stage4[0].training


def test_with_cp_gives_the_same_gradients() -> None:
    plain, recomputed = BACKBONES.build(thin()), BACKBONES.build(thin(with_cp=True))
    recomputed.load_state_dict(plain.state_dict())
    x = torch.rand(2, 3, 64, 64)
    for model in (plain, recomputed):
        model.train()(x)[0].square().sum().backward()
    for a, b in zip(plain.parameters(), recomputed.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)


def test_initial_values() -> None:
    model = HRNet(extra(16, blocks=1, modules=(1, 1, 1)))
    model.init_weights()
    assert model.conv2.weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.05)
    assert (model.layer1[0].bn3.weight == 1).all()
    zero = HRNet(extra(16, blocks=1, modules=(1, 1, 1)), zero_init_residual=True)
    zero.init_weights()
    assert (zero.layer1[0].bn3.weight == 0).all()
    assert (zero.stage2[0].branches[1][0].bn2.weight == 0).all()


def test_pretrained_weights_of_the_classifier_are_loaded(tmp_path: Path) -> None:
    source = BACKBONES.build(thin(multiscale_output=True))
    torch.save({**source.state_dict(), 'classifier.weight': torch.zeros(10, 4)}, tmp_path / 'imagenet.pth')
    model = BACKBONES.build(thin(init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'imagenet.pth'))))
    model.init_weights()
    for key, value in model.state_dict().items():
        assert torch.equal(value, source.state_dict()[key]), key


@pytest.mark.parametrize('norm_cfg', [dict(type='GN', num_groups=2), dict(type='SyncBN'), dict(type='LN2d')])
def test_norm_layers_by_config(norm_cfg: dict) -> None:
    model = BACKBONES.build(thin(norm_cfg=norm_cfg))
    model.init_weights()
    assert model(torch.rand(2, 3, 64, 64))[0].shape == (2, 4, 16, 16)


def test_it_learns() -> None:
    assert_learns(topdown(thin(), head=dict(in_channels=4, deconv_out_channels=None)), lr=1e-2)


def changed(stage: str, **args: object) -> dict:
    stages = extra(4)
    return dict(extra={**stages, stage: {**stages[stage], **args}})


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (dict(extra={}), '`extra` must have the keys stage1 to stage4'),
        (dict(extra={**extra(4), 'upsample': dict(mode='bilinear')}), 'set `upsample_mode` of HRNet itself'),
        (changed('stage4', multiscale_output=True), 'set `multiscale_output` and `upsample_mode` of HRNet itself'),
        (changed('stage2', block='BOTTLE'), r"`extra\.stage2\.block` must be one of .*, got 'BOTTLE'"),
        (changed('stage3', num_blocks=(4, 4)), r'`extra\.stage3` must have 3 branches and one entry per branch'),
        (changed('stage3', num_branches=2), r'`extra\.stage3` must have 3 branches'),
        (changed('stage1', num_modules=2), r'`extra\.stage1\.num_modules` must be 1, got 2'),
        (dict(upsample_mode='bicubic'), '`upsample_mode` must be one of'),
        (dict(frozen_stages=5), '`frozen_stages` must be -1 to 4, got 5'),
    ],
)
def test_wrong_arguments(args: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        HRNet(**{'extra': extra(4), **args})
