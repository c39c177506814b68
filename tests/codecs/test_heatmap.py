from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from mmpose_lite.codecs import HeatmapCodec
from mmpose_lite.registry import CODECS, ArgumentError
from mmpose_lite.structures import KeypointMeta
from tests.parity import functions

CODEC = dict(type='HeatmapCodec', input_size=(192, 256), heatmap_size=(48, 64), sigma=2.0)
STORED = {'msra': 'msra', 'dark': 'msra_dark', 'udp': 'udp'}


@pytest.fixture(params=['msra', 'dark', 'udp'])
def codec(request: pytest.FixtureRequest) -> HeatmapCodec:
    return CODECS.build({**CODEC, 'variant': request.param})


def people(num: int, *, margin: float = 40.0) -> tuple[Tensor, Tensor]:
    """Return keypoints (num, 1, 17, 2) in input px, `margin` px from the border, and their labels."""
    keypoints = margin + torch.rand(num, 1, 17, 2) * (torch.tensor((191.0, 255.0)) - 2 * margin)
    return keypoints, torch.ones(num, 1, 17)


def to_input_px(codec: HeatmapCodec, points: Tensor) -> Tensor:
    """Undo mmpose's stretch of decoded UDP points, which are shares of w px where the input spans w - 1 px."""
    if codec.variant != 'udp':
        return points
    w, h = codec.input_size
    return points * torch.tensor(((w - 1) / w, (h - 1) / h))


def test_encode_equals_the_reference(codec: HeatmapCodec, shared: Path) -> None:
    stored, name = functions(shared), STORED[codec.variant]
    keypoints = torch.from_numpy(stored['codec.keypoints'][:1, None])
    visible = torch.from_numpy(stored['codec.visible'][:1, None])
    heatmaps, weights = codec.encode(keypoints, visible)
    np.testing.assert_allclose(heatmaps[0], stored[f'codec.{name}.heatmaps'], atol=1e-5)
    np.testing.assert_array_equal(weights, stored[f'codec.{name}.weights'])


def test_decode_equals_the_reference(codec: HeatmapCodec, shared: Path) -> None:
    stored, name = functions(shared), STORED[codec.variant]
    keypoints, scores = codec.decode(torch.from_numpy(stored[f'codec.{name}.decode_in'])[None])
    np.testing.assert_allclose(keypoints, stored[f'codec.{name}.decoded'], atol=1e-2)  # px
    np.testing.assert_allclose(scores, stored[f'codec.{name}.scores'], atol=1e-6)


def test_decoding_undoes_encoding_within_half_a_cell(codec: HeatmapCodec) -> None:
    keypoints, visible = people(8)
    heatmaps, weights = codec.encode(keypoints, visible)
    decoded, scores = codec.decode(heatmaps)
    error = (to_input_px(codec, decoded) - keypoints[:, 0]).abs().max()
    assert error <= {'msra': 2.0, 'dark': 0.2, 'udp': 0.2}[codec.variant]  # px; a cell is 4 px
    assert (weights == 1).all()
    assert (scores > 0.85).all()


def test_the_borders_of_the_input_are_the_borders_of_the_map(codec: HeatmapCodec) -> None:
    far = (191.0, 255.0) if codec.variant == 'udp' else (188.0, 252.0)  # centre of the last cell
    heatmaps, _ = codec.encode(torch.tensor([[[(0.0, 0.0), far]]]), torch.ones(1, 1, 2))
    assert heatmaps[0, 0, 0, 0] == pytest.approx(1)
    assert heatmaps[0, 1, -1, -1] == pytest.approx(1)


def test_a_shift_by_whole_cells_shifts_the_result() -> None:
    for variant in ('msra', 'dark'):
        codec = HeatmapCodec((192, 256), (48, 64), variant=variant)
        keypoints, visible = people(2, margin=60)
        shift = torch.tensor((12.0, -20.0))  # px: 3 and 5 cells
        here, _ = codec.decode(codec.encode(keypoints, visible)[0])
        there, _ = codec.decode(codec.encode(keypoints + shift, visible)[0])
        torch.testing.assert_close(there, here + shift, atol=1e-2, rtol=0)


def test_a_permuted_batch_gives_the_permuted_result(codec: HeatmapCodec) -> None:
    keypoints, visible = people(5, margin=-20)
    order = torch.tensor([3, 1, 4, 0, 2])
    heatmaps, weights = codec.encode(keypoints, visible)
    permuted = codec.encode(keypoints[order], visible[order])
    torch.testing.assert_close(permuted, (heatmaps[order], weights[order]))
    torch.testing.assert_close(codec.decode(heatmaps[order])[0], codec.decode(heatmaps)[0][order])


def test_several_people_share_a_map(codec: HeatmapCodec) -> None:
    keypoints, visible = people(2)
    visible[0, 0, :5] = 0
    visible[1, 0, 3:8] = 0
    one, weight_one = codec.encode(keypoints[:1], visible[:1])
    two, weight_two = codec.encode(keypoints[1:], visible[1:])
    both, weight = codec.encode(keypoints.transpose(0, 1), visible.transpose(0, 1))
    torch.testing.assert_close(both, torch.maximum(one, two))
    torch.testing.assert_close(weight, torch.maximum(weight_one, weight_two))


def test_without_labels_or_people_the_maps_are_empty(codec: HeatmapCodec) -> None:
    keypoints, visible = people(2)
    for people_given, flags in ((keypoints, 0 * visible), (keypoints[:, :0], visible[:, :0])):
        heatmaps, weights = codec.encode(people_given, flags)
        assert heatmaps.shape == (2, 17, 64, 48)
        assert not heatmaps.any()
        assert weights.tolist() == [[0] * 17] * 2
        decoded, scores = codec.decode(heatmaps)
        assert (decoded < 0).all()
        assert not scores.any()


def test_a_map_of_one_cell(codec: HeatmapCodec) -> None:
    tiny = HeatmapCodec((4, 4), (1, 1), variant=codec.variant)
    heatmaps, weights = tiny.encode(torch.zeros(1, 1, 1, 2), torch.ones(1, 1, 1))
    decoded, _ = tiny.decode(heatmaps)
    assert weights.item() == heatmaps.item() == 1
    assert decoded.tolist() == [[[0, 0]]]


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16, torch.float64])
def test_maps_of_any_precision_are_decoded_in_float32(codec: HeatmapCodec, dtype: torch.dtype) -> None:
    heatmaps, _ = codec.encode(*people(2))
    decoded, scores = codec.decode(heatmaps.to(dtype))
    assert decoded.dtype == scores.dtype == torch.float32
    assert (decoded - codec.decode(heatmaps)[0]).abs().max() < 2.0  # px: half a cell


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(input_size=(0, 4)), r'`input_size` must be \(w, h\) of positive numbers, got \(0, 4\)'),
        (dict(heatmap_size=(48,)), r'`heatmap_size` must be \(w, h\) of positive numbers, got \(48,\)'),
        (dict(sigma=0), '`sigma` must be a positive number or one for each keypoint, got 0'),
        (dict(variant='mrsa'), r"`variant` must be one of \('msra', 'dark', 'udp'\), got 'mrsa'"),
        (dict(blur_kernel_size=10), '`blur_kernel_size` must be odd, got 10'),
    ],
)
def test_wrong_arguments(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=f'HeatmapCodec: {message}'):
        CODECS.build({**CODEC, **change})


def test_wrong_calls() -> None:
    codec = CODECS.build(CODEC)
    keypoints, visible = people(2)
    with pytest.raises(ValueError, match=r'must be \(B, N, K, 2\) and `visible` \(B, N, K\), got \(2, 17, 2\) and \(2, 17\)'):
        codec.encode(keypoints[:, 0], visible[:, 0])
    with pytest.raises(ValueError, match=r'got \(2, 1, 17, 2\) and \(2, 1, 16\)'):
        codec.encode(keypoints, visible[..., 1:])
    with pytest.raises(ValueError, match=r'`heatmaps` must be \(B, K, 64, 48\), got \(1, 17, 48, 64\)'):
        codec.decode(torch.zeros(1, 17, 48, 64))
    with pytest.raises(ArgumentError, match='HeatmapCodec has no argument `sigmas`; did you mean `sigma`'):
        CODECS.build({**CODEC, 'sigmas': 2})


def test_says_what_it_is() -> None:
    assert repr(CODECS.build(CODEC)) == 'HeatmapCodec(msra, input (192, 256), heatmap (48, 64), sigma 2.0)'


@pytest.mark.parametrize('variant', ['msra', 'dark', 'udp'])
def test_a_sigma_for_each_keypoint(variant: str) -> None:
    """Map k is that of a codec with the one sigma k."""
    sigmas = (1.0, 1.7, 3.0)
    keypoints, visible = people(4)
    keypoints, visible = keypoints[:, :, :3], visible[:, :, :3]
    heatmaps, weights = CODECS.build({**CODEC, 'variant': variant, 'sigma': sigmas}).encode(keypoints, visible)
    for k, sigma in enumerate(sigmas):
        expected, expected_weights = CODECS.build({**CODEC, 'variant': variant, 'sigma': sigma}).encode(keypoints, visible)
        torch.testing.assert_close(heatmaps[:, k], expected[:, k])
        torch.testing.assert_close(weights[:, k], expected_weights[:, k])


def test_sigmas_that_follow_the_oks() -> None:
    codec = CODECS.build({**CODEC, 'sigma_meta': 'coco17'})
    meta = KeypointMeta.load('coco17')
    assert np.mean(codec.sigma) == pytest.approx(2.0)
    np.testing.assert_allclose(np.array(codec.sigma) / codec.sigma[0], np.array(meta.sigmas) / meta.sigmas[0])
    heatmaps, _ = codec.encode(*people(1))
    areas = heatmaps[0].sum(dim=(1, 2))
    assert areas[meta.keypoints.index('left_hip')] > 5 * areas[meta.keypoints.index('left_eye')]
    assert f'sigma {min(codec.sigma):.3g} to {max(codec.sigma):.3g}' in repr(codec)


def test_targets_at_full_resolution() -> None:
    """Made at the size of the input, a peak is exactly 1 wherever the keypoint lies; resized from or to there, it is not."""
    full = CODECS.build(dict(type='HeatmapCodec', input_size=(48, 64), heatmap_size=(48, 64), sigma=2.0))
    keypoints, visible = (torch.rand(2, 1, 17, 2) * (torch.tensor((47.0, 63.0)))), torch.ones(2, 1, 17)
    heatmaps, _ = full.encode(keypoints, visible)
    assert (heatmaps.amax(dim=(2, 3)) == 1).all()
    decoded, _ = full.decode(heatmaps)
    assert (decoded - keypoints[:, 0]).abs().max() <= 0.5 + 1e-5  # half a cell, which is half a px
    quarter, _ = CODECS.build(dict(type='HeatmapCodec', input_size=(48, 64), heatmap_size=(12, 16), sigma=0.5)).encode(
        keypoints, visible
    )
    assert (interpolate(heatmaps, scale_factor=0.25, mode='bilinear').amax(dim=(2, 3)) < 1).all()
    assert (interpolate(quarter, scale_factor=4, mode='bilinear').amax(dim=(2, 3)) < 1).all()


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(sigma=(1.0, -2.0)), r'`sigma` must be a positive number or one for each keypoint, got \(1.0, -2.0\)'),
        (dict(sigma=()), '`sigma` must be a positive number'),
        (dict(sigma=(1.0, 2.0), sigma_meta='coco17'), '`sigma_meta` shares out one `sigma`, got 2 of them'),
        (dict(sigma_meta='coco16'), 'must be one of'),
    ],
)
def test_wrong_sigmas(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CODECS.build({**CODEC, **options})


def test_sigmas_for_other_keypoints() -> None:
    with pytest.raises(ValueError, match=r'`sigma` must be one number or one for each keypoint \(17\), got 3'):
        CODECS.build({**CODEC, 'sigma': (1.0, 2.0, 3.0)}).encode(*people(1))
