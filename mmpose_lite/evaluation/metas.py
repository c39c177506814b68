"""The meta that a dataset declares, from which a metric takes its names and counts."""

from collections.abc import Mapping
from typing import Any, TypeVar

from mmengine.evaluator import BaseMetric

from mmpose_lite.errors import ConfigError, MetricError
from mmpose_lite.registry import METRICS
from mmpose_lite.structures import ClassMeta, KeypointMeta

Meta = TypeVar('Meta', KeypointMeta, ClassMeta)
META_KEYS: dict[type, str] = {KeypointMeta: 'keypoint_meta', ClassMeta: 'class_meta'}  # in the `metainfo` of a dataset


def meta_of(metric: BaseMetric, kind: type[Meta]) -> Meta:
    """Return the keypoints or the classes of the dataset that a metric measures.

    Raises:
        MetricError: the dataset declares none.
    """
    key = META_KEYS[kind]
    declared: Any = metric.dataset_meta or {}
    if key not in declared:
        raise MetricError(
            f'{type(metric).__name__}: `dataset_meta` has no {key!r}; the dataset must give it in its `metainfo`. Outside a '
            'runner, set `metric.dataset_meta` first.'
        )
    return kind.load(declared[key])


def check_meta(metric: BaseMetric, declared: Mapping[str, Any] | None) -> None:
    """Raise ConfigError if the metric measures keypoints and the dataset declares classes, or the reverse.

    A metric says what it measures by `measures`, one of `META_KEYS`; one that does not say it fits every dataset.
    """
    kind = getattr(metric, 'measures', None)
    there = [other for other, key in META_KEYS.items() if key in (declared or {})]
    if kind is None or not there or kind in there:
        return
    fitting = sorted(name for name, cls in METRICS.module_dict.items() if getattr(cls, 'measures', None) in there)
    words = {KeypointMeta: 'keypoints', ClassMeta: 'classes'}
    raise ConfigError(
        f'{type(metric).__name__}: it measures {words[kind]}, and the dataset has {words[there[0]]}; their metrics are '
        f'{", ".join(fitting)}.'
    )
