"""What the data sets of this package share."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mmengine.dataset import BaseDataset

from mmpose_lite.datasets.pipeline import Pipeline
from mmpose_lite.datasets.sampling import draw_kept, generator_for
from mmpose_lite.errors import ConfigError


class DrawnDataset(BaseDataset):
    """A data set whose random numbers come with the index; a subclass writes `load_data_list`.

    Args:
        ann_file: relative to `data_root`; '' for none.
        data_root: folder that `ann_file` and `data_prefix` are relative to.
        data_prefix: name -> folder.
        folders: the names that `data_prefix` may have; it must have the first.
        constants: what every sample has before the transforms, beside what `load_data_list` gives it.
        indices: use the first so many samples, or the samples with these indices.
        pipeline: transforms, as configs or callables.
        test_mode: the data is for evaluation.

    Raises:
        ValueError: `data_prefix` has other names, or `indices` are no samples.
    """

    def __init__(
        self,
        *,
        ann_file: str,
        data_root: str,
        data_prefix: Mapping[str, str],
        folders: Sequence[str],
        constants: Mapping[str, Any],
        indices: int | Sequence[int] | None,
        pipeline: Sequence[Mapping[str, Any] | Callable],
        test_mode: bool,
    ) -> None:
        if not isinstance(data_prefix, Mapping) or folders[0] not in data_prefix or set(data_prefix) - set(folders):
            raise ValueError(
                f'{type(self).__name__}: `data_prefix` must be a dict of folders: `{folders[0]}`, of the images'
                f'{"".join(f", and perhaps `{name}`" for name in folders[1:])}, got {data_prefix!r}.'
            )
        self._constants = dict(constants)
        steps = Pipeline(pipeline)
        super().__init__(
            ann_file=ann_file, data_root=data_root, data_prefix=dict(data_prefix), indices=indices, test_mode=test_mode
        )
        self.pipeline = steps  # mmengine's constructor has made a chain of its own

    def filter_data(self) -> list[dict[str, Any]]:
        """Return all samples, of which mmengine's constructor then takes the `indices`."""
        size, indices = len(self.data_list), self._indices
        if not size:
            raise ValueError(f'{type(self).__name__}: `load_data_list` must give a sample, got none.')
        chosen = range(size)[:indices] if isinstance(indices, int | None) else indices
        if not chosen or not all(-size <= index < size for index in chosen):
            raise ValueError(f'{type(self).__name__}: `indices` must be some of its {size} samples, got {indices}.')
        return self.data_list

    def get_data_info(self, index: int) -> dict[str, Any]:
        """Return sample `index` before the transforms, without random numbers."""
        return super().get_data_info(index) | self._constants

    def prepare_data(self, index: int) -> Any:
        """Return sample `index` after the transforms."""
        if index < 0:
            index += len(self)
        return self.pipeline(self.get_data_info(int(index)) | dict(rng=generator_for(index)))

    def __getitem__(self, index: int) -> Any:
        """Return sample `index` after the transforms; in training, where a step leaves it out, another one, see `draw_kept`.

        Raises:
            ConfigError: a step leaves out a sample of an evaluation.
        """
        sample = draw_kept(self.prepare_data, index, 1 if self.test_mode else len(self))
        if sample is None:
            raise ConfigError(
                f'{type(self).__name__}: the pipeline leaves out {self.get_data_info(int(index))["img_path"]}'
                + ('; an evaluation needs every sample.' if self.test_mode else ' and whatever else was tried.')
            )
        return sample
