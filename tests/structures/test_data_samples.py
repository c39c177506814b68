import copy
import pickle

import numpy as np
import pytest
import torch

from mmpose_lite.structures import SampleBatch
from tests.no_sync import NoSync


def sample(name: str, num: int, **more: np.ndarray) -> dict:
    """Return what PackPoseInputs makes of an image with `num` people of 2 keypoints, numbered from the name."""
    keypoints = np.full((num, 2, 2), ord(name), dtype=np.float32) + np.arange(num, dtype=np.float32)[:, None, None]
    return dict(instances=dict(keypoints=keypoints, areas=np.ones(num, np.float32), **more), metainfo=dict(img_path=name))


@pytest.fixture
def batch() -> SampleBatch:
    return SampleBatch.pack([sample('a', 3), sample('b', 0), sample('x', 1)])


def test_packs_the_instances_of_all_images_in_order(batch: SampleBatch) -> None:
    assert batch.keypoints.shape == (4, 2, 2)
    assert batch.keypoints[:, 0, 0].tolist() == [97, 98, 99, 120]
    assert batch.counts == [3, 0, 1]
    assert batch.keys() == ['keypoints', 'areas']
    assert 'areas' in batch
    assert 'head_sizes' not in batch


def test_one_image_at_a_time(batch: SampleBatch) -> None:
    assert len(batch) == 3
    assert [s.img_path for s in batch] == ['a', 'b', 'x']
    assert [len(s.gt_instances) for s in batch] == [3, 0, 1]
    assert batch[-1].gt_instances.keypoints.tolist() == batch[2].gt_instances.keypoints.tolist() == [[[120, 120], [120, 120]]]
    assert np.shares_memory(batch[0].gt_instances.keypoints, batch.keypoints)  # a view


@pytest.mark.parametrize('index', [3, -4])
def test_index_outside(batch: SampleBatch, index: int) -> None:
    with pytest.raises(IndexError, match=f'index {index} is outside a batch of 3 images'):
        batch[index]


def test_to_makes_tensors_and_keeps_the_rest(batch: SampleBatch) -> None:
    moved = batch.to('cpu')
    assert isinstance(batch.keypoints, np.ndarray)
    assert isinstance(moved.keypoints, torch.Tensor)
    assert moved.keypoints.dtype == torch.float32
    assert moved.counts == batch.counts
    assert moved.metainfo == batch.metainfo
    assert moved.to('meta').keypoints.device.type == 'meta'


@pytest.mark.parametrize('clone', [copy.copy, copy.deepcopy, lambda b: pickle.loads(pickle.dumps(b))])
def test_crosses_process_borders(batch: SampleBatch, clone: object) -> None:
    other = clone(batch)
    np.testing.assert_array_equal(other.keypoints, batch.keypoints)
    assert other[2].img_path == 'x'


def test_the_metainfo_of_a_batch_is_its_own() -> None:
    source = sample('a', 1)
    SampleBatch.pack([source]).metainfo[0]['img_path'] = 'changed'
    assert source['metainfo']['img_path'] == 'a'


def test_images_without_instance_fields() -> None:
    batch = SampleBatch.pack([dict(instances={}, metainfo=dict(img_id=i)) for i in range(2)])
    assert batch.counts == [0, 0]
    assert batch[1].img_id == 1


def test_maps_go_with_the_batch() -> None:
    masks = [np.full((2, 3), value, np.uint8) for value in (7, 8)]
    batch = SampleBatch.pack([dict(sample(name, num), maps=dict(mask=mask)) for name, num, mask in zip('ab', (2, 0), masks)])
    for moved in (batch, batch.to('cpu'), pickle.loads(pickle.dumps(batch)), batch.to('cpu').to('cpu')):
        assert moved.mask.shape == (2, 2, 3)
        assert moved.mask[:, 0, 0].tolist() == [7, 8]
        assert 'mask' in moved
        assert moved.keys() == ['keypoints', 'areas']
    assert batch.to('cpu').mask.dtype == torch.uint8
    assert batch.to('meta').mask.device.type == 'meta'
    assert [len(s.gt_instances) for s in batch] == [2, 0]


@pytest.mark.skipif(not torch.cuda.is_available(), reason='pinning needs a GPU')
def test_pinned_memory() -> None:
    batch = SampleBatch.pack([dict(sample('a', 2), maps=dict(mask=np.ones((2, 3), np.uint8)))]).pin_memory()
    assert batch.keypoints.is_pinned()
    assert batch.mask.is_pinned()


def test_padded(batch: SampleBatch) -> None:
    padded = batch.padded('keypoints')
    assert padded.shape == (3, 3, 2, 2)
    assert padded[..., 0, 0].tolist() == [[97, 98, 99], [0, 0, 0], [120, 0, 0]]
    assert batch.to('cpu').padded('areas').tolist() == [[1, 1, 1], [0, 0, 0], [1, 0, 0]]
    assert batch.to('meta').padded('areas').device.type == 'meta'
    with NoSync():
        assert batch.to('cpu').padded('keypoints').shape == (3, 3, 2, 2)
    nobody = SampleBatch.pack([sample('a', 0), sample('b', 0)])
    assert nobody.padded('keypoints').tolist() == np.zeros((2, 1, 2, 2)).tolist()  # N is at least 1


def test_padded_lets_gradients_through() -> None:
    values = torch.arange(3.0, requires_grad=True)
    SampleBatch(dict(values=values), [2, 0, 1], [{}, {}, {}]).padded('values').square().sum().backward()
    assert values.grad.tolist() == [0, 2, 4]


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_padding_does_not_wait_for_the_device(batch: SampleBatch) -> None:
    moved = batch.to('cuda')
    torch.cuda.set_sync_debug_mode('error')
    try:
        padded = moved.padded('keypoints')
    finally:
        torch.cuda.set_sync_debug_mode('default')
    assert torch.equal(padded.cpu(), batch.padded('keypoints'))


def test_errors() -> None:
    with pytest.raises(AttributeError, match=r"no field `keypoint`; it has \['areas', 'keypoints'\]"):
        SampleBatch.pack([sample('a', 1)]).keypoint  # noqa: B018
    with pytest.raises(ValueError, match=r"image b has the instance fields \['keypoints', 'areas', 'more'\], others"):
        SampleBatch.pack([sample('a', 1), sample('b', 1, more=np.ones(1))])
    with pytest.raises(ValueError, match='`more` does not stack over the batch'):
        SampleBatch.pack([sample('a', 1, more=np.ones((1, 2))), sample('b', 1, more=np.ones((1, 3)))])
    with pytest.raises(ValueError, match=r'`counts` \(2\) and `metainfo` \(1\) need one entry per image'):
        SampleBatch({}, [1, 1], [{}])
    with pytest.raises(ValueError, match='field `areas` has 3 rows, but `counts` sum to 2'):
        SampleBatch(dict(areas=np.ones(3)), [2], [{}])
    with pytest.raises(ValueError, match='field `more` has 2 rows, but `counts` sum to 1'):
        SampleBatch.pack([sample('a', 1, more=np.ones(2))])
    one, two = (dict(sample(name, 1), maps=dict(mask=np.ones((2, size)))) for name, size in (('a', 3), ('b', 4)))
    with pytest.raises(ValueError, match='`mask` does not stack over the batch'):
        SampleBatch.pack([one, two])
    with pytest.raises(ValueError, match=r"image b has the maps \[\], others of its batch have \['mask'\]"):
        SampleBatch.pack([one, sample('b', 1)])
    with pytest.raises(ValueError, match='map `mask` has 2 rows, but there are 1 images'):
        SampleBatch({}, [0], [{}], maps=dict(mask=np.ones((2, 3))))
    with pytest.raises(ValueError, match='`mask` is both a field and a map'):
        SampleBatch(dict(mask=np.ones(1)), [1], [{}], maps=dict(mask=np.ones((1, 3))))
