"""One registry per kind of part. A registry imports its `locations` when it is first asked for a name.

Where mmengine's Runner builds a kind itself (hooks, metrics, loops ...), ours is a child of mmengine's, so that a config can
name mmengine's classes too. The kinds that only our own code builds (backbones, heads, codecs ...) stand alone.
"""

import difflib
import inspect
import traceback
from collections.abc import Callable, Mapping, Sequence
from types import UnionType
from typing import Any, Union, get_args, get_origin

from mmengine import registry as mmengine_registry

SCOPE = 'mmpose_lite'


class PathError(Exception):
    """A mistake in a config. `path` grows from the inside out while nested builds fail: 'loss', 'head.loss' ..."""

    def __init__(self, message: str, cfg: object = None) -> None:
        super().__init__(message)
        self.message = message
        self.cfg = cfg
        self.path = ''

    def prepend(self, key: str, cfg: object) -> None:
        self.path = key + ('' if not self.path or self.path.startswith('[') else '.') + self.path
        self.cfg = cfg

    def __str__(self) -> str:
        return f'config key `{self.path}`: {self.message}' if self.path else self.message


class UnknownTypeError(PathError, KeyError):
    """The config names a class that no registry knows."""


class ArgumentError(PathError, TypeError):
    """The config gives a class an argument it does not take or of the wrong type, or leaves out one it needs."""


def _near(name: str, names: list[str]) -> str:
    by_lower: dict[str, str] = {}
    for known in names:
        by_lower.setdefault(known.lower(), known)
    near = difflib.get_close_matches(name.lower(), by_lower, n=3, cutoff=0.6)
    return ', '.join(f'`{by_lower[key]}`' for key in near)


def _key_of(part: object, args: Mapping[str, Any]) -> str:
    """Return the key (with an index inside a list) under which `part` stands in `args`, or ''."""
    for key, value in args.items():
        if value is part:
            return key
        if isinstance(value, list | tuple):
            for index, item in enumerate(value):
                if item is part:
                    return f'{key}[{index}]'
    return ''


def check_arguments(cls: Callable, args: Mapping[str, Any], cfg: object = None) -> None:
    """Look whether a class or function takes these arguments, without calling it.

    Raises:
        ArgumentError: an argument is unknown or missing, or is no number, text, flag or list where its annotation asks for one.
    """
    try:
        parameters = inspect.signature(cls).parameters.values()
    except ValueError:  # a class written in C without a signature: it checks its arguments itself
        return
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    if not any(p.kind is p.VAR_KEYWORD for p in parameters):
        for name in args:
            if name not in names:
                near = _near(name, names)
                hint = f'did you mean {near}?' if near else f'it takes: {", ".join(names) or "no arguments"}.'
                raise ArgumentError(f'{cls.__name__} has no argument `{name}`; {hint}', cfg)
    missing = [
        p.name
        for p in parameters
        if p.default is p.empty and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p.name not in args
    ]
    if missing:
        raise ArgumentError(f'{cls.__name__} needs the argument `{"`, `".join(missing)}`, which is not given.', cfg)
    for p in parameters:
        if p.name in args and not _fits(args[p.name], p):
            wanted = ' or '.join(_PLAIN[kind] for kind in _kinds(p))
            raise ArgumentError(f'{cls.__name__}: `{p.name}` must be {wanted}, got {args[p.name]!r}.', cfg)


_PLAIN = {bool: 'True or False', int: 'an integer', float: 'a number', str: 'a text', list: 'a list', type(None): 'None'}


def _kinds(parameter: inspect.Parameter) -> tuple[Any, ...]:
    """Return the types that the annotation names; `list` stands for lists, tuples and sequences of anything."""
    annotation = parameter.annotation
    kinds = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    return tuple(dict.fromkeys(list if get_origin(kind) in (Sequence, list, tuple) else kind for kind in kinds))


def _fits(value: object, parameter: inspect.Parameter) -> bool:
    """Return False for a plain value or a collection where the annotation names other plain types only."""
    kinds = _kinds(parameter)
    if not all(kind in _PLAIN for kind in kinds) or not isinstance(value, (*_PLAIN, tuple, Mapping)):
        return True
    given = list(value) if isinstance(value, tuple) else value
    return value == parameter.default or isinstance(given, (*kinds, int) if float in kinds else kinds)


def build_from_cfg(cfg: Any, registry: 'Registry', defaults: Mapping[str, Any] | None = None) -> Any:
    """Build what `cfg` describes.

    Args:
        cfg: a dict with `type` (a registered name or a class) and the arguments of that class.
        registry: where the name is looked up.
        defaults: arguments that are used where the class takes them and `cfg` does not set them.

    Raises:
        UnknownTypeError: `type` is not registered (a KeyError).
        ArgumentError: `cfg` is no dict, or an argument is unknown, missing or of the wrong type (a TypeError).
    """
    cls = registry.class_of(cfg)
    args = {key: value for key, value in cfg.items() if key not in ('type', '_scope_')}
    if defaults:
        try:
            parameters = inspect.signature(cls).parameters
        except ValueError:
            parameters = {}
        for key, value in defaults.items():
            if key in parameters:
                args.setdefault(key, value)
    check_arguments(cls, args, cfg)
    try:
        return cls(**args)
    except PathError as error:
        key = _key_of(error.cfg, args)
        if key:
            error.prepend(key, cfg)
        raise
    except TypeError as error:  # a value that its annotation does not tell from a right one
        frame = traceback.extract_tb(error.__traceback__)[-1]
        raise ArgumentError(f'{cls.__name__}: {error} [{frame.filename}:{frame.lineno}]', cfg) from error


class Registry(mmengine_registry.Registry):
    """A name -> class table of one kind of part.

    Args:
        name: the kind, as errors call it.
        locations: modules to import before the first look-up.
        parent: mmengine's registry of the same kind, where its Runner builds such parts.
    """

    def __init__(self, name: str, *, locations: tuple[str, ...] = (), parent: mmengine_registry.Registry | None = None) -> None:
        super().__init__(name, scope=SCOPE, parent=parent, locations=list(locations))

    def build(self, cfg: Any, **defaults: Any) -> Any:
        """Build a part; see `build_from_cfg`. `defaults` reach the class only where it takes them."""
        return build_from_cfg(cfg, self, defaults)

    def class_of(self, cfg: Any) -> Callable:
        """Return the class that a config names by its `type`.

        Raises:
            UnknownTypeError: `type` is not registered, or missing.
            ArgumentError: `cfg` is no dict, or `type` neither a name nor a class.
        """
        if not isinstance(cfg, Mapping):
            raise ArgumentError(f'{self.name}: a part is configured by a dict with the key `type`, got {cfg!r}.', cfg)
        if 'type' not in cfg:
            raise UnknownTypeError(f'a {self.name} config needs the key `type`, got the keys {sorted(cfg)}.', cfg)
        if isinstance(cfg['type'], str):
            return self.find(cfg['type'], cfg)
        if not callable(cfg['type']):
            raise ArgumentError(f'{self.name}: `type` must be a registered name or a class, got {cfg["type"]!r}.', cfg)
        return cfg['type']

    def check(self, cfg: Mapping[str, Any], *, given: Sequence[str] = ()) -> None:
        """Raise what `build` raises for a wrong name or argument, without building; arguments in `given` come from elsewhere."""
        cls = self.class_of(cfg)
        args = {key: value for key, value in cfg.items() if key not in ('type', '_scope_')}
        parameters = inspect.signature(cls).parameters
        check_arguments(cls, args | {name: ... for name in given if name in parameters}, cfg)  # `...` fits every annotation

    def import_from_location(self) -> None:
        """Import the modules that register the parts, the parent's included; once."""
        super().import_from_location()
        if self.parent is not None:
            self.parent.import_from_location()

    def names(self) -> list[str]:
        """Return every name that `build` understands, the parent's included."""
        self.import_from_location()
        return sorted({*self.module_dict, *(self.parent.module_dict if self.parent is not None else ())})

    def find(self, name: str, cfg: object = None) -> Callable:
        """Return the class registered as `name`, or raise UnknownTypeError with the nearest names."""
        self.import_from_location()
        bare = name.removeprefix(f'{SCOPE}.')
        for registry in (self, self.parent):
            if registry is not None and bare in registry.module_dict:
                return registry.module_dict[bare]
        if '.' in name:  # the dotted path of an importable class, as dumped configs hold
            try:
                found = mmengine_registry.Registry.get(self, name)
            except RuntimeError:
                found = None
            if found is not None:
                return found
        near = _near(bare, self.names())
        hints = [f'nearest names: {near}.' if near else f'known names: {", ".join(self.names())}.']
        elsewhere = [r.name for r in ALL if r is not self and bare in r.module_dict]
        if elsewhere:
            hints.append(f'`{bare}` is registered as a {" and a ".join(elsewhere)}.')
        looked = ' and '.join([*self._locations, *(["mmengine's own"] if self.parent is not None else [])])
        hints.append(
            f'Looked in {looked or "the registry"}; a class of your own is found once `custom_imports` in the config '
            'imports its module.'
        )
        raise UnknownTypeError(f'no {self.name} is called `{name}`; ' + ' '.join(hints), cfg)


# Parts that our code builds.
MODELS = Registry('model', locations=('mmpose_lite.models.estimators',), parent=mmengine_registry.MODELS)
PREPROCESSORS = Registry('preprocessor', locations=('mmpose_lite.models.preprocess',))
BACKBONES = Registry('backbone', locations=('mmpose_lite.models.backbones',))
LAYERS = Registry('layer', locations=('mmpose_lite.models.layers',))  # that plug into backbones and heads
NECKS = Registry('neck', locations=('mmpose_lite.models.necks',))
HEADS = Registry('head', locations=('mmpose_lite.models.heads',))
ROI_EXTRACTORS = Registry('RoI extractor', locations=('mmpose_lite.models.heads.roi',))  # features of boxes, from maps
LOSSES = Registry('loss', locations=('mmpose_lite.models.losses',))
PRIOR_GENERATORS = Registry('prior generator', locations=('mmpose_lite.models.assign',))  # anchors
ASSIGNERS = Registry('assigner', locations=('mmpose_lite.models.assign',))  # of objects to priors
BOX_SAMPLERS = Registry('box sampler', locations=('mmpose_lite.models.assign',))
BOX_CODERS = Registry('box coder', locations=('mmpose_lite.models.assign',))
NMS = Registry('suppression', locations=('mmpose_lite.ops.nms',))  # of boxes
CODECS = Registry('codec', locations=('mmpose_lite.codecs',))
TRANSFORMS = Registry('transform', locations=('mmpose_lite.datasets.transforms',), parent=mmengine_registry.TRANSFORMS)

# Parts that mmengine's Runner asks for.
DATASETS = Registry('dataset', locations=('mmpose_lite.datasets',), parent=mmengine_registry.DATASETS)
DATA_SAMPLERS = Registry('data sampler', locations=('mmpose_lite.datasets',), parent=mmengine_registry.DATA_SAMPLERS)
METRICS = Registry('metric', locations=('mmpose_lite.evaluation',), parent=mmengine_registry.METRICS)
HOOKS = Registry('hook', locations=('mmpose_lite.engine.hooks',), parent=mmengine_registry.HOOKS)
LOOPS = Registry('loop', locations=('mmpose_lite.engine.loops',), parent=mmengine_registry.LOOPS)
OPTIM_WRAPPERS = Registry('optimizer wrapper', locations=('mmpose_lite.engine.optim',), parent=mmengine_registry.OPTIM_WRAPPERS)
# Kinds of which mmengine has the parts; ours are here so that its look-ups find the scope, and users a place to register.
OPTIMIZERS = Registry('optimizer', parent=mmengine_registry.OPTIMIZERS)
OPTIM_WRAPPER_CONSTRUCTORS = Registry(
    'optimizer wrapper constructor',
    locations=('mmpose_lite.engine.layer_decay',),
    parent=mmengine_registry.OPTIM_WRAPPER_CONSTRUCTORS,
)
PARAM_SCHEDULERS = Registry('parameter scheduler', parent=mmengine_registry.PARAM_SCHEDULERS)
MODEL_WRAPPERS = Registry('model wrapper', parent=mmengine_registry.MODEL_WRAPPERS)
VISUALIZERS = Registry('visualizer', parent=mmengine_registry.VISUALIZERS)
VISBACKENDS = Registry('visualizer backend', parent=mmengine_registry.VISBACKENDS)

ALL = (
    MODELS,
    PREPROCESSORS,
    BACKBONES,
    LAYERS,
    NECKS,
    HEADS,
    ROI_EXTRACTORS,
    LOSSES,
    PRIOR_GENERATORS,
    ASSIGNERS,
    BOX_SAMPLERS,
    BOX_CODERS,
    NMS,
    CODECS,
    TRANSFORMS,
    DATASETS,
    DATA_SAMPLERS,
    METRICS,
    HOOKS,
    LOOPS,
    OPTIM_WRAPPERS,
    OPTIMIZERS,
    OPTIM_WRAPPER_CONSTRUCTORS,
    PARAM_SCHEDULERS,
    MODEL_WRAPPERS,
    VISUALIZERS,
    VISBACKENDS,
)
