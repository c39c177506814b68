"""Cutting a part out of an image with objects; and scales at which only objects of some sizes are learnt: SNIP, SNIPER."""

# Letters: N objects of an image; sizes (w, h).
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from mmpose_lite.datasets.transforms.augment import check_probability, note_move
from mmpose_lite.datasets.transforms.detection import resize_sample
from mmpose_lite.registry import TRANSFORMS

Range = tuple[float, float]
# Singh and Davis, CVPR 2018, Sec. 5: (long, short) px of the image, and sqrt(w h) px in the original image of valid objects.
SNIP_SCALES = ((2000, 1400), (1200, 800), (800, 480))
SNIP_RANGES = ((0.0, 80.0), (40.0, 160.0), (120.0, math.inf))


def crop_sample(results: dict[str, Any], left: int, top: int, size: tuple[int, int], *, min_visible: float) -> dict[str, Any]:
    """Cut a part out of one sample; image, boxes, masks and semantics move together.

    Boxes are cut at the border. Objects that are not in the part are left out; those of which less than `min_visible` is in it
    are ignored: what is seen of them is no background.

    Args:
        results: a sample.
        left: px of the part in the image.
        top: likewise.
        size: (w, h) of the part; what lies beyond the image is not in the result.
        min_visible: share of a box's area.
    """
    h, w = results['img'].shape[:2]
    right, bottom = min(left + size[0], w), min(top + size[1], h)
    results['img'] = results['img'][top:bottom, left:right]
    if 'gt_semantic_seg' in results:
        results['gt_semantic_seg'] = results['gt_semantic_seg'][top:bottom, left:right]
    if 'bboxes' in results:
        limits = np.array((left, top, right, bottom), np.float32)
        bboxes = results['bboxes'].clip(limits[[0, 1, 0, 1]], limits[[2, 3, 2, 3]])
        visible = _areas(bboxes) / np.maximum(_areas(results['bboxes']), 1e-6)
        results['bboxes'] = bboxes - limits[[0, 1, 0, 1]]
        results['is_ignored'] = results['is_ignored'] | (visible < min_visible)
        if 'masks' in results:
            results['masks'] = results['masks'][:, top:bottom, left:right]
        keep_objects(results, visible > 0)
    note_move(results, np.array(((1.0, 0.0, -left), (0.0, 1.0, -top))))
    return results


def keep_objects(results: dict[str, Any], kept: np.ndarray) -> None:
    """Leave out the objects of a sample that are not `kept` (N,) bool."""
    for key in ('bboxes', 'labels', 'is_ignored', 'masks', 'ann_ids'):
        if key in results:
            results[key] = results[key][kept]
    if 'regions' in results:
        results['regions'] = [region for region, keep in zip(results['regions'], kept) if keep]


def _areas(bboxes: np.ndarray) -> np.ndarray:
    return (bboxes[:, 2:] - bboxes[:, :2]).clip(0).prod(axis=1)


def _is_size(scale: Any) -> bool:
    return isinstance(scale, Sequence) and len(scale) == 2 and min(scale) >= 1


def _checked_ranges(owner: str, scales: Sequence[Any], ranges: Sequence[Range]) -> list[Range]:
    pairs = [(float(low), float(high)) for low, high in ranges]
    if not scales or len(pairs) != len(scales) or not all(0 <= low < high for low, high in pairs):
        raise ValueError(
            f'{owner}: `valid_ranges` needs 0 <= low < high for each of the {len(scales)} scales, got {list(ranges)}.'
        )
    return pairs


def original_sizes(results: dict[str, Any]) -> np.ndarray:
    """Return (N,) sqrt(w h) px that objects have in the image file, whatever has resized them since."""
    zoom = math.sqrt(abs(np.linalg.det(results['warp_matrix'][:, :2]))) if 'warp_matrix' in results else 1.0
    return np.sqrt(_areas(results['bboxes'])) / zoom


@TRANSFORMS.register_module()
class SNIPResize:
    """Resize to one of several scales, at which only objects of some sizes are learnt; others are ignored.

    So that a network need not know the same object at all sizes. Its assigner must look at ignored objects (`ignore_iof_thr` of
    MaxIoUAssigner), and a test at several scales takes from each the objects of its range.
    Source: Singh and Davis, An Analysis of Scale Invariance in Object Detection - SNIP, CVPR 2018, Sec. 5, arXiv:1711.08189.

    Required keys: img, rng, bboxes (N, 4), is_ignored (N,), and optionally masks, gt_semantic_seg.
    Modified keys: the same. Added keys: as DetResize.

    Args:
        scales: (long, short) px for each, as of DetResize.
        valid_ranges: for each (lowest, highest) sqrt(w h) of the objects to learn, px of the image file.
    """

    def __init__(self, *, scales: Sequence[tuple[int, int]] = SNIP_SCALES, valid_ranges: Sequence[Range] = SNIP_RANGES) -> None:
        if not all(_is_size(scale) for scale in scales):
            raise ValueError(f'SNIPResize: `scales` must be pairs (long, short) of positive px, got {list(scales)}.')
        self.scales = [(int(a), int(b)) for a, b in scales]
        self.valid_ranges = _checked_ranges('SNIPResize', self.scales, valid_ranges)

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        number = int(results['rng'].integers(len(self.scales)))
        low, high = self.valid_ranges[number]
        sizes = original_sizes(results)
        results['is_ignored'] = results['is_ignored'] | (sizes < low) | (sizes > high)
        h, w = results['img'].shape[:2]
        long, short = max(self.scales[number]), min(self.scales[number])
        zoom = min(long / max(w, h), short / min(w, h))
        return resize_sample(results, (max(1, int(w * zoom + 0.5)), max(1, int(h * zoom + 0.5))))


def positive_chips(bboxes: np.ndarray, image_size: tuple[int, int], chip_size: int, *, stride: int = 32) -> np.ndarray:
    """Return (P, 2) left and top of chips that together hold all objects which fit into one, each chosen for what it adds.

    Source: Singh et al., SNIPER, NeurIPS 2018, Sec. 3.1 and 3.2, arXiv:1805.09300.

    Args:
        bboxes: (N, 4) xyxy px of the valid objects.
        image_size: (w, h) px.
        chip_size: side of a chip in px.
        stride: px between the places that are tried; a chip at the right and lower border is tried as well.
    """
    starts = [np.unique(np.minimum(np.arange(0, side, stride), max(side - chip_size, 0))) for side in image_size]
    corners = np.stack(np.meshgrid(*starts, indexing='ij'), axis=-1).reshape(-1, 2)
    low, high = corners[:, None], corners[:, None] + chip_size
    holds = ((bboxes[None, :, :2] >= low) & (bboxes[None, :, 2:] <= high)).all(axis=-1)
    chosen: list[np.ndarray] = []
    while holds.any():
        best = int(holds.sum(axis=1).argmax())
        chosen.append(corners[best])
        holds = holds & ~holds[best]
    return np.array(chosen, np.int64).reshape(-1, 2)


@TRANSFORMS.register_module()
class SNIPERChip:
    """Show a chip: a square part, at one of several scales, around objects whose size suits the scale; others are ignored.

    Chips that together hold all valid objects are chosen greedily, and one of them is drawn; a background chip, in which no valid
    object is, now and then instead. A few chips cost a network a fraction of an image pyramid.

    Source: Singh et al., SNIPER: Efficient Multi-Scale Training, NeurIPS 2018, arXiv:1805.09300.
    Differs: one chip of an image in each round, not all of them; background chips lie anywhere, not where a proposal network has
    been wrong. An image without a valid object at the drawn scale gives a background chip.

    Required keys: img, rng, bboxes (N, 4), labels, is_ignored (N,), and optionally masks, gt_semantic_seg.
    Modified keys: the same. Added keys: as DetResize.

    Args:
        chip_size: px of a side; an image that is smaller at its scale is shown whole.
        scales: factor on the image, or (long, short) px, as of DetResize, for each.
        valid_ranges: for each (lowest, highest) sqrt(w h) of the objects to learn, px of the image file.
        stride: px between the places of chips that are tried.
        background_prob: of a background chip.
        min_visible: share of an object's box in the chip, below which it is ignored.
    """

    def __init__(
        self,
        chip_size: int = 512,
        *,
        scales: Sequence[float | tuple[int, int]] = (3.0, 1.667, (512, 512)),
        valid_ranges: Sequence[Range] = ((0.0, 80.0), (32.0, 150.0), (120.0, math.inf)),
        stride: int = 32,
        background_prob: float = 0.1,
        min_visible: float = 0.5,
    ) -> None:
        if chip_size < 1 or stride < 1:
            raise ValueError(f'SNIPERChip: `chip_size` and `stride` must be 1 or more, got {chip_size} and {stride}.')
        check_probability('SNIPERChip', 'background_prob', background_prob)
        check_probability('SNIPERChip', 'min_visible', min_visible)
        if not all(scale > 0 if isinstance(scale, int | float) else _is_size(scale) for scale in scales):
            raise ValueError(
                f'SNIPERChip: `scales` must be positive factors or pairs (long, short) of positive px, got {list(scales)}.'
            )
        self.chip_size = chip_size
        self.scales = list(scales)
        self.valid_ranges = _checked_ranges('SNIPERChip', self.scales, valid_ranges)
        self.stride = stride
        self.background_prob = background_prob
        self.min_visible = min_visible

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        rng = results['rng']
        number = int(rng.integers(len(self.scales)))
        wants_background, place_x, place_y, which = rng.random(4).tolist()
        low, high = self.valid_ranges[number]
        sizes = original_sizes(results)
        results['is_ignored'] = results['is_ignored'] | (sizes < low) | (sizes > high)
        h, w = results['img'].shape[:2]
        scale = self.scales[number]
        zoom = scale if isinstance(scale, int | float) else min(max(scale) / max(w, h), min(scale) / min(w, h))
        size = (max(1, int(w * zoom + 0.5)), max(1, int(h * zoom + 0.5)))
        factor = np.array(size, np.float64) / (w, h)
        valid = (results['bboxes'] * np.tile(factor, 2))[~results['is_ignored']]
        room = [max(side - self.chip_size, 0) for side in size]
        corner = np.array((place_x * room[0], place_y * room[1]))
        chips = positive_chips(valid, size, self.chip_size, stride=self.stride)
        if len(chips) and wants_background >= self.background_prob:
            corner = chips[int(which * len(chips))]
        # The part is cut before it is enlarged: the rest of the image need not be resized.
        left, top = (int(v) for v in np.floor(corner / factor))
        part = [max(1, min(math.ceil(self.chip_size / f), side)) for f, side in zip(factor, (w, h))]
        crop_sample(results, left, top, (part[0], part[1]), min_visible=self.min_visible)
        h, w = results['img'].shape[:2]
        chip = [min(self.chip_size, max(1, round(side * f))) for side, f in zip((w, h), factor)]
        return resize_sample(results, (chip[0], chip[1]))
