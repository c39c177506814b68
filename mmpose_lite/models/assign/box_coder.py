"""Boxes as offsets from other boxes: what a network regresses."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from mmpose_lite.registry import BOX_CODERS
from mmpose_lite.structures import bbox_cxcywh_to_xyxy, bbox_xyxy_to_cxcywh

_LEAST_SIDE = 1e-6  # px


@BOX_CODERS.register_module()
class DeltaXYWHBBoxCoder:
    """Codes a box relative to a prior: shift of the centre over the prior's size, and logarithm of the ratio of the sizes.

    Source: Girshick et al., R-CNN, CVPR 2014, appendix C, arXiv:1311.2524; normalised by mean and deviation as in Fast R-CNN.
    Differs: sides under 1e-6 px count as that, so that boxes that do not count in a loss do not make it NaN.

    Args:
        target_means: of the four deltas, which are subtracted.
        target_stds: of the four deltas, which are divided by.
        clip_border: cut decoded boxes at the border of the image, where its shape is given.
        add_ctr_clamp: move a centre by at most `ctr_clamp` px, and let boxes grow but not shrink without limit (YOLOF).
        ctr_clamp: see there.

    Raises:
        ValueError: a mean or deviation is missing, or a deviation is not positive.
    """

    def __init__(
        self,
        *,
        target_means: Sequence[float] = (0.0, 0.0, 0.0, 0.0),
        target_stds: Sequence[float] = (1.0, 1.0, 1.0, 1.0),
        clip_border: bool = True,
        add_ctr_clamp: bool = False,
        ctr_clamp: float = 32.0,
    ) -> None:
        if len(target_means) != 4 or len(target_stds) != 4 or min(target_stds) <= 0:
            raise ValueError(
                'DeltaXYWHBBoxCoder: `target_means` and `target_stds` must be four numbers each, the latter above 0, '
                f'got {target_means} and {target_stds}.'
            )
        self.target_means = tuple(target_means)
        self.target_stds = tuple(target_stds)
        self.clip_border = clip_border
        self.add_ctr_clamp = add_ctr_clamp
        self.ctr_clamp = ctr_clamp

    def encode(self, priors_xyxy: Tensor, boxes_xyxy: Tensor) -> Tensor:
        """Return deltas (..., 4) of boxes from priors; leading axes broadcast.

        Args:
            priors_xyxy: (..., 4).
            boxes_xyxy: (..., 4).
        """
        priors, boxes = (bbox_xyxy_to_cxcywh(_at_least_float32(tensor)) for tensor in (priors_xyxy, boxes_xyxy))
        prior_sizes, sizes = (tensor[..., 2:].clamp(min=_LEAST_SIDE) for tensor in (priors, boxes))
        deltas = torch.cat([(boxes[..., :2] - priors[..., :2]) / prior_sizes, (sizes / prior_sizes).log()], dim=-1)
        normed = zip(deltas.unbind(-1), self.target_means, self.target_stds)
        return torch.stack([(delta - mean) / std for delta, mean, std in normed], dim=-1)

    def decode(
        self,
        priors_xyxy: Tensor,
        deltas: Tensor,
        *,
        max_shape: tuple[int, int] | Tensor | None = None,
        wh_ratio_clip: float = 16 / 1000,
    ) -> Tensor:
        """Return boxes (..., 4) xyxy; leading axes broadcast, as for deltas (N, C, 4) of priors (N, 1, 4).

        Args:
            priors_xyxy: (..., 4).
            deltas: (..., 4).
            max_shape: (h, w) of the image at whose border boxes are cut, or (..., 2) of several; None cuts nothing.
            wh_ratio_clip: sides change at most by this factor or its inverse.
        """
        normed = zip(_at_least_float32(deltas).unbind(-1), self.target_means, self.target_stds)
        deltas = torch.stack([delta * std + mean for delta, mean, std in normed], dim=-1)
        priors = bbox_xyxy_to_cxcywh(_at_least_float32(priors_xyxy))
        shift, growth = deltas[..., :2] * priors[..., 2:], deltas[..., 2:]
        limit = abs(math.log(wh_ratio_clip))
        if self.add_ctr_clamp:
            shift, growth = shift.clamp(-self.ctr_clamp, self.ctr_clamp), growth.clamp(max=limit)
        else:
            growth = growth.clamp(-limit, limit)
        boxes = bbox_cxcywh_to_xyxy(torch.cat([priors[..., :2] + shift, priors[..., 2:] * growth.exp()], dim=-1))
        if not self.clip_border or max_shape is None:
            return boxes
        return clip_boxes(boxes, max_shape)

    def edge_variances(self, priors_xyxy: Tensor, deltas: Tensor, variances: Tensor) -> Tensor:
        """Return variances (..., 4) of the edges xyxy of decoded boxes, px^2, for small and independent errors of the deltas.

        Args:
            priors_xyxy: (..., 4).
            deltas: (..., 4).
            variances: (..., 4), of the deltas.
        """
        priors, boxes = (bbox_xyxy_to_cxcywh(b) for b in (priors_xyxy, self.decode(priors_xyxy, deltas)))
        sizes = torch.cat([priors[..., 2:].expand_as(boxes[..., 2:]), boxes[..., 2:]], dim=-1)
        scaled = zip(sizes.unbind(-1), variances.unbind(-1), self.target_stds)
        x, y, width, height = ((size * std).square() * variance for size, variance, std in scaled)
        return torch.stack([x + width / 4, y + height / 4] * 2, dim=-1)


def clip_boxes(boxes_xyxy: Tensor, image_shape: tuple[int, int] | Tensor) -> Tensor:
    """Return boxes (..., 4) cut at the borders of images of shape (h, w), or of a shape for each (..., 2)."""
    if isinstance(image_shape, Tensor):
        corners = image_shape.flip(-1).repeat(*[1] * (image_shape.ndim - 1), 2)
        return boxes_xyxy.clamp(min=0).minimum(corners.to(boxes_xyxy))
    h, w = image_shape
    x, y = boxes_xyxy[..., 0::2].clamp(0, w), boxes_xyxy[..., 1::2].clamp(0, h)
    return torch.stack([x, y], dim=-1).flatten(-2)


def _at_least_float32(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
