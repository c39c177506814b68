from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torchvision
from torch import nn

from mmpose_lite.checkpoints.reading import torchvision_url
from mmpose_lite.engine.config import load_config
from mmpose_lite.models.backbones.vgg import VGG
from mmpose_lite.registry import BACKBONES, MODELS
from tests.conftest import REPO
from tests.parity import Reference
from tests.tiny_training import assert_learns, topdown


def thin(**args: object) -> dict:
    return dict(type='VGG', depth=11, base_channels=8, **args)


def test_the_config_of_vgg16bn_has_the_keys_of_the_reference(shared: Path) -> None:
    cfg = load_config(REPO / 'configs/pose/topdown/vgg16bn_coco_256x192.py')
    model = MODELS.build(cfg.model, meta=cfg.meta)
    Reference.load(shared, 'pose_vgg16bn_256x192').check_keys(model)


@pytest.mark.parametrize(('depth', 'letter'), [(11, 'A'), (13, 'B'), (16, 'D'), (19, 'E')])
@pytest.mark.parametrize('with_norm', [False, True])
def test_weights_and_outputs_are_torchvisions(
    depth: int, letter: str, with_norm: bool, torchvision_file: Callable[..., None]
) -> None:
    """Its layers of the paper's columns, an eighth as wide; its classifier is of no use here."""
    name = f'vgg{depth}_bn' if with_norm else f'vgg{depth}'
    columns = [width if width == 'M' else width // 8 for width in torchvision.models.vgg.cfgs[letter]]
    layers = torchvision.models.vgg.make_layers(columns, batch_norm=with_norm).eval()
    for key, value in layers.state_dict().items():
        if 'running' in key:
            nn.init.uniform_(value, 0.5, 1.5)
    theirs = nn.ModuleDict(dict(features=layers, classifier=nn.Linear(1, 1)))
    torchvision_file(torchvision_url(name).rpartition('/')[2], theirs.state_dict())
    init_cfg = dict(type='Pretrained', checkpoint=f'torchvision://{name}')
    ours = VGG(depth, base_channels=8, with_norm=with_norm, init_cfg=init_cfg).eval()
    ours.init_weights()
    x = torch.randn(1, 3, 64, 32)
    with torch.no_grad():
        torch.testing.assert_close(ours(x)[0], layers(x))


def test_own_weights_are_not_renamed(tmp_path: Path) -> None:
    source = BACKBONES.build(thin())
    torch.save({f'backbone.{key}': value for key, value in source.state_dict().items()}, tmp_path / 'pose.pth')
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'pose.pth'), prefix='backbone.')
    model = BACKBONES.build(thin(init_cfg=init_cfg))
    model.init_weights()
    for key, value in model.state_dict().items():
        assert torch.equal(value, source.state_dict()[key]), key


def test_maps_have_the_stated_channels_and_strides() -> None:
    model = BACKBONES.build(thin(out_indices=(0, 1, 2, 3, 4))).eval()
    assert model.out_channels == (8, 16, 32, 64, 64)
    assert model.strides == (2, 4, 8, 16, 32)
    outs = model(torch.rand(1, 3, 64, 96))
    assert [tuple(o.shape) for o in outs] == [
        (1, c, 64 // s, 96 // s) for c, s in zip(model.out_channels, model.strides, strict=True)
    ]


@pytest.mark.parametrize(('frozen_stages', 'last'), [(-1, -1), (0, -1), (1, 1), (3, 6), (5, 12)])
def test_frozen_stages_hold_after_train(frozen_stages: int, last: int) -> None:
    """VGG-11: the stages end at the layers 1, 3, 6, 9, 12."""
    model = BACKBONES.build(thin(frozen_stages=frozen_stages)).train()
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == (int(name.split('.')[1]) > last), name
    assert [layer.training for layer in model.features] == [i > last for i in range(len(model.features))]


def test_norm_eval_and_norm_layers_by_config() -> None:
    model = BACKBONES.build(thin(norm_eval=True)).train()
    before = model.features[0].bn.running_mean.clone()
    model(torch.rand(2, 3, 32, 32))
    assert torch.equal(model.features[0].bn.running_mean, before)
    grouped = BACKBONES.build(thin(norm_cfg=dict(type='GN', num_groups=4)))
    grouped.init_weights()
    assert isinstance(grouped.features[0].gn, nn.GroupNorm)


def test_initial_values() -> None:
    model = VGG(11)
    model.init_weights()
    assert model.features[2].conv.weight.std().item() == pytest.approx((2 / (128 * 9)) ** 0.5, rel=0.05)
    assert (model.features[2].conv.bias == 0).all()


def test_it_learns() -> None:
    assert_learns(topdown(thin(), head=dict(in_channels=64, deconv_out_channels=(16, 16, 16))))


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (dict(depth=12), r'`depth` must be one of \[11, 13, 16, 19\], got 12'),
        (dict(out_indices=(5,)), '`out_indices` must be stages 0 to 4'),
        (dict(frozen_stages=6), '`frozen_stages` must be -1 to 5'),
    ],
)
def test_wrong_arguments(args: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VGG(**{'depth': 11, **args})
