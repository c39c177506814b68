"""The cascade in which boxes, masks and the classes of all pixels help each other."""

# Letters: B images, P proposals of an image, R RoIs of all images, T stages.
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from mmpose_lite.models.assign.objects import Objects
from mmpose_lite.models.heads.roi.base_bbox_head import BoxOutput
from mmpose_lite.models.heads.roi.cascade_roi_head import CascadeRoIHead, Config, Configs
from mmpose_lite.models.heads.roi.sampling import RoISample
from mmpose_lite.registry import HEADS, ROI_EXTRACTORS
from mmpose_lite.structures import SampleBatch

FUSIONS = ('bbox', 'mask')


@HEADS.register_module()
class HybridTaskCascadeRoIHead(CascadeRoIHead):
    """The second stage of Hybrid Task Cascade.

    Beyond a cascade with masks: the mask head of a stage learns from boxes that its box head has moved already (interleaved
    execution), takes in the features of the mask head before (mask information flow), and a branch that knows the class of every
    pixel lends both its features.

    Source: Chen et al., Hybrid Task Cascade for Instance Segmentation, CVPR 2019, Sec. 3, arXiv:1901.07518. Names and defaults
    are mmdet's. Differs: in testing the masks of all stages are averaged, as the authors do; mmdet 3 takes those of the last.

    Args:
        bbox_roi_extractor: see `CascadeRoIHead`, as for all that is not below.
        bbox_head: of the box heads.
        mask_head: of the mask heads; those that take in the stage before are FCNMaskHeads with `with_conv_res`.
        num_classes: C, without the background.
        assigner: of each stage.
        sampler: of each stage.
        nms: config of the suppression.
        num_stages: T.
        stage_loss_weights: of each stage.
        mask_roi_extractor: of what pools for the mask heads.
        semantic_roi_extractor: config of what pools the features of the semantic branch; on one level.
        semantic_head: config of the semantic branch; None leaves it out.
        semantic_fusion: who takes its features in: some of 'bbox' and 'mask'.
        interleaved: see above.
        mask_info_flow: see above.
        score_thr: boxes that score no more are left out.
        max_per_img: detections of an image at most.
        mask_thr_binary: probability from which a pixel belongs to an object.

    Raises:
        ValueError: an option is unknown, or one of the two semantic parts is missing.
    """

    def __init__(
        self,
        bbox_roi_extractor: Configs,
        bbox_head: Configs,
        mask_head: Configs,
        *,
        num_classes: int,
        assigner: Configs,
        sampler: Configs,
        nms: Config,
        num_stages: int = 3,
        stage_loss_weights: Sequence[float] = (1.0, 0.5, 0.25),
        mask_roi_extractor: Configs | None = None,
        semantic_roi_extractor: Mapping[str, Any] | None = None,
        semantic_head: Mapping[str, Any] | None = None,
        semantic_fusion: Sequence[str] = FUSIONS,
        interleaved: bool = True,
        mask_info_flow: bool = True,
        score_thr: float = 0.05,
        max_per_img: int = 100,
        mask_thr_binary: float = 0.5,
    ) -> None:
        super().__init__(
            bbox_roi_extractor,
            bbox_head,
            num_classes=num_classes,
            assigner=assigner,
            sampler=sampler,
            nms=nms,
            num_stages=num_stages,
            stage_loss_weights=stage_loss_weights,
            mask_roi_extractor=mask_roi_extractor,
            mask_head=mask_head,
            score_thr=score_thr,
            max_per_img=max_per_img,
            mask_thr_binary=mask_thr_binary,
        )
        if not set(semantic_fusion) <= set(FUSIONS):
            raise ValueError(f'HybridTaskCascadeRoIHead: `semantic_fusion` must be some of {FUSIONS}, got {semantic_fusion}.')
        if (semantic_head is None) != (semantic_roi_extractor is None):
            raise ValueError('HybridTaskCascadeRoIHead: `semantic_head` and `semantic_roi_extractor` must be given together.')
        self.with_semantic = semantic_head is not None
        if semantic_head is not None:
            self.semantic_roi_extractor = ROI_EXTRACTORS.build(semantic_roi_extractor)
            self.semantic_head = HEADS.build(semantic_head)
        self.semantic_fusion = tuple(semantic_fusion)
        self.interleaved = interleaved
        self.mask_info_flow = mask_info_flow

    def extend(self, feats: Sequence[Tensor]) -> Sequence[Tensor]:
        """Return the maps that `candidates` and `masks` read: those of the neck, and behind them that of the semantic branch."""
        return (*feats, self.semantic_head(feats).feat) if self.with_semantic else feats

    def loss(self, feats: Sequence[Tensor], proposals: Sequence[Tensor], data_samples: SampleBatch) -> dict[str, Tensor]:
        """Return the losses by name: `loss_semantic_seg`, and those of the stages, as `s0.loss_cls`.

        Args:
            feats: maps of the neck.
            proposals: (P, 4) xyxy of each image.
            data_samples: with the fields of `Objects.of`, `masks`, and the map `gt_semantic_seg` for the semantic branch.
        """
        losses: dict[str, Tensor] = {}
        if self.with_semantic:
            semantic = self.semantic_head(feats)
            losses = self.semantic_head.loss(semantic.logits, data_samples.gt_semantic_seg)
            feats = (*feats, semantic.feat)
        return losses | super().loss(feats, proposals, data_samples)

    def box_features(self, feats: Sequence[Tensor], rois: Tensor, stage: int) -> Tensor:
        """Return the features (R, C, h, w) that the box head of a stage reads; `feats` as `extend` gives them."""
        return self._fused(super().box_features(feats, rois, stage), feats, rois, 'bbox')

    def mask_logits(self, feats: Sequence[Tensor], rois: Tensor, stage: int) -> Tensor:
        """Return the logits (R, C, h, w) of the masks of a stage for boxes (R, 5); their features go through the heads before it,
        too, if it takes those in."""
        x = self._fused(self.mask_roi_extractor[stage](feats, rois), feats, rois, 'mask')
        head, before = self.mask_head[stage], None
        if self.mask_info_flow and head.conv_res is not None:
            for earlier in self.mask_head[:stage]:
                before = earlier.features(x, before)
        return head.logits(head.features(x, before))

    def mask_logits_of_stages(self, feats: Sequence[Tensor], rois: Tensor) -> list[Tensor]:
        """Return the logits of each stage in testing. All read what the last one pools, as in mmdet, so each head runs once."""
        x = self._fused(self.mask_roi_extractor[-1](feats, rois), feats, rois, 'mask')
        of_stages, before = [], None
        for head in self.mask_head:
            before = head.features(x, before if self.mask_info_flow else None)
            of_stages.append(head.logits(before))
        return of_stages

    def _fused(self, pooled: Tensor, feats: Sequence[Tensor], rois: Tensor, use: str) -> Tensor:
        """Return pooled features plus those of the semantic branch, for those who take them in."""
        if not self.with_semantic or use not in self.semantic_fusion:
            return pooled
        semantic = self.semantic_roi_extractor(feats[-1:], rois)
        if semantic.shape[2:] != pooled.shape[2:]:
            semantic = adaptive_avg_pool2d(semantic, pooled.shape[2:])
        return pooled + semantic

    def _mask_sample(
        self,
        stage: int,
        feats: Sequence[Tensor],
        raw: BoxOutput,
        sample: RoISample,
        objects: Objects,
        data_samples: SampleBatch,
    ) -> RoISample:
        """Return the boxes that the mask head of a stage learns from: those that its box head has moved, sampled anew."""
        if not self.interleaved:
            return sample
        boxes, is_usable = self._refined(stage, raw, sample, data_samples)
        return self._sample(stage, feats, boxes, objects, is_usable)
