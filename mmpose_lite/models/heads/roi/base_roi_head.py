"""What second stages share: which boxes they keep, and which maps they read."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from mmpose_lite.models.base import BaseModule
from mmpose_lite.models.heads.roi.candidates import Candidates
from mmpose_lite.ops.nms import Detections, Suppression
from mmpose_lite.registry import NMS

# What a suppression may need -> the argument of the box head that makes it predict it.
BRANCHES = dict(pred_ious='with_iou_branch', variances='with_variance', densities='with_density')


class RoIHead(BaseModule):
    """A subclass writes `loss`, `candidates` and, with a mask head, `masks`; it calls `check_nms`,
    `check_sampler` and `check_classes` when it has its heads.

    Args:
        num_classes: C, without the background.
        nms: config of the suppression within each class; its `max_num` is set to `max_per_img` unless it sets it.
        score_thr: boxes that score no more are left out.
        max_per_img: detections of an image at most.
        mask_thr_binary: probability from which a pixel belongs to an object.
    """

    def __init__(
        self, *, num_classes: int, nms: Mapping[str, Any], score_thr: float, max_per_img: int, mask_thr_binary: float
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.nms = NMS.build(nms, max_num=max_per_img)
        self.score_thr = score_thr
        self.mask_thr_binary = mask_thr_binary

    def check_classes(self, key: str, head: nn.Module) -> None:
        """Raise ValueError if the head of a config key has other classes."""
        if getattr(head, 'num_classes', self.num_classes) != self.num_classes:
            raise ValueError(
                f'{type(self).__name__}: `{key}.num_classes` must be the {self.num_classes} classes of all, got '
                f'{head.num_classes}; leave it out, and it is.'
            )

    def check_nms(self, extras: Sequence[str]) -> None:
        """Raise ValueError if the suppression needs what is not among the extras that the box head predicts."""
        if self.nms.extra is not None and self.nms.extra not in extras:
            raise ValueError(
                f'{type(self).__name__}: `nms` {type(self.nms).__name__} needs `{self.nms.extra}`, which the box head does not '
                f'predict; set `bbox_head.{BRANCHES[self.nms.extra]}=True` and train it, or choose another suppression.'
            )

    def check_sampler(self, sampler: Any, bbox_head: nn.Module) -> None:
        """Raise ValueError if the sampler ranks boxes by their losses and the box head's loss on classes has none for each."""
        loss = bbox_head.loss_cls
        if sampler.needs_losses and 'reduction' not in inspect.signature(loss.forward).parameters:
            raise ValueError(
                f'{type(self).__name__}: `sampler` {type(sampler).__name__} ranks boxes by the loss of each, but '
                f'`bbox_head.loss_cls` {type(loss).__name__} takes no `reduction="none"`; choose a loss that does, such as '
                'CrossEntropyLoss, or a sampler that needs no losses, such as RandomSampler.'
            )

    def extend(self, feats: Sequence[Tensor]) -> Sequence[Tensor]:
        """Return the maps that `candidates` and `masks` read: those of the neck."""
        return feats

    def suppress(self, found: Candidates, nms: Suppression | None = None) -> Detections:
        """Return what `nms`, or that of the head, keeps of the candidates of an image, best first. It waits for the device."""
        return found.suppress(nms or self.nms, score_thr=self.score_thr)
