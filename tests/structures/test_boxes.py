import numpy as np
import pytest
import torch

from mmpose_lite.structures import (
    bbox_area,
    bbox_cxcywh_to_xyxy,
    bbox_xywh_to_xyxy,
    bbox_xyxy_to_cs,
    bbox_xyxy_to_cxcywh,
    bbox_xyxy_to_xywh,
)

BOXES_XYXY = np.array([[2.0, 3.0, 5.0, 7.0], [-4.0, 0.5, 10.0, 0.5]], dtype=np.float32)
BOXES_XYWH = np.array([[2.0, 3.0, 3.0, 4.0], [-4.0, 0.5, 14.0, 0.0]], dtype=np.float32)  # from 2 to 5 is 3 wide


def test_by_hand() -> None:
    np.testing.assert_array_equal(bbox_xywh_to_xyxy(BOXES_XYWH), BOXES_XYXY)
    np.testing.assert_array_equal(bbox_xyxy_to_xywh(BOXES_XYXY), BOXES_XYWH)
    center, scale = bbox_xyxy_to_cs(BOXES_XYXY, 1.25)
    np.testing.assert_array_equal(center, [[3.5, 5.0], [3.0, 0.5]])
    np.testing.assert_array_equal(scale, [[3.75, 5.0], [17.5, 0.0]])


@pytest.mark.parametrize('padding', [1.0, 1.25])
def test_back_and_forth(padding: float) -> None:
    boxes = np.random.default_rng(0).uniform(-50, 500, (20, 4)).astype(np.float32)
    np.testing.assert_allclose(bbox_xywh_to_xyxy(bbox_xyxy_to_xywh(boxes)), boxes, atol=1e-4)
    center, scale = bbox_xyxy_to_cs(boxes, padding)
    half = scale / padding / 2
    np.testing.assert_allclose(np.concatenate((center - half, center + half), axis=1), boxes, atol=1e-3)


@pytest.mark.parametrize('shape', [(4,), (0, 4), (2, 3, 4)])
def test_any_leading_axes_float32_out(shape: tuple[int, ...]) -> None:
    boxes = np.ones(shape)
    for converted in (bbox_xywh_to_xyxy(boxes), bbox_xyxy_to_xywh(boxes)):
        assert converted.shape == shape
        assert converted.dtype == np.float32


def test_the_input_is_left_alone() -> None:
    boxes = BOXES_XYXY.copy()
    bbox_xywh_to_xyxy(boxes)
    bbox_xyxy_to_xywh(boxes)
    bbox_xyxy_to_cs(boxes)
    np.testing.assert_array_equal(boxes, BOXES_XYXY)


def test_tensors_by_hand_and_back() -> None:
    boxes = torch.from_numpy(BOXES_XYXY)
    centered = torch.tensor([[3.5, 5.0, 3.0, 4.0], [3.0, 0.5, 14.0, 0.0]])
    torch.testing.assert_close(bbox_xyxy_to_cxcywh(boxes), centered)
    torch.testing.assert_close(bbox_cxcywh_to_xyxy(centered), boxes)
    assert bbox_area(boxes).tolist() == [12, 0]
    assert bbox_area(torch.tensor([5.0, 5.0, 2.0, 2.0])) == 0  # not 9: there is nothing between its edges
    for shape in ((4,), (0, 4), (2, 3, 4)):
        values = torch.rand(shape, dtype=torch.float64)
        torch.testing.assert_close(bbox_cxcywh_to_xyxy(bbox_xyxy_to_cxcywh(values)), values)
        assert bbox_area(values).shape == shape[:-1]
