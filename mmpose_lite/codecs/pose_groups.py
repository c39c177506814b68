"""What bottom-up codecs decode to."""

from typing import NamedTuple

import numpy as np


class PoseGroups(NamedTuple):
    """The people found in one image.

    Attributes:
        keypoints: (N, K, 2) float32 in input px; any finite value where the score is 0.
        keypoint_scores: (N, K) float32; 0 where a keypoint was not found.
        scores: (N,) float32, of the people.
    """

    keypoints: np.ndarray
    keypoint_scores: np.ndarray
    scores: np.ndarray
