import cv2
import numpy as np
import pytest
import torch

from mmpose_lite.codecs.megvii_heatmap import MegviiHeatmapCodec
from mmpose_lite.ops.heatmap_flip import flip_heatmaps
from mmpose_lite.registry import CODECS


def build(**args: object) -> MegviiHeatmapCodec:
    cfg = dict(type='MegviiHeatmapCodec', input_size=(48, 64), heatmap_size=(12, 16), kernel_sizes=(11, 9, 7, 5))
    return CODECS.build({**cfg, **args})


def points(*xy: tuple[float, float]) -> torch.Tensor:
    return torch.tensor(xy)[None, None]


def test_targets_are_blurred_impulses_that_are_255_at_the_keypoint() -> None:
    """Also beside the border, where OpenCV mirrors the impulse."""
    keypoints = points((23.9, 31.0), (0.0, 0.0), (5.0, 63.9), (47.0, 8.0))
    heatmaps, weights = build().encode(keypoints, torch.ones(1, 1, 4))
    assert heatmaps.shape == (1, 4, 4, 16, 12)
    assert torch.equal(weights, torch.ones(1, 4))
    for level, size in enumerate((11, 9, 7, 5)):
        for k, (x, y) in enumerate(((5, 7), (0, 0), (1, 15), (11, 2))):
            expected = np.zeros((16, 12), np.float32)
            expected[y, x] = 1
            expected = cv2.GaussianBlur(expected, (size, size), 0)
            expected *= 255 / expected[y, x]
            np.testing.assert_allclose(heatmaps[0, level, k].numpy(), expected, rtol=1e-5, atol=1e-3)


def test_what_is_not_labelled_or_outside_has_no_target() -> None:
    keypoints = points((10, 10), (48, 10), (10, -4.1), (10, -3.9))
    heatmaps, weights = build().encode(keypoints, torch.tensor([[[0.0, 1, 1, 1]]]))
    assert weights.tolist() == [[0, 0, 0, 1]]  # less than a cell above the image counts as its first row
    assert not heatmaps[0, :, :3].any()
    assert heatmaps[0, :, 3, 0, 2].tolist() == [255] * 4


def test_of_several_people_the_larger_value_stays() -> None:
    codec, visible = build(), torch.ones(1, 1, 1)
    first, second = points((10.0, 10.0)), points((20.0, 12.0))
    both, weights = codec.encode(torch.cat((first, second), dim=1), torch.ones(1, 2, 1))
    assert torch.equal(both, torch.maximum(codec.encode(first, visible)[0], codec.encode(second, visible)[0]))
    assert weights.shape == (1, 1)


def test_no_people() -> None:
    heatmaps, weights = build().encode(torch.zeros(2, 0, 3, 2), torch.zeros(2, 0, 3))
    assert heatmaps.shape == (2, 4, 3, 16, 12)
    assert not heatmaps.any()
    assert not weights.any()


def test_a_mirrored_image_needs_no_shift() -> None:
    codec = build()
    keypoints = torch.randint(0, 48, (3, 1, 5, 2)).float()
    mirrored = keypoints.clone()
    mirrored[..., 0] = 47 - keypoints[..., 0]
    visible = torch.ones(3, 1, 5)
    maps, of_mirrored = codec.encode(keypoints, visible)[0][:, -1], codec.encode(mirrored, visible)[0][:, -1]
    torch.testing.assert_close(flip_heatmaps(of_mirrored, range(5)), maps)


def test_decoding_gives_the_point_back() -> None:
    codec = build()
    keypoints = torch.rand(4, 1, 6, 2) * torch.tensor([32.0, 48.0]) + 8  # px, away from the border
    maps, _ = codec.encode(keypoints, torch.ones(4, 1, 6))
    decoded, scores = codec.decode(maps[:, -1])
    assert (decoded - keypoints[:, 0]).abs().max() <= 3  # px: half a cell of 4 px, and the quarter cell of the refinement
    torch.testing.assert_close(scores, torch.full((4, 6), 1.5))


def test_decoding_is_the_published_loop() -> None:
    codec = build(blur_kernel_size=9)
    maps = torch.randn(3, 5, 16, 12) * 20
    maps[0, 0, 0, 11] = 500  # a maximum in a corner is not refined
    maps[0, 1] = -1
    keypoints, scores = codec.decode(maps)
    for b in range(3):
        for k in range(5):
            heatmap = maps[b, k].numpy()
            blurred = cv2.GaussianBlur(np.pad(heatmap, 4), (9, 9), 0)[4:-4, 4:-4]
            y, x = np.unravel_index(blurred.argmax(), blurred.shape) if heatmap.max() > 0 else (-1, -1)
            expected = np.array([x, y], np.float32)
            if 1 < x < 11 and 1 < y < 15:
                slope = blurred[y, x + 1] - blurred[y, x - 1], blurred[y + 1, x] - blurred[y - 1, x]
                expected += np.sign(slope) * 0.25 + 0.5
            np.testing.assert_allclose(keypoints[b, k].numpy(), expected * 4, atol=1e-4)
            assert scores[b, k].item() == pytest.approx(heatmap.max() / 255 + 0.5, abs=1e-6)


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (dict(input_size=(0, 64)), '`input_size` must be'),
        (dict(heatmap_size=(12,)), '`heatmap_size` must be'),
        (dict(kernel_sizes=(11, 8)), r'`kernel_sizes` must be odd numbers, got \(11, 8\)'),
        (dict(kernel_sizes=()), '`kernel_sizes` must be odd numbers'),
        (dict(blur_kernel_size=4), '`blur_kernel_size` must be odd, got 4'),
    ],
)
def test_wrong_arguments(args: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(**args)


def test_wrong_shapes() -> None:
    with pytest.raises(ValueError, match=r'`keypoints` must be \(B, N, K, 2\)'):
        build().encode(torch.zeros(1, 2, 2), torch.zeros(1, 1, 2))
    with pytest.raises(ValueError, match=r'`heatmaps` must be \(B, K, 16, 12\), got \(1, 2, 12, 16\)'):
        build().decode(torch.zeros(1, 2, 12, 16))
