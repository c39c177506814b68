"""Top-down pose: the pose of the person in a box."""

# Letters: B images (one person each), K keypoints.
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from mmengine.model import BaseModel
from mmengine.structures import BaseDataElement, InstanceData
from torch import Tensor

from mmpose_lite.registry import BACKBONES, HEADS, MODELS, NECKS, PREPROCESSORS
from mmpose_lite.structures import KeypointMeta, PoseDataSample, SampleBatch

MODES = ('tensor', 'loss', 'predict')
TEST_OPTIONS = ('flip_test', 'shift_heatmap', 'with_loss')


@MODELS.register_module()
class TopdownPoseEstimator(BaseModel):
    """Backbone, optional neck and head on crops of one person each.

    Args:
        backbone: config of the backbone.
        head: config of the head; it is given `meta` where it takes one.
        meta: the keypoints, anything `KeypointMeta.load` takes.
        neck: config of the neck.
        data_preprocessor: config of the preprocessor; None for ImageNet's mean and std.
        test_cfg: `flip_test`: average with the mirrored crop; `shift_heatmap`: move the mirrored maps one cell to the right
            before (for heatmaps without UDP); `with_loss`: evaluation also reports the loss.

    Raises:
        ValueError: `test_cfg` has an unknown key.
    """

    def __init__(
        self,
        backbone: Mapping[str, Any],
        head: Mapping[str, Any],
        *,
        meta: KeypointMeta | Mapping[str, Any] | str,
        neck: Mapping[str, Any] | None = None,
        data_preprocessor: Mapping[str, Any] | None = None,
        test_cfg: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(data_preprocessor=PREPROCESSORS.build(data_preprocessor or dict(type='PoseDataPreprocessor')))
        unknown = [key for key in test_cfg or {} if key not in TEST_OPTIONS]
        if unknown:
            raise ValueError(f'TopdownPoseEstimator: `test_cfg` takes {TEST_OPTIONS}, got {unknown}.')
        self.meta = KeypointMeta.load(meta)
        self.backbone = BACKBONES.build(backbone)
        self.neck = None if neck is None else NECKS.build(neck)
        self.head = HEADS.build(head, meta=self.meta)
        options = dict(flip_test=False, shift_heatmap=False, with_loss=False) | dict(test_cfg or {})
        self.flip_test = bool(options['flip_test'])
        self.shift_heatmap = bool(options['shift_heatmap'])
        self.with_loss = bool(options['with_loss'])
        if self.flip_test and not hasattr(self.head, 'merge_flipped'):
            raise ValueError(
                f'TopdownPoseEstimator: `test_cfg.flip_test` needs a head with merge_flipped; {type(self.head).__name__} '
                'has none. Set flip_test=False.'
            )

    def extract_feat(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """Return what the head reads: maps of (B, 3, H, W) normalised crops, finest first."""
        feats = self.backbone(inputs)
        return feats if self.neck is None else self.neck(feats)

    def forward(self, inputs: Tensor, data_samples: SampleBatch | None = None, mode: str = 'tensor') -> Any:
        """Run the network.

        Args:
            inputs: (B, 3, H, W) normalised crops.
            data_samples: the people in them; needed by 'loss' and 'predict'.
            mode: 'tensor': the head's raw output; 'loss': a dict of scalars; 'predict': a PoseDataSample for each crop, in px of
                the original image.

        Raises:
            ValueError: the mode is unknown, or needs `data_samples`.
        """
        if mode not in MODES:
            raise ValueError(f'TopdownPoseEstimator: `mode` must be one of {MODES}, got {mode!r}.')
        if mode != 'tensor' and data_samples is None:
            raise ValueError(f'TopdownPoseEstimator: mode {mode!r} needs `data_samples`, the people in the crops, got None.')
        if mode == 'predict':
            return self._predict(inputs, data_samples)
        feats = self.extract_feat(inputs)
        return self.head(feats) if mode == 'tensor' else self.head.loss(feats, data_samples)

    @torch.no_grad()
    def _predict(self, inputs: Tensor, data_samples: SampleBatch) -> list[BaseDataElement]:
        feats = self.extract_feat(inputs)
        raw = self.head(feats)
        if self.flip_test:
            mirrored = self.head(self.extract_feat(inputs.flip(-1)))
            raw = self.head.merge_flipped(raw, mirrored, self.meta.flip_indices, shift=self.shift_heatmap)
        predictions: list[BaseDataElement] = to_image_frame(*self.head.decode(raw), data_samples)
        if self.with_loss and 'keypoints_input' in data_samples:
            # mmengine's validation loop averages what it finds in a last element that holds the loss alone.
            losses = {name: value for name, value in self.head.loss(feats, data_samples).items() if 'loss' in name}
            predictions.append(BaseDataElement(loss=losses))
        return predictions


def to_image_frame(keypoints: Tensor, scores: Tensor, data_samples: SampleBatch) -> list[PoseDataSample]:
    """Map predictions from crops back to their images, and bring them to the host in one copy.

    Args:
        keypoints: (B, K, 2) in px of the crop.
        scores: (B, K).
        data_samples: the crops' boxes; metainfo has bbox_center (2,), bbox_scale (2,) and input_size (w, h).

    Returns:
        One sample per crop, with NumPy arrays in `pred_instances` and, where the batch has any, `gt_instances`.

    Raises:
        ValueError: a crop is mirrored or turned, as augmentation makes them.
    """
    packed = torch.cat((keypoints.float(), scores.float()[..., None]), dim=-1).cpu().numpy()
    samples = []
    host = data_samples.to('cpu')
    for sample, prediction in zip(host, packed):
        if sample.get('flip') or sample.get('bbox_rotation'):
            raise ValueError(
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
