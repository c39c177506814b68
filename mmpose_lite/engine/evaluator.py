"""Metrics whose errors reach every process, and whose names are known before they are computed."""

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from mmengine.dist import get_world_size
from mmengine.evaluator import Evaluator as MMEngineEvaluator

from mmpose_lite.engine.launch import in_every_process
from mmpose_lite.errors import ConfigError
from mmpose_lite.evaluation.metas import check_meta

_ERROR = 'error of metric '


class Evaluator(MMEngineEvaluator):
    """mmengine's evaluator of a split; what a metric raises on rank 0, which alone computes it, is raised by all ranks.

    mmengine's other ranks wait for a result that does not come, until the launcher ends them.

    Args:
        metrics: mmengine BaseMetrics.
    """

    def __init__(self, metrics: Sequence[Any]) -> None:
        super().__init__(metrics)
        if get_world_size() > 1:
            for number, metric in enumerate(self.metrics):
                metric.compute_metrics = _returning_errors(metric.compute_metrics, f'{_ERROR}{number}')

    def names(self) -> list[str] | None:
        """Return the names of the values that `evaluate` may give; None where a metric does not tell its own.

        Raises:
            ConfigError: two metrics give values of one name.
        """
        if not all(_tells_its_names(type(metric)) for metric in self.metrics):
            return None
        names = [
            f'{metric.prefix}/{name}' if metric.prefix else name for metric in self.metrics for name in metric.result_names()
        ]
        doubled = [name for number, name in enumerate(names) if name in names[:number]]
        if doubled:
            raise ConfigError(
                f'two metrics of the evaluation give `{doubled[0]}`; give one of them another `prefix`, or leave it out.'
            )
        return names

    @property
    def dataset_meta(self) -> Mapping[str, Any] | None:
        """What the dataset declares; a metric that measures something else is a ConfigError."""
        return self._dataset_meta

    @dataset_meta.setter
    def dataset_meta(self, dataset_meta: Mapping[str, Any] | None) -> None:
        for metric in self.metrics:
            try:
                check_meta(metric, dataset_meta)
            except ConfigError as error:
                raise in_every_process(error) from None
            metric.dataset_meta = dataset_meta
        self._dataset_meta = dataset_meta

    def evaluate(self, size: int) -> dict[str, Any]:
        """Return name -> value of all metrics over the `size` samples of the split.

        Raises:
            Exception: what a metric raises.
        """
        values = super().evaluate(size)
        for name, value in values.items():
            if _ERROR in name:
                raise in_every_process(value)
        return values


def _tells_its_names(cls: type) -> bool:
    """Return whether `result_names` is as new as `compute_metrics`: a subclass may compute more than its base tells."""
    defined = next((vars(base) for base in cls.__mro__ if {'result_names', 'compute_metrics'} & vars(base).keys()), {})
    return 'result_names' in defined


def check_followed(runner: Any, names: Iterable[str], what: str) -> None:
    """Look before a training whether its evaluations can give what something follows.

    What the metrics do not tell is left to the first evaluation, and so are losses, which come from the model.

    Args:
        runner: that trains.
        names: of values; 'auto' is any.
        what: asks for them, as messages say it.

    Raises:
        ConfigError: no metric gives a value of such a name; those that there are are listed.
    """
    known = runner.val_loop.evaluator.names() if runner.val_loop is not None else None
    for name in names:
        if known is not None and name not in known and name != 'auto' and 'loss' not in name:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f' Did you mean {near[0]!r}?' if near else ''
            message = f'{what} must be a value of the evaluation, got {name!r}.{hint} There are: {", ".join(known) or "none"}.'
            raise in_every_process(ConfigError(message))


def _returning_errors(compute: Callable[[list], dict], name: str) -> Callable[[list], dict]:
    """Return `compute`, which gives back what it raises, under `name`: so it reaches the other ranks as metrics do."""

    def computed(results: list) -> dict:
        try:
            return compute(results)
        except Exception as error:
            return {name: error}

    return computed
