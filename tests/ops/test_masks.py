import numpy as np
import pytest
import torch

from mmpose_lite.ops.masks import pack_masks, unpack_masks


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
