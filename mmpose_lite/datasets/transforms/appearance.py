"""Random changes of colour and sharpness that leave everything where it is."""

from typing import Any

import cv2
import numpy as np

from mmpose_lite.datasets.transforms.augment import check_probability
from mmpose_lite.registry import TRANSFORMS


def _odd_sizes(owner: str, limits: tuple[int, int]) -> range:
    if len(limits) != 2 or not 3 <= limits[0] <= limits[1] or limits[0] % 2 == 0:
        raise ValueError(
            f'{owner}: `blur_limit` must be (smallest, greatest) px, the smallest odd and at least 3, got {tuple(limits)}.'
        )
    return range(limits[0], limits[1] + 1, 2)


@TRANSFORMS.register_module()
class Blur:
    """Average over a square of a random odd size, as albumentations' transform of this name.

    Required keys: rng, img.
    Modified keys: img.

    Args:
        blur_limit: (smallest, greatest) side of the square in px.
        prob: of a blur.

    Raises:
        ValueError: the smallest side is even or below 3.
    """

    def __init__(self, *, blur_limit: tuple[int, int] = (3, 7), prob: float = 0.5) -> None:
        check_probability('Blur', 'prob', prob)
        self.sizes = _odd_sizes('Blur', blur_limit)
        self.prob = prob

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        if results['rng'].random() < self.prob:
            size = self.sizes[results['rng'].integers(len(self.sizes))]
            results['img'] = cv2.blur(results['img'], (size, size))
        return results


@TRANSFORMS.register_module()
class MedianBlur:
    """Take the median over a square of a random odd size, as albumentations' transform of this name.

    Required keys: rng, img.
    Modified keys: img.

    Args:
        blur_limit: (smallest, greatest) side of the square in px.
        prob: of a blur.

    Raises:
        ValueError: the smallest side is even or below 3.
    """

    def __init__(self, *, blur_limit: tuple[int, int] = (3, 7), prob: float = 0.5) -> None:
        check_probability('MedianBlur', 'prob', prob)
        self.sizes = _odd_sizes('MedianBlur', blur_limit)
        self.prob = prob

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        if results['rng'].random() < self.prob:
            results['img'] = cv2.medianBlur(results['img'], self.sizes[results['rng'].integers(len(self.sizes))])
        return results


@TRANSFORMS.register_module()
class YOLOXHSVRandomAug:
    """Add a number to the hue, to the saturation and to the value of all pixels, each with probability 1/2.

    Source: Ge et al., YOLOX, arXiv:2107.08430, as in its code and in mmdet's transform of this name.

    Required keys: rng, img.
    Modified keys: img.

    Args:
        hue_delta: greatest change of the hue, of 180.
        saturation_delta: greatest change of the saturation, of 255.
        value_delta: greatest change of the value, of 255.
    """

    def __init__(self, *, hue_delta: int = 5, saturation_delta: int = 30, value_delta: int = 30) -> None:
        self.deltas = (hue_delta, saturation_delta, value_delta)

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        rng = results['rng']
        hue, saturation, value = np.trunc(rng.uniform(-1, 1, 3) * self.deltas * rng.integers(0, 2, 3)).astype(np.int64)
        levels = np.arange(256)
        tables = np.stack(((levels + hue) % 180, np.clip(levels + saturation, 0, 255), np.clip(levels + value, 0, 255)), axis=-1)
        hsv = cv2.cvtColor(results['img'], cv2.COLOR_BGR2HSV)
        results['img'] = cv2.cvtColor(cv2.LUT(hsv, tables[None].astype(np.uint8)), cv2.COLOR_HSV2BGR)
        return results
