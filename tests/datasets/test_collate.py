import numpy as np
import pytest
import torch
from mmengine.registry import FUNCTIONS
from torch.utils.data import DataLoader

from mmpose_lite.datasets.collate import pose_collate


def sample(i: int, shape: tuple[int, int] = (5, 4)) -> dict:
    inputs = np.random.default_rng(i).integers(0, 256, (*shape, 3), dtype=np.uint8)
    return dict(inputs=inputs, instances=dict(keypoints=np.full((1, 2, 2), i, np.float32)), metainfo=dict(img_id=i))


def collate_and_tell(samples: list[dict]) -> dict:
    batch = pose_collate(samples)
    return {**batch, 'was_shared': batch['inputs'].is_shared()}


class Samples:
    def __len__(self) -> int:
        return 6

    def __getitem__(self, i: int) -> dict:
        return sample(i)


def check(batch: dict, ids: list[int]) -> None:
    inputs, data_samples = batch['inputs'], batch['data_samples']
    assert inputs.shape == (len(ids), 3, 5, 4)
    assert inputs.dtype == torch.uint8
    assert inputs.is_contiguous(memory_format=torch.channels_last)
    for row, i in enumerate(ids):
        np.testing.assert_array_equal(inputs[row].permute(1, 2, 0), sample(i)['inputs'])
        assert data_samples[row].img_id == i
    assert data_samples.keypoints[:, 0, 0].tolist() == ids


def test_a_batch() -> None:
    assert FUNCTIONS.get('pose_collate') is pose_collate
    check(pose_collate([sample(3), sample(1)]), [3, 1])


@pytest.mark.parametrize('num_workers', [0, 2])
def test_through_a_loader(num_workers: int) -> None:
    loader = DataLoader(Samples(), batch_size=4, num_workers=num_workers, collate_fn=collate_and_tell)
    first, second = list(loader)
    check(first, [0, 1, 2, 3])
    check(second, [4, 5])
    assert first['was_shared'] == (num_workers > 0)  # made in shared memory, a batch is not copied on its way


def test_images_of_several_sizes() -> None:
    with pytest.raises(ValueError, match=r'need one size, got \[\(5, 4, 3\), \(6, 4, 3\)\]; end with a crop or a resize'):
        pose_collate([sample(0), sample(1, (6, 4))])
