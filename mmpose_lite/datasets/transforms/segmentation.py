"""Images with a mask of classes: reading, moving both together, packing."""

# Letters: C classes; sizes (w, h). Masks are uint8; IGNORE_INDEX (255) where a pixel has no class, so also outside the image.
import math
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from mmpose_lite.datasets.seg_maps import grey_hint, paint_regions, read_values, to_labels, unknown_values
from mmpose_lite.datasets.transforms.augment import check_probability
from mmpose_lite.errors import ConfigError
from mmpose_lite.ops.warp import warp_affine
from mmpose_lite.registry import TRANSFORMS
from mmpose_lite.structures.class_meta import IGNORE_INDEX, UNKNOWN_LABEL
from mmpose_lite.structures.sizes import checked_size

RESIZE_MODES = ('keep', 'fit', 'stretch')
META_KEYS = ('img_path', 'img_id', 'seg_map_path', 'ori_shape', 'img_shape', 'flip')


@TRANSFORMS.register_module()
class LoadSegMap:
    """Read the mask of an image, or paint it from COCO's regions.

    For training it stands before what moves the image; for evaluation after SegResize, so that predictions are compared at the
    original size.

    Required keys: ori_shape (h, w), class_meta, label_table (256,), and seg_map_path or regions (pairs of a label and a region);
    a sample without either, of a data set without masks, stays as it is.
    Added keys: gt_seg_map (H, W) uint8, or after SegResize ori_seg_map, which belongs to the image as it was.
    """

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        if results.get('flip') or results.get('cropped'):
            raise ConfigError('LoadSegMap: it must come before RandomFlip and SegRandomCrop, which move the mask with the image.')
        key = 'ori_seg_map' if 'img_shape' in results else 'gt_seg_map'
        if 'seg_map_path' in results:
            results[key] = self._read(results)
        elif 'regions' in results:
            try:
                results[key] = paint_regions(results['regions'], results['ori_shape'])
            except ValueError as error:
                raise ValueError(f'{results["img_path"]}: {error}') from error
        return results

    def _read(self, results: dict[str, Any]) -> np.ndarray:
        path, meta, (h, w) = results['seg_map_path'], results['class_meta'], results['ori_shape']
        values = read_values(path)
        if values.shape[:2] != (h, w):
            raise ValueError(
                f'mask file {path!r} is {values.shape[1]} x {values.shape[0]} px (w x h), its image {results["img_path"]!r} is '
                f'{w} x {h}. Is the image turned by its EXIF orientation?'
            )
        labels = to_labels(values, meta, results['label_table'])
        if (labels == UNKNOWN_LABEL).any():
            some = ', '.join(f'{value} ({n} px)' for value, n in list(unknown_values(values, labels).items())[:5])
            raise ValueError(
                f'mask file {path!r} has the values {some}, which are none of the {meta.num_classes} classes of {meta.name}'
                f'{grey_hint(values) or "; give the dataset a `label_map`, or another `meta`"}. tools/check_dataset.py looks at '
                'all files.'
            )
        return labels


@TRANSFORMS.register_module()
class SegRandomCrop:
    """Resize at random, turn at random, and cut out a part, in one step for image and mask.

    A part of which one class fills too much is drawn again, so that a network does not see road and sky alone. What lies outside
    the image is black, and has no class. Source of the rule: Chen et al., DeepLab's training code; mmseg's RandomResize and
    RandomCrop have these defaults.
    Differs: `base_size` is (w, h) of images that are upright too; mmseg's is (long side, short side).

    Required keys: rng, img, and optionally gt_seg_map (H, W).
    Modified keys: the same. Added keys: img_shape (h, w), cropped (True).

    Args:
        input_size: (w, h) of the part.
        base_size: (w, h) into which the image fits at scale 1, its aspect kept; None takes its own size.
        scale_range: (smallest, greatest) factor.
        rotate_factor: greatest rotation in degrees, either way.
        rotate_prob: of a rotation.
        cat_max_ratio: of the labelled pixels, the share that one class may have; 1 takes the first draw.
        num_tries: draws at the most; the last is taken as it is.
    """

    def __init__(
        self,
        input_size: Sequence[int],
        *,
        base_size: Sequence[int] | None = None,
        scale_range: tuple[float, float] = (0.5, 2.0),
        rotate_factor: float = 0.0,
        rotate_prob: float = 0.5,
        cat_max_ratio: float = 0.75,
        num_tries: int = 10,
    ) -> None:
        self.input_size = checked_size('SegRandomCrop', 'input_size', input_size)
        self.base_size = None if base_size is None else checked_size('SegRandomCrop', 'base_size', base_size)
        if len(scale_range) != 2 or not 0 < scale_range[0] <= scale_range[1]:
            raise ValueError(f'SegRandomCrop: `scale_range` must be 0 < low <= high, got {tuple(scale_range)}.')
        check_probability('SegRandomCrop', 'rotate_prob', rotate_prob)
        if not 0 < cat_max_ratio <= 1 or num_tries < 1:
            raise ValueError(
                f'SegRandomCrop: `cat_max_ratio` must be in (0, 1] and `num_tries` 1 or more, got {cat_max_ratio}, {num_tries}.'
            )
        self.scale_range = scale_range
        self.rotate_factor = rotate_factor
        self.rotate_prob = rotate_prob
        self.cat_max_ratio = cat_max_ratio
        self.num_tries = num_tries

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        rng, image = results['rng'], results['img']
        h, w = image.shape[:2]
        scale, turn, turned = rng.random(3).tolist()
        low, high = self.scale_range
        scale = low + scale * (high - low)
        if self.base_size is not None:
            scale *= min(self.base_size[0] / w, self.base_size[1] / h)
        angle = (2 * turn - 1) * self.rotate_factor if turned < self.rotate_prob else 0.0
        labels = results.get('gt_seg_map')
        tries = 1 if labels is None or self.cat_max_ratio == 1 else self.num_tries
        for x, y in rng.random((tries, 2)).tolist():
            matrix = self._matrix((w, h), scale, angle, (x, y))
            if labels is not None:
                results['gt_seg_map'] = cv2.warpAffine(
                    labels, matrix, self.input_size, flags=cv2.INTER_NEAREST, borderValue=IGNORE_INDEX
                )
                if tries == 1 or self._is_mixed(results['gt_seg_map']):
                    break
        results['img'] = warp_affine(image, matrix, self.input_size)
        results['img_shape'] = results['img'].shape[:2]
        results['cropped'] = True
        return results

    def _matrix(self, size: tuple[int, int], scale: float, angle: float, place: tuple[float, float]) -> np.ndarray:
        """Return (2, 3) from image px to input px.

        Args:
            size: (w, h) of the image.
            scale: of the image.
            angle: degrees, about the middle of the part.
            place: of the part, in [0, 1] of what there is to choose from.
        """
        matrix = cv2.getRotationMatrix2D((0, 0), angle, scale)
        for axis in range(2):
            room = size[axis] * scale - self.input_size[axis]
            # An image smaller than the part lies at its left and top. A pixel's edge is half a px before its centre.
            middle = (math.floor(max(room, 0) * place[axis]) + self.input_size[axis] / 2) / scale - 0.5
            matrix[:, 2] -= matrix[:, axis] * middle
            matrix[axis, 2] += self.input_size[axis] / 2 - 0.5
        return matrix

    def _is_mixed(self, labels: np.ndarray) -> bool:
        counts = np.bincount(labels.ravel(), minlength=256)[:IGNORE_INDEX]
        return counts.max() < self.cat_max_ratio * counts.sum()


@TRANSFORMS.register_module()
class SegResize:
    """Resize the whole image, and the mask if it is loaded already.

    Differs: `input_size` is (w, h) of images that are upright too; mmseg's Resize takes (long side, short side).

    Required keys: img, and optionally gt_seg_map (H, W).
    Modified keys: the same. Added keys: img_shape (h, w): the part of the result that is image.

    Args:
        input_size: (w, h).
        resize_mode: 'keep': as large as fits into it, with the aspect kept, so that images of several shapes need a batch size of
            1; 'fit': the same, filled up to it with black at the right and below; 'stretch': to it exactly.
    """

    def __init__(self, input_size: Sequence[int], *, resize_mode: str = 'keep') -> None:
        self.input_size = checked_size('SegResize', 'input_size', input_size)
        if resize_mode not in RESIZE_MODES:
            raise ValueError(f'SegResize: `resize_mode` must be one of {RESIZE_MODES}, got {resize_mode!r}.')
        self.resize_mode = resize_mode

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        h, w = results['img'].shape[:2]
        W, H = self.input_size
        size = (W, H)
        if self.resize_mode != 'stretch':
            zoom = min(W / w, H / h)
            size = (max(1, round(w * zoom)), max(1, round(h * zoom)))
        shrinks = size[0] * size[1] < w * h
        results['img'] = cv2.resize(results['img'], size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
        if 'gt_seg_map' in results:
            results['gt_seg_map'] = cv2.resize(results['gt_seg_map'], size, interpolation=cv2.INTER_NEAREST_EXACT)
        results['img_shape'] = (size[1], size[0])
        if self.resize_mode == 'fit' and size != (W, H):
            border = (0, H - size[1], 0, W - size[0], cv2.BORDER_CONSTANT)
            results['img'] = cv2.copyMakeBorder(results['img'], *border, value=(0, 0, 0))
            if 'gt_seg_map' in results:
                results['gt_seg_map'] = cv2.copyMakeBorder(results['gt_seg_map'], *border, value=IGNORE_INDEX)
        return results


@TRANSFORMS.register_module()
class PackSegInputs:
    """Keep what crosses to the training process: uint8 pixels and uint8 labels.

    Required keys: img, and optionally gt_seg_map or ori_seg_map.
    Added keys (the only ones left): inputs (H, W, 3) uint8, maps (gt_seg_map), metainfo. A mask of the image as it was stands in
    the metainfo: the device does not need it, and those of a batch may differ in size.

    Args:
        meta_keys: added to the metainfo of each image, where the sample has them, beside the usual ones.
    """

    def __init__(self, *, meta_keys: Sequence[str] = ()) -> None:
        self.meta_keys = (*META_KEYS, *meta_keys)

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        return dict(
            inputs=np.ascontiguousarray(results['img']),
            maps={key: np.ascontiguousarray(results[key]) for key in ('gt_seg_map',) if key in results},
            metainfo={key: results[key] for key in self.meta_keys if key in results}
            | ({'gt_seg_map': results['ori_seg_map']} if 'ori_seg_map' in results else {}),
        )
