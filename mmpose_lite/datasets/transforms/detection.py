"""Images with objects: reading masks, resizing, packing. Boxes, masks and image move together.

Boxes count pixel edges, as COCO's do: x = 0 is the left edge of the image, so a resize by z takes x to x * z and a flip to w - x.
"""

# Letters: N objects of an image; sizes (w, h).
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from mmpose_lite.datasets.regions import decode_region
from mmpose_lite.datasets.seg_maps import paint_regions, read_values
from mmpose_lite.datasets.transforms.augment import note_move
from mmpose_lite.errors import ConfigError
from mmpose_lite.ops.masks import pack_masks
from mmpose_lite.registry import TRANSFORMS
from mmpose_lite.structures.class_meta import IGNORE_INDEX

MULTISCALE_MODES = ('value', 'range')
META_KEYS = ('img_path', 'img_id', 'ori_shape', 'warp_matrix', 'scale_factor', 'flip')


def _check_unmoved(owner: str, results: dict[str, Any]) -> None:
    if 'warp_matrix' in results:
        raise ConfigError(f'{owner}: it must come before what moves the image in the pipeline, right after LoadImage.')


@TRANSFORMS.register_module()
class LoadMasks:
    """Make a mask of the segmentation of each object.

    Required keys: ori_shape (h, w), regions (N).
    Added keys: masks (N, h, w) uint8 in {0, 1}.
    """

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        _check_unmoved('LoadMasks', results)
        if 'regions' not in results:
            raise ConfigError('LoadMasks: the dataset gives no `regions`; set `with_masks=True` on it.')
        h, w = results['ori_shape']
        try:
            masks = [decode_region(region, (h, w)) for region in results['regions']]
        except ValueError as error:
            raise ValueError(f'{results["img_path"]}: {error}') from error
        results['masks'] = np.stack(masks) if masks else np.zeros((0, h, w), np.uint8)
        return results


@TRANSFORMS.register_module()
class LoadSemanticSeg:
    """Read a class for every pixel beside the objects, as Hybrid Task Cascade learns it; where there is no file for it, paint it.

    A file has the class of a pixel as its value, 255 for none (COCO's stuff-thing maps). Without files the pixels of an object of
    class k have k + 1, those of crowds none, all others 0.

    Required keys: ori_shape (h, w), and seg_map_path, or regions (N), labels (N,) and is_ignored (N,).
    Added keys: gt_semantic_seg (h, w) uint8.

    Args:
        num_classes: of the semantic head; values from it on, other than 255, are an error.
    """

    def __init__(self, num_classes: int) -> None:
        if not 1 <= num_classes < IGNORE_INDEX:
            raise ValueError(f'LoadSemanticSeg: `num_classes` must be 1 to {IGNORE_INDEX - 1}, got {num_classes}.')
        self.num_classes = num_classes

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        _check_unmoved('LoadSemanticSeg', results)
        path = results.get('seg_map_path')
        if path is not None:
            labels = read_values(path)
            if labels.shape != tuple(results['ori_shape']) or labels.dtype != np.uint8:
                raise ValueError(
                    f'mask file {path!r} must be one byte a pixel of the size {tuple(results["ori_shape"])} (h, w) of '
                    f'{results["img_path"]!r}, got {labels.dtype} of {labels.shape}.'
                )
        elif 'regions' in results:
            order = np.argsort(~results['is_ignored'], kind='stable')  # an object may lie in a crowd
            values = np.where(results['is_ignored'], IGNORE_INDEX, results['labels'] + 1)
            labels = paint_regions([(int(values[i]), results['regions'][i]) for i in order], results['ori_shape'])
        else:
            raise ConfigError('LoadSemanticSeg: give the dataset `data_prefix.seg`, a folder of masks, or `with_masks=True`.')
        worst = labels[labels != IGNORE_INDEX].max(initial=0)
        if worst >= self.num_classes:
            raise ValueError(
                f'LoadSemanticSeg: {path or results["img_path"]} has the class {worst}, but `num_classes` is {self.num_classes}.'
            )
        results['gt_semantic_seg'] = labels
        return results


@TRANSFORMS.register_module()
class DetResize:
    """Resize image, boxes and masks: as large as fits into a scale, or to it exactly. Bilinear, as detectors are trained.

    Required keys: img, rng (where there is a choice of scales), and optionally bboxes (N, 4), masks (N, H, W),
    gt_semantic_seg (H, W).
    Modified keys: the same but rng. Added keys: scale_factor (w, h), warp_matrix (2, 3), from px of the file to px of `img`.

    Args:
        scale: (long side, short side) px that the image must not exceed, as mmdet's (1333, 800); with `keep_ratio=False` its
            (w, h). Several make a choice.
        multiscale_mode: 'value': one of the scales; 'range': both sides drawn evenly between those of two scales, independently.
        keep_ratio: of width and height.

    Raises:
        ValueError: a scale is not two positive numbers, or a range not two scales.
    """

    def __init__(
        self,
        scale: Sequence[int] | Sequence[Sequence[int]],
        *,
        multiscale_mode: str = 'value',
        keep_ratio: bool = True,
    ) -> None:
        scales = [scale] if scale and not isinstance(scale[0], Sequence) else list(scale)
        if not scales or not all(isinstance(pair, Sequence) and len(pair) == 2 and min(pair) >= 1 for pair in scales):
            raise ValueError(f'DetResize: `scale` must be two positive numbers, or several such pairs, got {scale}.')
        if multiscale_mode not in MULTISCALE_MODES or (multiscale_mode == 'range' and len(scales) != 2):
            raise ValueError(
                f"DetResize: `multiscale_mode` must be one of {MULTISCALE_MODES}, 'range' with two scales, got "
                f'{multiscale_mode!r} with {len(scales)}.'
            )
        self.scales = [(int(first), int(second)) for first, second in scales]
        self.multiscale_mode = multiscale_mode
        self.keep_ratio = keep_ratio

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        h, w = results['img'].shape[:2]
        first, second = self._scale(results)
        if not self.keep_ratio:
            return resize_sample(results, (first, second))
        zoom = min(max(first, second) / max(w, h), min(first, second) / min(w, h))
        return resize_sample(results, (max(1, int(w * zoom + 0.5)), max(1, int(h * zoom + 0.5))))

    def _scale(self, results: dict[str, Any]) -> tuple[int, int]:
        if len(self.scales) == 1:
            return self.scales[0]
        if self.multiscale_mode == 'value':
            return self.scales[results['rng'].integers(len(self.scales))]
        sides = np.sort(np.array(self.scales), axis=0)
        first, second = results['rng'].integers(sides[0], sides[1] + 1).tolist()
        return first, second


def resize_sample(results: dict[str, Any], size: tuple[int, int]) -> dict[str, Any]:
    """Resize one sample to (w, h); see `DetResize`."""
    h, w = results['img'].shape[:2]
    zoom = np.array((size[0] / w, size[1] / h))
    results['img'] = cv2.resize(results['img'], size, interpolation=cv2.INTER_LINEAR)
    if 'bboxes' in results:
        results['bboxes'] = results['bboxes'] * np.tile(zoom, 2).astype(np.float32)
    if 'masks' in results:
        results['masks'] = _resized_masks(results['masks'], size)
    if 'gt_semantic_seg' in results:
        results['gt_semantic_seg'] = cv2.resize(results['gt_semantic_seg'], size, interpolation=cv2.INTER_NEAREST_EXACT)
    results['scale_factor'] = tuple((zoom * results.get('scale_factor', (1.0, 1.0))).tolist())
    note_move(results, np.array(((zoom[0], 0.0, 0.0), (0.0, zoom[1], 0.0))))
    return results


def _resized_masks(masks: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return (N, H, W) masks of (N, h, w) ones: a pixel is in where the bilinear mean is above one half."""
    resized = np.zeros((len(masks), size[1], size[0]), np.uint8)
    for mask, out in zip(masks, resized):
        cv2.resize(mask * np.uint8(255), size, dst=out, interpolation=cv2.INTER_LINEAR)
    return (resized > 127).view(np.uint8)


@TRANSFORMS.register_module()
class PackDetInputs:
    """Keep what crosses to the training process: uint8 pixels, boxes, and masks as bits.

    Boxes are cut at the border of the image; objects of which nothing is left are left out.

    Required keys: img, and optionally bboxes (N, 4), labels (N,), is_ignored (N,), masks (N, H, W), gt_semantic_seg (H, W).
    Added keys (the only ones left): inputs (H, W, 3) uint8; instances: bboxes_input (N, 4), labels, is_ignored, and masks
    (N, H, ceil(W / 8)), see `ops.masks`; maps: gt_semantic_seg; metainfo, with img_shape (h, w).

    Args:
        semantic_stride: cells of gt_semantic_seg are so many px wide; a cell has the class of the pixel in its middle.
        meta_keys: added to the metainfo of each image, where the sample has them, beside the usual ones.
    """

    def __init__(self, *, semantic_stride: int = 8, meta_keys: Sequence[str] = ()) -> None:
        if semantic_stride < 1:
            raise ValueError(f'PackDetInputs: `semantic_stride` must be 1 or more, got {semantic_stride}.')
        self.semantic_stride = semantic_stride
        self.meta_keys = (*META_KEYS, *meta_keys)

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        h, w = results['img'].shape[:2]
        instances: dict[str, np.ndarray] = {}
        if 'bboxes' in results:
            bboxes = results['bboxes'].clip(0, np.array((w, h, w, h), np.float32))
            kept = (bboxes[:, 2:] > bboxes[:, :2]).all(axis=1)
            instances = dict(bboxes_input=bboxes[kept], labels=results['labels'][kept], is_ignored=results['is_ignored'][kept])
            if 'masks' in results:
                instances['masks'] = pack_masks(results['masks'][kept])
        metainfo = dict(warp_matrix=np.eye(2, 3), scale_factor=(1.0, 1.0))  # unless a step has moved the image
        metainfo |= {key: results[key] for key in self.meta_keys if key in results} | dict(img_shape=(h, w))
        maps: dict[str, np.ndarray] = {}
        if 'gt_semantic_seg' in results:
            stride = self.semantic_stride
            maps['gt_semantic_seg'] = np.ascontiguousarray(
                results['gt_semantic_seg'][stride // 2 :: stride, stride // 2 :: stride]
            )
            metainfo['semantic_stride'] = stride
        return dict(inputs=np.ascontiguousarray(results['img']), instances=instances, maps=maps, metainfo=metainfo)
