"""Masks of classes laid over pictures, and confusion matrices."""

# Letters: H x W px, C classes.
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from mmpose_lite.structures import ClassMeta
from mmpose_lite.structures.class_meta import IGNORE_INDEX
from mmpose_lite.visualization.plots import new_figure, save_figure

_IGNORED_BGR = (255, 255, 255)
_NAMED = 40  # classes: with more of them, numbers and names cannot be read


def draw_segmentation(image: np.ndarray, labels: np.ndarray, *, meta: ClassMeta, alpha: float = 0.5) -> np.ndarray:
    """Return `image` with the colour of each pixel's class laid over it, and outlines between the classes.

    Class 0 stays as it is where it is called 'background'; pixels without a class become white.

    Args:
        image: (H, W, 3) BGR uint8.
        labels: (H, W) uint8 labels, IGNORE_INDEX where there is no class.
        meta: the classes.
        alpha: opacity of the colours, in 0..1.

    Raises:
        ValueError: the sizes differ, or a label is no class.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.shape[:2] != labels.shape:
        raise ValueError(f'draw_segmentation: `labels` must be (H, W) for an image (H, W, 3), got {labels.shape}, {image.shape}.')
    wrong = set(np.unique(labels).tolist()) - {*range(meta.num_classes), IGNORE_INDEX}
    if wrong:
        raise ValueError(f'draw_segmentation: `labels` must be below {meta.num_classes} or {IGNORE_INDEX}, got {sorted(wrong)}.')
    colors = np.full((256, 3), _IGNORED_BGR, np.uint8)
    colors[: meta.num_classes] = np.array(meta.palette, np.uint8)[:, ::-1]
    drawn = cv2.addWeighted(image, 1 - alpha, colors[labels], alpha, 0)
    if meta.classes[0] == 'background':
        drawn[labels == 0] = image[labels == 0]
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    edges = (cv2.erode(labels, cross) != labels) & (labels != IGNORE_INDEX)
    drawn[edges] = colors[labels[edges]]
    return drawn


def draw_confusion_matrix(matrix: np.ndarray, classes: Sequence[str], path: str | Path, *, title: str = '') -> Path:
    """Write a PNG of a confusion matrix: rows are true classes, and of each the shares that are predicted as which.

    Args:
        matrix: (C, C) counts, see `evaluation.segmentation.confusion_matrix`.
        classes: C names.
        path: of the PNG; its folder is made.
        title: above it.

    Raises:
        ValueError: the matrix is not (C, C).
    """
    C = len(classes)
    if matrix.shape != (C, C):
        raise ValueError(f'draw_confusion_matrix: `matrix` must be {(C, C)} for {C} classes, got {matrix.shape}.')
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    side = min(4 + 0.4 * C, 20)
    figure = new_figure(side + 1, side)
    axes = figure.add_subplot()
    picture = axes.imshow(shares, cmap='Blues', vmin=0, vmax=1)
    figure.colorbar(picture, ax=axes, label='share of the true class')
    axes.set(xlabel='predicted', ylabel='true', title=title)
    if C <= _NAMED:
        axes.set_xticks(range(C), classes, rotation=90)
        axes.set_yticks(range(C), classes)
        for i, j in np.argwhere(shares >= 0.005):
            axes.text(
                j, i, f'{100 * shares[i, j]:.0f}', ha='center', va='center', color='white' if shares[i, j] > 0.5 else 'black'
            )
    return save_figure(figure, path)
