"""Several box heads in a row, each on the boxes of the one before, and a mask head beside each."""

# Letters: B images, P proposals of an image, D detections of an image, R RoIs of all images, T stages, h x w cells of a mask.
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.model import ModuleList
from torch import Tensor

from mmpose_lite.models.assign.objects import Objects
from mmpose_lite.models.heads.roi.base_bbox_head import BoxOutput
from mmpose_lite.models.heads.roi.base_roi_head import RoIHead
from mmpose_lite.models.heads.roi.candidates import Candidates, join_rois, shapes_of_rois
from mmpose_lite.models.heads.roi.mask_targets import mask_loss
from mmpose_lite.models.heads.roi.sampling import RoISample, positives, sample_rois
from mmpose_lite.registry import ASSIGNERS, BOX_SAMPLERS, HEADS, ROI_EXTRACTORS
from mmpose_lite.structures import SampleBatch

Config = Mapping[str, Any]
Configs = Config | Sequence[Config]  # one for all stages, or one for each


@HEADS.register_module()
class CascadeRoIHead(RoIHead):
    """The second stage of Cascade R-CNN and Cascade Mask R-CNN. Names and defaults are mmdet's; what stands in its `train_cfg`
    and `test_cfg` are arguments here.

    In training each stage learns from the boxes that the one before has moved, and from those of the objects. In testing the
    logits of all stages are averaged on the boxes of the last one, as in mmdet, and so are the probabilities of the masks.

    Source: Cai and Vasconcelos, Cascade R-CNN, CVPR 2018, Sec. 4, arXiv:1712.00726; masks: TPAMI 2021, Fig. 6 (d),
    arXiv:1906.09756.

    Args:
        bbox_roi_extractor: config of what pools the features of boxes, for all stages or one for each, as all that follow.
        bbox_head: of the box heads; they are given `num_classes` unless they set it.
        num_classes: C, without the background.
        assigner: of what gives boxes to objects, with thresholds that rise from stage to stage.
        sampler: of what chooses the boxes that count.
        nms: config of the suppression within each class; its `max_num` is set to `max_per_img` unless it sets it.
        num_stages: T.
        stage_loss_weights: factor on the losses of each stage.
        mask_roi_extractor: of what pools for the mask heads; None: as for the box heads.
        mask_head: of the mask heads; they are given `num_classes` unless they set it.
        score_thr: boxes that score no more are left out.
        max_per_img: detections of an image at most.
        mask_thr_binary: probability from which a pixel belongs to an object.

    Raises:
        ValueError: there is not one entry for each stage, the suppression needs what the last box head does not predict, or a
            sampler what the loss of its box head does not give, or a head has other classes.
    """

    def __init__(
        self,
        bbox_roi_extractor: Configs,
        bbox_head: Configs,
        *,
        num_classes: int,
        assigner: Configs,
        sampler: Configs,
        nms: Config,
        num_stages: int = 3,
        stage_loss_weights: Sequence[float] = (1.0, 0.5, 0.25),
        mask_roi_extractor: Configs | None = None,
        mask_head: Configs | None = None,
        score_thr: float = 0.05,
        max_per_img: int = 100,
        mask_thr_binary: float = 0.5,
    ) -> None:
        super().__init__(
            num_classes=num_classes, nms=nms, score_thr=score_thr, max_per_img=max_per_img, mask_thr_binary=mask_thr_binary
        )
        if len(stage_loss_weights) != num_stages:
            raise ValueError(
                f'{type(self).__name__}: `stage_loss_weights` needs one entry per stage ({num_stages}), got {stage_loss_weights}.'
            )
        self.num_stages = num_stages
        self.stage_loss_weights = tuple(stage_loss_weights)
        of_stages = self._of_stages
        self.bbox_roi_extractor = ModuleList(ROI_EXTRACTORS.build(c) for c in of_stages('bbox_roi_extractor', bbox_roi_extractor))
        self.bbox_head = ModuleList(HEADS.build(c, num_classes=num_classes) for c in of_stages('bbox_head', bbox_head))
        self.with_mask = mask_head is not None
        if mask_head is not None:
            extractors = of_stages('mask_roi_extractor', mask_roi_extractor or bbox_roi_extractor)
            self.mask_roi_extractor = ModuleList(ROI_EXTRACTORS.build(c) for c in extractors)
            self.mask_head = ModuleList(HEADS.build(c, num_classes=num_classes) for c in of_stages('mask_head', mask_head))
        self.assigners = [ASSIGNERS.build(c) for c in of_stages('assigner', assigner)]
        self.samplers = [BOX_SAMPLERS.build(c) for c in of_stages('sampler', sampler)]
        for key in ('bbox_head', 'mask_head')[: 1 + self.with_mask]:
            for head in getattr(self, key):
                self.check_classes(key, head)
        self.check_nms(self.bbox_head[-1].extras)
        for of_stage, head in zip(self.samplers, self.bbox_head):
            self.check_sampler(of_stage, head)

    def _of_stages(self, name: str, configs: Configs) -> Sequence[Config]:
        if isinstance(configs, Mapping):
            return [configs] * self.num_stages
        if len(configs) != self.num_stages:
            raise ValueError(
                f'{type(self).__name__}: `{name}` must be one config or one per stage ({self.num_stages}), got {len(configs)}.'
            )
        return configs

    def forward(self, feats: Sequence[Tensor], rois: Tensor, stage: int) -> BoxOutput:
        """Return the logits and deltas of a stage for boxes (R, 5), the index of the image before the box in px of the input."""
        return self.bbox_head[stage](self.box_features(feats, rois, stage))

    def box_features(self, feats: Sequence[Tensor], rois: Tensor, stage: int) -> Tensor:
        """Return the features (R, C, h, w) that the box head of a stage reads."""
        return self.bbox_roi_extractor[stage](feats, rois)

    def mask_logits(self, feats: Sequence[Tensor], rois: Tensor, stage: int) -> Tensor:
        """Return the logits (R, C, h, w) of the masks of a stage for boxes (R, 5)."""
        return self.mask_head[stage](self.mask_roi_extractor[stage](feats, rois))

    def loss(self, feats: Sequence[Tensor], proposals: Sequence[Tensor], data_samples: SampleBatch) -> dict[str, Tensor]:
        """Return the losses by name, which begins with the stage: `s0.loss_cls` ...

        Args:
            feats: maps of the neck.
            proposals: (P, 4) xyxy of each image.
            data_samples: with the fields of `Objects.of`, and `masks` for mask heads.
        """
        objects = Objects.of(data_samples)
        boxes, is_usable = proposals, None
        losses: dict[str, Tensor] = {}
        for stage, weight in enumerate(self.stage_loss_weights):
            sample = self._sample(stage, feats, boxes, objects, is_usable)
            raw = self(feats, sample.rois, stage)
            of_stage = self.bbox_head[stage].loss(raw, sample, shapes_of_rois(data_samples, sample.rois))
            if self.with_mask:
                chosen = positives(self._mask_sample(stage, feats, raw, sample, objects, data_samples))
                logits = self.mask_logits(feats, chosen.rois, stage)
                of_stage |= mask_loss(self.mask_head[stage], logits, chosen, data_samples)
            losses |= {f's{stage}.{name}': value * weight if 'loss' in name else value for name, value in of_stage.items()}
            if stage + 1 < self.num_stages:
                boxes, is_usable = self._refined(stage, raw, sample, data_samples)
        return losses

    def _sample(
        self,
        stage: int,
        feats: Sequence[Tensor],
        boxes: Sequence[Tensor],
        objects: Objects,
        is_usable: Sequence[Tensor] | None,
    ) -> RoISample:
        def prior_losses(image: int, priors: Tensor, labels: Tensor) -> Tensor:
            raw = self([feat[image : image + 1] for feat in feats], join_rois([priors]), stage)
            return self.bbox_head[stage].class_losses(raw, labels)

        return sample_rois(
            boxes,
            objects,
            self.assigners[stage],
            self.samplers[stage],
            is_usable=is_usable,
            prior_losses=prior_losses,
            with_densities='densities' in self.bbox_head[stage].extras,
        )

    def _mask_sample(
        self,
        stage: int,
        feats: Sequence[Tensor],
        raw: BoxOutput,
        sample: RoISample,
        objects: Objects,
        data_samples: SampleBatch,
    ) -> RoISample:
        """Return the boxes that the mask head of a stage learns from: those of the box head."""
        return sample

    def _refined(
        self, stage: int, raw: BoxOutput, sample: RoISample, data_samples: SampleBatch
    ) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """Return the boxes of each image as a stage moves them, and which the next one may use: those of objects come anew."""
        head, shapes = self.bbox_head[stage], shapes_of_rois(data_samples, sample.rois)
        moved = head.refine(raw, sample.rois, shapes, sample.labels(self.num_classes))
        usable = sample.is_valid & ~sample.is_gt
        return moved[:, 1:].split(sample.num_rows), usable.split(sample.num_rows)

    def candidates(self, feats: Sequence[Tensor], proposals: Sequence[Tensor], data_samples: SampleBatch) -> list[Candidates]:
        """Return the boxes of each image before suppression, in px of the input; arguments as in `loss`."""
        rois, counts = join_rois(proposals), [len(boxes) for boxes in proposals]
        shapes, logits = shapes_of_rois(data_samples, rois), []
        for stage, head in enumerate(self.bbox_head):
            raw = self(feats, rois, stage)
            logits.append(raw.cls_logits.float())
            if stage + 1 < self.num_stages:
                rois = head.refine(raw, rois, shapes)
        boxes = head.decode(raw.deltas, rois, shapes)
        scores = head.scores(torch.stack(logits).mean(dim=0))
        return Candidates.of_images(boxes, scores, head.predict_extras(raw, rois), counts)

    def masks(self, feats: Sequence[Tensor], boxes: Sequence[Tensor], labels: Sequence[Tensor]) -> list[Tensor]:
        """Return the probabilities (D, h, w) within the boxes of each image, averaged over the stages.

        Args:
            feats: maps of the neck.
            boxes: (D, 4) xyxy of each image, px of the input.
            labels: (D,) classes of each image.
        """
        of_rois, of_stages = torch.cat(list(labels)), self.mask_logits_of_stages(feats, join_rois(boxes))
        probs = [head.probs(logits, of_rois) for head, logits in zip(self.mask_head, of_stages)]
        return list(torch.stack(probs).mean(dim=0).split([len(b) for b in boxes]))

    def mask_logits_of_stages(self, feats: Sequence[Tensor], rois: Tensor) -> list[Tensor]:
        """Return what `mask_logits` gives in testing, for each stage."""
        return [self.mask_logits(feats, rois, stage) for stage in range(self.num_stages)]
