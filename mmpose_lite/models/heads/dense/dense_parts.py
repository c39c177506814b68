"""What heads on every cell of a pyramid share: stacks of convolutions, the order of anchors, candidates and their suppression."""

# Letters: B images, A anchors per cell, C classes, H x W cells, P candidates of an image.
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mmpose_lite.models.layers.conv_module import ConvModule
from mmpose_lite.ops.boxes import boxes_to_image
from mmpose_lite.ops.nms import Detections, Suppression
from mmpose_lite.registry import BOX_SAMPLERS, LOSSES, NMS

PRIOR_PROB = 0.01  # of a class, before anything is learnt (Lin et al., Focal Loss, Sec. 4.1, arXiv:1708.02002)


class DenseCandidates(NamedTuple):
    """The boxes of one image before suppression, each with one class."""

    boxes: Tensor  # (P, 4) xyxy
    scores: Tensor  # (P,); minus infinity is not kept
    labels: Tensor  # (P,) int64

    @property
    def extras(self) -> Mapping[str, Tensor]:
        """What else suppressions may need: nothing."""
        return {}

    def to_image(self, metainfo: Mapping[str, Any]) -> 'DenseCandidates':
        """Return the candidates in px of the image, of those in px of the input; `metainfo` with `warp_matrix`."""
        return self._replace(boxes=boxes_to_image(self.boxes, metainfo['warp_matrix']))

    @classmethod
    def joined(cls, parts: Sequence['DenseCandidates']) -> 'DenseCandidates':
        """Return the candidates of several looks at one image."""
        return cls(*(torch.cat(column) for column in zip(*parts)))

    def suppress(self, nms: Suppression) -> Detections:
        """Return what is kept, best first. It waits for the device."""
        kept = nms(self.boxes, self.scores, self.labels)
        return Detections(kept.boxes, kept.scores, self.labels[kept.indices], kept.indices)


def check_counts(owner: str, **counts: int) -> None:
    """Raise ValueError unless all of the counts, by the names of their arguments, are 1 or more."""
    for name, value in counts.items():
        if value < 1:
            raise ValueError(f'{owner}: `{name}` must be 1 or more, got {value}.')


def build_plain_nms(owner: str, nms: Mapping[str, Any], **defaults: Any) -> Suppression:
    """Return the suppression of a config, for a head that predicts boxes and scores alone.

    Raises:
        ValueError: the suppression needs more.
    """
    built = NMS.build(nms, **defaults)
    if built.extra:
        raise ValueError(
            f'{owner}: `nms` must be a suppression that needs boxes and scores alone, got {nms["type"]}, which needs '
            f'`{built.extra}`.'
        )
    return built


def build_plain_sampler(owner: str, argument: str, sampler: Mapping[str, Any]) -> Any:
    """Return the sampler of a config, for a head that does not compute the losses of anchors beforehand.

    Raises:
        ValueError: the sampler needs them.
    """
    built = BOX_SAMPLERS.build(sampler)
    if built.needs_losses:
        raise ValueError(
            f'{owner}: `{argument}` must be a sampler that needs no losses, such as RandomSampler, got {sampler["type"]}; it is '
            'for the sampler of a `roi_head`.'
        )
    return built


def build_sigmoid_loss(owner: str, argument: str, loss: Mapping[str, Any]) -> nn.Module:
    """Return the loss of a config, for logits that are one sigmoid each.

    Raises:
        ValueError: the loss is on a softmax.
    """
    built = LOSSES.build(loss)
    if not getattr(built, 'use_sigmoid', True):
        raise ValueError(
            f'{owner}: `{argument}` must be a loss on sigmoids, such as FocalLoss or CrossEntropyLoss with `use_sigmoid=True`, '
            f'got {dict(loss)}.'
        )
    return built


def conv_stack(in_channels: int, feat_channels: int, count: int, norm_cfg: Mapping[str, Any] | None) -> nn.ModuleList:
    """Return `count` 3x3 convolutions in a row."""
    args = dict(kernel_size=3, with_norm=norm_cfg is not None, norm_cfg=norm_cfg)
    return nn.ModuleList(ConvModule(feat_channels if i else in_channels, feat_channels, **args) for i in range(count))


def init_dense(head: nn.Module, classifier: nn.Conv2d) -> None:
    """Set normal initial values with a standard deviation of 0.01; biases 0, but all classes start unlikely."""
    for module in head.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, std=0.01)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    nn.init.constant_(classifier.bias, torch.logit(torch.tensor(PRIOR_PROB)).item())


def by_anchor(maps: Sequence[Tensor], values: int) -> list[Tensor]:
    """Return (B, H * W * A, values) of maps (B, A * values, H, W): in the order of the anchors."""
    return [x.permute(0, 2, 3, 1).reshape(len(x), -1, values) for x in maps]
