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
