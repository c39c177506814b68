"""Boxes from one frame to another."""

import pytest
import torch

from mmpose_lite.ops.boxes import boxes_to_image


def test_scaled_shifted_and_mirrored() -> None:
    boxes = torch.tensor([[10.0, 4.0, 30.0, 8.0], [0.0, 0.0, 64.0, 32.0]])
    plain = boxes_to_image(boxes, [[0.5, 0, 0], [0, 2.0, 4]])
    assert plain.tolist() == [[20, 0, 60, 2], [0, -2, 128, 14]]
    mirrored = boxes_to_image(boxes[:, None].expand(2, 3, 4), [[-0.5, 0, 64], [0, 2.0, 0]])  # x' = 64 - x / 2
    assert mirrored.shape == (2, 3, 4)
    assert mirrored[:, 1].tolist() == [[68, 2, 108, 4], [0, 0, 128, 16]]


def test_a_rotation_is_refused() -> None:
    with pytest.raises(ValueError, match='must scale, shift and flip only'):
        boxes_to_image(torch.zeros(1, 4), [[1, 0.1, 0], [0, 1, 0]])
    with pytest.raises(ValueError, match='must scale, shift and flip only'):
        boxes_to_image(torch.zeros(1, 4), [[0, 0, 0], [0, 1, 0]])
