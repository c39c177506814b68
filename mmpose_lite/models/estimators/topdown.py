"""Top-down pose: the pose of the person in a box."""

# Letters: B images (one person each), K keypoints.
import warnings
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import torch
from mmengine.structures import InstanceData
from torch import Tensor

from mmpose_lite.errors import ConfigError
from mmpose_lite.models.estimators.pose_estimator import PoseEstimator
from mmpose_lite.registry import MODELS
from mmpose_lite.structures import PoseDataSample, SampleBatch


@MODELS.register_module()
class TopdownPoseEstimator(PoseEstimator):
    """Backbone, optional neck and head on crops of one person each.

    The arguments are those of `PoseEstimator`; `test_cfg` also takes `shift_heatmap`: before averaging, move the mirrored maps
    one cell to the right (for heatmaps without UDP).
    """

    test_options: ClassVar[Mapping[str, Any]] = MappingProxyType({**PoseEstimator.test_options, 'shift_heatmap': False})

    def forward(self, inputs: Tensor, data_samples: SampleBatch | None = None, mode: str = 'tensor') -> Any:
        """Run the network; see `PoseEstimator.forward`.

        Raises:
            ConfigError: in 'loss' and 'predict', the crops are not of the codec's size, so keypoints would be scaled wrongly.
        """
        wanted = getattr(getattr(self.head, 'codec', None), 'input_size', None)
        given = (inputs.shape[-1], inputs.shape[-2])
        if mode != 'tensor' and wanted is not None and given != tuple(wanted):
            raise ConfigError(
                f'TopdownPoseEstimator: crops must have the size (w, h) of `head.codec.input_size`, {tuple(wanted)}, got '
                f'{given}; give TopdownAffine in the pipeline the same `input_size`.'
            )
        return super().forward(inputs, data_samples, mode)

    def check_flip_test(self) -> None:
        """Compare `shift_heatmap` with how far the maps of a mirrored crop lie beside the others; see `flip_heatmaps`.

        Raises:
            ValueError: the head can do no flip test, or maps that lie on the others would be shifted.
        """
        super().check_flip_test()
        codec = getattr(self.head, 'codec', None)
        if not hasattr(codec, 'map_frame'):  # labels, whose shift has a rule of its own, and codecs from elsewhere
            return
        beside = 1 - codec.heatmap_size[0] / codec.input_size[0] if codec.map_frame == 'origin' else 0.0
        if self.options['shift_heatmap'] and beside < 0.5:
            raise ValueError(
                f'TopdownPoseEstimator: `test_cfg.shift_heatmap` must be False for {codec!r}, got True: the maps of a mirrored '
                f'crop lie {beside:.2g} cells beside the others, and shifted by one they lie further away.'
            )
        if not self.options['shift_heatmap'] and beside > 0.5:
            warnings.warn(
                f'TopdownPoseEstimator: the flip test averages maps that lie {beside:.2g} cells beside each other; with '
                '`test_cfg.shift_heatmap=True` they lie closer.',
                stacklevel=2,
            )

    @property
    def input_frame(self) -> str:
        """How crops of several sizes lie on each other, as the codec has it."""
        return self.head.input_frame

    def merge_flipped(self, raw: Any, mirrored: Any) -> Any:
        """Return the mean of the head's raw outputs for the crops and for the mirrored crops."""
        return self.head.merge_flipped(raw, mirrored, self.meta.flip_indices, shift=bool(self.options['shift_heatmap']))

    def to_image_frame(self, decoded: tuple[Tensor, Tensor], data_samples: SampleBatch) -> list[PoseDataSample]:
        """Map predictions from crops back to their images, and bring them to the host in one copy.

        Args:
            decoded: keypoints (B, K, 2) in px of the crop and scores (B, K).
            data_samples: the crops' boxes; metainfo has bbox_center (2,), bbox_scale (2,) and input_size (w, h).

        Returns:
            One sample per crop, with NumPy arrays in `pred_instances` and, where the batch has any, `gt_instances`.

        Raises:
            ConfigError: a crop is mirrored or turned, as augmentation makes them.
        """
        keypoints, scores = decoded
        packed = torch.cat((keypoints.float(), scores.float()[..., None]), dim=-1).cpu().numpy()
        samples = []
        for sample, prediction in zip(data_samples.to('cpu'), packed):
            if sample.get('flip') or sample.get('bbox_rotation'):
                raise ConfigError(
                    f'TopdownPoseEstimator: the crop of {sample.get("img_path")} is mirrored or turned, predictions on it do not '
                    'belong to the image; take RandomFlip and RandomBBoxTransform out of the pipeline of evaluation.'
                )
            center, scale = np.asarray(sample.bbox_center), np.asarray(sample.bbox_scale)
            points = prediction[:, :2] / np.asarray(sample.input_size, np.float32) * scale + center - 0.5 * scale
            gt = sample.gt_instances
            sample.pred_instances = InstanceData(
                keypoints=points[None].astype(np.float32),
                keypoint_scores=prediction[None, :, 2],
                bboxes=gt.bboxes.numpy(),
                bbox_scores=gt.bbox_scores.numpy(),
            )
            samples.append(sample)
        return samples
