"""Bottom-up pose: all people of an image at once."""

# Letters: B images, N people of one image, K keypoints.
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from mmengine.structures import InstanceData
from torch import Tensor

from mmpose_lite.codecs.pose_groups import PoseGroups
from mmpose_lite.errors import ConfigError
from mmpose_lite.models.estimators.pose_estimator import PoseEstimator
from mmpose_lite.ops.warp import apply_affine
from mmpose_lite.registry import MODELS
from mmpose_lite.structures import PoseDataSample, SampleBatch


@MODELS.register_module()
class BottomupPoseEstimator(PoseEstimator):
    """Backbone, optional neck and head on whole images.

    The arguments are those of `PoseEstimator`. The head's `decode` gives a `PoseGroups` for each image.
    """

    input_frame = 'middle'

    def forward(self, inputs: Tensor, data_samples: SampleBatch | None = None, mode: str = 'tensor') -> Any:
        """Run the network; see `PoseEstimator.forward`.

        Raises:
            ConfigError: the samples are people, not images: the network would learn that nobody else is in the image.
        """
        if data_samples is not None and any('ann_id' in metainfo for metainfo in data_samples.metainfo):
            raise ConfigError(
                'BottomupPoseEstimator: a sample must be an image with all its people, got one for each person; set '
                "`data_mode='bottomup'` in the config of the dataset."
            )
        return super().forward(inputs, data_samples, mode)

    def merge_passes(self, raw: Any, inputs: Tensor) -> Any:
        """Return the head's raw output, averaged with that of other passes; see `PoseEstimator.merge_passes`.

        Raises:
            ConfigError: there are several passes, and maps do not span the inputs, so that those of the others lie beside them.
        """
        codec, heatmaps = getattr(self.head, 'codec', None), getattr(raw, 'heatmaps', None)
        several = self.flip_test or len(self.scales) > 1
        if several and hasattr(codec, 'heatmap_size') and heatmaps is not None:
            W = (heatmaps if isinstance(heatmaps, Tensor) else heatmaps[-1]).shape[-1]
            cell = codec.input_size[0] / codec.heatmap_size[0]
            if W * codec.input_size[0] != inputs.shape[-1] * codec.heatmap_size[0]:
                raise ConfigError(
                    f'BottomupPoseEstimator: for several passes maps must span the inputs, got {W} cells of {cell:g} px for '
                    f"{inputs.shape[-1]} px. Make `input_size` of BottomupResize (with resize_mode='expand' `size_factor`) a "
                    'multiple of the greatest stride in the network, or set flip_test=False and scales=(1.0,).'
                )
        return super().merge_passes(raw, inputs)

    def merge_flipped(self, raw: Any, mirrored: Any) -> Any:
        """Return the mean of the head's raw outputs for the images and for the mirrored images."""
        return self.head.merge_flipped(raw, mirrored)

    def to_image_frame(self, decoded: Sequence[PoseGroups], data_samples: SampleBatch) -> list[PoseDataSample]:
        """Map the people found from the inputs back to their images.

        Args:
            decoded: one per image, in px of the input.
            data_samples: metainfo has warp_matrix (2, 3), from px of the image to px of the input.

        Returns:
            One sample per image, with NumPy arrays in `pred_instances`: keypoints (N, K, 2), (0, 0) where not found;
            keypoint_scores (N, K), 0 where not found; bboxes (N, 4) xyxy, the extent of the found keypoints; bbox_scores (N,), of
            the people. `gt_instances` where the batch has any.

        Raises:
            ConfigError: an image is mirrored, as augmentation makes it: left and right of the people would be exchanged.
        """
        samples = []
        for sample, group in zip(data_samples.to('cpu'), decoded, strict=True):
            if sample.get('flip'):
                raise ConfigError(
                    f'BottomupPoseEstimator: {sample.get("img_path")} is mirrored, predictions on it have left and right '
                    'exchanged; take RandomFlip out of the pipeline of evaluation.'
                )
            found = group.keypoint_scores > 0
            inverse = cv2.invertAffineTransform(np.asarray(sample.warp_matrix, np.float64))
            keypoints = np.where(found[..., None], apply_affine(group.keypoints, inverse), np.float32(0))
            sample.pred_instances = InstanceData(
                keypoints=keypoints,
                keypoint_scores=group.keypoint_scores,
                bboxes=_extents(keypoints, found),
                bbox_scores=group.scores,
            )
            samples.append(sample)
        return samples


def _extents(keypoints: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Return (N, 4) xyxy boxes around the found ones, at least one each, of keypoints (N, K, 2)."""
    low, high = (np.where(found[..., None], keypoints, limit) for limit in (np.inf, -np.inf))
    return np.concatenate((low.min(axis=1), high.max(axis=1)), axis=1).astype(np.float32)
