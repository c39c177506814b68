"""Drawing: what is drawn where, what is left out, and that the input is never changed."""

import numpy as np
import pytest

from mmpose_lite.structures import KeypointMeta
from mmpose_lite.visualization import draw_heatmaps, draw_left_out, draw_poses, draw_side_by_side

PAIR = KeypointMeta.from_dict(
    dict(keypoints=['left_end', 'right_end'], limbs=[[0, 1]], colors=[[255, 0, 0], [0, 255, 0]], limb_colors=[[0, 0, 255]])
)


def grey(width: int = 100, height: int = 80) -> np.ndarray:
    return np.full((height, width, 3), 128, np.uint8)


def test_joints_and_limb_have_the_colours_of_the_meta_in_bgr_order() -> None:
    image = grey()
    drawn = draw_poses(image, np.array([[[20.0, 40.0], [80.0, 40.0]]]), meta=PAIR, radius=4, thickness=4)
    assert drawn[40, 20].tolist() == [0, 0, 255]  # RGB red
    assert drawn[40, 80].tolist() == [0, 255, 0]
    assert drawn[40, 50].tolist() == [255, 0, 0]
    assert (drawn[:30] == 128).all()
    assert (drawn[50:] == 128).all()
    assert (image == 128).all()


def test_drawing_is_subpixel() -> None:
    """Half a pixel to the right moves the centre of what is drawn by half a pixel."""
    one = KeypointMeta.from_dict(dict(keypoints=1, colors=[[255, 255, 255]]))

    def centroid(x: float) -> float:
        drawn = draw_poses(np.zeros((40, 40, 3), np.uint8), np.array([[[x, 20.0]]]), meta=one, radius=2)[..., 0].astype(float)
        return float((drawn.sum(0) * np.arange(40)).sum() / drawn.sum())

    assert centroid(20.0) == pytest.approx(20.0, abs=0.05)
    assert centroid(20.5) == pytest.approx(20.5, abs=0.1)


@pytest.mark.parametrize('hidden', [0.29, 0.0, np.nan])
def test_under_the_threshold_neither_joint_nor_limb(hidden: float) -> None:
    keypoints = np.array([[[20.0, 40.0], [80.0, 40.0]]])
    drawn = draw_poses(grey(), keypoints, np.array([[0.3, hidden]]), meta=PAIR, radius=4)
    assert (drawn[40, 20] != 128).any()
    assert (drawn[:, 30:] == 128).all()


@pytest.mark.parametrize('bad', [[np.nan, 40.0], [np.inf, 0.0], [1e12, 40.0], [-101.0, 40.0], [201.0, 40.0], [50.0, -1e30]])
def test_keypoints_that_cannot_be_drawn_are_left_out(bad: list[float]) -> None:
    drawn = draw_poses(grey(), np.array([[[20.0, 40.0], bad]]), meta=PAIR, radius=4)
    assert (drawn[40, 20] != 128).any()
    assert (drawn[:, 30:] == 128).all()


def test_limb_to_a_keypoint_outside_ends_at_the_border() -> None:
    drawn = draw_poses(grey(), np.array([[[50.0, 40.0], [150.0, 40.0]]]), meta=PAIR, radius=2, thickness=2)
    assert (drawn[40, 60:] == [255, 0, 0]).all()


@pytest.mark.parametrize('k', [1, 2, 5, 21, 133])
@pytest.mark.parametrize('n', [0, 1, 3])
def test_any_number_of_keypoints_and_people(k: int, n: int) -> None:
    meta = KeypointMeta.from_dict(dict(keypoints=k, limbs=[[i, i + 1] for i in range(k - 1)]))
    rng = np.random.default_rng(0)
    keypoints = rng.uniform(-20, 120, (n, k, 2))
    boxes = rng.uniform(-20, 120, (n, 4))
    drawn = draw_poses(grey(), keypoints, np.ones((n, k)), meta=meta, bboxes=boxes)
    assert drawn.shape == (80, 100, 3)
    assert (drawn != 128).any() == (n > 0)


def test_strokes_grow_with_the_person() -> None:
    meta = KeypointMeta.load('coco17')
    pose = np.random.default_rng(0).uniform(0.1, 0.9, (1, 17, 2))

    def painted(side: int) -> float:
        return float((draw_poses(np.zeros((side, side, 3), np.uint8), pose * side, meta=meta) > 127).any(-1).mean())

    assert painted(3000) == pytest.approx(painted(1000), rel=0.15)  # the same share of the picture


def test_people_close_together_keep_their_dots_apart() -> None:
    """Two keypoints 4 px apart on a person of 900 px: the dots do not run into each other."""
    meta = KeypointMeta.from_dict(dict(keypoints=3, colors=[[255, 0, 0], [0, 255, 0], [0, 0, 255]]))
    drawn = draw_poses(np.zeros((1000, 100, 3), np.uint8), np.array([[[20.0, 20.0], [24.0, 20.0], [50.0, 920.0]]]), meta=meta)
    assert drawn[20, 20].argmax() == 2
    assert drawn[20, 24].argmax() == 1


def test_boxes_are_drawn_and_bad_ones_left_out() -> None:
    boxes = np.array([[10, 10, 60, 50], [np.nan] * 4, [0, 0, 1e15, 5]])
    drawn = draw_poses(grey(), np.zeros((0, 2, 2)), meta=PAIR, bboxes=boxes)
    painted = (drawn != 128).any(-1)
    assert painted[10, 30]
    assert painted[30, 60]
    assert painted.sum() < 600  # the outline of one box


def test_draw_poses_names_what_does_not_fit() -> None:
    points = np.zeros((1, 2, 2))
    with pytest.raises(TypeError, match='must be uint8, got float64'):
        draw_poses(np.zeros((8, 8, 3)), points, meta=PAIR)
    with pytest.raises(ValueError, match=r'\(H, W, 3\) BGR'):
        draw_poses(np.zeros((8, 8), np.uint8), points, meta=PAIR)
    with pytest.raises(ValueError, match=r"`keypoints` must be \(N, 2, 2\) for the meta 'custom', got \(1, 3, 2\)"):
        draw_poses(grey(), np.zeros((1, 3, 2)), meta=PAIR)
    with pytest.raises(ValueError, match=r'`scores` must be \(1, 2\).*got \(2,\)'):
        draw_poses(grey(), points, np.zeros(2), meta=PAIR)


def test_side_by_side_has_equal_heights_and_captions() -> None:
    red, blue = np.zeros((50, 100, 3), np.uint8), np.zeros((200, 60, 3), np.uint8)
    red[..., 2], blue[..., 0] = 255, 255
    row = draw_side_by_side([red, blue], gap=6)
    assert row.shape == (200, 400 + 6 + 60, 3)
    assert (row[:, :400] == [0, 0, 255]).all()
    assert (row[:, 400:406] == 255).all()
    assert (row[:, 406:] == [255, 0, 0]).all()
    titled = draw_side_by_side([red, blue], ['prediction', 'a title that is much too long for 60 px' * 3], height=120)
    bar = titled[:-120]
    assert titled.shape[1] == 240 + 6 + 36
    assert (bar < 100).any()
    assert (bar[:, 240:246] == 255).all()  # the long title stays within its own image
    assert (titled[-120:, :240] == [0, 0, 255]).all()


def test_side_by_side_names_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match='at least one image'):
        draw_side_by_side([])
    with pytest.raises(ValueError, match=r'one entry per image \(1\), got 2'):
        draw_side_by_side([grey()], ['a', 'b'])


def test_heatmap_peak_lies_at_its_pixel() -> None:
    heatmaps = np.zeros((2, 16, 12), np.float32)
    heatmaps[1, 10, 5] = 0.4
    drawn = draw_heatmaps(grey(48, 64), heatmaps)
    changed = np.abs(drawn.astype(int) - 128).sum(-1)
    assert np.unravel_index(changed.argmax(), changed.shape) == (40, 20)
    assert changed[:30].max() == 0


def test_heatmaps_that_are_zero_leave_the_image() -> None:
    assert (draw_heatmaps(grey(), np.zeros((17, 8, 8))) == 128).all()
    assert (draw_heatmaps(grey(), np.full((1, 8, 8), np.nan)) == 128).all()
    with pytest.raises(ValueError, match=r'`heatmaps` must be \(K, H, W\), got \(8, 8\)'):
        draw_heatmaps(grey(), np.zeros((8, 8)))


def test_labels_stand_above_their_people() -> None:
    poses = np.array([[[100.0, 80.0], [110.0, 180.0]], [[250.0, 60.0], [250.0, 180.0]], [[350.0, 60.0], [350.0, 180.0]]])
    scores = np.array([[1, 1], [1, 1], [0, 0]])
    image = grey(400, 200)
    plain, labelled = (
        draw_poses(image, poses, scores, meta=PAIR),
        draw_poses(image, poses, scores, meta=PAIR, labels=['7', '', '9']),
    )
    changed = (plain != labelled).any(axis=-1)
    assert changed[:80, 85:125].any()
    changed[:80, 85:125] = False
    assert not changed.any()  # an empty text, and somebody who is not drawn, have none
    crowded = draw_poses(grey(40, 30), np.array([[[1.0, 1.0], [5.0, 9.0]]]), meta=PAIR, labels=['a long text'])
    assert crowded.shape == (30, 40, 3)
    with pytest.raises(ValueError, match=r'`labels` needs one text per person \(3\), got 1'):
        draw_poses(image, poses, meta=PAIR, labels=['1'])


def test_what_a_loss_leaves_out_is_striped() -> None:
    image = grey(80, 60)
    mask = np.ones((6, 8), np.uint8)
    mask[2:4, 4:] = 0
    drawn = draw_left_out(image, mask)
    assert (drawn[20:40, 40:] != 128).any(axis=-1).all()
    assert len(np.unique(drawn[20:40, 40:].reshape(-1, 3), axis=0)) == 2  # two kinds of stripes
    drawn[20:40, 40:] = 128
    assert (drawn == 128).all()
    assert (image == 128).all()
    assert (draw_left_out(image, np.ones((1, 1))) == image).all()


@pytest.mark.parametrize(('cell_centers', 'place'), [(False, 40.0), (True, 43.5)])
def test_a_cell_of_a_heatmap_lies_where_its_codec_says(cell_centers: bool, place: float) -> None:
    heatmaps = np.zeros((1, 10, 10), np.float32)
    heatmaps[0, 5, 5] = 1
    drawn = draw_heatmaps(np.zeros((80, 80, 3), np.uint8), heatmaps, cell_centers=cell_centers).astype(float).sum(-1)
    assert float((drawn.sum(0) * np.arange(80)).sum() / drawn.sum()) == pytest.approx(place, abs=0.3)
