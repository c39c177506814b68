"""The transforms of a dataset, one after the other."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mmengine.dataset import Compose

from mmpose_lite.errors import ConfigError
from mmpose_lite.registry import TRANSFORMS


class Pipeline(Compose):
    """mmengine's chain of transforms, which tells what a step lacks.

    Args:
        steps: transforms, as configs or callables.
    """

    def __init__(self, steps: Sequence[Mapping[str, Any] | Callable]) -> None:
        super().__init__([TRANSFORMS.build(step) if isinstance(step, Mapping) else step for step in steps])

    def __call__(self, results: dict[str, Any]) -> Any:
        """Return the sample after all steps; None if one of them leaves it out."""
        for step in self.transforms:
            results = self.run_step(step, results)
            if results is None:
                return None
        return results

    def run_step(self, step: Callable, results: dict[str, Any]) -> Any:
        """Return the sample after one of the steps.

        Raises:
            ConfigError: it asks the sample for a key that neither the dataset nor a step before gives.
        """
        try:
            return step(results)
        except KeyError as error:
            if error.args[0] in results:
                raise
            names = [type(step).__name__ for step in self.transforms]
            raise ConfigError(
                f'{type(step).__name__}: needs `{error.args[0]}`, which neither the dataset nor a step before it gives; the '
                f'pipeline is {", ".join(names)}.'
            ) from error
