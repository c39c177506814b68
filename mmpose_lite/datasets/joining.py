"""Data sets made of others: several one after another, or one whose samples come several times in a round."""

import math
from bisect import bisect_right
from typing import Any

import numpy as np
from torch.utils.data import ConcatDataset as TorchConcatDataset

from mmpose_lite.datasets.sampling import Draw
from mmpose_lite.registry import DATASETS


def _declared(dataset: Any) -> tuple[str, tuple[str, ...]]:
    """Return what a dataset labels, and the names of these."""
    if 'class_meta' in dataset.metainfo:
        return 'classes', dataset.metainfo['class_meta'].classes
    return 'keypoints', dataset.metainfo['keypoint_meta'].keypoints


@DATASETS.register_module()
class ConcatDataset(TorchConcatDataset):
    """Several datasets one after another; unlike mmengine's it hands the draw's random numbers on, and may hold its like.

    Args:
        datasets: dataset configs; all must have the same keypoints or classes.

    Raises:
        ValueError: there is no dataset, or their keypoints or classes differ.
    """

    def __init__(self, datasets: list[Any]) -> None:
        built = [_built(dataset) for dataset in datasets]
        if not built:
            raise ValueError('ConcatDataset: `datasets` must name at least one dataset, got none.')
        what, names = _declared(built[0])
        for number, others in enumerate(_declared(dataset)[1] for dataset in built):
            if others != names:
                raise ValueError(
                    f'ConcatDataset: dataset {number} has other {what} ({len(others)}) than dataset 0 ({len(names)}).'
                )
        super().__init__(built)

    @property
    def metainfo(self) -> dict[str, Any]:
        """That of the first dataset."""
        return self.datasets[0].metainfo

    def __getitem__(self, index: int) -> Any:
        number, inner = self._place(index)
        return self.datasets[number][index.at(inner) if isinstance(index, Draw) else inner]

    def get_data_info(self, index: int) -> dict[str, Any]:
        """Return sample `index` before the transforms."""
        number, inner = self._place(index)
        return self.datasets[number].get_data_info(inner)

    def _place(self, index: int) -> tuple[int, int]:
        """Return the number of a dataset, and the index in it."""
        position = range(len(self))[index]
        number = bisect_right(self.cumulative_sizes, position)
        return number, position - (self.cumulative_sizes[number - 1] if number else 0)


class RepeatingDataset:
    """A data set whose samples come several times in each round, each time with random numbers of its own.

    Args:
        dataset: the data set.
        indices: (P,) of its samples, in the order in which they come.
        turns: (P,) which time it is, from 0.
    """

    def __init__(self, dataset: Any, indices: np.ndarray, turns: np.ndarray) -> None:
        self.dataset = dataset
        self._indices, self._turns = indices, turns
        self._num_turns = int(turns.max(initial=0)) + 1

    @property
    def metainfo(self) -> dict[str, Any]:
        """That of the data set."""
        return self.dataset.metainfo

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> Any:
        inner = int(self._indices[index])
        if isinstance(index, Draw):
            return self.dataset[Draw(inner, index.seed, index.round * self._num_turns + int(self._turns[index]))]
        return self.dataset[inner]

    def get_data_info(self, index: int) -> dict[str, Any]:
        """Return sample `index` before the transforms."""
        return self.dataset.get_data_info(int(self._indices[index]))


@DATASETS.register_module()
class RepeatDataset(RepeatingDataset):
    """A data set several times over, so that a small one makes a long round; mmengine's name.

    Args:
        dataset: a dataset config.
        times: how often each sample comes.

    Raises:
        ValueError: it comes less than once.
    """

    def __init__(self, dataset: Any, times: int) -> None:
        if times < 1:
            raise ValueError(f'RepeatDataset: `times` must be 1 or more, got {times}.')
        dataset = _built(dataset)
        super().__init__(dataset, np.tile(np.arange(len(dataset)), times), np.repeat(np.arange(times), len(dataset)))


@DATASETS.register_module()
class ClassBalancedDataset(RepeatingDataset):
    """A data set of objects in which images of rare classes come several times; mmengine's name.

    A class that is in a share f of the images has the factor max(1, sqrt(oversample_thr / f)), an image the greatest factor of
    its classes, rounded up.

    Source: Gupta et al., LVIS, CVPR 2019 (repeat factor sampling), arXiv:1908.03195.
    Differs: a factor is rounded up, as by mmengine, not at random in each round.

    Args:
        dataset: a dataset config, whose samples have `labels` and `is_ignored`.
        oversample_thr: share of the images, below which a class is rare.

    Raises:
        ValueError: the share is not in (0, 1], or the samples have no labels.
    """

    def __init__(self, dataset: Any, oversample_thr: float) -> None:
        if not 0 < oversample_thr <= 1:
            raise ValueError(f'ClassBalancedDataset: `oversample_thr` must be in (0, 1], got {oversample_thr}.')
        dataset = _built(dataset)
        infos = [dataset.get_data_info(index) for index in range(len(dataset))]
        if 'labels' not in infos[0]:
            raise ValueError(f'ClassBalancedDataset: `dataset` must have objects with `labels`, got {type(dataset).__name__}.')
        classes = [np.unique(info['labels'][~info['is_ignored']]) for info in infos]
        counts = np.bincount(np.concatenate(classes), minlength=1)
        factors = np.maximum(1, np.sqrt(oversample_thr * len(classes) / np.maximum(counts, 1)))
        times = np.array([math.ceil(factors[of_image].max(initial=1)) for of_image in classes])
        turns = np.arange(times.sum()) - np.repeat(np.cumsum(times) - times, times)
        super().__init__(dataset, np.repeat(np.arange(len(times)), times), turns)


def _built(dataset: Any) -> Any:
    return DATASETS.build(dataset) if isinstance(dataset, dict) else dataset
