"""Metrics whose errors reach every process."""

from collections.abc import Callable, Sequence
from typing import Any

from mmengine.dist import get_world_size
from mmengine.evaluator import Evaluator as MMEngineEvaluator

from mmpose_lite.engine.launch import in_every_process

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


def _returning_errors(compute: Callable[[list], dict], name: str) -> Callable[[list], dict]:
    """Return `compute`, which gives back what it raises, under `name`: so it reaches the other ranks as metrics do."""

    def computed(results: list) -> dict:
        try:
            return compute(results)
        except Exception as error:
            return {name: error}

    return computed
