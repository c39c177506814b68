"""From a whole image to the network's input; all its people, boxes and ignored regions move with it."""

# Letters: N people, K keypoints; sizes (w, h).
import math
from typing import Any

import cv2
import numpy as np

from mmpose_lite.datasets.regions import covered_cells
from mmpose_lite.datasets.transforms.augment import check_probability, truncated_normal
from mmpose_lite.errors import ConfigError
from mmpose_lite.ops.warp import affine_matrix, apply_affine, warp_affine
from mmpose_lite.registry import TRANSFORMS
from mmpose_lite.structures.sizes import checked_size

SCALE_TYPES = ('short', 'long')
RESIZE_MODES = ('fit', 'expand')


def _check_unplaced(owner: str, results: dict[str, Any]) -> None:
    if 'input_size' in results:
        raise ConfigError(f'{owner}: the image has its place in the input already; one affine step in a pipeline is enough.')


def _place(results: dict[str, Any], matrix: np.ndarray, input_size: tuple[int, int]) -> dict[str, Any]:
    """Note how the image in `results`, which may be mirrored, came into the input; move people and boxes along.

    Args:
        matrix: (2, 3) from px of the image in `results` before it was warped.
        input_size: (w, h).
    """
    if 'keypoints' in results:
        results['keypoints_input'] = apply_affine(results['keypoints'], matrix)
    if 'bboxes' in results:
        corners = apply_affine(results['bboxes'][:, ((0, 1), (2, 1), (2, 3), (0, 3))], matrix)
        results['bboxes_input'] = np.concatenate((corners.min(axis=1), corners.max(axis=1)), axis=1)
    if results.get('flip'):
        last = results['ori_shape'][1] - 1
        matrix = np.stack((-matrix[:, 0], matrix[:, 1], matrix[:, 2] + matrix[:, 0] * last), axis=1)
    results['warp_matrix'] = matrix
    results['input_size'] = input_size
    return results


@TRANSFORMS.register_module()
class BottomupRandomAffine:
    """Shift, scale and rotate the image at random into the network's input. Pixels outside the image are black.

    The input shows the largest part of the image's middle that has its shape (`scale_type='short'`) or the whole image ('long'),
    then moved. Amounts are drawn from a normal distribution cut at one sigma. People may come to lie outside the input; their
    keypoints keep their labels, and a codec draws what falls into its maps.

    Required keys: rng, img, ori_shape, and optionally flip, keypoints (N, K, 2), bboxes (N, 4).
    Modified keys: img (H, W, 3) uint8.
    Added keys: input_size (w, h); warp_matrix (2, 3), from px of the image as it is in its file, not mirrored, to input px; and
    where there are people keypoints_input (N, K, 2) and bboxes_input (N, 4) xyxy (the extent of the moved corners), input px.

    Args:
        input_size: (w, h) of the input in px.
        shift_factor: greatest shift, as a share of the image's (w, h).
        shift_prob: of a shift.
        scale_factor: (smallest, greatest) factor on the part of the image that is shown; above 1 people become smaller.
        scale_prob: of a scaling.
        scale_type: 'short' or 'long': the side of the image that fills the input before scaling.
        rotate_factor: greatest rotation in degrees.
        rotate_prob: of a rotation.
    """

    def __init__(
        self,
        input_size: tuple[int, int],
        *,
        shift_factor: float = 0.2,
        shift_prob: float = 1.0,
        scale_factor: tuple[float, float] = (0.75, 1.5),
        scale_prob: float = 1.0,
        scale_type: str = 'short',
        rotate_factor: float = 30.0,
        rotate_prob: float = 1.0,
    ) -> None:
        self.input_size = checked_size('BottomupRandomAffine', 'input_size', input_size)
        for name, value in (('shift_prob', shift_prob), ('scale_prob', scale_prob), ('rotate_prob', rotate_prob)):
            check_probability('BottomupRandomAffine', name, value)
        if len(scale_factor) != 2 or not 0 < scale_factor[0] <= scale_factor[1]:
            raise ValueError(f'BottomupRandomAffine: `scale_factor` must be 0 < low <= high, got {tuple(scale_factor)}.')
        if scale_type not in SCALE_TYPES:
            raise ValueError(f'BottomupRandomAffine: `scale_type` must be one of {SCALE_TYPES}, got {scale_type!r}.')
        self.shift_factor = shift_factor
        self.shift_prob = shift_prob
        self.scale_factor = scale_factor
        self.scale_prob = scale_prob
        self.scale_type = scale_type
        self.rotate_factor = rotate_factor
        self.rotate_prob = rotate_prob

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        _check_unplaced('BottomupRandomAffine', results)
        shift, scaling, rotation = results['rng'].random(3).tolist()
        shift_x, shift_y, zoom, turn = truncated_normal(results['rng'], 4).tolist()
        h, w = results['img'].shape[:2]
        W, H = self.input_size
        center = np.array((w / 2, h / 2))
        if shift < self.shift_prob:
            center += np.array((shift_x * w, shift_y * h)) * self.shift_factor
        choose = min if self.scale_type == 'short' else max
        factor = choose(w / W, h / H)  # image px per input px
        if scaling < self.scale_prob:
            low, high = self.scale_factor
            factor *= (low + high) / 2 + zoom * (high - low) / 2
        angle = turn * self.rotate_factor if rotation < self.rotate_prob else 0.0
        matrix = affine_matrix(center, np.array((W, H)) * factor, angle, self.input_size)
        results['img'] = warp_affine(results['img'], matrix, self.input_size)
        return _place(results, matrix, self.input_size)


@TRANSFORMS.register_module()
class BottomupResize:
    """Resize the whole image with its aspect ratio kept, and fill up with black at the right and below.

    Required keys: img, ori_shape, and optionally flip, keypoints (N, K, 2), bboxes (N, 4).
    Modified keys: img (H, W, 3) uint8.
    Added keys: as BottomupRandomAffine.

    Args:
        input_size: (w, h) in px.
        resize_mode: 'fit': the image fits into `input_size`, which is the size of every input; 'expand': the image covers
            `input_size`, and the input grows with its longer side, so that images of several shapes need a batch size of 1.
        size_factor: 'expand' makes width and height multiples of it; give the stride of the network or a multiple of it.
    """

    def __init__(self, input_size: tuple[int, int], *, resize_mode: str = 'fit', size_factor: int = 32) -> None:
        self.input_size = checked_size('BottomupResize', 'input_size', input_size)
        if resize_mode not in RESIZE_MODES:
            raise ValueError(f'BottomupResize: `resize_mode` must be one of {RESIZE_MODES}, got {resize_mode!r}.')
        if size_factor < 1:
            raise ValueError(f'BottomupResize: `size_factor` must be 1 or more, got {size_factor}.')
        self.resize_mode = resize_mode
        self.size_factor = size_factor

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        _check_unplaced('BottomupResize', results)
        h, w = results['img'].shape[:2]
        W, H = self.input_size
        zoom = min(W / w, H / h) if self.resize_mode == 'fit' else max(W / w, H / h)
        size = (max(1, round(w * zoom)), max(1, round(h * zoom)))
        if self.resize_mode == 'expand':
            W, H = (math.ceil(side / self.size_factor) * self.size_factor for side in size)
        resized = cv2.resize(results['img'], size, interpolation=cv2.INTER_AREA if zoom < 1 else cv2.INTER_LINEAR)
        results['img'] = cv2.copyMakeBorder(resized, 0, H - size[1], 0, W - size[0], cv2.BORDER_CONSTANT, value=(0, 0, 0))
        zoom_x, zoom_y = size[0] / w, size[1] / h  # pixel edges stay edges, so centres move by half a px
        matrix = np.array(((zoom_x, 0.0, (zoom_x - 1) / 2), (0.0, zoom_y, (zoom_y - 1) / 2)))
        return _place(results, matrix, (W, H))


@TRANSFORMS.register_module()
class GenerateLossMask:
    """Mark the cells of the network's maps that count in the loss: not those of crowds and of people without labels.

    A cell is left out where at least half of it lies in an ignored region. Beyond the border of the image all cells count.
    Source: Cao et al., CVPR 2017, Sec. 2.2, W(p), arXiv:1611.08050.

    Required keys: ori_shape (h, w), input_size (w, h), warp_matrix (2, 3), and optionally ignore_regions.
    Added keys: loss_mask (h, w) uint8, 1 counts and 0 is left out.

    Args:
        mask_size: (w, h) of the maps.
    """

    def __init__(self, mask_size: tuple[int, int]) -> None:
        self.mask_size = checked_size('GenerateLossMask', 'mask_size', mask_size)

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        if 'warp_matrix' not in results:
            raise ConfigError('GenerateLossMask: it must come after BottomupRandomAffine or BottomupResize in the pipeline.')
        try:
            covered = covered_cells(
                results.get('ignore_regions', ()),
                results['warp_matrix'],
                image_shape=results['ori_shape'],
                input_size=results['input_size'],
                mask_size=self.mask_size,
            )
        except ValueError as error:
            raise ValueError(f'{results.get("img_path")}: {error}') from error
        results['loss_mask'] = 1 - covered.astype(np.uint8)
        return results
