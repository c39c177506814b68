"""One box head on the proposals, and a mask head on what it finds."""

# Letters: B images, P proposals of an image, D detections of an image, R RoIs of all images, h x w cells of a mask.
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mmpose_lite.models.assign.objects import Objects
from mmpose_lite.models.heads.roi.base_bbox_head import BoxOutput
from mmpose_lite.models.heads.roi.base_roi_head import RoIHead
from mmpose_lite.models.heads.roi.candidates import Candidates, join_rois, shapes_of_rois
from mmpose_lite.models.heads.roi.mask_targets import mask_loss
from mmpose_lite.models.heads.roi.sampling import RoISample, positives, sample_rois
from mmpose_lite.registry import ASSIGNERS, BOX_SAMPLERS, HEADS, ROI_EXTRACTORS
from mmpose_lite.structures import SampleBatch


@HEADS.register_module()
class StandardRoIHead(RoIHead):
    """The second stage of Faster R-CNN and Mask R-CNN. Names and defaults are mmdet's; what stands in its `train_cfg` and
    `test_cfg` are arguments here.

    Source: Ren et al., Faster R-CNN, NeurIPS 2015, arXiv:1506.01497; masks: He et al., Mask R-CNN, ICCV 2017, arXiv:1703.06870.

    Args:
        bbox_roi_extractor: config of what pools the features of boxes, one of the ROI_EXTRACTORS.
        bbox_head: config of the box head; it is given `num_classes` unless it sets it.
        num_classes: C, without the background.
        assigner: config of what gives proposals to objects.
        sampler: config of what chooses the proposals that count.
        nms: config of the suppression within each class; its `max_num` is set to `max_per_img` unless it sets it.
        mask_roi_extractor: config of what pools for the mask head; None: as for the box head.
        mask_head: config of the mask head; it is given `num_classes` unless it sets it.
        score_thr: boxes that score no more are left out.
        max_per_img: detections of an image at most.
        mask_thr_binary: probability from which a pixel belongs to an object.

    Raises:
        ValueError: the suppression needs what the box head does not predict, the sampler what its loss does not give, or a head
            has other classes.
    """

    def __init__(
        self,
        bbox_roi_extractor: Mapping[str, Any],
        bbox_head: Mapping[str, Any],
        *,
        num_classes: int,
        assigner: Mapping[str, Any],
        sampler: Mapping[str, Any],
        nms: Mapping[str, Any],
        mask_roi_extractor: Mapping[str, Any] | None = None,
        mask_head: Mapping[str, Any] | None = None,
        score_thr: float = 0.05,
        max_per_img: int = 100,
        mask_thr_binary: float = 0.5,
    ) -> None:
        super().__init__(
            num_classes=num_classes, nms=nms, score_thr=score_thr, max_per_img=max_per_img, mask_thr_binary=mask_thr_binary
        )
        self.bbox_roi_extractor = ROI_EXTRACTORS.build(bbox_roi_extractor)
        self.bbox_head = HEADS.build(bbox_head, num_classes=num_classes)
        self.with_mask = mask_head is not None
        if mask_head is not None:
            self.mask_roi_extractor = ROI_EXTRACTORS.build(mask_roi_extractor or bbox_roi_extractor)
            self.mask_head = HEADS.build(mask_head, num_classes=num_classes)
        self.assigner = ASSIGNERS.build(assigner)
        self.sampler = BOX_SAMPLERS.build(sampler)
        for key in ('bbox_head', 'mask_head')[: 1 + self.with_mask]:
            self.check_classes(key, getattr(self, key))
        self.check_nms(self.bbox_head.extras)
        self.check_sampler(self.sampler, self.bbox_head)

    def forward(self, feats: Sequence[Tensor], rois: Tensor) -> BoxOutput:
        """Return the logits and deltas of boxes (R, 5), the index of the image and the box xyxy in px of the input."""
        return self.bbox_head(self.bbox_roi_extractor(feats, rois))

    def loss(self, feats: Sequence[Tensor], proposals: Sequence[Tensor], data_samples: SampleBatch) -> dict[str, Tensor]:
        """Return the losses by name.

        Args:
            feats: maps of the neck.
            proposals: (P, 4) xyxy of each image.
            data_samples: with the fields of `Objects.of`, and `masks` for a mask head.
        """
        sample = self._sample(feats, proposals, Objects.of(data_samples))
        losses = self.bbox_head.loss(self(feats, sample.rois), sample, shapes_of_rois(data_samples, sample.rois))
        if self.with_mask:
            chosen = positives(sample)
            logits = self.mask_head(self.mask_roi_extractor(feats, chosen.rois))
            losses |= mask_loss(self.mask_head, logits, chosen, data_samples)
        return losses

    def _sample(self, feats: Sequence[Tensor], proposals: Sequence[Tensor], objects: Objects) -> RoISample:
        def prior_losses(image: int, boxes: Tensor, labels: Tensor) -> Tensor:
            raw = self([feat[image : image + 1] for feat in feats], join_rois([boxes]))
            return self.bbox_head.class_losses(raw, labels)

        return sample_rois(
            proposals,
            objects,
            self.assigner,
            self.sampler,
            prior_losses=prior_losses,
            with_densities='densities' in self.bbox_head.extras,
        )

    def candidates(self, feats: Sequence[Tensor], proposals: Sequence[Tensor], data_samples: SampleBatch) -> list[Candidates]:
        """Return the boxes of each image before suppression, in px of the input; arguments as in `loss`."""
        rois, counts = join_rois(proposals), [len(boxes) for boxes in proposals]
        raw = self(feats, rois)
        boxes = self.bbox_head.decode(raw.deltas, rois, shapes_of_rois(data_samples, rois))
        scores = self.bbox_head.scores(raw.cls_logits)
        return Candidates.of_images(boxes, scores, self.bbox_head.predict_extras(raw, rois), counts)

    def masks(self, feats: Sequence[Tensor], boxes: Sequence[Tensor], labels: Sequence[Tensor]) -> list[Tensor]:
        """Return the probabilities (D, h, w) within the boxes of each image.

        Args:
            feats: maps of the neck.
            boxes: (D, 4) xyxy of each image, px of the input.
            labels: (D,) classes of each image.
        """
        logits = self.mask_head(self.mask_roi_extractor(feats, join_rois(boxes)))
        return list(self.mask_head.probs(logits, torch.cat(list(labels))).split([len(b) for b in boxes]))
