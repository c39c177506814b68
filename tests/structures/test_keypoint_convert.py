from pathlib import Path

import numpy as np
import pytest
import torch

from mmpose_lite.structures import KeypointConverter, KeypointMeta
from tests.parity import Reference

COCO, OPENPOSE = KeypointMeta.load('coco17'), KeypointMeta.load('openpose18')


def test_openpose_is_openposes() -> None:
    """Order of joints, of field channels and colours, as OpenPose's poseParameters.cpp lists them."""
    assert OPENPOSE.keypoints[:5] == ('nose', 'neck', 'right_shoulder', 'right_elbow', 'right_wrist')
    assert OPENPOSE.keypoints[14:] == ('right_eye', 'left_eye', 'right_ear', 'left_ear')
    # Pairs of joints, and of channels behind 19 heatmaps, in the order of its code.
    pairs = (1, 2, 1, 5, 2, 3, 3, 4, 5, 6, 6, 7, 1, 8, 8, 9, 9, 10, 1, 11, 11, 12, 12, 13, 1, 0, 0, 14, 14, 16, 0, 15, 15, 17)
    pairs = (*pairs, 2, 16, 5, 17)
    channels = (31, 32, 39, 40, 33, 34, 35, 36, 41, 42, 43, 44, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 47, 48, 49, 50)
    channels = (*channels, 53, 54, 51, 52, 55, 56, 37, 38, 45, 46)
    for a, b, x, y in zip(pairs[::2], pairs[1::2], channels[::2], channels[1::2]):
        limb = (x - 19) // 2
        assert OPENPOSE.limbs[limb] == (a, b)
        assert (x, y) == (19 + 2 * limb, 20 + 2 * limb)
        assert OPENPOSE.limb_colors[limb] == OPENPOSE.colors[b]
    assert OPENPOSE.num_limbs == 19
    assert OPENPOSE.derived == dict(neck=('left_shoulder', 'right_shoulder'))
    assert hash(OPENPOSE) == hash(KeypointMeta.load('openpose18'))
    assert OPENPOSE.colors[:3] == ((255, 0, 85), (255, 0, 0), (255, 85, 0))
    assert OPENPOSE.swaps == (0, 1, 5, 6, 7, 2, 3, 4, 11, 12, 13, 8, 9, 10, 15, 14, 17, 16)
    by_name = dict(zip(COCO.keypoints, COCO.sigmas))
    assert [sigma for name, sigma in zip(OPENPOSE.keypoints, OPENPOSE.sigmas) if sigma != by_name.get(name)] == [0.079]  # neck


def test_openpose_fits_the_published_network(shared: Path) -> None:
    shapes = {shape[:1] for shape in Reference.load(shared, 'pose_openpose_vgg19').keys.values()}
    assert {(OPENPOSE.num_keypoints + 1,), (2 * OPENPOSE.num_limbs,)} <= shapes


@pytest.mark.parametrize('kind', ['torch', 'numpy'])
def test_coco_to_openpose(kind: str) -> None:
    keypoints, visible = torch.rand(2, 3, 17, 2), (torch.rand(2, 3, 17) > 0.3).float()
    if kind == 'numpy':
        keypoints, visible = keypoints.numpy(), visible.numpy()
    points, flags = KeypointConverter(COCO, OPENPOSE)(keypoints, visible)
    assert type(points) is type(keypoints)
    assert points.dtype == keypoints.dtype
    assert flags.dtype == visible.dtype
    for name, k in zip(OPENPOSE.keypoints, range(18)):
        if name == 'neck':
            left, right = (COCO.keypoints.index(f'{side}_shoulder') for side in ('left', 'right'))
            np.testing.assert_allclose(points[..., k, :], (keypoints[..., left, :] + keypoints[..., right, :]) / 2, rtol=1e-6)
            np.testing.assert_array_equal(flags[..., k], visible[..., left] * visible[..., right])
        else:
            np.testing.assert_array_equal(points[..., k, :], keypoints[..., COCO.keypoints.index(name), :])
            np.testing.assert_array_equal(flags[..., k], visible[..., COCO.keypoints.index(name)])


def test_there_and_back_is_identity() -> None:
    keypoints, scores = np.random.rand(4, 17, 2), np.random.rand(4, 17)  # noqa: NPY002
    there, back = KeypointConverter(COCO, OPENPOSE), KeypointConverter(OPENPOSE, COCO)
    for given, returned in zip((keypoints, scores), back(*there(keypoints, scores))):
        np.testing.assert_array_equal(given, returned)


def test_what_does_not_exist_does_not_touch_the_rest() -> None:
    keypoints, visible = np.full((1, 17, 2), np.nan), np.zeros((1, 17))
    keypoints[0, 0], visible[0, 0] = (3, 4), 1
    points, flags = KeypointConverter(COCO, OPENPOSE)(keypoints, visible)
    assert points[0, 0].tolist() == [3, 4]
    assert flags.sum() == 1


def test_nobody() -> None:
    points, flags = KeypointConverter(COCO, OPENPOSE)(torch.zeros(0, 17, 2), torch.zeros(0, 17))
    assert points.shape == (0, 18, 2)
    assert flags.shape == (0, 18)


def test_of_a_user() -> None:
    """Parts of a mean need not be keypoints of the target."""
    source = KeypointMeta.load(dict(keypoints=['a', 'b', 'c']))
    target = KeypointMeta.load(dict(name='middle', keypoints=['c', 'middle'], derived=dict(middle=['a', 'b', 'c'])))
    points, scores = KeypointConverter(source, target)(np.array([[0, 0], [3, 6], [6, 0.0]]), np.array([0.5, 0.25, 1]))
    assert points.tolist() == [[6, 0], [3, 2]]
    assert scores.tolist() == [1, 0.25]
    assert repr(KeypointConverter(source, target)) == 'KeypointConverter(custom -> middle)'


def test_wrong_calls() -> None:
    message = (
        r"KeypointConverter: `source` must have .* 'lsp14' .* gives no 'nose', 'right_eye', 'left_eye', 'right_ear', 'left_ear'\."
    )
    with pytest.raises(ValueError, match=message):
        KeypointConverter(KeypointMeta.load('lsp14'), OPENPOSE)
    source = KeypointMeta.load(dict(keypoints=['nose']))
    target = KeypointMeta.load(dict(keypoints=['neck'], derived=dict(neck=['left', 'right'])))
    with pytest.raises(ValueError, match=r"gives no 'neck' \(the mean of left, right\)"):
        KeypointConverter(source, target)
    converter = KeypointConverter(COCO, OPENPOSE)
    for points, flags in ((np.zeros((1, 18, 2)), np.zeros((1, 18))), (np.zeros((1, 17, 2)), np.zeros((2, 17)))):
        with pytest.raises(ValueError, match=r'`keypoints` must be \(\.\.\., 17, 2\) and `visible` \(\.\.\., 17\)'):
            converter(points, flags)
