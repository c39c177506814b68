"""A data set whose samples are made of several images of another one."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mmpose_lite.datasets.pipeline import Pipeline
from mmpose_lite.datasets.sampling import Draw, draw_kept
from mmpose_lite.errors import ConfigError
from mmpose_lite.registry import DATASETS


@DATASETS.register_module()
class MultiImageMixDataset:
    """Gives transforms that mix images (those with `num_others`: Mosaic) samples of the same data set; mmdet's name.

    The inner data set loads: its pipeline ends before anything is packed. The other samples are drawn with the random numbers of
    the sample, and are augmented with numbers of their own, of the same seed and round. PipelineSwitchHook changes `pipeline`, so
    that the last epochs can do without mixing.

    Args:
        dataset: config of the inner data set.
        pipeline: transforms behind it, as configs or callables.

    Raises:
        ValueError: nothing in the pipeline mixes images.
    """

    def __init__(self, dataset: Mapping[str, Any] | Any, *, pipeline: Sequence[Mapping[str, Any] | Callable]) -> None:
        self.dataset = DATASETS.build(dataset) if isinstance(dataset, Mapping) else dataset
        self.pipeline = Pipeline(pipeline)
        if not any(hasattr(step, 'num_others') for step in self.pipeline.transforms):
            raise ValueError(
                'MultiImageMixDataset: `pipeline` needs a transform that mixes images, such as Mosaic; others need no wrapper.'
            )

    @property
    def metainfo(self) -> dict[str, Any]:
        """That of the inner data set."""
        return self.dataset.metainfo

    def __len__(self) -> int:
        return len(self.dataset)

    def get_data_info(self, index: int) -> dict[str, Any]:
        """Return sample `index` before the transforms."""
        return self.dataset.get_data_info(index)

    def __getitem__(self, index: int) -> Any:
        """Return sample `index` after the transforms; where a step leaves it out another one, see `draw_kept`."""
        sample = draw_kept(self._prepared, index, len(self))
        if sample is None:
            raise ConfigError('MultiImageMixDataset: the pipeline leaves out every sample that was tried.')
        return sample

    def _prepared(self, index: int) -> Any:
        results = self.dataset[index]
        if 'rng' not in results:
            raise ConfigError('MultiImageMixDataset: the pipeline of the inner `dataset` must end before PackDetInputs.')
        for step in self.pipeline.transforms:
            if hasattr(step, 'num_others'):
                places = results['rng'].integers(len(self.dataset), size=step.num_others).tolist()
                others = [index.at(place) if isinstance(index, Draw) else place for place in places]
                results['mix_results'] = [self.dataset[other] for other in others]
            results = self.pipeline.run_step(step, results)
            if results is None:
                return None
        return results
