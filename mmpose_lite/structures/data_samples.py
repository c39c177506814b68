"""What belongs to the images of a batch, packed so that nothing loops over images on the way to the loss."""

# Letters: B images, N instances of one image, M instances of the whole batch, K keypoints.
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from mmengine.structures import BaseDataElement, InstanceData


class PoseDataSample(BaseDataElement):
    """One image: `gt_instances` and `pred_instances` (InstanceData) and the metainfo of its dataset and transforms.

    `pred_instances` holds `keypoints` (N, K, 2) and `keypoint_scores` (N, K), in px of the original image.
    """


class SampleBatch(Sequence[PoseDataSample]):
    """The instances of B images, one packed array per field, and the metainfo of each image.

    A loss reads the packed fields (`batch.keypoints` is (M, K, 2), for the top-down family M = B). Code that wants one image
    at a time indexes or iterates: `batch[i].gt_instances.keypoints` is a view, made when asked for.

    Args:
        fields: name -> array or tensor whose first axis is M, instances in the order of the images. A worker packs NumPy arrays,
            which are cheaper to send than small tensors; `to` makes tensors of them.
        counts: the number of instances of each image; they sum to M.
        metainfo: one dict of plain values per image.
    """

    def __init__(self, fields: Mapping[str, Any], counts: Sequence[int], metainfo: Sequence[dict[str, Any]]) -> None:
        if len(counts) != len(metainfo):
            raise ValueError(f'SampleBatch: `counts` ({len(counts)}) and `metainfo` ({len(metainfo)}) need one entry per image.')
        for name, value in fields.items():
            if len(value) != sum(counts):
                raise ValueError(f'SampleBatch: field `{name}` has {len(value)} rows, but `counts` sum to {sum(counts)}.')
        self._fields = dict(fields)
        self.counts = list(counts)
        self.metainfo = list(metainfo)

    @classmethod
    def pack(cls, samples: Sequence[Mapping[str, Any]]) -> 'SampleBatch':
        """Join what PackPoseInputs makes of each image: dicts with `instances` (name -> (N, ...) array) and `metainfo`.

        Raises:
            ValueError: the images do not have the same instance fields, or these do not fit together.
        """
        names = list(samples[0]['instances'])
        for sample in samples:
            if list(sample['instances']) != names:
                raise ValueError(
                    f'SampleBatch: image {sample["metainfo"].get("img_path")} has the instance fields '
                    f'{list(sample["instances"])}, others of its batch have {names}.'
                )
        try:
            fields = {n: np.concatenate([s['instances'][n] for s in samples]) for n in names}
        except ValueError as error:
            raise ValueError(f'SampleBatch: instance fields {names} do not stack over the batch: {error}.') from error
        counts = [len(s['instances'][names[0]]) if names else 0 for s in samples]
        return cls(fields, counts, [dict(s['metainfo']) for s in samples])

    def __getattr__(self, name: str) -> Any:
        fields = self.__dict__.get('_fields', {})
        if name in fields:
            return fields[name]
        raise AttributeError(
            f'SampleBatch has no field `{name}`; it has {sorted(fields)}. A dataset or PackPoseInputs adds them.'
        )

    def __contains__(self, name: object) -> bool:
        return name in self._fields

    def keys(self) -> list[str]:
        return list(self._fields)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> 'SampleBatch':
        """Return the batch with every packed field as a tensor on `device`."""
        fields = {name: torch.as_tensor(value).to(device, non_blocking=non_blocking) for name, value in self._fields.items()}
        return SampleBatch(fields, self.counts, self.metainfo)

    def pin_memory(self) -> 'SampleBatch':
        """Return the batch in page-locked memory; DataLoader calls this when it pins."""
        fields = {name: torch.as_tensor(value).pin_memory() for name, value in self._fields.items()}
        return SampleBatch(fields, self.counts, self.metainfo)

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
