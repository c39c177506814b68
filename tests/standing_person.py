"""Somebody upright, seen from the front: the 17 keypoints of COCO."""

import numpy as np

# (17, 2) px, 60 px tall, x = 0 in the middle: nose, eyes, ears, shoulders, elbows, wrists, hips, knees, ankles; left, then right.
_LEFT = ((2, 6), (4, 8), (10, 16), (14, 26), (16, 36), (6, 36), (7, 46), (8, 56))
STANDING = np.array([(0, 8), *(point for x, y in _LEFT for point in ((x, y), (-x, y)))], np.float32)
