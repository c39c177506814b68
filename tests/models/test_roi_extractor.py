"""Features of boxes, and the level of the pyramid they come from."""

import math

import pytest
import torch
from torch import Tensor

from mmpose_lite.models.heads.roi.extractor import SingleRoIExtractor, map_roi_levels
from mmpose_lite.registry import LAYERS, ROI_EXTRACTORS

STRIDES = (4, 8, 16)


def extractor(**layer: object) -> SingleRoIExtractor:
    roi_layer = dict(dict(type='RoIAlign', output_size=3), **layer)
    return ROI_EXTRACTORS.build(
        dict(type='SingleRoIExtractor', roi_layer=roi_layer, out_channels=2, featmap_strides=STRIDES, finest_scale=8)
    )


def rois_of_all_levels() -> Tensor:
    boxes = [[0, 0, 6, 5], [3, 2, 14, 14], [1, 1, 33, 40], [8, 0, 30, 20], [2.5, 3.5, 60, 62], [4, 4, 4, 9]]
    return torch.tensor([[i % 2, *box] for i, box in enumerate(boxes)], dtype=torch.float32)


def pyramid() -> list[Tensor]:
    return [torch.randn(2, 2, 64 // s, 64 // s, requires_grad=True) for s in STRIDES]


def bilinear(feat: Tensor, y: float, x: float) -> Tensor:
    """Return (C,) of (C, H, W) at cells (y, x), the centre of the first cell being (0, 0)."""
    H, W = feat.shape[1:]
    if not (-1 <= y <= H and -1 <= x <= W):
        return torch.zeros(len(feat))
    y, x = min(max(y, 0), H - 1), min(max(x, 0), W - 1)
    top, left = min(int(y), H - 1), min(int(x), W - 1)
    bottom, right = min(top + 1, H - 1), min(left + 1, W - 1)
    upper = feat[:, top, left] * (1 - (x - left)) + feat[:, top, right] * (x - left)
    lower = feat[:, bottom, left] * (1 - (x - left)) + feat[:, bottom, right] * (x - left)
    return upper * (1 - (y - top)) + lower * (y - top)


@pytest.mark.parametrize('sampling_ratio', [0, 2])
@pytest.mark.parametrize('aligned', [True, False])
def test_roi_align_against_a_loop(sampling_ratio: int, aligned: bool) -> None:
    layer = LAYERS.build(
        dict(type='RoIAlign', output_size=(2, 3), spatial_scale=0.5, sampling_ratio=sampling_ratio, aligned=aligned)
    )
    feat, h, w = torch.randn(2, 3, 7, 9), 2, 3
    rois = torch.tensor([[1, 1.0, 2.0, 13.0, 9.0], [0, -3.0, -2.0, 4.0, 30.0], [0, 5.0, 5.0, 5.5, 5.5]])
    offset = 0.5 if aligned else 0.0
    for roi, pooled in zip(rois.tolist(), layer(feat, rois)):
        x1, y1, x2, y2 = (v * 0.5 - offset for v in roi[1:])
        width, height = (x2 - x1, y2 - y1) if aligned else (max(x2 - x1, 1), max(y2 - y1, 1))
        n_y, n_x = sampling_ratio or math.ceil(height / h), sampling_ratio or math.ceil(width / w)
        for i in range(h):
            for j in range(w):
                ys = [y1 + (i + (k + 0.5) / n_y) * height / h for k in range(n_y)]
                xs = [x1 + (j + (k + 0.5) / n_x) * width / w for k in range(n_x)]
                expected = torch.stack([bilinear(feat[int(roi[0])], y, x) for y in ys for x in xs]).mean(dim=0)
                torch.testing.assert_close(pooled[:, i, j], expected)


def test_roi_pool_is_the_maximum_of_rounded_cells() -> None:
    layer = LAYERS.build(dict(type='RoIPool', output_size=2, spatial_scale=0.5))
    feat = torch.randn(1, 2, 8, 8)
    pooled = layer(feat, torch.tensor([[0, 2.6, 4.0, 8.8, 9.6]]))  # columns 1.3 to 4.4, rows 2 to 4.8
    for i, rows in enumerate((slice(2, 4), slice(4, 6))):
        for j, columns in enumerate((slice(1, 3), slice(3, 5))):
            assert torch.equal(pooled[0, :, i, j], feat[0, :, rows, columns].amax(dim=(1, 2)))


def test_levels_by_the_equation() -> None:
    rois = rois_of_all_levels()
    expected = []
    for _, x1, y1, x2, y2 in rois.tolist():
        side = math.sqrt((x2 - x1) * (y2 - y1))
        expected.append(min(max(math.floor(math.log2(side / 8 + 1e-6)), 0), 2))
    assert map_roi_levels(rois, 3, 8).tolist() == expected
    assert set(expected) == {0, 1, 2}


@pytest.mark.parametrize('layer', [dict(type='RoIAlign'), dict(type='RoIPool')])
def test_each_box_comes_from_its_level_and_image(layer: dict[str, object]) -> None:
    pool, feats, rois = extractor(**layer), pyramid(), rois_of_all_levels()
    pooled = pool(feats, rois)
    assert pooled.shape == (6, 2, 3, 3)
    for roi, level, ours in zip(rois, map_roi_levels(rois, 3, 8).tolist(), pooled):
        torch.testing.assert_close(ours, pool.roi_layers[level](feats[level], roi[None])[0])
    torch.testing.assert_close(pool(feats, rois.flip(0)), pooled.flip(0))
    assert pool(feats, rois[:0]).shape == (0, 2, 3, 3)


def test_the_way_of_accelerators_gives_the_same() -> None:
    pool, feats, rois = extractor(), pyramid(), rois_of_all_levels()
    ours = pool._masked(zip(pool.roi_layers, feats), rois, map_roi_levels(rois, 3, 8))
    theirs = pool(feats, rois)
    torch.testing.assert_close(ours, theirs)
    weights = torch.randn_like(ours)
    for a, b in zip(torch.autograd.grad((ours * weights).sum(), feats), torch.autograd.grad((theirs * weights).sum(), feats)):
        torch.testing.assert_close(a, b)


def test_half_precision_does_not_move_boxes() -> None:
    pool = extractor()
    feats, rois = [feat.detach().bfloat16() for feat in pyramid()], rois_of_all_levels()
    pooled = pool(feats, rois)
    assert pooled.dtype == torch.bfloat16
    torch.testing.assert_close(pooled.float(), pool([feat.float() for feat in feats], rois), atol=0.02, rtol=0.01)


def test_the_channels_are_checked() -> None:
    layer = dict(type='RoIAlign', output_size=3)
    wrong = ROI_EXTRACTORS.build(dict(type='SingleRoIExtractor', roi_layer=layer, out_channels=3, featmap_strides=STRIDES))
    with pytest.raises(ValueError, match='SingleRoIExtractor: `out_channels` must be the channels of the features, 2, got 3'):
        wrong(pyramid(), rois_of_all_levels())
    for args in (dict(featmap_strides=()), dict(featmap_strides=(0, 8)), dict(featmap_strides=STRIDES, finest_scale=0)):
        with pytest.raises(
            ValueError, match='`featmap_strides` must be one or more positive numbers and `finest_scale` positive'
        ):
            ROI_EXTRACTORS.build(dict(type='SingleRoIExtractor', roi_layer=layer, **args))
    free = ROI_EXTRACTORS.build(dict(type='SingleRoIExtractor', roi_layer=layer, featmap_strides=STRIDES))
    assert free(pyramid(), rois_of_all_levels()).shape == (6, 2, 3, 3)
