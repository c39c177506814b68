"""Weights are never half loaded in silence."""

from collections import OrderedDict
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from mmpose_lite.checkpoints.weights import extract_state_dict, load_state
from mmpose_lite.structures import KeypointMeta


class TinyPose(nn.Module):
    """Backbone of 7 tensors (6 without num_batches_tracked), head of 4."""

    def __init__(self, num_keypoints: int) -> None:
        super().__init__()
        self.meta = KeypointMeta.load({'keypoints': num_keypoints})
        self.data_preprocessor = nn.BatchNorm1d(1)
        self.backbone = nn.Sequential(OrderedDict(conv=nn.Conv2d(3, 4, 1), bn=nn.BatchNorm2d(4)))
        deconv, final_layer = nn.ConvTranspose2d(4, 4, 2), nn.Conv2d(4, num_keypoints, 1)
        self.head = nn.Sequential(OrderedDict(deconv=deconv, final_layer=final_layer))


def test_extract_finds_the_state_dict_and_strips_wrappers() -> None:
    weight = torch.ones(1)
    for checkpoint in (
        {'state_dict': {'a.b': weight}},
        {'model': {'module.a.b': weight}},
        {'_orig_mod.module.a._orig_mod.b': weight},
    ):
        assert extract_state_dict(checkpoint) == {'a.b': weight}
    assert extract_state_dict({'x.b': weight, 'epoch': 3}, revise_keys=[(r'^x\.', 'a.'), ('b$', 'c')]) == {'a.c': weight}


def test_extract_takes_the_averaged_weights_of_mmengine() -> None:
    """EMAHook swaps before it saves: `state_dict` is the average, `ema_state_dict` the raw weights."""
    from mmengine.hooks import EMAHook

    model = nn.Linear(1, 1, bias=False)
    hook = EMAHook(momentum=0.5)
    hook.before_run(SimpleNamespace(model=model))
    model.weight.data.fill_(7.0)
    hook.ema_model.module.weight.data.fill_(5.0)
    checkpoint = {'state_dict': model.state_dict()}
    hook.before_save_checkpoint(SimpleNamespace(), checkpoint)
    assert extract_state_dict(checkpoint)['weight'].item() == 5.0


@pytest.mark.parametrize('checkpoint', [{'epoch': 1}, {'state_dict': {}}, torch.ones(1), [1]])
def test_extract_refuses_what_holds_no_tensors(checkpoint: object) -> None:
    with pytest.raises(ValueError, match='must hold tensors by name'):
        extract_state_dict(checkpoint)


def test_extract_refuses_two_tensors_of_one_name() -> None:
    with pytest.raises(ValueError, match='two tensors of the checkpoint are called `a`'):
        extract_state_dict({'a': torch.ones(1), 'module.a': torch.ones(1)})


def test_everything_fits() -> None:
    source, model = TinyPose(5), TinyPose(5)
    nn.init.constant_(source.data_preprocessor.weight, 9.0)
    report = load_state(model, source.state_dict(), strict=True)
    assert report.line() == 'backbone 7/7, head 4/4'
    assert report.complete
    assert torch.equal(model.head.final_layer.weight, source.head.final_layer.weight)
    assert model.data_preprocessor.weight.item() == 1.0  # belongs to the config


def test_another_number_of_keypoints_keeps_the_last_layer() -> None:
    source, model = TinyPose(17), TinyPose(14)
    before = model.head.final_layer.weight.clone()
    report = load_state(model, source.state_dict())
    assert report.line() == 'backbone 7/7, head 2/4: 14 != 17 keypoints, final_layer re-initialised'
    assert torch.equal(model.head.final_layer.weight, before)
    assert torch.equal(model.head.deconv.weight, source.head.deconv.weight)
    model.meta = None
    assert (
        'head 2/4: shape [14, 4, 1, 1] != [17, 4, 1, 1], final_layer re-initialised'
        in load_state(model, source.state_dict()).line()
    )
    with pytest.raises(ValueError, match='`strict` demands'):
        load_state(model, source.state_dict(), strict=True)


def test_only_heads_speak_of_keypoints() -> None:
    """The backbone's convolution has 4 channels, by chance as many as there are keypoints."""
    state_dict = TinyPose(4).state_dict()
    state_dict['backbone.conv.weight'] = torch.ones(6, 3, 1, 1)
    line = load_state(TinyPose(4), state_dict).line()
    assert line == 'backbone 6/7: shape [4, 3, 1, 1] != [6, 3, 1, 1], conv re-initialised, head 4/4'


def test_missing_and_unexpected_are_named_and_batch_counters_are_not_counted() -> None:
    state_dict = TinyPose(5).state_dict()
    del state_dict['backbone.bn.num_batches_tracked'], state_dict['head.deconv.bias']
    state_dict['neck.weight'] = torch.ones(1)
    report = load_state(TinyPose(5), state_dict)
    assert report.missing == ('head.deconv.bias',)
    assert report.unexpected == ('neck.weight',)
    assert report.line() == 'backbone 6/6, head 3/4: 1 missing (head.deconv.bias), 1 unexpected (neck.weight)'


def test_too_little_is_an_error_and_changes_nothing() -> None:
    model = TinyPose(5)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    source = {'backbone.conv.weight': torch.zeros(4, 3, 1, 1), 'other.weight': torch.ones(1)}
    with pytest.raises(
        ValueError, match=r'only 1 of 10 .*`min_match` = 0\.5.*backbone 1/6.*head 0/4.*unexpected \(other\.weight\)'
    ):
        load_state(model, source)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert load_state(model, source, min_match=0.0).num_loaded == 1
    with pytest.raises(ValueError, match=r'`min_match` must be in \[0, 1\], got 2'):
        load_state(model, source, min_match=2)


@pytest.mark.parametrize('direction', ['without', 'with'])
def test_a_prefix_too_many_or_too_few_is_hinted_and_the_hint_works(direction: str) -> None:
    whole = TinyPose(5)
    bare, full = whole.backbone, {f'backbone.{name}': value for name, value in whole.backbone.state_dict().items()}
    model, state_dict = (bare, full) if direction == 'without' else (whole, bare.state_dict())
    with pytest.raises(ValueError, match=rf'match {direction} the prefix `backbone\.`: load_revise_keys=') as caught:
        load_state(model, state_dict)
    rules = eval(str(caught.value).rpartition('revise_keys=')[2])
    assert load_state(model, extract_state_dict(state_dict, revise_keys=rules)).num_loaded == 7


def test_another_layout_points_to_the_converter() -> None:
    old = {name.replace('head.', 'keypoint_head.'): value for name, value in TinyPose(5).state_dict().items()}
    report = load_state(TinyPose(5), old)
    assert report.parts == {'backbone': (7, 7), 'head': (0, 4)}
    assert 'the names are those of mmpose 0.x: convert the file with `python tools/convert_checkpoint.py' in report.line()
    assert '\n' not in report.line()
