import numpy as np
import pytest
import torch
from mmengine.registry import FUNCTIONS
from torch.utils.data import DataLoader

from mmpose_lite.datasets.collate import detection_collate, pose_collate
from mmpose_lite.errors import ConfigError
from mmpose_lite.ops.masks import pack_masks, unpack_masks


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


def test_samples_that_are_not_packed() -> None:
    with pytest.raises(ConfigError, match=r"the pipeline must end with PackPoseInputs, got samples with \['img'\]"):
        pose_collate([dict(img=0)])


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


def objects(i: int, shape: tuple[int, int], num: int = 2) -> dict:
    """Return what PackDetInputs makes of an image with `num` objects."""
    rng = np.random.default_rng(i)
    masks = rng.integers(0, 2, (num, *shape), dtype=np.uint8)
    return dict(
        inputs=rng.integers(1, 256, (*shape, 3), dtype=np.uint8),
        instances=dict(bboxes_input=rng.random((num, 4), np.float32), labels=np.full(num, i), masks=pack_masks(masks)),
        maps=dict(gt_semantic_seg=rng.integers(0, 9, (shape[0] // 4, shape[1] // 4), dtype=np.uint8)),
        metainfo=dict(img_id=i, img_shape=shape, semantic_stride=4),
    )


def test_images_of_several_sizes_are_filled_up() -> None:
    samples = [objects(1, (20, 44), num=3), objects(2, (40, 12), num=0), objects(3, (33, 33))]
    assert FUNCTIONS.get('detection_collate') is detection_collate
    batch = detection_collate(samples, size_divisor=16)
    inputs, data_samples = batch['inputs'], batch['data_samples'].to('cpu')
    assert inputs.shape == (3, 3, 48, 48)
    assert inputs.is_contiguous(memory_format=torch.channels_last)
    assert data_samples.counts == [3, 0, 2]
    assert data_samples.labels.tolist() == [1, 1, 1, 3, 3]
    masks = unpack_masks(data_samples.masks, 48)
    row = 0
    for i, item in enumerate(samples):
        h, w = item['inputs'].shape[:2]
        np.testing.assert_array_equal(inputs[i, :, :h, :w].permute(1, 2, 0), item['inputs'])
        assert not inputs[i, :, h:].any()
        assert not inputs[i, :, :, w:].any()
        cells = data_samples.gt_semantic_seg[i]
        assert cells.shape == (12, 12)
        np.testing.assert_array_equal(cells[: h // 4, : w // 4], item['maps']['gt_semantic_seg'])
        assert (cells[h // 4 :] == 255).all()
        assert (cells[:, w // 4 :] == 255).all()
        assert data_samples.metainfo[i]['input_size'] == (48, 48)
        assert 'input_size' not in item['metainfo'], 'the samples themselves stay as they are'
        expected = unpack_masks(torch.as_tensor(item['instances']['masks']), w)
        num = len(expected)
        assert torch.equal(masks[row : row + num, :h, :w], expected)
        assert masks[row : row + num].sum() == expected.sum()
        row += num


def test_a_batch_is_a_multiple_of_the_divisor() -> None:
    assert detection_collate([objects(1, (33, 64))])['inputs'].shape == (1, 3, 64, 64)
    assert detection_collate([objects(1, (33, 64))], size_divisor=1)['inputs'].shape == (1, 3, 33, 64)
    with pytest.raises(ValueError, match='detection_collate: `size_divisor` must be 1 or more, got 0'):
        detection_collate([objects(1, (33, 64))], size_divisor=0)
