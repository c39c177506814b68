"""A detector looks at its inputs at other sizes and mirrored, and what it finds there is joined in px of the image."""

# Letters: B images, H x W px of an input, P candidates of an image, C classes.
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from mmpose_lite.models.assign.box_coder import clip_boxes
from mmpose_lite.models.estimators.network import as_factors
from mmpose_lite.models.heads.dense.dense_parts import DenseCandidates
from mmpose_lite.models.heads.roi.candidates import Candidates
from mmpose_lite.ops.boxes import has_area
from mmpose_lite.structures import SampleBatch

SIZE_FACTOR = 32  # px; the coarsest stride of backbones
Range = tuple[float, float]
ALL_SIZES: Range = (0.0, math.inf)
Found = Candidates | DenseCandidates  # of one image


class ViewOptions(NamedTuple):
    """At what a detector looks in testing."""

    scales: tuple[float, ...] = (1.0,)  # factors on the size of the input
    flip_test: bool = False  # whether each is also mirrored
    valid_ranges: tuple[Range, ...] = (ALL_SIZES,)  # of each scale, sqrt(w h) px of the image of what is taken from it

    @property
    def count(self) -> int:
        """How many views there are."""
        return len(self.scales) * (1 + self.flip_test)

    @classmethod
    def of(cls, owner: str, test_cfg: Mapping[str, Any] | None) -> 'ViewOptions':
        """Return what a config asks for.

        Args:
            owner: the class that errors name.
            test_cfg: some of the names above; `valid_ranges` None takes all sizes.

        Raises:
            ValueError: a key is unknown, a scale not positive, or a range is missing or none.
        """
        options = dict(test_cfg or {})
        unknown = [key for key in options if key not in cls._fields]
        if unknown:
            raise ValueError(f'{owner}: `test_cfg` takes {cls._fields}, got {unknown}.')
        scales = as_factors(options.get('scales', cls().scales))
        if not scales or min(scales) <= 0:
            raise ValueError(f'{owner}: `test_cfg.scales` must be positive numbers, got {scales}.')
        ranges = options.get('valid_ranges')
        ranges = tuple((float(low), float(high)) for low, high in ([ALL_SIZES] * len(scales) if ranges is None else ranges))
        if len(ranges) != len(scales) or not all(0 <= low < high for low, high in ranges):
            raise ValueError(
                f'{owner}: `test_cfg.valid_ranges` needs 0 <= lowest < highest for each of the {len(scales)} scales, '
                f'got {ranges}.'
            )
        return cls(scales, bool(options.get('flip_test', False)), ranges)


class View(NamedTuple):
    """The inputs as a detector is shown them once."""

    inputs: Tensor  # (B, 3, H', W') normalised
    data_samples: SampleBatch  # without objects; `warp_matrix` leads from the image to these inputs
    mirrored: bool
    valid_range: Range  # see `ViewOptions`


class Look(NamedTuple):
    """What a detector finds in a view."""

    view: View
    found: Sequence[Found]  # of each image, px of the view's inputs
    feats: Sequence[Tensor] = ()  # maps for what is looked at again, as masks are


def views(inputs: Tensor, data_samples: SampleBatch, wanted: ViewOptions) -> Iterator[View]:
    """Yield for each scale the inputs at that size, and for a flip test their mirror image.

    Sizes are rounded to multiples of `SIZE_FACTOR`. An image is mirrored within its `img_shape`: what was filled up stays at the
    right, where networks are shown it in training.

    Args:
        inputs: (B, 3, H, W) normalised.
        data_samples: with `img_shape` and `warp_matrix` in the metainfo.
        wanted: see there.
    """
    H, W = inputs.shape[2:]
    versions = [(inputs, data_samples.metainfo)]
    if wanted.flip_test:
        versions.append((_mirrored_inputs(inputs, data_samples.metainfo), [_mirrored_metainfo(m) for m in data_samples.metainfo]))
    for scale, valid_range in zip(wanted.scales, wanted.valid_ranges):
        new_H, new_W = (max(round(side * scale / SIZE_FACTOR), 1) * SIZE_FACTOR for side in (H, W)) if scale != 1 else (H, W)
        for mirrored, (scaled, metainfo) in enumerate(versions):
            if (new_H, new_W) != (H, W):
                scaled = functional.interpolate(scaled, size=(new_H, new_W), mode='bilinear', align_corners=False)
                metainfo = [_scaled_metainfo(m, (new_H / H, new_W / W)) for m in metainfo]
            yield View(scaled, SampleBatch({}, [0] * len(metainfo), metainfo), bool(mirrored), valid_range)


def _mirrored_inputs(inputs: Tensor, metainfo: Sequence[dict]) -> Tensor:
    mirrored = inputs.clone()
    for image, of_image in zip(mirrored, metainfo):
        content = image[..., : of_image['img_shape'][1]]
        content.copy_(content.flip(-1))
    return mirrored


def _mirrored_metainfo(metainfo: dict) -> dict:
    matrix = np.array(metainfo['warp_matrix'], dtype=np.float64)
    matrix[0] = [0, 0, metainfo['img_shape'][1]] - matrix[0]
    return {**metainfo, 'warp_matrix': matrix.tolist()}


def _scaled_metainfo(metainfo: dict, factors: tuple[float, float]) -> dict:
    """Return the metainfo of an image in an input that is larger by (y, x) factors."""
    factor_y, factor_x = factors
    h, w = metainfo['img_shape'][0] * factor_y, metainfo['img_shape'][1] * factor_x
    matrix = np.asarray(metainfo['warp_matrix'], dtype=np.float64) * [[factor_x], [factor_y]]
    return {**metainfo, 'img_shape': (h, w), 'warp_matrix': matrix.tolist()}


def joined(looks: Sequence[Look], data_samples: SampleBatch) -> list[Found]:
    """Return what all looks have found in each image, px of the image, cut at its border.

    Minus infinity is the score of what is not in the range of its view, or of which nothing lies in the image.

    Args:
        looks: at the views of the same inputs.
        data_samples: with `ori_shape` in the metainfo.
    """
    of_images = []
    for i, metainfo in enumerate(data_samples.metainfo):
        parts = []
        for look in looks:
            found = look.found[i].to_image(look.view.data_samples.metainfo[i])
            boxes = clip_boxes(found.boxes, metainfo['ori_shape'])
            valid = in_range(boxes, look.view.valid_range) & has_area(boxes)
            valid = valid if valid.ndim == found.scores.ndim else valid[:, None]  # boxes that all classes share
            parts.append(found._replace(boxes=boxes, scores=found.scores.where(valid, -torch.inf)))
        of_images.append(type(parts[0]).joined(parts))
    return of_images


def in_range(boxes_xyxy: Tensor, valid_range: Range) -> Tensor:
    """Return (...) bool: of which boxes (..., 4) sqrt(w h) lies in the range, its ends included."""
    sizes = (boxes_xyxy[..., 2:] - boxes_xyxy[..., :2]).clamp(min=0).prod(dim=-1).sqrt()
    return (sizes >= valid_range[0]) & (sizes <= valid_range[1])
