"""Detection in one stage: a head says of every cell what is there."""

# Letters: B images, H x W px of an input.
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.structures import InstanceData
from torch import Tensor

from mmpose_lite.models.base import BaseModel
from mmpose_lite.models.necks import build_neck
from mmpose_lite.ops.boxes import boxes_to_image, has_area
from mmpose_lite.registry import BACKBONES, HEADS, MODELS, PREPROCESSORS
from mmpose_lite.structures import ClassMeta, DetDataSample, SampleBatch

MODES = ('tensor', 'loss', 'predict')


@MODELS.register_module()
class SingleStageDetector(BaseModel):
    """Backbone, optional neck, and a head on every cell of its maps.

    Args:
        backbone: config of the backbone.
        bbox_head: config of the head; it is given `num_classes`, from `meta`.
        meta: the classes, anything `ClassMeta.load` takes, without a background.
        neck: config of the neck, or of several in a row.
        data_preprocessor: config of the preprocessor; None for ImageNet's mean and std.
    """

    def __init__(
        self,
        backbone: Mapping[str, Any],
        bbox_head: Mapping[str, Any],
        *,
        meta: ClassMeta | Mapping[str, Any] | str,
        neck: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
        data_preprocessor: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(data_preprocessor=PREPROCESSORS.build(data_preprocessor or dict(type='DetDataPreprocessor')))
        self.class_meta = ClassMeta.load(meta)
        self.backbone = BACKBONES.build(backbone)
        self.neck = build_neck(neck)
        self.bbox_head = HEADS.build(bbox_head, num_classes=self.class_meta.num_classes)

    def extract_feat(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """Return what the head reads: maps of (B, 3, H, W) normalised inputs, finest first."""
        feats = self.backbone(inputs)
        return feats if self.neck is None else self.neck(feats)

    def forward(self, inputs: Tensor, data_samples: SampleBatch | None = None, mode: str = 'tensor') -> Any:
        """Run the network.

        Args:
            inputs: (B, 3, H, W) normalised.
            data_samples: what belongs to the inputs; needed by 'loss' (its objects) and 'predict' (its metainfo).
            mode: 'tensor': the raw output of `bbox_head`; 'loss': a dict of scalars; 'predict': a DetDataSample for each input,
                in px of the original image.

        Raises:
            ValueError: the mode is unknown, or needs `data_samples`.
        """
        if mode not in MODES:
            raise ValueError(f'SingleStageDetector: `mode` must be one of {MODES}, got {mode!r}.')
        raw = self.bbox_head(self.extract_feat(inputs))
        if mode == 'tensor':
            return raw
        if data_samples is None:
            raise ValueError(f'SingleStageDetector: mode {mode!r} needs `data_samples`, what belongs to the inputs, got None.')
        return self.bbox_head.loss(raw, data_samples) if mode == 'loss' else self._predict(raw, data_samples)

    @torch.no_grad()
    def _predict(self, raw: Any, data_samples: SampleBatch) -> list[DetDataSample]:
        samples = []
        for found, metainfo in zip(self.bbox_head.candidates(raw, data_samples), data_samples.metainfo):
            boxes = boxes_to_image(found.boxes, metainfo['warp_matrix'])
            scores = found.scores.where(has_area(boxes), -torch.inf)  # cells on padding find boxes beyond the border
            kept = self.bbox_head.suppress(found._replace(boxes=boxes, scores=scores))
            sample = DetDataSample(metainfo=metainfo)
            sample.pred_instances = InstanceData(
                bboxes=kept.boxes.cpu().numpy(), scores=kept.scores.cpu().numpy(), labels=kept.labels.cpu().numpy()
            )
            samples.append(sample)
        return samples
