"""The boxes of several images, and what a box head makes of them."""

# Letters: B images, P boxes of an image, C classes, R boxes of all images.
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mmpose_lite.ops.boxes import boxes_to_image
from mmpose_lite.ops.nms import Detections, Suppression, multiclass_nms
from mmpose_lite.structures import SampleBatch


class Candidates(NamedTuple):
    """The boxes of one image before suppression."""

    boxes: Tensor  # (P, 4), or (P, C, 4) with a box for each class; xyxy
    scores: Tensor  # (P, C)
    extras: Mapping[str, Tensor]  # what else suppressions may need, by their names: (P, ...), or (P, C, ...) as the boxes

    def to_image(self, metainfo: Mapping[str, Any]) -> 'Candidates':
        """Return the candidates in px of the image, of those in px of the input; `metainfo` with `warp_matrix`."""
        extras = dict(self.extras)
        if 'variances' in extras:
            (scale_x, *_), (_, scale_y, _) = metainfo['warp_matrix']
            scales = extras['variances'].new_tensor([float(scale_x), float(scale_y)] * 2)
            extras['variances'] = extras['variances'] / scales.square()
        return Candidates(boxes_to_image(self.boxes, metainfo['warp_matrix']), self.scores, extras)

    @classmethod
    def of_images(cls, boxes: Tensor, scores: Tensor, extras: Mapping[str, Tensor], counts: Sequence[int]) -> list['Candidates']:
        """Return those of each image, of the rows of all images; `counts` are the rows of each."""
        rows = {name: values.split(list(counts)) for name, values in extras.items()}
        pairs = zip(boxes.split(list(counts)), scores.split(list(counts)))
        return [cls(*pair, {name: parts[i] for name, parts in rows.items()}) for i, pair in enumerate(pairs)]

    @classmethod
    def joined(cls, parts: Sequence['Candidates']) -> 'Candidates':
        """Return the candidates of several looks at one image."""
        extras = {name: torch.cat([part.extras[name] for part in parts]) for name in parts[0].extras}
        return cls(torch.cat([part.boxes for part in parts]), torch.cat([part.scores for part in parts]), extras)

    def suppress(self, nms: Suppression, *, score_thr: float) -> Detections:
        """Return what is kept, best first; see `multiclass_nms`."""
        return multiclass_nms(self.boxes, self.scores, nms, score_thr=score_thr, **self.extras)


def join_rois(boxes: Sequence[Tensor]) -> Tensor:
    """Return (R, 5), the index of the image before the box, of the boxes (P, 4) of each image."""
    return torch.cat([torch.cat([b.new_full((len(b), 1), i), b], dim=1) for i, b in enumerate(boxes)])


def shapes_of_rois(data_samples: SampleBatch, rois: Tensor) -> Tensor:
    """Return (R, 2), for each of the rois (R, 5) the (h, w) of its image in the input."""
    shapes = torch.tensor([tuple(m['img_shape']) for m in data_samples.metainfo], dtype=rois.dtype)
    return shapes.to(rois.device, non_blocking=True)[rois[:, 0].long()]
