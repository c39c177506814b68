"""Which sample comes when, and with which random numbers.

A sampler yields `Draw`s: dataset indices that also carry the seed of the run and the number of the round through the data. The
dataset seeds its transforms from (seed, round, index). What a sample looks like therefore depends neither on the number of
workers nor on the number of GPUs, and a resumed run sees what an unbroken one would have seen.
"""

from collections.abc import Callable, Iterator, Sized
from typing import Any

import numpy as np
from mmengine.dist import get_dist_info, sync_random_seed
from torch.utils.data import Sampler

from mmpose_lite.registry import DATA_SAMPLERS


class Draw(int):
    """An index into a dataset, with the seed and the round it is drawn in."""

    seed: int
    round: int

    def __new__(cls, index: int, seed: int, round_: int) -> 'Draw':
        draw = super().__new__(cls, index)
        draw.seed = seed
        draw.round = round_
        return draw

    def __reduce__(self) -> tuple[Any, ...]:
        return Draw, (int(self), self.seed, self.round)

    def at(self, index: int) -> 'Draw':
        """Return the same draw at another index (of a part of a joined dataset)."""
        return Draw(index, self.seed, self.round)


def generator_for(index: int) -> np.random.Generator:
    """Return the random numbers of one sample; a plain index (evaluation, browsing) always gets the same ones."""
    if isinstance(index, Draw):
        return np.random.default_rng((index.seed, index.round, int(index)))
    return np.random.default_rng((0, 0, int(index)))


def draw_kept(make: Callable[[int], Any], index: int, size: int, *, most: int = 100) -> Any:
    """Return `make(index)`; where that is None, that of other indices, drawn with random numbers of `index`, until one is not.

    Args:
        make: index -> sample, None where a step leaves it out.
        index: a `Draw`, whose seed and round the others have too, or a plain index.
        size: indices are below it; 1 tries no other.
        most: indices that are tried at the most; then None is returned.
    """
    sample = make(index)
    if sample is None and size > 1:
        places = generator_for(index).integers(size, size=most - 1).tolist()
        others = (make(index.at(place) if isinstance(index, Draw) else place) for place in places)
        sample = next((other for other in others if other is not None), None)
    return sample


def _permutation(size: int, seed: int, round_: int) -> list[int]:
    return np.random.default_rng((seed, round_)).permutation(size).tolist()


@DATA_SAMPLERS.register_module()
class DefaultSampler(Sampler[int]):
    """One round per epoch, dealt out to the ranks; replaces mmengine's sampler of this name.

    Args:
        dataset: anything with a length.
        shuffle: new order in every epoch. Without it plain indices come in order, and transforms draw the same numbers always.
        seed: of order and augmentation; None takes one that all ranks agree on.
        round_up: repeat the first samples until every rank has as many; metrics drop the repeated ones.
    """

    def __init__(self, dataset: Sized, *, shuffle: bool = True, seed: int | None = None, round_up: bool = True) -> None:
        self.rank, self.world_size = get_dist_info()
        self.dataset = dataset
        self.shuffle = shuffle
        self.seed = sync_random_seed() if seed is None else seed
        self.round_up = round_up
        self.epoch = 0
        self.start = 0

    def __iter__(self) -> Iterator[int]:
        size = len(self.dataset)
        indices = _permutation(size, self.seed, self.epoch) if self.shuffle else list(range(size))
        if self.round_up and size:
            indices += [indices[i % size] for i in range(-size % self.world_size)]
        mine = indices[self.rank :: self.world_size][self.start :]
        return iter([Draw(i, self.seed, self.epoch) for i in mine] if self.shuffle else mine)

    def __len__(self) -> int:
        size = len(self.dataset)
        total = -(-size // self.world_size) * self.world_size if self.round_up else size
        return len(range(self.rank, total, self.world_size))

    def set_epoch(self, epoch: int) -> None:
        """Choose the round; the runner calls this before each epoch."""
        self.epoch = epoch
        self.start = 0

    def skip(self, num_samples: int) -> None:
        """Start this round after `num_samples` draws of this rank, in which a resumed run was stopped."""
        self.start = num_samples


@DATA_SAMPLERS.register_module()
class InfiniteSampler(Sampler[int]):
    """Rounds without end, for training by iterations; replaces mmengine's sampler of this name.

    Args:
        dataset: anything with a length.
        shuffle: new order in every round.
        seed: of order and augmentation; None takes one that all ranks agree on.
    """

    def __init__(self, dataset: Sized, *, shuffle: bool = True, seed: int | None = None) -> None:
        self.rank, self.world_size = get_dist_info()
        self.dataset = dataset
        self.shuffle = shuffle
        self.seed = sync_random_seed() if seed is None else seed
        self.start = 0

    def skip(self, num_samples: int) -> None:
        """Start after `num_samples` draws of this rank: a resumed run goes on where it stopped, without reading them."""
        self.start = num_samples

    def __iter__(self) -> Iterator[int]:
        size = len(self.dataset)
        position = self.start * self.world_size + self.rank
        round_, order = -1, []
        while True:
            if position // size != round_:
                round_ = position // size
                order = _permutation(size, self.seed, round_) if self.shuffle else list(range(size))
            yield Draw(order[position % size], self.seed, round_)
            position += self.world_size

    def __len__(self) -> int:
        return len(self.dataset)


@DATA_SAMPLERS.register_module()
class AspectRatioBatchSampler(Sampler[list[int]]):
    """Makes batches of images that are all broad or all high, so that less is filled up; mmdet's sampler of this name.

    What is left of both at the end of a round shares batches. Images whose file gives no width and height count as high.

    Args:
        sampler: of indices; its dataset must have `get_data_info`.
        batch_size: of each batch, but perhaps the last.
        drop_last: leave out a last batch that is not full.

    Raises:
        ValueError: the sampler has no end, or the batch size is below 1.
    """

    def __init__(self, sampler: Any, batch_size: int, *, drop_last: bool = False) -> None:
        if not isinstance(sampler, DefaultSampler) or batch_size < 1:
            raise ValueError(
                'AspectRatioBatchSampler: `sampler` must be a DefaultSampler, whose rounds end, and `batch_size` 1 or more, got '
                f'{type(sampler).__name__} and {batch_size}.'
            )
        self.sampler = sampler
        self.batch_size = batch_size
        self.drop_last = drop_last

    def __iter__(self) -> Iterator[list[int]]:
        waiting: tuple[list[int], list[int]] = ([], [])
        for index in self.sampler:
            info = self.sampler.dataset.get_data_info(int(index))
            group = waiting[info.get('width', 0) > info.get('height', 0)]
            group.append(index)
            if len(group) == self.batch_size:
                yield list(group)
                group.clear()
        left = waiting[0] + waiting[1]
        for start in range(0, len(left), self.batch_size):
            batch = left[start : start + self.batch_size]
            if len(batch) == self.batch_size or not self.drop_last:
                yield batch

    def __len__(self) -> int:
        size = len(self.sampler)
        return size // self.batch_size if self.drop_last else -(-size // self.batch_size)
