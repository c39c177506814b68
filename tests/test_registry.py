"""Look-ups by name, arguments handed down, and mistakes in a config named with their place and the nearest name."""

import pickle
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import mmengine.registry
import numpy as np
import pytest
from torch import nn

from mmpose_lite import registry
from mmpose_lite.registry import (
    BACKBONES,
    DATASETS,
    HEADS,
    HOOKS,
    LOSSES,
    METRICS,
    MODELS,
    TRANSFORMS,
    ArgumentError,
    PathError,
    Registry,
    UnknownTypeError,
)

MODEL = dict(
    type='TopdownPoseEstimator',
    meta=dict(keypoints=3),
    backbone=dict(type='ResNet', depth=18, stem_channels=8, base_channels=8),
    head=dict(type='HeatmapHead', in_channels=64, deconv_out_channels=None, loss=dict(type='KeypointMSELoss')),
)


class Box:
    """A part with parts: what configs nest."""

    def __init__(self, size: int, *, inner: object = None, color: str = 'red') -> None:
        self.size = size
        self.inner = BOXES.build(inner) if isinstance(inner, Mapping) else inner
        self.color = color


BOXES = Registry('box')
BOXES.register_module(module=Box)


@BOXES.register_module()
class Shelf:
    def __init__(self, boxes: list[dict]) -> None:
        self.boxes = [BOXES.build(box) for box in boxes]


@BOXES.register_module()
class Bag:
    """Takes anything, as wrappers do."""

    def __init__(self, **things: object) -> None:
        self.things = things


def with_(cfg: dict, path: str, value: object) -> dict:
    """Return a copy of a nested config with another value at a dotted path."""
    key, _, rest = path.partition('.')
    return {**cfg, key: with_(cfg[key], rest, value) if rest else value}


def test_builds_the_config_that_a_user_writes() -> None:
    model = MODELS.build(MODEL)
    assert type(model).__name__ == 'TopdownPoseEstimator'
    assert isinstance(model.head.loss_module, LOSSES.find('KeypointMSELoss'))
    assert model.head.out_channels == 3
    assert MODEL['head']['loss'] == dict(type='KeypointMSELoss')  # building leaves the config as it was


@pytest.mark.parametrize('which', ['Box', 'mmpose_lite.Box', Box, f'{__name__}.Box'])
def test_a_type_is_a_name_or_a_class(which: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__) or type(sys)(__name__))
    monkeypatch.setattr(sys.modules[__name__], 'Box', Box, raising=False)
    built = BOXES.build(dict(type=which, size=2, _scope_='mmpose_lite'))
    assert isinstance(built, Box)
    assert (built.size, built.color) == (2, 'red')


def test_defaults_reach_only_who_takes_them_and_never_win() -> None:
    assert BOXES.build(dict(type='Box', size=1), color='blue', weight=3).color == 'blue'
    assert BOXES.build(dict(type='Box', size=1, color='green'), color='blue').color == 'green'
    assert BOXES.build(dict(type='Bag', a=1), color='blue').things == {'a': 1}


def test_every_kind_knows_its_parts() -> None:
    named = {
        'model': 'TopdownPoseEstimator',
        'preprocessor': 'PoseDataPreprocessor',
        'backbone': 'ResNet',
        'head': 'HeatmapHead',
        'loss': 'KeypointMSELoss',
        'codec': 'HeatmapCodec',
        'transform': 'TopdownAffine',
        'dataset': 'CocoKeypointDataset',
        'data sampler': 'InfiniteSampler',
        'metric': 'CocoMetric',
    }
    for kind in registry.ALL:
        if kind.name in named:
            assert kind.find(named[kind.name]).__name__ == named[kind.name]
            assert named[kind.name] in kind.names()
    assert set(named) <= {kind.name for kind in registry.ALL}
    assert len({kind.name for kind in registry.ALL}) == len(registry.ALL)


def test_a_config_may_name_mmengines_parts_and_ours_come_first() -> None:
    assert HOOKS.find('EMAHook') is mmengine.registry.HOOKS.get('EMAHook')
    assert 'EMAHook' in HOOKS.names()
    assert DATASETS.find('ConcatDataset').__module__.startswith('mmpose_lite.')
    with pytest.raises(UnknownTypeError, match='no backbone is called `Linear`'):
        BACKBONES.find('Linear')  # stands alone


def test_importing_the_registry_registers_nothing() -> None:
    code = 'import sys, mmpose_lite.registry as r; print(len(r.BACKBONES.module_dict), "mmpose_lite.models" in sys.modules)'
    out = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1])
    assert out.stdout.split() == ['0', 'False']


def test_an_unknown_type_names_the_kind_near_names_and_the_places_looked_at() -> None:
    with pytest.raises(UnknownTypeError, match=r'no backbone is called `Resnet`; nearest names: `ResNet`') as caught:
        BACKBONES.build(dict(type='Resnet', depth=18))
    assert isinstance(caught.value, KeyError)
    assert 'Looked in mmpose_lite.models.backbones; a class of your own is found once `custom_imports`' in str(caught.value)
    with pytest.raises(UnknownTypeError, match=r"Looked in mmpose_lite\.evaluation and mmengine's own"):
        METRICS.build(dict(type='Nonsense'))
    with pytest.raises(UnknownTypeError, match=r'known names: Bag, Box, Shelf, Typed\. Looked in the registry'):
        BOXES.build(dict(type='Xyzzy'))


def test_a_name_of_another_kind_is_recognised() -> None:
    BACKBONES.find('ResNet')  # imports the backbones
    with pytest.raises(UnknownTypeError, match='`ResNet` is registered as a backbone'):
        HEADS.build(dict(type='ResNet', depth=18))


@pytest.mark.parametrize('name', ['torch.nn.NoSuchClass', 'no_such_package.Class'])
def test_an_unknown_dotted_path_is_an_unknown_type(name: str) -> None:
    with pytest.raises(UnknownTypeError, match=f'no backbone is called `{name}`'):
        BACKBONES.build(dict(type=name))


def test_a_dotted_path_names_any_importable_class() -> None:
    assert BACKBONES.find('torch.nn.Identity') is nn.Identity


@pytest.mark.parametrize(
    ('path', 'value', 'message'),
    [
        (
            'head.loss',
            dict(type='KeypointMSELos'),
            'config key `head.loss`: no loss is called `KeypointMSELos`; nearest names: `Key',
        ),
        (
            'head.loss',
            dict(type='KeypointMSELoss', loss_wieght=1),
            'config key `head.loss`: KeypointMSELoss has no argument `loss_wieght`; did you mean `loss_weight`?',
        ),
        ('head.in_chanels', 4, 'config key `head`: HeatmapHead has no argument `in_chanels`; did you mean `in_channels`'),
        ('backbone', dict(type='ResNet'), 'config key `backbone`: ResNet needs the argument `depth`, which is not given'),
        ('backbone', dict(depth=18), r"config key `backbone`: a backbone config needs the key `type`, got the keys \['depth'\]"),
        ('bakbone', None, '^"?TopdownPoseEstimator has no argument `bakbone`; did you mean `backbone`'),
    ],
)
def test_a_mistake_is_named_with_its_path(path: str, value: object, message: str) -> None:
    with pytest.raises(PathError, match=message):
        MODELS.build(with_(MODEL, path, value))


def test_paths_through_lists_and_from_the_outermost_key() -> None:
    inner = dict(type='Box', size=1, inner=dict(type='Shelf', boxes=[dict(type='Box', size=1), dict(type='Box', sise=2)]))
    with pytest.raises(
        ArgumentError, match=r'^config key `inner\.boxes\[1\]`: Box has no argument `sise`; did you mean `size`\?$'
    ):
        BOXES.build(inner)
    with pytest.raises(ArgumentError, match='Bag') as caught:
        raise ArgumentError('Bag is closed.', inner)
    assert str(caught.value) == 'Bag is closed.'
    for key in ('[0]', 'steps', 'dataset'):
        caught.value.prepend(key, inner)
    assert str(caught.value) == 'config key `dataset.steps[0]`: Bag is closed.'
    assert isinstance(caught.value, TypeError)


def test_a_transform_is_named_by_its_place_in_the_pipeline(tmp_path: Path) -> None:
    (tmp_path / 'a.json').write_text('{}')
    pipeline = [dict(type='LoadImage'), dict(type='RandomFlip', probability=1)]
    cfg = dict(type='CocoKeypointDataset', ann_file=str(tmp_path / 'a.json'), pipeline=pipeline)
    with pytest.raises(
        ArgumentError, match=r'config key `pipeline\[1\]`: RandomFlip has no argument `probability`; it takes: prob'
    ):
        DATASETS.build(cfg)


def test_an_argument_of_nobody_lists_what_there_is() -> None:
    with pytest.raises(ArgumentError, match='LoadImage has no argument `xyz`; it takes: no arguments'):
        TRANSFORMS.build(dict(type='LoadImage', xyz=1))
    with pytest.raises(ArgumentError, match='Box has no argument `xyz`; it takes: size, inner, color'):
        BOXES.build(dict(type='Box', size=1, xyz=1))


@pytest.mark.parametrize('cfg', ['ResNet', None, 3, ['ResNet']])
def test_what_is_no_config(cfg: object) -> None:
    with pytest.raises(TypeError, match='backbone: a part is configured by a dict with the key `type`, got'):
        BACKBONES.build(cfg)


def test_errors_of_the_class_itself_pass_unchanged() -> None:
    with pytest.raises(ValueError, match='`depth`'):
        BACKBONES.build(dict(type='ResNet', depth=19))


def test_a_config_error_survives_the_way_out_of_a_worker_process() -> None:
    error = UnknownTypeError('no box.', dict(type='Box'))
    error.prepend('model', {})
    copy = pickle.loads(pickle.dumps(error))
    assert str(copy) == 'config key `model`: no box.'


@BOXES.register_module()
class Typed:
    """Plain annotations, which are looked at, and others, which are not."""

    def __init__(
        self,
        num: int = 1,
        *,
        share: float = 0.5,
        name: str | None = None,
        deep: bool = False,
        shape: int | tuple[int, ...] = 1,
        sizes: Sequence[float] | None = None,
        either: Mapping | int = 1,
    ) -> None:
        self.given = (num, share, name, deep, shape, sizes, either)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(num='3'), "config key `boxes\\[0\\]`: Typed: `num` must be an integer, got '3'"),
        (dict(num=1.5), '`num` must be an integer, got 1.5'),
        (dict(num=None), '`num` must be an integer, got None'),
        (dict(num=[1]), r'`num` must be an integer, got \[1\]'),
        (dict(share='half'), "`share` must be a number, got 'half'"),
        (dict(name=3), '`name` must be a text or None, got 3'),
        (dict(deep='yes'), "`deep` must be True or False, got 'yes'"),
        (dict(shape='any'), "`shape` must be an integer or a list, got 'any'"),
        (dict(sizes=1.5), '`sizes` must be a list or None, got 1.5'),
    ],
)
def test_a_value_of_the_wrong_type_is_named(arguments: dict, message: str) -> None:
    with pytest.raises(ArgumentError, match=message) as caught:
        BOXES.build(dict(type='Shelf', boxes=[dict(type='Typed', **arguments)]))
    assert isinstance(caught.value, TypeError)


@pytest.mark.parametrize(
    'arguments',
    [
        dict(num=True),
        dict(share=1),
        dict(name='a'),
        dict(either='any'),
        dict(shape=(1, 2)),
        dict(sizes=(1, 2)),
        dict(sizes=[0.5]),
        dict(num=np.int64(3)),
    ],
)
def test_values_that_fit_and_values_that_are_not_looked_at(arguments: dict) -> None:
    (value,) = arguments.values()
    assert value in BOXES.build(dict(type='Typed', **arguments)).given


def test_arguments_that_come_from_elsewhere_are_not_looked_at() -> None:
    BOXES.check(dict(type='Typed', share=1.0), given=('num', 'not_taken'))
    with pytest.raises(ArgumentError, match="`share` must be a number, got 'half'"):
        BOXES.check(dict(type='Typed', share='half'), given=('num',))
