"""Layers that pool boxes: against a loop over cells and samples."""

import math

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional

from mmpose_lite.models.layers.deform_roi_pool import pool_moved_cells
from mmpose_lite.registry import LAYERS, ROI_EXTRACTORS

SCALE = 0.25  # cells per px
# One inside, one across cells of the border, one on the other image and half outside, one without an area.
ROIS = torch.tensor([[0, 4, 6, 30, 26], [0, 0, 1, 17, 9], [1, 20, -9, 60, 24], [1, 8, 8, 8, 8]], dtype=torch.double)


def read(channel: Tensor, y: float, x: float) -> float:
    """Return the bilinear value of (H, W); up to one cell beyond the border that of the border, then 0."""
    H, W = channel.shape
    if not (-1 <= y <= H and -1 <= x <= W):
        return 0.0
    y, x = min(max(y, 0), H - 1), min(max(x, 0), W - 1)
    top, left = min(math.floor(y), H - 2), min(math.floor(x), W - 2)
    dy, dx = y - top, x - left
    above = (1 - dx) * channel[top, left] + dx * channel[top, left + 1]
    below = (1 - dx) * channel[top + 1, left] + dx * channel[top + 1, left + 1]
    return float((1 - dy) * above + dy * below)


def samples(channel: Tensor, roi: Tensor, cell: tuple[int, int], shape: tuple[int, int], s: int, moved: Tensor) -> list[float]:
    """Return the s x s samples of a cell, moved by (x, y) in sizes of the box; for 0 as many as it spans cells of the map."""
    x1, y1, x2, y2 = (roi[1:] * SCALE).tolist()
    height, width = y2 - y1, x2 - x1
    y0 = y1 - 0.5 + cell[0] * height / shape[0] + float(moved[1]) * height
    x0 = x1 - 0.5 + cell[1] * width / shape[1] + float(moved[0]) * width
    rows, columns = (s or math.ceil(side / n) for side, n in zip((height, width), shape))
    at = [((i + 0.5) / rows, (k + 0.5) / columns) for i in range(rows) for k in range(columns)]
    return [read(channel, y0 + dy * height / shape[0], x0 + dx * width / shape[1]) for dy, dx in at]


def cells(shape: tuple[int, ...]) -> list[list[int]]:
    return torch.cartesian_prod(*(torch.arange(n) for n in shape)).tolist()


@pytest.mark.parametrize('sampling_ratio', [2, 0])
def test_moved_cells_by_a_loop(sampling_ratio: int) -> None:
    feat = torch.randn(2, 3, 7, 9, dtype=torch.double)
    offset = 0.3 * torch.randn(4, 2, 2, 3, dtype=torch.double)
    out = pool_moved_cells(feat, ROIS, offset, spatial_scale=SCALE, sampling_ratio=sampling_ratio)
    expected = torch.zeros(4, 3, 2, 3, dtype=torch.double)
    for r, c, i, j in cells(expected.shape):
        values = samples(feat[int(ROIS[r, 0]), c], ROIS[r], (i, j), (2, 3), sampling_ratio, offset[r, :, i, j])
        expected[r, c, i, j] = sum(values) / max(len(values), 1)
    torch.testing.assert_close(out, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize('shape', [(7, 9), (1, 5), (1, 1)])
def test_cells_that_do_not_move_are_those_of_roi_align(shape: tuple[int, int]) -> None:
    feat = torch.randn(2, 3, *shape, dtype=torch.double)
    out = pool_moved_cells(feat, ROIS, torch.zeros(4, 2, 3, 2, dtype=torch.double), spatial_scale=SCALE, sampling_ratio=3)
    torch.testing.assert_close(out, torchvision.ops.roi_align(feat, ROIS, (3, 2), SCALE, 3, aligned=True))


def test_gradients_of_moved_cells() -> None:
    feat = torch.randn(2, 2, 6, 7, dtype=torch.double, requires_grad=True)
    offset = (0.2 * torch.randn(4, 2, 2, 2, dtype=torch.double)).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda f, o: pool_moved_cells(f, ROIS, o, spatial_scale=SCALE, sampling_ratio=2), (feat, offset)
    )
    weight = torch.randn(4, 2, 2, 2, dtype=torch.double)
    of_both = {}
    for s in (2, 0):
        out = pool_moved_cells(feat, ROIS, offset, spatial_scale=SCALE, sampling_ratio=s)
        of_both[s] = torch.autograd.grad((out * weight).sum(), (feat, offset))
    torch.testing.assert_close(of_both[0][1], of_both[2][1])
    by_roi_align = torchvision.ops.roi_align(feat, ROIS, (2, 2), SCALE, 0, aligned=True)
    (expected,) = torch.autograd.grad((by_roi_align * weight).sum(), feat)
    still = pool_moved_cells(feat, ROIS, 0 * offset, spatial_scale=SCALE, sampling_ratio=0)
    torch.testing.assert_close(torch.autograd.grad((still * weight).sum(), feat)[0], expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize('s', [2, 0])
@pytest.mark.parametrize(('kind', 'factor'), [('DeformRoIPoolPack', 1.0), ('ModulatedDeformRoIPoolPack', 0.5)])
def test_deformable_pooling_starts_as_roi_align_and_learns_to_move(kind: str, factor: float, s: int) -> None:
    cfg = dict(type=kind, output_size=(2, 3), output_channels=4, deform_fc_channels=8, spatial_scale=SCALE)
    layer = LAYERS.build(cfg | (dict(sampling_ratio=s) if s else {}))
    feat, rois = torch.randn(2, 4, 7, 9), ROIS.float()
    plain = torchvision.ops.roi_align(feat, rois, (2, 3), SCALE, s, aligned=True)
    torch.testing.assert_close(layer(feat, rois), factor * plain, atol=1e-4, rtol=0)  # sigmoid(0) is a half
    for last in (layer.offset_fc[-1], layer.mask_fc[2]) if hasattr(layer, 'mask_fc') else (layer.offset_fc[-1],):
        nn.init.normal_(last.weight)
    out = layer(feat, rois)
    hidden = plain.flatten(1)
    moved = pool_moved_cells(feat, rois, 0.1 * layer.offset_fc(hidden).view(4, 2, 2, 3), spatial_scale=SCALE, sampling_ratio=s)
    mask = layer.mask_fc(hidden).view(4, 1, 2, 3) if hasattr(layer, 'mask_fc') else 1.0
    torch.testing.assert_close(out, moved * mask)
    assert not torch.allclose(out, factor * plain)
    out.square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in layer.parameters())


def test_no_boxes() -> None:
    feat, none = torch.randn(2, 4, 7, 9, requires_grad=True), torch.zeros(0, 5)
    for cfg in (
        dict(type='DeformRoIPoolPack', output_channels=4, deform_fc_channels=8),
        dict(type='ModulatedDeformRoIPoolPack', output_channels=4, deform_fc_channels=8),
        dict(type='ContextAwareRoIPool'),
    ):
        out = LAYERS.build(cfg, output_size=3)(feat, none)
        assert out.shape == (0, 4, 3, 3)
        out.sum().backward()


def test_position_sensitive_cells_by_a_loop() -> None:
    feat = torch.randn(2, 2 * 3 * 2, 7, 9, dtype=torch.double)
    layer = LAYERS.build(dict(type='PSRoIAlign', output_size=(3, 2), spatial_scale=SCALE, sampling_ratio=2))
    out = layer(feat, ROIS)
    assert out.shape == (4, 2, 3, 2)
    for r, c, i, j in cells(out.shape):
        channel = feat[int(ROIS[r, 0]), (c * 3 + i) * 2 + j]
        expected = sum(samples(channel, ROIS[r], (i, j), (3, 2), 2, torch.zeros(2))) / 4
        assert out[r, c, i, j].item() == pytest.approx(expected)


def span(low: float, high: float) -> tuple[int, int]:
    """Return the first cell of a side and how many there are, its edges (px) rounded to whole cells."""
    first, last = (math.floor(edge * SCALE + 0.5) for edge in (low, high))
    return first, max(last - first + 1, 1)


def enlarged(values: list[float], length: int) -> list[float]:
    """Return a row at `length` points that are evenly spaced from its first to its last value."""
    step = (len(values) - 1) / (length - 1)
    at = [(min(math.floor(i * step), len(values) - 2), i * step) for i in range(length)] if len(values) > 1 else []
    return [values[k] + (x - k) * (values[k + 1] - values[k]) for k, x in at] or values * length


def maxima(values: list[float], length: int) -> list[float]:
    """Return the maxima of `length` bins, whose edges are rounded outwards."""
    edges = [(math.floor(i * len(values) / length), math.ceil((i + 1) * len(values) / length)) for i in range(length)]
    return [max(values[low:high]) for low, high in edges]


def context_aware(channel: Tensor, roi: Tensor, shape: tuple[int, int]) -> Tensor:
    """Return what a box reads of (H, W): first the maxima along long sides, then what short ones are enlarged to."""
    H, W = channel.shape
    (left, width), (top, height) = span(float(roi[1]), float(roi[3])), span(float(roi[2]), float(roi[4]))
    rows = [[float(channel[min(y, H - 1), min(x, W - 1)]) for x in range(left, left + width)] for y in range(top, top + height)]
    for change, is_short in ((maxima, False), (enlarged, True)):
        if (len(rows[0]) < shape[1]) == is_short:
            rows = [change(row, shape[1]) for row in rows]
        columns = [list(column) for column in zip(*rows)]
        if (height < shape[0]) == is_short:
            columns = [change(column, shape[0]) for column in columns]
        rows = [list(row) for row in zip(*columns)]
    return torch.tensor(rows, dtype=channel.dtype)


@pytest.mark.parametrize('shape', [(3, 2), (4, 5), (1, 1), (7, 7)])
def test_context_aware_pooling_by_a_loop(shape: tuple[int, int]) -> None:
    feat = torch.randn(2, 3, 12, 12, dtype=torch.double)
    layer = LAYERS.build(dict(type='ContextAwareRoIPool', output_size=shape, spatial_scale=SCALE))
    # Small, large, wide, high, one cell, without an area, beyond the lower right corner by a cell.
    boxes = [[4, 6, 14, 15], [4, 6, 40, 36], [0, 4, 44, 9], [4, 0, 9, 44], [5, 5, 5.5, 6], [8, 8, 8, 8], [38, 30, 48, 48]]
    rois = torch.tensor([[i % 2, *box] for i, box in enumerate(boxes)], dtype=torch.double)
    expected = [[context_aware(channel, roi, shape) for channel in feat[int(roi[0])]] for roi in rois]
    torch.testing.assert_close(layer(feat, rois), torch.stack([torch.stack(channels) for channels in expected]))


def test_context_aware_pooling_of_large_boxes_is_roi_pooling_and_of_small_ones_a_resize() -> None:
    feat = torch.randn(1, 2, 12, 12, dtype=torch.double)
    layer = LAYERS.build(dict(type='ContextAwareRoIPool', output_size=(3, 4), spatial_scale=SCALE))
    large = torch.tensor([[0, 4, 6, 30, 26], [0, 0, 0, 48, 48]], dtype=torch.double)
    torch.testing.assert_close(layer(feat, large), torchvision.ops.roi_pool(feat, large, (3, 4), SCALE))
    small = torch.tensor([[0, 8, 12, 16, 16]], dtype=torch.double)  # columns 2 to 4, rows 3 and 4
    resized = functional.interpolate(feat[:, :, 3:5, 2:5], size=(3, 4), mode='bilinear', align_corners=True)
    torch.testing.assert_close(layer(feat, small), resized)
    corner = feat[:, :1, :7, :7].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda f: layer(f, torch.cat([large[:1], small])), corner)
    outside = torch.tensor([[0, 80, 80, 90, 90]], dtype=torch.double)
    assert not layer(feat, outside).any()


@pytest.mark.parametrize(
    'cfg',
    [
        dict(type='PSRoIAlign', sampling_ratio=2),
        dict(type='ContextAwareRoIPool'),
        dict(type='DeformRoIPoolPack', output_channels=4, deform_fc_channels=8),
        dict(type='ModulatedDeformRoIPoolPack', output_channels=4, deform_fc_channels=8),
    ],
    ids=lambda cfg: cfg['type'],
)
def test_by_config_on_a_pyramid_and_in_half_precision(cfg: dict) -> None:
    extractor = ROI_EXTRACTORS.build(
        dict(type='SingleRoIExtractor', roi_layer=dict(cfg, output_size=2), out_channels=4, featmap_strides=(4, 8)),
        finest_scale=14,
    )
    channels = 16 if cfg['type'] == 'PSRoIAlign' else 4
    feats = [torch.randn(2, channels, 16, 16), torch.randn(2, channels, 8, 8)]
    rois = torch.tensor([[0, 3.0, 4, 19, 21], [1, 5, 5, 60, 60]])
    out = extractor(feats, rois)
    assert out.shape == (2, 4, 2, 2)
    torch.testing.assert_close(out[:1], extractor.roi_layers[0](feats[0], rois[:1]))
    torch.testing.assert_close(out[1:], extractor.roi_layers[1](feats[1], rois[1:]))
    with torch.autocast('cpu', dtype=torch.bfloat16):
        low = extractor([feat.bfloat16() for feat in feats], rois)
    assert low.dtype == torch.bfloat16
    torch.testing.assert_close(low.float(), out, atol=0.03, rtol=0.03)


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match='PSRoIAlign: the channels of the map must be a multiple of the 3 x 2 cells, got 5'):
        LAYERS.build(dict(type='PSRoIAlign', output_size=(3, 2)))(torch.ones(1, 5, 4, 4), torch.zeros(1, 5))
    with pytest.raises(ValueError, match='DeformRoIPoolPack: `sampling_ratio` must be 0 or more, got -1'):
        LAYERS.build(dict(type='DeformRoIPoolPack', output_size=2, output_channels=4, sampling_ratio=-1))
    for name, size in (('RoIAlign', 0), ('RoIPool', (7,)), ('PSRoIAlign', (2, -1)), ('ContextAwareRoIPool', 0)):
        with pytest.raises(ValueError, match=f'{name}: `output_size` must be a positive number or'):
            LAYERS.build(dict(type=name, output_size=size))
