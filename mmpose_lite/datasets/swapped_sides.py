"""Left and right keypoints that contradict each other inside one person."""

# Letters: N people, K keypoints.
import numpy as np

from mmpose_lite.structures import KeypointMeta


def find_swapped_sides(points: np.ndarray, v: np.ndarray, meta: KeypointMeta) -> tuple[np.ndarray, np.ndarray]:
    """Find people whose left and right contradict each other.

    Whether one side was swapped cannot be seen from one pair alone: a person seen from behind has the left shoulder on the
    left. Three things can be seen, and only where the pairs are wide enough to have a direction:

    1. Torso: the shoulders point against the hips (a twist of the spine ends near 90 degrees).
    2. Neck: a face seen from the front (nose between visible eyes) points against shoulders at least 4.5 eye distances
       wide; that is a turn of the head of more than about 100 degrees.
    3. Face: nose and shoulders both lie on the side of the eye line where the forehead is: the face is mirrored.
       This one finds people whose keypoints are all swapped.

    Known false alarms: a torso seen along the spine, a bridge or a head thrown far back, and annotators' noise on people
    of few pixels. Swapped arms or legs alone are not found: crossing them is natural.

    Args:
        points: (N, K, 2) in px.
        v: (N, K) visibility 0, 1 or 2.
        meta: names say which tests apply: left_shoulder, right_shoulder, left_hip, right_hip, left_eye, right_eye, nose.

    Returns:
        (N,) whether the person is suspect, and (N,) whether any of the tests applied to it.
    """
    index = {name: k for k, name in enumerate(meta.keypoints)}
    suspect = np.zeros(len(points), dtype=bool)
    testable = np.zeros(len(points), dtype=bool)

    def pair(part: str, least: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return right -> left (n, 2), its middle (n, 2) and its length (n,); NaN where not labelled at least so well."""
        left, right = index[f'left_{part}'], index[f'right_{part}']
        seen = ((v[:, left] >= least) & (v[:, right] >= least))[:, None]
        side = np.where(seen, points[:, left] - points[:, right], np.nan)
        return side, (points[:, left] + points[:, right]) / 2, np.linalg.norm(side, axis=1)

    if not {'left_shoulder', 'right_shoulder'} <= set(index):
        return suspect, testable
    shoulders, chest, width = pair('shoulder', 1)
    if {'left_hip', 'right_hip'} <= set(index):
        hips, pelvis, hip_width = pair('hip', 1)
        spine = np.linalg.norm(chest - pelvis, axis=1)
        wide = (width > np.maximum(0.4 * spine, 4)) & (hip_width > np.maximum(0.25 * spine, 4))
        suspect |= wide & ((shoulders * hips).sum(1) < -0.5 * width * hip_width)
        testable |= wide
    if {'left_eye', 'right_eye', 'nose'} <= set(index):
        eyes, brow, eye_width = pair('eye', 2)
        to_nose = points[:, index['nose']] - brow
        along = (to_nose * eyes).sum(1) / eye_width**2  # 0 over the middle, +-0.5 over an eye
        front = (v[:, index['nose']] == 2) & (eye_width > 4) & (np.abs(along) < 0.35)
        wide = front & (width > 4.5 * eye_width)
        suspect |= wide & ((eyes * shoulders).sum(1) < -0.5 * eye_width * width)
        down_nose = _cross(eyes, to_nose) / eye_width**2  # in eye distances; positive in a face that is not mirrored
        down_chest = _cross(eyes, chest - brow) / eye_width**2
        clear = front & (np.abs(down_nose) > 0.25) & (np.abs(down_chest) > 1) & np.isfinite(width)
        suspect |= clear & (down_nose < 0) & (down_chest < 0)
        testable |= wide | clear
    return suspect, testable


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return (n,) z of the cross product; positive when b is clockwise of a on the screen (y points down)."""
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
