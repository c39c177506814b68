import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from mmpose_lite.codecs.simcc import SimCCCodec
from mmpose_lite.ops.simcc import flip_simcc, marginal_weights, refine_simcc_dark, simcc_accuracy
from mmpose_lite.registry import CODECS
from tests.parity import functions


def build(**args: object) -> SimCCCodec:
    return CODECS.build({**dict(type='SimCCCodec', input_size=(48, 64), sigma=2.0), **args})


def points(*xy: tuple[float, float]) -> Tensor:
    """Return (1, 1, K, 2) keypoints."""
    return torch.tensor(xy)[None, None]


def ones(keypoints: Tensor) -> Tensor:
    return torch.ones(keypoints.shape[:-1])


def test_labels_and_decoding_are_the_reference(shared: Path) -> None:
    stored = {key[len('codec.') :]: torch.from_numpy(value) for key, value in functions(shared).items() if key[:5] == 'codec'}
    codec = SimCCCodec((192, 256), sigma=(4.9, 5.66), normalize=False)
    (x, y), weights = codec.encode(stored['keypoints'][:1, None], stored['visible'][:1, None])
    torch.testing.assert_close(x, stored['simcc.x'], atol=1e-6, rtol=0)
    torch.testing.assert_close(y, stored['simcc.y'], atol=1e-6, rtol=0)
    assert torch.equal(weights, stored['simcc.weights'])
    keypoints, scores = codec.decode((stored['simcc.x'], stored['simcc.y']))
    assert torch.equal(keypoints, stored['simcc.decoded'])
    assert torch.equal(scores, stored['simcc.scores'])


@pytest.mark.parametrize('smoothing_type', ['gaussian', 'standard'])
@pytest.mark.parametrize('ratio', [1.0, 2.0, 2.5])
def test_decoded_keypoints_are_within_half_a_bin(smoothing_type: str, ratio: float) -> None:
    codec = build(smoothing_type=smoothing_type, simcc_split_ratio=ratio)
    keypoints = torch.rand(3, 1, 20, 2) * torch.tensor([47.0, 63.0])
    labels, weights = codec.encode(keypoints, ones(keypoints))
    assert weights.all()
    assert [label.shape[-1] for label in labels] == [round(48 * ratio), round(64 * ratio)]
    decoded, _ = codec.decode(labels)
    assert (decoded - keypoints[:, 0]).abs().max() <= 0.5 / ratio + 1e-5


def test_a_gaussian_by_hand() -> None:
    (x, y), _ = build(sigma=(2.0, 3.0), normalize=False).encode(points((10.2, 20.0)), torch.ones(1, 1, 1))
    assert x[0, 0, 20].item() == 1  # 10.2 px is nearest to bin 20
    assert x[0, 0, 23].item() == pytest.approx(math.exp(-9 / 8), rel=1e-6)
    assert y[0, 0, 43].item() == pytest.approx(math.exp(-9 / 18), rel=1e-6)
    (x, y), _ = build(sigma=(2.0, 3.0)).encode(points((10.2, 20.0)), torch.ones(1, 1, 1))
    assert x.sum().item() == pytest.approx(1, abs=1e-3)
    assert y.max().item() == pytest.approx(1 / (3 * math.sqrt(2 * math.pi)), rel=1e-6)


def test_standard_smoothing_by_hand() -> None:
    (x, _), _ = build(smoothing_type='standard', label_smooth_weight=0.2).encode(points((10.0, 20.0)), torch.ones(1, 1, 1))
    assert x[0, 0, 20].item() == pytest.approx(0.8)
    assert x[0, 0, 0].item() == pytest.approx(0.2 / 95)
    assert x.sum().item() == pytest.approx(1, abs=1e-6)
    (x, _), _ = build(smoothing_type='standard').encode(points((10.0, 20.0)), torch.ones(1, 1, 1))
    assert x.nonzero().tolist() == [[0, 0, 20]]


def test_weights_of_points_outside_and_unlabelled() -> None:
    nan = float('nan')
    keypoints = points((-3.0, 5.0), (-4.0, 5.0), (50.7, 5.0), (50.9, 5.0), (5.0, 5.0), (nan, 5.0))
    visible = torch.tensor([[[1.0, 1.0, 1.0, 1.0, 0.0, 1.0]]])
    # 3 sigma are 6 bins: the last reaching bins are 101 (of 96) and, with the published +1, -7
    (x, y), weights = build().encode(keypoints, visible)
    assert weights.tolist() == [[1, 0, 1, 0, 0, 0]]
    assert x.any(dim=-1).tolist() == y.any(dim=-1).tolist() == [[True, False, True, False, False, False]]
    assert build(smoothing_type='standard').encode(keypoints, visible)[1].tolist() == [[0, 0, 0, 0, 0, 0]]


def test_instances_are_rows_in_their_order() -> None:
    keypoints = torch.rand(2, 3, 4, 2) * 40
    (x, _), weights = build().encode(keypoints, ones(keypoints))
    assert x.shape == (6, 4, 96)
    assert weights.shape == (6, 4)
    one, _ = build().encode(keypoints[1:, 2:], ones(keypoints[1:, 2:]))
    assert torch.equal(x[5:], one[0])


def test_labels_without_a_value_above_zero() -> None:
    keypoints, scores = build().decode((torch.zeros(1, 2, 96), torch.ones(1, 2, 128)))
    assert (keypoints == -0.5).all()
    assert not scores.any()


def loop_dark(bin_: int, label: np.ndarray, kernel_size: int) -> float:
    """One label by OpenCV and plain numbers, as published."""
    border = kernel_size // 2
    blurred = cv2.GaussianBlur(np.pad(label, border)[None], (kernel_size, 1), 0)[0, border:-border]
    blurred *= label.max() / blurred.max()
    logs = np.pad(np.log(np.clip(blurred, 1e-3, 50)), 2, mode='edge')
    i = bin_ + 2
    slope = 0.5 * (logs[i + 1] - logs[i - 1])
    return bin_ - slope / (1e-9 + 0.25 * (logs[i + 2] - 2 * logs[i] + logs[i - 2]))


def test_dark_is_the_published_loop() -> None:
    rng = np.random.default_rng(0)
    bins = torch.tensor([[25, 33, 40, 51, 70]])
    offsets = rng.uniform(-0.4, 0.4, 5)
    label = np.exp(-((np.arange(96) - (bins[0].numpy() + offsets)[:, None]) ** 2) / 32) + rng.uniform(0, 0.01, (5, 96))
    label = label.astype(np.float32)
    refined = refine_simcc_dark(bins.float(), torch.from_numpy(label)[None], kernel_size=23)
    expected = [loop_dark(int(b), row, 23) for b, row in zip(bins[0], label, strict=True)]
    np.testing.assert_allclose(refined[0].numpy(), expected, atol=1e-3)  # bins


@pytest.mark.parametrize('end', [0, 95])
def test_dark_stays_near_the_bin_at_the_ends(end: int) -> None:
    bins = torch.arange(max(end - 12, 0), min(end + 12, 95) + 1)
    label = torch.exp(-((torch.arange(96) - bins[:, None]) ** 2) / 32)[None]
    refined = refine_simcc_dark(bins[None].float(), label, kernel_size=23)
    assert (refined - bins).abs().max() <= 2
    assert (refine_simcc_dark(torch.full((1, len(bins)), -1.0), label, kernel_size=23) == -1).all()


def test_dark_decodes_between_the_bins() -> None:
    codec = build(input_size=(192, 256), sigma=(4.9, 5.66), normalize=False, use_dark=True)
    bins = torch.tensor([100.3, 70.6])
    labels = [
        torch.exp(-((torch.arange(n) - b) ** 2) / (2 * s**2)) for n, b, s in zip((384, 512), bins, codec.sigma, strict=True)
    ]
    keypoints, _ = codec.decode((labels[0][None, None], labels[1][None, None]))
    torch.testing.assert_close(keypoints[0, 0] * 2, bins, atol=0.02, rtol=0)  # bins


def test_flipping() -> None:
    indices = [1, 0, 2]
    labels = (torch.rand(2, 3, 96), torch.rand(2, 3, 128))
    twice = flip_simcc(flip_simcc(labels, indices), indices)
    assert torch.equal(twice[0], labels[0])
    assert torch.equal(twice[1], labels[1])
    with pytest.raises(ValueError, match='must have one K'):
        flip_simcc(labels, [1, 0])


def test_shift_brings_a_mirrored_point_back_to_its_bin() -> None:
    codec = build()
    keypoints = points((10.0, 20.0), (30.0, 40.0))
    mirrored = keypoints.clone()
    mirrored[..., 0] = 47 - keypoints[..., 0]
    labels, _ = codec.encode(mirrored.flip(2), ones(keypoints))
    back, _ = codec.decode(flip_simcc(labels, [1, 0], shift=1))
    assert torch.equal(back, keypoints[0])
    back, _ = codec.decode(flip_simcc(labels, [1, 0]))
    assert torch.equal(back[..., 0], keypoints[0, ..., 0] + 0.5)


def test_accuracy() -> None:
    codec = build()
    target, weight = codec.encode(points((10.0, 20.0), (30.0, 40.0), (5.0, 5.0)), torch.tensor([[[1.0, 1.0, 0.0]]]))
    pred, _ = codec.encode(points((12.0, 22.0), (36.0, 40.0), (40.0, 5.0)), torch.ones(1, 1, 3))
    assert simcc_accuracy(target, target, weight).item() == 1
    # 2 px of 48 by 2 of 64 are 0.052 of the sizes; 6 px are 0.125
    assert simcc_accuracy(pred, target, weight, thr=0.06).item() == 0.5
    assert simcc_accuracy(pred, target, weight, thr=0.05).item() == 0
    assert simcc_accuracy(pred, target, torch.zeros(1, 3)).item() == 0


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (dict(input_size=(0, 64)), r'`input_size` must be \(w, h\) of positive numbers, got \(0, 64\)'),
        (dict(smoothing_type='one'), "`smoothing_type` must be one of .*, got 'one'"),
        (dict(sigma=0), '`sigma` must be one or two positive numbers, got 0'),
        (dict(sigma=(1.0, 2.0, 3.0)), '`sigma` must be one or two positive numbers'),
        (dict(simcc_split_ratio=0), '`simcc_split_ratio` must be positive and leave a bin, got 0'),
        (dict(simcc_split_ratio=0.01), '`simcc_split_ratio` must be positive and leave a bin, got 0.01'),
        (dict(label_smooth_weight=2, smoothing_type='standard'), r'`label_smooth_weight` must be in \[0, 1\], got 2'),
        (dict(label_smooth_weight=0.1), '`label_smooth_weight` must be 0 unless'),
    ],
)
def test_wrong_arguments(args: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(**args)


def test_wrong_shapes() -> None:
    with pytest.raises(ValueError, match=r'`keypoints` must be \(B, N, K, 2\)'):
        build().encode(torch.rand(2, 4, 2), torch.ones(2, 4))
    with pytest.raises(ValueError, match=r'`labels` must be \(M, K, 96\) and \(M, K, 128\), got \(1, 2, 128\)'):
        build().decode((torch.rand(1, 2, 128), torch.rand(1, 2, 96)))


def test_marginal_weights_are_sums_of_columns_and_rows_stretched_to_the_bins() -> None:
    """By a slow loop: with bins in the middle of cells, and the mean taken off."""
    maps, bins = torch.rand(5, 6), (24, 40)  # H x W; 4 bins to a column, 8 to a row
    for weights, sums, num_bins in zip(marginal_weights((6, 5), bins), (maps.sum(0), maps.sum(1)), bins):
        expected = []
        for b in range(num_bins):
            place = min(max((b + 0.5) * len(sums) / num_bins - 0.5, 0), len(sums) - 1)
            low = min(int(place), len(sums) - 2)
            expected.append(sums[low] * (1 - place + low) + sums[low + 1] * (place - low))
        expected = torch.stack(expected)
        torch.testing.assert_close(weights @ maps.flatten(), expected - expected.mean())


def test_marginals_of_one_cell_are_highest_at_its_bins() -> None:
    maps = torch.full((64, 48), -1.0)
    maps[50, 7] = 0
    codec = SimCCCodec((192, 256))
    x, y = (weights @ maps.flatten() for weights in marginal_weights((48, 64), codec.num_bins))
    points, scores = codec.decode((x[None, None], y[None, None]))
    assert (points[0, 0] - torch.tensor([7 * 4 + 1.5, 50 * 4 + 1.5])).abs().max() <= 1  # px; cells of 4 px
    assert scores > 0


def test_logits_below_zero_have_a_place() -> None:
    """Softmax is the same wherever 0 is; only a label that is flat points nowhere."""
    codec = SimCCCodec((48, 64))
    x, y = torch.randn(2, 3, 96), torch.randn(2, 3, 128)
    points, scores = codec.decode((x, y))
    below, lower_scores = codec.decode((x - 10, y - 10))
    assert torch.equal(below, points)
    torch.testing.assert_close(lower_scores, scores - 10)
    nowhere, _ = codec.decode((torch.zeros(1, 1, 96), y[:1, :1]))
    assert (nowhere < 0).all()
