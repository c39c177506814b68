"""Boxes from one frame to another."""

from collections.abc import Callable

import pytest
import torch

from mmpose_lite.ops.boxes import boxes_to_image, boxes_to_input, has_area


def test_scaled_shifted_and_mirrored() -> None:
    boxes = torch.tensor([[10.0, 4.0, 30.0, 8.0], [0.0, 0.0, 64.0, 32.0]])
    plain = boxes_to_image(boxes, [[0.5, 0, 0], [0, 2.0, 4]])
    assert plain.tolist() == [[20, 0, 60, 2], [0, -2, 128, 14]]
    mirrored = boxes_to_image(boxes[:, None].expand(2, 3, 4), [[-0.5, 0, 64], [0, 2.0, 0]])  # x' = 64 - x / 2
    assert mirrored.shape == (2, 3, 4)
    assert mirrored[:, 1].tolist() == [[68, 2, 108, 4], [0, 0, 128, 16]]


def test_into_the_input_and_back() -> None:
    matrix = [[-0.5, 0, 64], [0, 2.0, 4]]  # x' = 64 - x / 2, y' = 2 y + 4
    boxes = torch.tensor([[[10.0, 4.0, 30.0, 8.0]], [[0.0, 0.0, 64.0, 32.0]]])
    moved = boxes_to_input(boxes, matrix)
    assert moved.tolist() == [[[49, 12, 59, 20]], [[32, 4, 64, 68]]]
    torch.testing.assert_close(boxes_to_image(moved, matrix), boxes)


@pytest.mark.parametrize('function', [boxes_to_image, boxes_to_input])
@pytest.mark.parametrize('matrix', [[[1, 0.1, 0], [0, 1, 0]], [[0, 0, 0], [0, 1, 0]]], ids=['rotation', 'no_inverse'])
def test_what_no_box_can_follow_is_refused(function: Callable[..., torch.Tensor], matrix: list[list[float]]) -> None:
    with pytest.raises(ValueError, match=rf'{function.__name__}: `warp_matrix` must scale, shift and flip only'):
        function(torch.zeros(1, 4), matrix)


def test_boxes_without_an_area_are_none() -> None:
    boxes = torch.tensor([[0.0, 0, 1, 1], [3, 0, 3, 4], [0, 5, 4, 4], [0, 0, torch.nan, 1]])
    assert has_area(boxes[None]).tolist() == [[True, False, False, False]]
