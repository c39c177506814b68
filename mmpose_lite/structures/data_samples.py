"""What belongs to the images of a batch, packed so that nothing loops over images on the way to the loss."""

# Letters: B images, N instances of one image, M instances of the whole batch, K keypoints, H x W map cells.
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from mmengine.structures import BaseDataElement, InstanceData


class PoseDataSample(BaseDataElement):
    """One image: `gt_instances` and `pred_instances` (InstanceData) and the metainfo of its dataset and transforms.

    `pred_instances` holds `keypoints` (N, K, 2) and `keypoint_scores` (N, K), in px of the original image.
    """


class SampleBatch(Sequence[PoseDataSample]):
    """The instances and maps of B images, one packed array per name, and the metainfo of each image.

    A loss reads the packed fields (`batch.keypoints` is (M, K, 2), for the top-down family M = B) and maps (`batch.loss_mask` is
    (B, H, W)). Code that wants the instances of one image at a time indexes or iterates: `batch[i].gt_instances.keypoints` is a
    view, made when asked for. Maps are read from the batch alone.

    Args:
        fields: name -> array or tensor whose first axis is M, instances in the order of the images. A worker packs NumPy arrays,
            which are cheaper to send than small tensors; `to` makes tensors of them.
        counts: the number of instances of each image; they sum to M.
        metainfo: one dict of plain values per image.
        maps: name -> array or tensor whose first axis is B.

    Raises:
        ValueError: the lengths do not fit, or a map has the name of a field.
    """

    def __init__(
        self,
        fields: Mapping[str, Any],
        counts: Sequence[int],
        metainfo: Sequence[dict[str, Any]],
        *,
        maps: Mapping[str, Any] | None = None,
    ) -> None:
        if len(counts) != len(metainfo):
            raise ValueError(f'SampleBatch: `counts` ({len(counts)}) and `metainfo` ({len(metainfo)}) need one entry per image.')
        for name, value in fields.items():
            if len(value) != sum(counts):
                raise ValueError(f'SampleBatch: field `{name}` has {len(value)} rows, but `counts` sum to {sum(counts)}.')
        for name, value in (maps or {}).items():
            if len(value) != len(counts):
                raise ValueError(f'SampleBatch: map `{name}` has {len(value)} rows, but there are {len(counts)} images.')
            if name in fields:
                raise ValueError(f'SampleBatch: `{name}` is both a field and a map; rename one.')
        self._fields = dict(fields)
        self._maps = dict(maps or {})
        self.counts = list(counts)
        self.metainfo = list(metainfo)

    @classmethod
    def pack(cls, samples: Sequence[Mapping[str, Any]]) -> 'SampleBatch':
        """Join what PackPoseInputs makes of each image: dicts with `instances` (name -> (N, ...) array) and `metainfo`, and
        optionally `maps` (name -> array of the same shape in every image).

        Raises:
            ValueError: the images do not have the same instance fields and maps, or these do not fit together.
        """
        instances = _columns(samples, 'instances', 'instance fields')
        maps = _columns(samples, 'maps', 'maps')
        fields = {name: _joined(np.concatenate, name, arrays) for name, arrays in instances.items()}
        counts = [len(array) for array in next(iter(instances.values()))] if instances else [0] * len(samples)
        stacked = {name: _joined(np.stack, name, arrays) for name, arrays in maps.items()}
        return cls(fields, counts, [dict(s['metainfo']) for s in samples], maps=stacked)

    def __getattr__(self, name: str) -> Any:
        for part in ('_fields', '_maps'):
            values = self.__dict__.get(part, {})
            if name in values:
                return values[name]
        known = sorted({*self.__dict__.get('_fields', ()), *self.__dict__.get('_maps', ())})
        raise AttributeError(f'SampleBatch has no field `{name}`; it has {known}. A dataset or PackPoseInputs adds them.')

    def __contains__(self, name: object) -> bool:
        return name in self._fields or name in self._maps

    def keys(self) -> list[str]:
        """Return the names of the instance fields."""
        return list(self._fields)

    def padded(self, name: str) -> torch.Tensor:
        """Return an instance field as (B, N, ...), N the most instances of an image and at least 1; zeros where there is none.

        The places are computed on the host, so nothing waits for the device.
        """
        values = torch.as_tensor(getattr(self, name))
        N = max(self.counts, default=0) or 1
        rows = torch.tensor([i * N + n for i, count in enumerate(self.counts) for n in range(count)], dtype=torch.int64)
        out = values.new_zeros((len(self) * N, *values.shape[1:]))
        out.index_copy_(0, rows.to(values.device, non_blocking=True), values)
        return out.view(len(self), N, *values.shape[1:])

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> 'SampleBatch':
        """Return the batch with every packed field and map as a tensor on `device`."""
        return self._converted(lambda value: torch.as_tensor(value).to(device, non_blocking=non_blocking))

    def pin_memory(self) -> 'SampleBatch':
        """Return the batch in page-locked memory; DataLoader calls this when it pins."""
        return self._converted(lambda value: torch.as_tensor(value).pin_memory())

    def _converted(self, convert: Callable[[Any], Any]) -> 'SampleBatch':
        fields, maps = ({name: convert(value) for name, value in part.items()} for part in (self._fields, self._maps))
        return SampleBatch(fields, self.counts, self.metainfo, maps=maps)

    def __len__(self) -> int:
        return len(self.counts)

    def __getitem__(self, index: int) -> PoseDataSample:  # type: ignore[override]
        if not -len(self) <= index < len(self):
            raise IndexError(f'SampleBatch: index {index} is outside a batch of {len(self)} images.')
        index %= len(self)
        start = sum(self.counts[:index])
        rows = slice(start, start + self.counts[index])
        sample = PoseDataSample(metainfo=self.metainfo[index])
        sample.gt_instances = InstanceData(**{name: value[rows] for name, value in self._fields.items()})
        return sample

    def __iter__(self) -> Iterator[PoseDataSample]:
        return (self[i] for i in range(len(self)))


def _columns(samples: Sequence[Mapping[str, Any]], part: str, what: str) -> dict[str, list[Any]]:
    """Return name -> the arrays of all samples; the names are those of the first one."""
    names = list(samples[0].get(part, {}))
    for sample in samples:
        if list(sample.get(part, {})) != names:
            raise ValueError(
                f'SampleBatch: image {sample["metainfo"].get("img_path")} has the {what} '
                f'{list(sample.get(part, {}))}, others of its batch have {names}.'
            )
    return {name: [sample[part][name] for sample in samples] for name in names}


def _joined(join: Callable[[list[Any]], Any], name: str, arrays: list[Any]) -> Any:
    try:
        return join(arrays)
    except ValueError as error:
        raise ValueError(f'SampleBatch: `{name}` does not stack over the batch: {error}.') from error
