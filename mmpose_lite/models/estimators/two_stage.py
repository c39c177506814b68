"""Detection in two stages: proposals, then what they are."""

# Letters: B images, H x W px of an input, D detections of an image.
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmpose_lite.models.assign.box_coder import clip_boxes
from mmpose_lite.models.base import BaseModel
from mmpose_lite.models.estimators.views import views
from mmpose_lite.models.heads.roi.candidates import Candidates
from mmpose_lite.models.necks import build_neck
from mmpose_lite.ops.boxes import boxes_to_input
from mmpose_lite.ops.masks import paste_masks
from mmpose_lite.ops.nms import Detections
from mmpose_lite.registry import BACKBONES, HEADS, MODELS, PREPROCESSORS
from mmpose_lite.structures import ClassMeta, DetDataSample, SampleBatch

MODES = ('tensor', 'loss', 'predict')
TEST_OPTIONS: dict[str, Any] = dict(scales=(1.0,), flip_test=False)


@MODELS.register_module()
class TwoStageDetector(BaseModel):
    """Backbone, optional neck, a head that proposes boxes, and a head that says what they are.

    Source: Ren et al., Faster R-CNN, NeurIPS 2015, arXiv:1506.01497.

    Args:
        backbone: config of the backbone.
        rpn_head: config of the head that proposes.
        roi_head: config of the head on the proposals; it is given `num_classes`, from `meta`.
        meta: the classes, anything `ClassMeta.load` takes, without a background.
        neck: config of the neck, or of several in a row.
        data_preprocessor: config of the preprocessor; None for ImageNet's mean and std.
        test_cfg: `scales`: factors on the size of the input; `flip_test`: each also mirrored. The boxes of all passes are
            suppressed together, masks are averaged.

    Raises:
        ValueError: `test_cfg` has an unknown key or value.
    """

    def __init__(
        self,
        backbone: Mapping[str, Any],
        rpn_head: Mapping[str, Any],
        roi_head: Mapping[str, Any],
        *,
        meta: ClassMeta | Mapping[str, Any] | str,
        neck: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
        data_preprocessor: Mapping[str, Any] | None = None,
        test_cfg: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(data_preprocessor=PREPROCESSORS.build(data_preprocessor or dict(type='DetDataPreprocessor')))
        self.class_meta = ClassMeta.load(meta)
        self.backbone = BACKBONES.build(backbone)
        self.neck = build_neck(neck)
        self.rpn_head = HEADS.build(rpn_head)
        self.roi_head = HEADS.build(roi_head, num_classes=self.class_meta.num_classes)
        unknown = [key for key in test_cfg or {} if key not in TEST_OPTIONS]
        if unknown:
            raise ValueError(f'TwoStageDetector: `test_cfg` takes {tuple(TEST_OPTIONS)}, got {unknown}.')
        options = TEST_OPTIONS | dict(test_cfg or {})
        self.scales, self.flip_test = tuple(options['scales']), bool(options['flip_test'])
        if not self.scales or min(self.scales) <= 0:
            raise ValueError(f'TwoStageDetector: `test_cfg.scales` must be positive numbers, got {self.scales}.')

    def extract_feat(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """Return what the heads read: maps of (B, 3, H, W) normalised inputs, finest first."""
        feats = self.backbone(inputs)
        return feats if self.neck is None else self.neck(feats)

    def forward(self, inputs: Tensor, data_samples: SampleBatch | None = None, mode: str = 'tensor') -> Any:
        """Run the network.

        Args:
            inputs: (B, 3, H, W) normalised.
            data_samples: what belongs to the inputs; needed by 'loss' (its objects) and 'predict' (its metainfo).
            mode: 'tensor': the raw output of `rpn_head`; 'loss': a dict of scalars; 'predict': a DetDataSample for each input, in
                px of the original image.

        Raises:
            ValueError: the mode is unknown, or needs `data_samples`.
        """
        if mode not in MODES:
            raise ValueError(f'TwoStageDetector: `mode` must be one of {MODES}, got {mode!r}.')
        if mode == 'tensor':
            return self.rpn_head(self.extract_feat(inputs))
        if data_samples is None:
            raise ValueError(f'TwoStageDetector: mode {mode!r} needs `data_samples`, what belongs to the inputs, got None.')
        return self._loss(inputs, data_samples) if mode == 'loss' else self._predict(inputs, data_samples)

    def _loss(self, inputs: Tensor, data_samples: SampleBatch) -> dict[str, Tensor]:
        feats = self.extract_feat(inputs)
        raw = self.rpn_head(feats)
        losses = self.rpn_head.loss(raw, data_samples)
        proposals = [p.boxes for p in self.rpn_head.proposals(raw, data_samples, training=True)]
        return losses | self.roi_head.loss(feats, proposals, data_samples)

    @torch.no_grad()
    def _predict(self, inputs: Tensor, data_samples: SampleBatch) -> list[DetDataSample]:
        passes = self._passes(inputs, data_samples)
        kept = [self.roi_head.suppress(found) for found in _joined(passes, data_samples)]
        masks = self._masks(passes, kept) if self.roi_head.with_mask else [None] * len(kept)
        return [_sample(*of_image, self.roi_head) for of_image in zip(kept, masks, data_samples.metainfo)]

    @torch.no_grad()
    def candidates(self, inputs: Tensor, data_samples: SampleBatch) -> list[Candidates]:
        """Return what `predict` suppresses, of each image: boxes in px of the original; arguments as in `forward`."""
        return _joined(self._passes(inputs, data_samples), data_samples)

    def _passes(self, inputs: Tensor, data_samples: SampleBatch) -> list['_Pass']:
        return [self._pass(*view) for view in views(inputs, data_samples, self.scales, flip=self.flip_test)]

    def _pass(self, inputs: Tensor, data_samples: SampleBatch, mirrored: bool) -> '_Pass':
        feats = self.extract_feat(inputs)
        proposals = self.rpn_head.proposals(self.rpn_head(feats), data_samples, training=False)
        feats = self.roi_head.extend(feats)
        found = self.roi_head.candidates(feats, [p.boxes for p in proposals], data_samples)
        return _Pass(feats if self.roi_head.with_mask else (), found, data_samples.metainfo, mirrored)

    def _masks(self, passes: Sequence['_Pass'], kept: Sequence[Detections]) -> list[Tensor]:
        """Return the probabilities (D, h, w) within the boxes of each image, averaged over the passes."""
        of_passes = []
        for p in passes:
            boxes = [boxes_to_input(d.boxes, m['warp_matrix']) for d, m in zip(kept, p.metainfo)]
            probs = self.roi_head.masks(p.feats, boxes, [d.labels for d in kept])
            of_passes.append([x.flip(-1) if p.mirrored else x for x in probs])
        return [torch.stack(of_image).mean(dim=0) for of_image in zip(*of_passes)]


class _Pass(NamedTuple):
    """What one look at the inputs gives."""

    feats: Sequence[Tensor]  # what the mask head reads
    found: list[Candidates]  # of each image, px of this pass's input
    metainfo: Sequence[Mapping[str, Any]]  # of each image; its warp_matrix leads into this pass's input
    mirrored: bool


def _joined(passes: Sequence[_Pass], data_samples: SampleBatch) -> list[Candidates]:
    """Return the candidates of all passes, of each image, px of the original image."""
    joined = []
    for i, metainfo in enumerate(data_samples.metainfo):
        found = Candidates.joined([p.found[i].to_image(p.metainfo[i]) for p in passes])
        joined.append(found._replace(boxes=clip_boxes(found.boxes, metainfo['ori_shape'])))
    return joined


def _sample(kept: Detections, probs: Tensor | None, metainfo: Mapping[str, Any], roi_head: nn.Module) -> DetDataSample:
    sample = DetDataSample(metainfo=dict(metainfo))
    found = {name: getattr(kept, name).cpu().numpy() for name in ('scores', 'labels')}
    sample.pred_instances = InstanceData(bboxes=kept.boxes.float().cpu().numpy(), **found)
    if probs is not None:
        sample.pred_instances.masks = paste_masks(probs, kept.boxes, metainfo['ori_shape'], threshold=roi_head.mask_thr_binary)
    return sample
