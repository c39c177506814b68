import numpy as np
import pytest
import torch
from pycocotools import mask as mask_tools
from torch.nn import functional

from mmpose_lite.ops.masks import pack_masks, paste_masks, unpack_masks


@pytest.mark.parametrize('width', [1, 7, 8, 9, 24, 31])
def test_bits_against_a_loop(width: int) -> None:
    masks = np.random.default_rng(width).integers(0, 2, (3, 5, width), dtype=np.uint8)
    packed = pack_masks(masks)
    assert packed.shape == (3, 5, (width + 7) // 8)
    for n, y, x in np.ndindex(masks.shape):
        assert packed[n, y, x // 8] >> (7 - x % 8) & 1 == masks[n, y, x]
    unpacked = unpack_masks(torch.as_tensor(packed), width)
    assert unpacked.dtype == torch.bool
    np.testing.assert_array_equal(unpacked, masks)


def test_no_masks() -> None:
    assert unpack_masks(torch.as_tensor(pack_masks(np.zeros((0, 4, 10), bool))), 10).shape == (0, 4, 10)


@pytest.mark.parametrize('packed', [torch.zeros(1, 4, 2, dtype=torch.uint8), torch.zeros(1, 4, 3, dtype=torch.int64)])
def test_bytes_that_do_not_fit(packed: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r'unpack_masks: `packed` must be uint8 of 3 bytes a row for a `width` of 20, got torch'):
        unpack_masks(packed, 20)


def test_pasting_is_sampling_at_the_centres_of_pixels() -> None:
    H, W, h, w = 37, 41, 5, 7
    probs = torch.rand(4, h, w)
    boxes = torch.tensor([[3.2, 4.7, 30.1, 33.3], [-6.0, -4.0, 12.5, 20.0], [20.0, 10.0, 60.0, 50.0], [8.0, 8.0, 9.5, 30.0]])
    pasted = paste_masks(probs, boxes, (H, W))
    for prob, (x1, y1, x2, y2), rle in zip(probs, boxes.tolist(), pasted, strict=True):
        assert rle['size'] == [H, W]
        y = (torch.arange(H) + 0.5 - y1) / (y2 - y1) * 2 - 1
        x = (torch.arange(W) + 0.5 - x1) / (x2 - x1) * 2 - 1
        grid = torch.stack(torch.meshgrid(x, y, indexing='xy'), dim=-1)[None]
        whole = functional.grid_sample(prob[None, None], grid, align_corners=False)[0, 0]
        expected = (whole >= 0.5).numpy()
        assert expected.any()
        np.testing.assert_array_equal(mask_tools.decode(rle), expected)


def test_mixed_precision_pastes_the_same_masks() -> None:
    probs, boxes = torch.rand(3, 14, 14), torch.tensor([[3.2, 4.7, 60.1, 63.3]]).expand(3, 4)
    pasted = paste_masks(probs, boxes, (64, 64))
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert paste_masks(probs, boxes, (64, 64)) == pasted


@pytest.mark.parametrize('box', [[50.0, 2.0, 70.0, 9.0], [4.0, 4.0, 4.0, 9.0], [-9.0, -9.0, -2.0, -2.0]])
def test_pasting_outside_of_the_image_gives_an_empty_mask(box: list[float]) -> None:
    (rle,) = paste_masks(torch.full((1, 4, 4), 0.4), torch.tensor([box]), (20, 30))
    assert mask_tools.area(rle) == 0
    assert paste_masks(torch.zeros(0, 4, 4), torch.zeros(0, 4), (20, 30)) == []


def test_the_threshold_of_pasting() -> None:
    probs, boxes = torch.full((1, 2, 2), 0.4), torch.tensor([[4.0, 4.0, 12.0, 12.0]])
    (rle,) = paste_masks(probs, boxes, (20, 30), threshold=0.399)
    mask = mask_tools.decode(rle)
    assert mask[6:10, 6:10].all()  # between the centres of the cells
    assert mask.sum() == 16
