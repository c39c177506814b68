"""New images with objects out of old ones: copies of small objects, and mosaics of four images."""

# Letters: N objects of an image; sizes (w, h).
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from mmpose_lite.datasets.transforms.augment import check_probability
from mmpose_lite.datasets.transforms.crops import crop_sample
from mmpose_lite.datasets.transforms.detection import resize_sample
from mmpose_lite.errors import ConfigError
from mmpose_lite.registry import TRANSFORMS
from mmpose_lite.structures.sizes import checked_size

_TRIES = 10  # places that a copy is tried at


@TRANSFORMS.register_module()
class CopyPasteSmallObjects:
    """Paste copies of small objects elsewhere into their image, scaled and turned a little, so that more priors find one.

    A copy that would cover much of an object is not pasted; what is covered of an object is no longer part of its mask, and its
    box shrinks with it.

    Source: Kisantal et al., Augmentation for Small Object Detection, 2019, Sec. 4.2, arXiv:1902.07296.
    Differs: the border of the mask is not smoothed (nor is the paper's best one).

    Required keys: img, rng, bboxes (N, 4), labels (N,), is_ignored (N,), masks (N, H, W), and optionally gt_semantic_seg (H, W).
    Modified keys: the same; a copy has the class of most pixels of its object. Keys that describe objects otherwise (regions,
    ann_ids) are left out.

    Args:
        max_area: px of a mask, up to which an object is small; COCO's small objects have less than 32 x 32.
        num_copies: of each small object.
        scale_range: (smallest, greatest) factor on a copy.
        rotate_factor: greatest rotation in degrees.
        max_covered: share of an object's mask that copies may cover.
        prob: of pasting anything into an image.
    """

    def __init__(
        self,
        *,
        max_area: float = 32**2,
        num_copies: int = 3,
        scale_range: tuple[float, float] = (0.8, 1.2),
        rotate_factor: float = 15.0,
        max_covered: float = 0.3,
        prob: float = 1.0,
    ) -> None:
        if len(scale_range) != 2 or not 0 < scale_range[0] <= scale_range[1]:
            raise ValueError(f'CopyPasteSmallObjects: `scale_range` must be 0 < low <= high, got {tuple(scale_range)}.')
        if max_area <= 0 or num_copies < 1:
            raise ValueError(
                f'CopyPasteSmallObjects: `max_area` must be positive and `num_copies` 1 or more, got {max_area}, {num_copies}.'
            )
        if not 0 <= max_covered < 1:
            raise ValueError(f'CopyPasteSmallObjects: `max_covered` must be in [0, 1), got {max_covered}.')
        check_probability('CopyPasteSmallObjects', 'prob', prob)
        self.max_area = max_area
        self.num_copies = num_copies
        self.scale_range = scale_range
        self.rotate_factor = rotate_factor
        self.max_covered = max_covered
        self.prob = prob

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        if 'masks' not in results:
            raise ConfigError('CopyPasteSmallObjects: it copies the pixels of masks; put LoadMasks before it in the pipeline.')
        rng = results['rng']
        if rng.random() >= self.prob:
            return results
        areas = results['masks'].sum(axis=(1, 2), dtype=np.int64)
        small = np.flatnonzero((areas > 0) & (areas <= self.max_area) & ~results['is_ignored'])
        if not len(small):
            return results
        image, masks = results['img'].copy(), list(results['masks'].astype(bool))
        source, labels = results['img'], results['labels'].tolist()
        semantics = results['gt_semantic_seg'].copy() if 'gt_semantic_seg' in results else None
        for i in np.repeat(small, self.num_copies):
            placed = self._placed(source, results['masks'][i], masks, areas, rng)
            if placed is None:
                continue
            pixels, mask = placed
            image[mask] = pixels[mask]
            if semantics is not None:
                semantics[mask] = np.bincount(results['gt_semantic_seg'][results['masks'][i] > 0]).argmax()
            masks = [other & ~mask for other in masks]
            masks.append(mask)
            areas = np.append(areas, mask.sum())
            labels.append(results['labels'][i])
        if semantics is not None:
            results['gt_semantic_seg'] = semantics
        return _with_masks(results, image, masks, labels)

    def _placed(
        self, source: np.ndarray, mask: np.ndarray, others: list[np.ndarray], areas: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """Return (H, W, 3) pixels and (H, W) mask of a copy somewhere else; None where no place was found.

        Args:
            source: the image without copies.
            mask: (H, W) of the object.
            others: masks of the objects so far.
            areas: px of these, before copies were pasted over them.
            rng: of the sample.
        """
        h, w = mask.shape
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        middle = ((columns[0] + columns[-1]) / 2, (rows[0] + rows[-1]) / 2)
        low, high = self.scale_range
        for _ in range(_TRIES):
            zoom, turn, x, y = rng.random(4).tolist()
            matrix = cv2.getRotationMatrix2D(middle, (2 * turn - 1) * self.rotate_factor, low + zoom * (high - low))
            matrix[:, 2] += np.array((x * w, y * h)) - middle
            moved = cv2.warpAffine(mask * np.uint8(255), matrix, (w, h), flags=cv2.INTER_LINEAR) > 127
            whole = mask.sum() * abs(np.linalg.det(matrix[:, :2]))
            if moved.sum() < 0.9 * whole:  # cut off by the border
                continue
            covered = [(other & moved).sum() + area - other.sum() for other, area in zip(others, areas)]
            if all(share <= self.max_covered * area for share, area in zip(covered, areas)):
                return cv2.warpAffine(source, matrix, (w, h), flags=cv2.INTER_LINEAR), moved
        return None


def _with_masks(results: dict[str, Any], image: np.ndarray, masks: Sequence[np.ndarray], labels: Sequence[int]) -> dict[str, Any]:
    """Put image and objects into a sample: the boxes of masks that have changed are those of the masks."""
    N = len(results['bboxes'])
    bboxes = []
    for i, mask in enumerate(masks):
        if i < N and (mask.sum() == results['masks'][i].sum() or results['is_ignored'][i]):
            bboxes.append(results['bboxes'][i])
            continue
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        bboxes.append(np.array((columns[0], rows[0], columns[-1] + 1, rows[-1] + 1), np.float32))
    results['img'] = image
    results['masks'] = np.stack(masks).astype(np.uint8)
    results['bboxes'] = np.stack(bboxes).astype(np.float32)
    results['labels'] = np.array(labels, np.int64)
    results['is_ignored'] = np.concatenate((results['is_ignored'], np.zeros(len(masks) - N, bool)))
    for key in ('regions', 'ann_ids'):
        results.pop(key, None)
    return results


@TRANSFORMS.register_module()
class Mosaic:
    """Put four images together around a random point: four times the objects, at all sizes, beside others than usual.

    The canvas is twice as wide and high as `img_scale`; a DetResize or a crop behind it makes the input.

    Source: Bochkovskiy et al., YOLOv4, 2020, Sec. 3.3, arXiv:2004.10934; arguments are those of mmdet's transform of this name.
    Stands in the pipeline of a MultiImageMixDataset, which gives it three more images.

    Required keys: img, rng, bboxes (N, 4), labels, is_ignored (N,), and optionally masks; mix_results, three more such samples.
    Modified keys: the same. Keys that describe objects otherwise (regions, ann_ids) and gt_semantic_seg are left out.
    Added keys: warp_matrix of the first image.

    Args:
        img_scale: (w, h) px that each image is fitted into.
        center_ratio_range: of `img_scale`, where the point lies at which the four meet.
        pad_val: grey value of what no image covers.
        min_visible: share of an object's box, below which it is ignored.
        prob: of a mosaic; else the first image stays as it is.
    """

    num_others = 3  # samples that MultiImageMixDataset adds

    def __init__(
        self,
        img_scale: tuple[int, int] = (640, 640),
        *,
        center_ratio_range: tuple[float, float] = (0.5, 1.5),
        pad_val: float = 114.0,
        min_visible: float = 0.2,
        prob: float = 1.0,
    ) -> None:
        self.img_scale = checked_size('Mosaic', 'img_scale', img_scale)
        low, high = center_ratio_range
        if not 0 < low <= high < 2:
            raise ValueError(f'Mosaic: `center_ratio_range` must be 0 < low <= high < 2, got {tuple(center_ratio_range)}.')
        if not 0 <= pad_val <= 255:
            raise ValueError(f'Mosaic: `pad_val` must be 0 to 255, got {pad_val}.')
        check_probability('Mosaic', 'min_visible', min_visible)
        check_probability('Mosaic', 'prob', prob)
        self.center_ratio_range = (low, high)
        self.pad_val = pad_val
        self.min_visible = min_visible
        self.prob = prob

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        others = results.pop('mix_results', None)
        if others is None or len(others) != self.num_others:
            raise ConfigError('Mosaic: it needs `mix_results`, three more samples, which a MultiImageMixDataset adds.')
        chosen, x, y = results['rng'].random(3).tolist()
        if chosen >= self.prob:
            return results
        low, high = self.center_ratio_range
        w, h = self.img_scale
        x, y = (round((low + v * (high - low)) * side) for v, side in zip((x, y), (w, h)))
        meeting = (min(max(x, 1), 2 * w - 1), min(max(y, 1), 2 * h - 1))  # a px for each image at least
        canvas = np.full((2 * h, 2 * w, 3), self.pad_val, np.uint8)
        placed = [self._place(sample, number, meeting, canvas) for number, sample in enumerate((results, *others))]
        for key in ('bboxes', 'labels', 'is_ignored', *(['masks'] if 'masks' in results else [])):
            results[key] = np.concatenate([sample[key] for sample in placed])
        for key in ('regions', 'ann_ids', 'gt_semantic_seg'):
            results.pop(key, None)
        results['img'] = canvas
        return results

    def _place(self, sample: dict[str, Any], number: int, meeting: tuple[int, int], canvas: np.ndarray) -> dict[str, Any]:
        """Draw an image into its quarter (0 top left, 1 top right, 2 bottom left, 3 bottom right), beside the meeting point.

        Returns the sample with its objects in px of the canvas.
        """
        h, w = sample['img'].shape[:2]
        zoom = min(self.img_scale[0] / w, self.img_scale[1] / h)
        resize_sample(sample, (max(1, int(w * zoom)), max(1, int(h * zoom))))
        is_right, is_low = number % 2, number // 2
        h, w = sample['img'].shape[:2]
        left = meeting[0] if is_right else meeting[0] - w
        top = meeting[1] if is_low else meeting[1] - h
        corner = (max(-left, 0), max(-top, 0))
        room = (canvas.shape[1] - max(left, 0), canvas.shape[0] - max(top, 0))
        crop_sample(sample, *corner, (min(w - corner[0], room[0]), min(h - corner[1], room[1])), min_visible=self.min_visible)
        h, w = sample['img'].shape[:2]
        left, top = max(left, 0), max(top, 0)
        canvas[top : top + h, left : left + w] = sample['img']
        sample['bboxes'] = sample['bboxes'] + np.array((left, top, left, top), np.float32)
        if 'masks' in sample:
            masks = np.zeros((len(sample['masks']), *canvas.shape[:2]), np.uint8)
            masks[:, top : top + h, left : left + w] = sample['masks']
            sample['masks'] = masks
        sample['warp_matrix'] = sample['warp_matrix'] + np.array(((0.0, 0.0, left), (0.0, 0.0, top)))
        return sample
