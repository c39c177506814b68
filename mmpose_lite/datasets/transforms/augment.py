"""Random changes of what the network is shown. Keypoints, boxes, masks and image move together."""

# Letters: N instances, K keypoints. Flips follow the pixel rule of structures/keypoint_meta.py: x becomes w - 1 - x.
from statistics import NormalDist
from typing import Any

import cv2
import numpy as np

from mmpose_lite.errors import ConfigError
from mmpose_lite.registry import TRANSFORMS

_NORMAL = NormalDist()
_P_LOW, _P_HIGH = _NORMAL.cdf(-1.0), _NORMAL.cdf(1.0)


def truncated_normal(rng: np.random.Generator, size: int) -> np.ndarray:
    """Draw `size` numbers from the standard normal distribution cut to [-1, 1]."""
    return np.array([_NORMAL.inv_cdf(_P_LOW + (_P_HIGH - _P_LOW) * p) for p in rng.random(size).tolist()])


def check_probability(owner: str, name: str, value: float) -> None:
    """Raise ValueError unless `value` is in [0, 1]."""
    if not 0 <= value <= 1:
        raise ValueError(f'{owner}: `{name}` must be in [0, 1], got {value}.')


def _check_uncropped(owner: str, results: dict[str, Any]) -> None:
    if 'input_size' in results:
        raise ConfigError(f'{owner}: changes the image or its box, so it must come before the affine step in the pipeline.')


@TRANSFORMS.register_module()
class RandomFlip:
    """Mirror image, keypoints, boxes and masks left to right.

    Boxes of people go with their keypoints, x to w - 1 - x; boxes of objects, which have `labels`, count edges: x to w - x.
    Regions that the loss ignores stay in the frame of the file: what warps the image next takes the flip into its warp_matrix.

    Required keys: rng, img, and optionally keypoints (N, K, 2), keypoints_visible (N, K), flip_indices (K,), bboxes (N, 4),
    bbox_center, gt_seg_map (H, W), class_meta, masks (N, H, W), gt_semantic_seg (H, W).
    Modified keys: the same, and warp_matrix of objects. Added keys: flip (bool).

    Args:
        prob: of a flip.
    """

    def __init__(self, *, prob: float = 0.5) -> None:
        check_probability('RandomFlip', 'prob', prob)
        self.prob = prob

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        _check_uncropped('RandomFlip', results)
        results['flip'] = bool(results['rng'].random() < self.prob)
        return flip_sample(results) if results['flip'] else results


def flip_sample(results: dict[str, Any]) -> dict[str, Any]:
    """Mirror one sample; see `RandomFlip`."""
    last = results['img'].shape[1] - 1
    results['img'] = cv2.flip(results['img'], 1)
    if 'keypoints' in results:
        swaps = results['flip_indices']
        keypoints = results['keypoints'].take(swaps, axis=1)
        keypoints[..., 0] = last - keypoints[..., 0]
        results['keypoints'] = keypoints
        results['keypoints_visible'] = results['keypoints_visible'].take(swaps, axis=1)
    if 'bboxes' in results:
        bboxes = results['bboxes'].copy()
        bboxes[:, 0::2] = last + ('labels' in results) - results['bboxes'][:, 2::-2]
        results['bboxes'] = bboxes
    if 'bbox_center' in results:
        results['bbox_center'] = np.array((last - results['bbox_center'][0], results['bbox_center'][1]), np.float32)
    if 'gt_seg_map' in results:
        labels, table = cv2.flip(results['gt_seg_map'], 1), results['class_meta'].flip_table
        results['gt_seg_map'] = labels if table is None else cv2.LUT(labels, table)
    if 'masks' in results:
        results['masks'] = results['masks'][:, :, ::-1]
    if 'gt_semantic_seg' in results:
        results['gt_semantic_seg'] = cv2.flip(results['gt_semantic_seg'], 1)
    if 'labels' in results:
        note_move(results, np.array(((-1.0, 0.0, last + 1), (0.0, 1.0, 0.0))))
    return results


def note_move(results: dict[str, Any], matrix: np.ndarray) -> None:
    """Add a move to `warp_matrix` of a sample with objects, which leads from px of its file to px of its image, by edges.

    Args:
        results: the sample.
        matrix: (2, 3) from px before the move to px after it.
    """
    before = results.get('warp_matrix', np.eye(2, 3))
    after = matrix[:, :2] @ before
    after[:, 2] += matrix[:, 2]
    results['warp_matrix'] = after


@TRANSFORMS.register_module()
class RandomHalfBody:
    """Move the box to the upper or the lower half of the body, so that the network learns cut-off people.

    Source: Wang et al., Mask-pose / HRNet training code; kept by mmpose with these defaults.

    Required keys: rng, keypoints (1, K, 2), keypoints_visible (1, K), lower_body (K,) bool, bbox_center, bbox_scale.
    Modified keys: bbox_center, bbox_scale.

    Args:
        min_total_keypoints: labelled keypoints a person needs to be cut.
        min_upper_keypoints: labelled keypoints the upper half needs.
        min_lower_keypoints: labelled keypoints the lower half needs.
        padding: factor on the extent of the half.
        prob: of a cut.
        upper_prioritized_prob: of taking the upper half where both would do.
    """

    def __init__(
        self,
        *,
        min_total_keypoints: int = 9,
        min_upper_keypoints: int = 2,
        min_lower_keypoints: int = 3,
        padding: float = 1.5,
        prob: float = 0.3,
        upper_prioritized_prob: float = 0.7,
    ) -> None:
        check_probability('RandomHalfBody', 'prob', prob)
        check_probability('RandomHalfBody', 'upper_prioritized_prob', upper_prioritized_prob)
        self.min_total_keypoints = min_total_keypoints
        self.min_upper_keypoints = min_upper_keypoints
        self.min_lower_keypoints = min_lower_keypoints
        self.padding = padding
        self.prob = prob
        self.upper_prioritized_prob = upper_prioritized_prob

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        _check_uncropped('RandomHalfBody', results)
        rng = results['rng']
        chosen, prefers_upper = rng.random(2).tolist()
        if chosen >= self.prob:
            return results
        visible = results['keypoints_visible'][0] > 0
        if visible.sum() < self.min_total_keypoints:
            return results
        lower = visible & results['lower_body']
        upper = visible & ~results['lower_body']
        upper_fits = upper.sum() >= max(self.min_upper_keypoints, 1)
        lower_fits = lower.sum() >= max(self.min_lower_keypoints, 1)
        if not (upper_fits or lower_fits):
            return results
        half = upper if upper_fits and (not lower_fits or prefers_upper < self.upper_prioritized_prob) else lower
        points = results['keypoints'][0][half]
        low, high = points.min(axis=0), points.max(axis=0)
        results['bbox_center'] = (low + high) / 2
        results['bbox_scale'] = np.maximum(high - low, 1.0) * np.float32(self.padding)
        return results


@TRANSFORMS.register_module()
class RandomBBoxTransform:
    """Shift, scale and rotate the box. Amounts are drawn from a normal distribution cut at one sigma.

    Required keys: rng, bbox_center, bbox_scale.
    Modified keys: bbox_center, bbox_scale. Added keys: bbox_rotation (degrees).

    Args:
        shift_factor: greatest shift, as a share of the box's (w, h).
        shift_prob: of a shift.
        scale_factor: (smallest, greatest) factor on the box.
        scale_prob: of a scaling.
        rotate_factor: greatest rotation in degrees.
        rotate_prob: of a rotation.
    """

    def __init__(
        self,
        *,
        shift_factor: float = 0.16,
        shift_prob: float = 0.3,
        scale_factor: tuple[float, float] = (0.5, 1.5),
        scale_prob: float = 1.0,
        rotate_factor: float = 80.0,
        rotate_prob: float = 0.6,
    ) -> None:
        for name, value in (('shift_prob', shift_prob), ('scale_prob', scale_prob), ('rotate_prob', rotate_prob)):
            check_probability('RandomBBoxTransform', name, value)
        if len(scale_factor) != 2 or not 0 < scale_factor[0] <= scale_factor[1]:
            raise ValueError(f'RandomBBoxTransform: `scale_factor` must be 0 < low <= high, got {tuple(scale_factor)}.')
        self.shift_factor = shift_factor
        self.shift_prob = shift_prob
        self.scale_factor = scale_factor
        self.scale_prob = scale_prob
        self.rotate_factor = rotate_factor
        self.rotate_prob = rotate_prob

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        _check_uncropped('RandomBBoxTransform', results)
        rng = results['rng']
        shift, scaling, rotation = rng.random(3).tolist()
        shift_x, shift_y, zoom, turn = truncated_normal(rng, 4).tolist()
        center, scale = results['bbox_center'], results['bbox_scale']
        if shift < self.shift_prob:
            center = center + scale * np.array((shift_x, shift_y), np.float32) * np.float32(self.shift_factor)
        if scaling < self.scale_prob:
            low, high = self.scale_factor
            scale = scale * np.float32((low + high) / 2 + zoom * (high - low) / 2)
        results['bbox_center'], results['bbox_scale'] = center, scale
        results['bbox_rotation'] = turn * self.rotate_factor if rotation < self.rotate_prob else 0.0
        return results


@TRANSFORMS.register_module()
class PhotometricDistortion:
    """Change brightness, contrast, saturation and hue, each with probability 1/2.

    Source: Liu et al., SSD, ECCV 2016, Sec. 2.2 (data augmentation), arXiv:1512.02325.
    Differs: stays uint8 (one look-up table for brightness and contrast, one for saturation and hue); channels are not swapped.

    Required keys: rng, img.
    Modified keys: img.

    Args:
        brightness_delta: greatest change of the grey value, of 255.
        contrast_range: factors on the pixel values.
        saturation_range: factors on the saturation.
        hue_delta: greatest change of the hue in degrees, of 360.
    """

    def __init__(
        self,
        *,
        brightness_delta: float = 32,
        contrast_range: tuple[float, float] = (0.5, 1.5),
        saturation_range: tuple[float, float] = (0.5, 1.5),
        hue_delta: float = 18,
    ) -> None:
        for name, value in (('contrast_range', contrast_range), ('saturation_range', saturation_range)):
            if len(value) != 2 or not 0 < value[0] <= value[1]:
                raise ValueError(f'PhotometricDistortion: `{name}` must be 0 < low <= high, got {tuple(value)}.')
        self.brightness_delta = brightness_delta
        self.contrast_range = contrast_range
        self.saturation_range = saturation_range
        self.hue_delta = hue_delta

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        rng = results['rng']
        do_brightness, do_contrast, do_saturation, do_hue = rng.random(4) < 0.5
        brightness, contrast, saturation, hue = rng.random(4)
        levels = np.arange(256, dtype=np.float32)
        if do_brightness or do_contrast:
            gain = self.contrast_range[0] + contrast * (self.contrast_range[1] - self.contrast_range[0]) if do_contrast else 1.0
            offset = (2 * brightness - 1) * self.brightness_delta if do_brightness else 0.0
            table = np.clip((levels + offset) * gain, 0, 255).astype(np.uint8)
            results['img'] = cv2.LUT(results['img'], table)
        if do_saturation or do_hue:
            low, high = self.saturation_range
            gain = low + saturation * (high - low) if do_saturation else 1.0
            shift = round((2 * hue - 1) * self.hue_delta / 2) if do_hue else 0  # OpenCV's 8-bit hue counts two degrees
            tables = np.stack(((levels + shift) % 180, np.clip(levels * gain, 0, 255), levels), axis=-1).astype(np.uint8)
            hsv = cv2.cvtColor(results['img'], cv2.COLOR_BGR2HSV)
            results['img'] = cv2.cvtColor(cv2.LUT(hsv, tables[None]), cv2.COLOR_HSV2BGR)
        return results
