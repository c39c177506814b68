import sys

import pytest
import torch

from mmpose_lite.registry import BACKBONES
from tests.tiny_training import assert_learns, topdown


def test_without_timm_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'timm', None)
    with pytest.raises(ImportError, match='pip install timm'):
        BACKBONES.build(dict(type='TimmBackbone', model_name='resnet10t'))


def test_maps_have_the_stated_channels_and_strides() -> None:
    timm = pytest.importorskip('timm')
    cfg = dict(type='TimmBackbone', model_name='resnet10t', out_indices=(2, 1), in_channels=1)
    model = BACKBONES.build(cfg).eval()
    x = torch.rand(1, 1, 64, 96)
    outs = model(x)
    assert (model.out_channels, model.strides) == ((64, 128), (4, 8))
    assert [tuple(o.shape) for o in outs] == [
        (1, c, 64 // s, 96 // s) for c, s in zip(model.out_channels, model.strides, strict=True)
    ]
    theirs = timm.create_model('resnet10t', features_only=True, in_chans=1, out_indices=(1, 2)).eval()
    theirs.load_state_dict({key.removeprefix('timm_model.'): value for key, value in model.state_dict().items()})
    for ours, reference in zip(outs, theirs(x), strict=True):
        torch.testing.assert_close(ours, reference)


def test_maps_of_a_network_that_has_channels_last() -> None:
    """A Swin gives (B, H, W, C), and is made for images of one size."""
    pytest.importorskip('timm')
    thin = dict(img_size=(64, 96), window_size=2, embed_dim=24, depths=(1, 1, 1, 1), num_heads=(1, 2, 4, 8))
    cfg = dict(type='TimmBackbone', model_name='swin_tiny_patch4_window7_224', out_indices=(0, 1, 2), model_args=thin)
    model = BACKBONES.build(cfg).eval()
    x = torch.rand(2, 3, 64, 96)
    maps = model(x)
    assert (model.out_channels, model.strides) == ((24, 48, 96), (4, 8, 16))
    assert [tuple(m.shape) for m in maps] == [(2, c, 64 // s, 96 // s) for c, s in zip(model.out_channels, model.strides)]
    torch.testing.assert_close(maps[1].permute(0, 2, 3, 1), model.timm_model(x)[1])


def test_arguments_have_one_place() -> None:
    pytest.importorskip('timm')
    with pytest.raises(ValueError, match=r"TimmBackbone: `model_args` must not have \['in_chans'\]; use the arguments"):
        BACKBONES.build(dict(type='TimmBackbone', model_name='resnet10t', model_args=dict(in_chans=1)))


def test_weights_are_fetched_by_init_weights_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    timm = pytest.importorskip('timm')
    create, asked = timm.create_model, []

    def fake(*, pretrained: bool, **args: object) -> torch.nn.Module:
        asked.append(pretrained)
        model = create(pretrained=False, **args)
        if pretrained:
            torch.nn.init.ones_(model.conv1[0].weight)
        return model

    monkeypatch.setattr(timm, 'create_model', fake)
    model = BACKBONES.build(dict(type='TimmBackbone', model_name='resnet10t', pretrained=True))
    assert asked == [False]
    model.init_weights()
    assert asked == [False, True]
    assert (model.timm_model.conv1[0].weight == 1).all()


def test_it_learns() -> None:
    pytest.importorskip('timm')
    backbone = dict(type='TimmBackbone', model_name='resnet10t', out_indices=(4,))
    assert_learns(topdown(backbone, head=dict(in_channels=512, deconv_out_channels=(16, 16, 16))))
