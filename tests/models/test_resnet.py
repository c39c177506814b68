from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torchvision
from torch import Tensor, nn

from mmpose_lite.errors import ConfigError
from mmpose_lite.models.backbones.resnet import Bottleneck, ResNet, make_stage
from mmpose_lite.models.pretrained import load_matching
from mmpose_lite.registry import BACKBONES
from tests.parity import Reference, weights_module


def thin(depth: int = 18, **args: object) -> ResNet:
    return BACKBONES.build(dict(type='ResNet', depth=depth, stem_channels=8, base_channels=8, **args))


@pytest.mark.parametrize(('depth', 'expansion'), [(18, 1), (34, 1), (50, 4), (101, 4), (152, 4)])
def test_maps_have_the_stated_channels_and_strides(depth: int, expansion: int) -> None:
    model = thin(depth, out_indices=(0, 1, 2, 3)).eval()
    assert model.out_channels == tuple(8 * 2**i * expansion for i in range(4))
    assert model.strides == (4, 8, 16, 32)
    outs = model(torch.rand(1, 3, 65, 32))  # 65: rounded up at every halving
    assert [tuple(o.shape) for o in outs] == [
        (1, c, -(-65 // s), 32 // s) for c, s in zip(model.out_channels, model.strides, strict=True)
    ]


@pytest.mark.parametrize('depth', [18, 34, 50, 101, 152])
def test_weights_and_outputs_are_torchvisions(depth: int) -> None:
    theirs = getattr(torchvision.models, f'resnet{depth}')().eval()
    ours = ResNet(depth).eval()
    load_matching(ours, theirs.state_dict(), source='torchvision')
    x = torch.randn(1, 3, 48, 40)
    with torch.no_grad():
        y = theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(x))))
        y = theirs.layer4(theirs.layer3(theirs.layer2(theirs.layer1(y))))
        torch.testing.assert_close(ours(x)[0], y)


class FCN(nn.Module):
    """The two heads of an FCN segmentor without dropout, in the reference's names."""

    class Head(nn.Module):
        def __init__(self, channels: int, mid: int, num_convs: int, *, concat: bool) -> None:
            super().__init__()
            self.conv_seg = nn.Conv2d(mid, 19, 1)
            self.convs = nn.Sequential(*(self.conv(channels if i == 0 else mid, mid) for i in range(num_convs)))
            self.conv_cat = self.conv(channels + mid, mid) if concat else None

        @staticmethod
        def conv(c_in: int, c_out: int) -> nn.Sequential:
            layers = nn.Sequential()
            layers.add_module('conv', nn.Conv2d(c_in, c_out, 3, padding=1, bias=False))
            layers.add_module('bn', nn.BatchNorm2d(c_out))
            layers.add_module('activate', nn.ReLU())
            return layers

        def forward(self, x: Tensor) -> Tensor:
            y = self.convs(x)
            return self.conv_seg(y if self.conv_cat is None else self.conv_cat(torch.cat((x, y), dim=1)))

    def __init__(self) -> None:
        super().__init__()
        self.backbone = ResNet(
            50,
            strides=(1, 2, 1, 1),
            dilations=(1, 1, 2, 4),
            out_indices=(2, 3),
            deep_stem=True,
            contract_dilation=True,
        )
        self.decode_head = self.Head(2048, 512, 2, concat=True)
        self.auxiliary_head = self.Head(1024, 256, 1, concat=False)


def test_the_dilated_deep_stem_resnet_is_the_reference(shared: Path) -> None:
    weights, reference = weights_module(shared), Reference.load(shared, 'seg_fcn_r50_d8')
    model = weights.fill_(FCN())
    assert model.backbone.strides == (8, 8)
    reference.check_keys(model, prefixes=('backbone.',))
    with torch.no_grad():
        middle, last = model.backbone(weights.inputs(reference.input_shape))
        reference.check_output('auxiliary_head', model.auxiliary_head(middle))
        reference.check_output('decode_head', model.decode_head(last))


def test_dilation_of_the_first_block_is_halved_only_when_asked() -> None:
    def dilations(**args: bool) -> list[tuple[int, int]]:
        model = thin(50, strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4), **args)
        return [block.conv2.dilation for block in model.layer4]

    assert dilations() == [(4, 4), (4, 4), (4, 4)]
    assert dilations(contract_dilation=True) == [(2, 2), (4, 4), (4, 4)]


def test_style_moves_the_stride() -> None:
    strides = {s: [c.stride for c in (b.conv1, b.conv2)] for s in ('pytorch', 'caffe') for b in thin(50, style=s).layer2[:1]}
    assert strides == {'pytorch': [(1, 1), (2, 2)], 'caffe': [(2, 2), (1, 1)]}


def test_avg_down_pools_the_shortcut() -> None:
    model = thin(avg_down=True, out_indices=(1,)).eval()
    pool, conv, _ = model.layer2[0].downsample
    x = torch.rand(1, 8, 6, 6)
    expected = x.reshape(1, 8, 3, 2, 3, 2).mean(dim=(3, 5))
    torch.testing.assert_close(pool(x), expected)
    assert conv.stride == (1, 1)
    assert model(torch.rand(1, 3, 32, 32))[0].shape == (1, 16, 4, 4)


@pytest.mark.parametrize('frozen_stages', [-1, 0, 2, 4])
@pytest.mark.parametrize('deep_stem', [False, True])
def test_frozen_stages_hold_after_train(frozen_stages: int, deep_stem: bool) -> None:
    model = thin(frozen_stages=frozen_stages, deep_stem=deep_stem)
    assert model.train() is model
    before = {key: value.clone() for key, value in model.named_buffers() if 'running' in key}
    out = model(torch.rand(2, 3, 64, 64))[0]
    if frozen_stages < 4:
        out.sum().backward()
    stem = ('stem.',) if deep_stem else ('conv1.', 'bn1.')
    frozen = () if frozen_stages < 0 else stem + tuple(f'layer{i}.' for i in range(1, frozen_stages + 1))
    for name, parameter in model.named_parameters():
        assert (parameter.grad is None) == name.startswith(frozen), name
    for name, buffer in model.named_buffers():
        if 'running' in name:
            assert torch.equal(buffer, before[name]) == name.startswith(frozen), name


def test_norm_eval_keeps_running_statistics_and_learns_their_weights() -> None:
    model = thin(norm_eval=True).train()
    before = model.bn1.running_mean.clone()
    model(torch.rand(2, 3, 32, 32))[0].sum().backward()
    assert torch.equal(model.bn1.running_mean, before)
    assert model.bn1.weight.grad is not None
    assert model.layer4.training


@pytest.mark.parametrize('depth', [18, 50])
def test_with_cp_gives_the_same_gradients(depth: int) -> None:
    plain, recomputed = thin(depth), thin(depth, with_cp=True)
    recomputed.load_state_dict(plain.state_dict())
    x = torch.rand(2, 3, 64, 64)
    for model in (plain, recomputed):
        model.train()(x)[0].square().sum().backward()
    for a, b in zip(plain.parameters(), recomputed.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)


@pytest.mark.parametrize(
    ('norm_cfg', 'name', 'cls'),
    [
        (None, 'bn', nn.BatchNorm2d),
        (dict(type='SyncBN', momentum=0.01), 'bn', nn.SyncBatchNorm),
        (dict(type='GN', num_groups=4), 'gn', nn.GroupNorm),
        (dict(type='LN2d', eps=1e-6), 'ln', nn.LayerNorm),
        (dict(type='LN', eps=1e-6), 'ln', nn.LayerNorm),
        (dict(type='IN'), 'in', nn.InstanceNorm2d),
    ],
)
def test_norm_layers_by_config(norm_cfg: dict | None, name: str, cls: type[nn.Module]) -> None:
    model = thin(50, norm_cfg=norm_cfg)
    model.init_weights()
    assert isinstance(getattr(model, f'{name}1'), cls)
    assert isinstance(getattr(model.layer1[0], f'{name}3'), cls)
    assert model(torch.rand(2, 3, 64, 64))[0].shape == (2, 256, 2, 2)


@pytest.mark.parametrize('kind', ['LN', 'LN2d'])
def test_layer_norm_normalises_the_channels_of_each_pixel(kind: str) -> None:
    norm = thin(norm_cfg=dict(type=kind)).ln1
    y = norm(torch.randn(2, 8, 3, 5))
    torch.testing.assert_close(y.mean(dim=1), torch.zeros(2, 3, 5), atol=1e-6, rtol=0)
    torch.testing.assert_close(y.square().mean(dim=1), torch.ones(2, 3, 5), atol=1e-2, rtol=0)


def test_norm_requires_grad() -> None:
    model = thin(norm_cfg=dict(type='BN', requires_grad=False))
    assert {n for n, p in model.named_parameters() if not p.requires_grad} >= {'bn1.weight', 'layer4.1.bn2.bias'}
    assert model.conv1.weight.requires_grad


def test_initial_values() -> None:
    model = ResNet(18)
    model.init_weights()
    std = (2 / (64 * 49)) ** 0.5  # He et al. 2015 with the fan out of the 7x7
    assert model.conv1.weight.std().item() == pytest.approx(std, rel=0.05)
    assert (model.bn1.weight == 1).all()
    assert (model.layer1[0].bn1.weight == 1).all()
    assert (model.layer1[0].bn2.weight == 0).all()
    x = model.maxpool(torch.rand(1, 64, 8, 8))
    torch.testing.assert_close(model.eval().layer1(x), x)  # every block starts as its shortcut


def test_residual_need_not_start_at_zero() -> None:
    model = thin(50, zero_init_residual=False)
    model.init_weights()
    assert (model.layer1[0].bn3.weight == 1).all()


def test_pretrained_weights_are_loaded_by_init_weights(tmp_path: Path) -> None:
    source = thin(18)
    path = tmp_path / 'pose.pth'
    torch.save({'state_dict': {f'backbone.{key}': value for key, value in source.state_dict().items()}, 'meta': {}}, path)
    model = thin(18, init_cfg=dict(type='Pretrained', checkpoint=str(path), prefix='backbone.'))
    model.init_weights()
    for key, value in model.state_dict().items():
        assert torch.equal(value, source.state_dict()[key]), key


def test_weights_by_torchvisions_name(torchvision_file: Callable[..., None]) -> None:
    theirs = torchvision.models.resnet18()
    torchvision_file('resnet18-f37072fd.pth', theirs.state_dict())
    model = ResNet(18, init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet18'))
    model.init_weights()
    assert torch.equal(model.layer4[1].conv2.weight, theirs.layer4[1].conv2.weight)
    assert (model.layer1[0].bn2.weight == 1).all()  # not zeroed


def test_weights_of_another_network_are_refused() -> None:
    with pytest.raises(ValueError, match=r'tensors of somewhere have another shape, the first is .*conv'):
        load_matching(ResNet(18), torchvision.models.resnet50().state_dict(), source='somewhere')
    with pytest.raises(ValueError, match='ResNet: no key of somewhere fits; it has'):
        load_matching(ResNet(18), {'x.weight': torch.ones(1)}, source='somewhere')


def test_weights_that_cannot_be_read(tmp_path: Path) -> None:
    def load(checkpoint: str, **args: str) -> None:
        ResNet(18, init_cfg=dict(type='Pretrained', checkpoint=checkpoint, **args)).init_weights()

    with pytest.raises(ConfigError, match=r"config key `init_cfg.checkpoint`: torchvision has no weights called 'resnet81'"):
        load('torchvision://resnet81')
    with pytest.raises(ConfigError, match=r'config key `init_cfg.checkpoint`: .*nowhere\.pth does not exist'):
        load('nowhere.pth')
    torch.save({'backbone.fc.weight': torch.ones(1)}, tmp_path / 'pose.pth')
    with pytest.raises(ValueError, match=r"no name in .*pose\.pth begins with the prefix 'body\.'.*backbone\.fc\.weight"):
        load(str(tmp_path / 'pose.pth'), prefix='body.')


def test_stages_take_any_block() -> None:
    class Widened(Bottleneck):
        expansion = 2

    def block(in_channels: int, out_channels: int, **args: object) -> nn.Module:
        return Widened(in_channels, out_channels, **args)

    stage = make_stage(block, 2, 8, 16, stride=2)
    assert stage[0].conv2.weight.shape == (8, 8, 3, 3)
    assert stage(torch.rand(1, 8, 8, 8)).shape == (1, 16, 4, 4)


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (dict(depth=20), r'`depth` must be one of \[18, 34, 50, 101, 152\], got 20'),
        (dict(num_stages=5), '`num_stages` must be 1 to 4, got 5'),
        (dict(num_stages=3), 'need one entry per stage'),
        (dict(out_indices=(4,)), '`out_indices` must be stages 0 to 3'),
        (dict(out_indices=()), '`out_indices` must be stages 0 to 3'),
        (dict(frozen_stages=5), '`frozen_stages` must be -1 to 4'),
        (dict(style='tensorflow'), '`style` must be one of'),
        (dict(norm_cfg=dict(type='BatchNorm')), "`type` must be one of .*got 'BatchNorm'"),
        (dict(norm_cfg=dict(type='GN')), 'GN needs `num_groups`'),
        (dict(norm_cfg=dict(type='BN', num_groups=2)), r"BN takes .*, got \['num_groups'\]"),
        (dict(init_cfg=dict(type='Kaiming', layer='Conv2d')), r'`init_cfg` must be dict\(type="Pretrained"'),
        (dict(init_cfg=dict(type='Pretrained', checkpoint='a', map='cpu')), r"takes the keys .*, got \['map'\]"),
    ],
)
def test_wrong_arguments(args: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ResNet(**{'depth': 18, **args})
