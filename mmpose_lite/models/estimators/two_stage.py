"""Detection in two stages: proposals, then what they are."""

# Letters: D detections of an image, h x w cells of a mask.
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmpose_lite.models.estimators.detector import Detector
from mmpose_lite.models.estimators.views import Look, View, in_range
from mmpose_lite.ops.boxes import boxes_to_input
from mmpose_lite.ops.masks import paste_masks
from mmpose_lite.ops.nms import Detections
from mmpose_lite.registry import HEADS, MODELS
from mmpose_lite.structures import ClassMeta, DetDataSample, SampleBatch


@MODELS.register_module()
class TwoStageDetector(Detector):
    """Backbone, optional neck, a head that proposes boxes, and a head that says what they are.

    Source: Ren et al., Faster R-CNN, NeurIPS 2015, arXiv:1506.01497.

    Args:
        backbone: config of the backbone.
        rpn_head: config of the head that proposes.
        roi_head: config of the head on the proposals; it is given `num_classes`, from `meta`.
        meta: the classes; see `Detector`, as for what follows.
        neck: config of the neck, or of several in a row.
        data_preprocessor: config of the preprocessor.
        test_cfg: `scales`, `flip_test` and `valid_ranges`.

    Raises:
        ValueError: `test_cfg` has an unknown key or value, or a head does not propose, does not find, or has not the classes of
            `meta`.
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
        super().__init__(backbone, meta=meta, neck=neck, data_preprocessor=data_preprocessor, test_cfg=test_cfg)
        self.rpn_head = HEADS.build(rpn_head)
        self.roi_head = HEADS.build(roi_head, num_classes=self.class_meta.num_classes)
        self.check_head('rpn_head', self.rpn_head, 'proposals')
        self.check_head('roi_head', self.roi_head, 'candidates')

    @property
    def dense_head(self) -> nn.Module:
        """The head that proposes."""
        return self.rpn_head

    @property
    def last_head(self) -> nn.Module:
        """The head on the proposals."""
        return self.roi_head

    def dense_maps(self, inputs: Tensor, feats: Sequence[Tensor]) -> Any:
        """Return what `rpn_head` makes of the maps of the inputs; see `Detector`, here of the strides of both heads."""
        extractors = getattr(self.roi_head, 'bbox_roi_extractor', ())
        for extractor in extractors if isinstance(extractors, nn.ModuleList) else [extractors]:
            self.check_strides(type(extractor).__name__, extractor.featmap_strides, feats, inputs)
        return super().dense_maps(inputs, feats)

    def losses(self, feats: Sequence[Tensor], raw: Any, data_samples: SampleBatch) -> dict[str, Tensor]:
        """Return the losses of both stages by name."""
        losses = self.rpn_head.loss(raw, data_samples)
        proposals = [p.boxes for p in self.rpn_head.proposals(raw, data_samples, training=True)]
        return losses | self.roi_head.loss(feats, proposals, data_samples)

    def look(self, view: View) -> Look:
        """Return what is found in a view, before suppression."""
        feats = self.extract_feat(view.inputs)
        proposals = self.rpn_head.proposals(self.dense_maps(view.inputs, feats), view.data_samples, training=False)
        feats = self.roi_head.extend(feats)
        found = self.roi_head.candidates(feats, [p.boxes for p in proposals], view.data_samples)
        return Look(view, found, feats if self.roi_head.with_mask else ())

    def add_masks(self, samples: list[DetDataSample], looks: Sequence[Look], kept: Sequence[Detections]) -> list[DetDataSample]:
        """Return the samples of the images, with masks where there is a head for them."""
        if self.roi_head.with_mask:
            threshold = self.roi_head.mask_thr_binary
            for sample, probs, detections in zip(samples, self.mask_probs(looks, kept), kept):
                sample.pred_instances.masks = paste_masks(probs, detections.boxes, sample.ori_shape, threshold=threshold)
        return samples

    def mask_probs(self, looks: Sequence[Look], kept: Sequence[Detections]) -> list[Tensor]:
        """Return the probabilities (D, h, w) within the boxes of each image, averaged over the views in whose range they lie.

        Args:
            looks: with the maps that the mask head reads.
            kept: of each image, px of the original image.
        """
        of_looks = []
        for look in looks:
            boxes = [boxes_to_input(d.boxes, m['warp_matrix']) for d, m in zip(kept, look.view.data_samples.metainfo)]
            probs = self.roi_head.masks(look.feats, boxes, [d.labels for d in kept])
            of_looks.append([x.flip(-1) if look.view.mirrored else x for x in probs])
        means = []
        for detections, of_image in zip(kept, zip(*of_looks)):
            counts = torch.stack([in_range(detections.boxes, look.view.valid_range) for look in looks])
            counts = counts | ~counts.any(dim=0)  # a suppression that averages boxes may leave all ranges
            weights = counts.to(of_image[0].dtype)[..., None, None]
            means.append((torch.stack(of_image) * weights).sum(dim=0) / weights.sum(dim=0))
        return means
