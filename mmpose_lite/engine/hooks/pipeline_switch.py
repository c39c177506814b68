"""Other transforms for the last epochs."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop

from mmpose_lite.datasets.pipeline import Pipeline
from mmpose_lite.errors import ConfigError
from mmpose_lite.registry import HOOKS


@HOOKS.register_module()
class PipelineSwitchHook(Hook):
    """Change the pipeline of the training data from an epoch on; a resumed run has the pipeline of its epoch.

    Source: the second stage of RTMPose's training, arXiv:2303.07399, Sec. 3.2; mmdet's hook of this name.

    Args:
        switch_epoch: the first epoch, counted from 0, with the new pipeline; a negative number counts from the end: -30 is the
            last 30 epochs, all of them in a shorter run.
        switch_pipeline: transforms, as configs or callables.

    Raises:
        ValueError: `switch_pipeline` is empty.
        ConfigError: when training starts, the loop counts no epochs, or the dataset has no pipeline.
    """

    def __init__(self, switch_epoch: int, switch_pipeline: Sequence[Mapping[str, Any] | Callable]) -> None:
        if not switch_pipeline:
            raise ValueError('PipelineSwitchHook: `switch_pipeline` must be a list of transforms, got none.')
        self.switch_epoch = switch_epoch
        self.pipeline = Pipeline(switch_pipeline)
        self._switched = False

    def before_train(self, runner: Any) -> None:
        """Look whether the pipeline can be switched, before hours of training."""
        if not isinstance(runner.train_loop, EpochBasedTrainLoop):
            raise ConfigError('PipelineSwitchHook: counts epochs, so `train_cfg.type` must be EpochBasedTrainLoop.')
        list(_with_pipeline(runner.train_dataloader.dataset))

    def before_train_epoch(self, runner: Any) -> None:
        """Switch in the epoch `switch_epoch`, or in the first one after it."""
        first = self.switch_epoch if self.switch_epoch >= 0 else max(runner.max_epochs + self.switch_epoch, 0)
        if self._switched or runner.epoch < first:
            return
        loader = runner.train_dataloader
        for dataset in _with_pipeline(loader.dataset):
            dataset.pipeline = self.pipeline
        loader._iterator = None  # workers that stayed alive hold the old pipeline; new ones get the new
        self._switched = True
        runner.logger.info(f'PipelineSwitchHook: the training data has its new pipeline from epoch {runner.epoch + 1} on.')


def _with_pipeline(dataset: Any) -> Iterator[Any]:
    """Yield the datasets inside wrappers; of one that mixes images the wrapper, for it has the steps behind loading."""
    if hasattr(dataset, 'pipeline'):
        yield dataset
        return
    inner = [*getattr(dataset, 'datasets', ()), *([dataset.dataset] if hasattr(dataset, 'dataset') else ())]
    if not inner:
        raise ConfigError(f'PipelineSwitchHook: {type(dataset).__name__} has no `pipeline` to switch.')
    for part in inner:
        yield from _with_pipeline(part)
