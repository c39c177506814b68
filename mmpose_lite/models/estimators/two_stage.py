"""Detection in two stages: proposals, then what they are."""

# Letters: B images, H x W px of an input, D detections of an image.
import math
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
from mmpose_lite.ops.boxes import boxes_to_input, has_area
from mmpose_lite.ops.masks import paste_masks
from mmpose_lite.ops.nms import Detections
from mmpose_lite.registry import BACKBONES, HEADS, MODELS, PREPROCESSORS
from mmpose_lite.structures import ClassMeta, DetDataSample, SampleBatch

MODES = ('tensor', 'loss', 'predict')
TEST_OPTIONS: dict[str, Any] = dict(scales=(1.0,), flip_test=False, valid_ranges=None)
Range = tuple[float, float]
ALL_SIZES: Range = (0.0, math.inf)


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
            suppressed together, masks are averaged. `valid_ranges`: for each scale (lowest, highest) sqrt(w h) of the objects
            that are taken from it, px of the original image; None takes all (SNIP, arXiv:1711.08189, Sec. 5; see `SNIPResize`).

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
        ranges = [ALL_SIZES] * len(self.scales) if options['valid_ranges'] is None else options['valid_ranges']
        self.valid_ranges = tuple((float(low), float(high)) for low, high in ranges)
        if len(self.valid_ranges) != len(self.scales) or not all(0 <= low < high for low, high in self.valid_ranges):
            raise ValueError(
                'TwoStageDetector: `test_cfg.valid_ranges` needs 0 <= lowest < highest for each of the '
                f'{len(self.scales)} scales, got {self.valid_ranges}.'
            )

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
        passes = []
        for scale, valid_range in zip(self.scales, self.valid_ranges):
            for view in views(inputs, data_samples, (scale,), flip=self.flip_test):
                passes.append(self._pass(*view, valid_range=valid_range))
        return passes

    def _pass(self, inputs: Tensor, data_samples: SampleBatch, mirrored: bool, *, valid_range: Range = ALL_SIZES) -> '_Pass':
        feats = self.extract_feat(inputs)
        proposals = self.rpn_head.proposals(self.rpn_head(feats), data_samples, training=False)
        feats = self.roi_head.extend(feats)
        found = self.roi_head.candidates(feats, [p.boxes for p in proposals], data_samples)
        return _Pass(feats if self.roi_head.with_mask else (), found, data_samples.metainfo, mirrored, valid_range)

    def _masks(self, passes: Sequence['_Pass'], kept: Sequence[Detections]) -> list[Tensor]:
        """Return the probabilities (D, h, w) within the boxes of each image, averaged over the passes in whose range they lie."""
        of_passes = []
        for p in passes:
            boxes = [boxes_to_input(d.boxes, m['warp_matrix']) for d, m in zip(kept, p.metainfo)]
            probs = self.roi_head.masks(p.feats, boxes, [d.labels for d in kept])
            of_passes.append([x.flip(-1) if p.mirrored else x for x in probs])
        means = []
        for detections, of_image in zip(kept, zip(*of_passes)):
            counts = torch.stack([in_range(detections.boxes, p.valid_range) for p in passes])
            counts = counts | ~counts.any(dim=0)  # a suppression that averages boxes may leave all ranges
            weights = counts.to(of_image[0].dtype)[..., None, None]
            means.append((torch.stack(of_image) * weights).sum(dim=0) / weights.sum(dim=0))
        return means


class _Pass(NamedTuple):
    """What one look at the inputs gives."""

    feats: Sequence[Tensor]  # what the mask head reads
    found: list[Candidates]  # of each image, px of this pass's input
    metainfo: Sequence[Mapping[str, Any]]  # of each image; its warp_matrix leads into this pass's input
    mirrored: bool
    valid_range: Range  # sqrt(w h) px of the original image


def in_range(boxes_xyxy: Tensor, valid_range: Range) -> Tensor:
    """Return (...) bool: of which boxes (..., 4) sqrt(w h) lies in the range, its ends included."""
    sizes = (boxes_xyxy[..., 2:] - boxes_xyxy[..., :2]).clamp(min=0).prod(dim=-1).sqrt()
    return (sizes >= valid_range[0]) & (sizes <= valid_range[1])


def _joined(passes: Sequence[_Pass], data_samples: SampleBatch) -> list[Candidates]:
    """Return the candidates of all passes, of each image, px of the original image; minus infinity is the score of those that
    are not in the range of their pass, or of which nothing lies in the image: a mirrored input has its padding at the left."""
    joined = []
    for i, metainfo in enumerate(data_samples.metainfo):
        parts = []
        for p in passes:
            found = p.found[i].to_image(p.metainfo[i])
            boxes = clip_boxes(found.boxes, metainfo['ori_shape'])
            valid = in_range(boxes, p.valid_range) & has_area(boxes)  # (P, C), or (P,) of boxes that all classes share
            scores = found.scores.where(valid if valid.ndim == 2 else valid[:, None], -torch.inf)
            parts.append(found._replace(boxes=boxes, scores=scores))
        joined.append(Candidates.joined(parts))
    return joined


def _sample(kept: Detections, probs: Tensor | None, metainfo: Mapping[str, Any], roi_head: nn.Module) -> DetDataSample:
    sample = DetDataSample(metainfo=dict(metainfo))
    found = {name: getattr(kept, name).cpu().numpy() for name in ('scores', 'labels')}
    sample.pred_instances = InstanceData(bboxes=kept.boxes.float().cpu().numpy(), **found)
    if probs is not None:
        sample.pred_instances.masks = paste_masks(probs, kept.boxes, metainfo['ori_shape'], threshold=roi_head.mask_thr_binary)
    return sample
