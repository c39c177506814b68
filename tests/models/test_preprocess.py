import copy

import numpy as np
import pytest
import torch
from torch import nn

from mmpose_lite.models.preprocess import IMAGENET_MEAN, IMAGENET_STD
from mmpose_lite.registry import PREPROCESSORS
from mmpose_lite.structures import SampleBatch


def batch() -> dict:
    """Return images as `pose_collate` makes them."""
    pixels = torch.randint(0, 256, (2, 5, 4, 3), dtype=torch.uint8)
    samples = SampleBatch(dict(keypoints=np.ones((2, 3, 2), np.float32)), [1, 1], [dict(img_id=0), dict(img_id=1)])
    return dict(inputs=pixels.permute(0, 3, 1, 2), data_samples=samples)


@pytest.mark.parametrize('bgr_to_rgb', [True, False])
def test_against_a_loop(bgr_to_rgb: bool) -> None:
    preprocess, data = PREPROCESSORS.build(dict(type='PoseDataPreprocessor', bgr_to_rgb=bgr_to_rgb)), batch()
    inputs = preprocess(data)['inputs']
    for b, c, y, x in np.ndindex(2, 3, 5, 4):
        value = float(data['inputs'][b, 2 - c if bgr_to_rgb else c, y, x])
        assert inputs[b, c, y, x] == pytest.approx((value - IMAGENET_MEAN[c]) / IMAGENET_STD[c], abs=1e-5)


def test_means_are_rgb() -> None:
    """A picture of ImageNet's mean colour becomes 0; the mean red is the largest."""
    pixels = torch.tensor([103.53, 116.28, 123.675]).round().to(torch.uint8).expand(1, 2, 2, 3).permute(0, 3, 1, 2)
    inputs = PREPROCESSORS.build(dict(type='PoseDataPreprocessor'))(dict(inputs=pixels))['inputs']
    assert inputs.abs().max() < 0.01
    assert IMAGENET_MEAN[0] == max(IMAGENET_MEAN)


def test_what_the_network_gets() -> None:
    data = batch()
    before = data['inputs'].clone()
    out = PREPROCESSORS.build(dict(type='PoseDataPreprocessor'))(data, training=True)
    assert out['inputs'].dtype == torch.float32
    assert torch.equal(data['inputs'], before)
    assert isinstance(out['data_samples'].keypoints, torch.Tensor)
    assert out['data_samples'].metainfo == data['data_samples'].metainfo
    assert isinstance(data['data_samples'].keypoints, np.ndarray)


def test_inputs_have_the_memory_format_of_the_network() -> None:
    preprocess = PREPROCESSORS.build(dict(type='PoseDataPreprocessor'))
    network = nn.ModuleDict(dict(data_preprocessor=preprocess, conv=nn.Conv2d(3, 4, 3)))
    assert preprocess(batch())['inputs'].is_contiguous()  # whatever the memory format of the batch
    for memory_format in (torch.channels_last, torch.contiguous_format):
        network.to(memory_format=memory_format).float()
        assert preprocess.memory_format == memory_format
        for part in (network, copy.deepcopy(network)):
            inputs = part['data_preprocessor'](batch())['inputs']
            assert inputs.is_contiguous(memory_format=memory_format)
            assert part['conv'].weight.is_contiguous(memory_format=memory_format)
    preprocess.memory_format = torch.channels_last  # by hand
    assert preprocess(batch())['inputs'].is_contiguous(memory_format=torch.channels_last)


def test_own_numbers() -> None:
    preprocess = PREPROCESSORS.build(dict(type='PoseDataPreprocessor', mean=[0, 0, 0], std=[1, 2, 4], bgr_to_rgb=False))
    data = batch()
    expected = data['inputs'] / torch.tensor([1.0, 2, 4]).view(3, 1, 1)
    torch.testing.assert_close(preprocess(data)['inputs'], expected)


def test_no_instances_and_no_samples() -> None:
    preprocess, data = PREPROCESSORS.build(dict(type='PoseDataPreprocessor')), batch()
    assert preprocess(dict(inputs=data['inputs']))['data_samples'] is None
    assert preprocess(dict(inputs=data['inputs'][:0]))['inputs'].shape == (0, 3, 5, 4)


def test_adds_nothing_to_checkpoints() -> None:
    assert not PREPROCESSORS.build(dict(type='PoseDataPreprocessor')).state_dict()


@pytest.mark.parametrize('change', [dict(mean=[0, 0]), dict(std=[1, 1]), dict(std=[1, 0, 1])])
def test_wrong_arguments(change: dict) -> None:
    with pytest.raises(ValueError, match='PoseDataPreprocessor: `mean` and `std` must be 3 numbers, std above 0, got'):
        PREPROCESSORS.build(dict(type='PoseDataPreprocessor', **change))


@pytest.mark.parametrize('shape', [(3, 5, 4), (2, 4, 5, 4)])
def test_wrong_inputs(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r'`inputs` must be \(B, 3, H, W\), got \(' + ', '.join(map(str, shape))):
        PREPROCESSORS.build(dict(type='PoseDataPreprocessor'))(dict(inputs=torch.zeros(shape, dtype=torch.uint8)))


def test_a_detector_sees_0_beyond_an_image() -> None:
    data = batch()
    for info, shape in zip(data['data_samples'].metainfo, [(5, 2), (3, 4)]):
        info['img_shape'] = shape
    inputs = PREPROCESSORS.build(dict(type='DetDataPreprocessor'))(data)['inputs']
    expected = PREPROCESSORS.build(dict(type='PoseDataPreprocessor'))(data)['inputs']
    for b, c, y, x in np.ndindex(2, 3, 5, 4):
        inside = x < 2 if b == 0 else y < 3
        assert inputs[b, c, y, x] == (expected[b, c, y, x] if inside else 0)


def test_a_detector_takes_images_alone() -> None:
    images = dict(inputs=batch()['inputs'])
    out = PREPROCESSORS.build(dict(type='DetDataPreprocessor'))(images)
    torch.testing.assert_close(out['inputs'], PREPROCESSORS.build(dict(type='PoseDataPreprocessor'))(images)['inputs'])
    assert out['data_samples'] is None
