"""Boxes and masks of objects on pictures, what a detector got right and wrong, and curves of precision over recall."""

# Letters: N objects, H x W px, C classes, R recalls.
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from mmpose_lite.structures import ClassMeta
from mmpose_lite.structures.class_tables import hue_color
from mmpose_lite.visualization.plots import new_figure, save_figure

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_DARK_BGR = (30, 30, 30)
_IGNORED_BGR = (170, 170, 170)
_CURVES = 10  # classes: as many as matplotlib has colours
# Colours that are told apart with every kind of sight: bluish green, vermilion, sky blue.
OUTCOME_BGR = dict(found=(115, 158, 0), wrong=(0, 94, 213), missed=(233, 180, 86), ignored=_IGNORED_BGR)


def class_colors(meta: ClassMeta) -> list[tuple[int, int, int]]:
    """Return C BGR colours; a class whose colour is black, which stands for background, gets the next of `hue_color`'s series."""
    C = meta.num_classes
    return [(rgb if any(rgb) else hue_color(C - 1 + k))[::-1] for k, rgb in enumerate(meta.palette)]


def draw_objects(
    image: np.ndarray,
    bboxes: np.ndarray,
    labels: np.ndarray,
    scores: np.ndarray | None = None,
    *,
    meta: ClassMeta,
    masks: np.ndarray | None = None,
    is_ignored: np.ndarray | None = None,
    score_thr: float = 0.3,
    alpha: float = 0.4,
) -> np.ndarray:
    """Return `image` with boxes, masks, class names and scores drawn on it, the best object on top.

    Args:
        image: (H, W, 3) BGR uint8.
        bboxes: (N, 4) xyxy px, by edges.
        labels: (N,) classes.
        scores: (N,); None for what is annotated.
        meta: names and colours of the classes.
        masks: (N, H, W), nonzero where the object is.
        is_ignored: (N,) bool: such objects are drawn grey.
        score_thr: objects under it are left out.
        alpha: opacity of the masks.

    Raises:
        ValueError: boxes, labels, scores and masks are not of the same objects, masks have another size, or a label is no class.
    """
    N = len(bboxes)
    lengths = dict(labels=len(labels)) | {k: len(v) for k, v in dict(scores=scores, masks=masks).items() if v is not None}
    if set(lengths.values()) - {N}:
        raise ValueError(f'draw_objects: needs one entry for each of the {N} boxes, got {lengths}.')
    if masks is not None and N and masks.shape[1:] != image.shape[:2]:
        raise ValueError(f'draw_objects: `masks` must be {image.shape[:2]} (h, w) as the image, got {masks.shape[1:]}.')
    wrong = [int(k) for k in labels if not 0 <= k < meta.num_classes]
    if wrong:
        raise ValueError(f'draw_objects: `labels` must be 0 ... {meta.num_classes - 1}, got {wrong[0]}.')
    kept = np.arange(N) if scores is None else np.flatnonzero(scores >= score_thr)
    order = kept if scores is None else kept[np.argsort(scores[kept], kind='stable')]
    palette = class_colors(meta)
    colors = {i: _IGNORED_BGR if is_ignored is not None and is_ignored[i] else palette[labels[i]] for i in order.tolist()}
    canvas = image.copy()
    if masks is not None:
        for i, color in colors.items():
            _lay_over(canvas, masks[i] > 0, color, alpha)
    for i, color in colors.items():
        text = meta.classes[labels[i]] + ('' if scores is None else f' {scores[i]:.2f}')
        _draw_box(canvas, bboxes[i], color, text)
    return canvas


def draw_outcomes(image: np.ndarray, outcomes: Mapping[str, np.ndarray], texts: Mapping[str, Sequence[str]]) -> np.ndarray:
    """Return `image` with boxes in the colours of `OUTCOME_BGR`: 'found', 'wrong', 'missed' and 'ignored' ones.

    Args:
        image: (H, W, 3) BGR uint8.
        outcomes: name -> (N, 4) xyxy px.
        texts: name -> N short texts.

    Raises:
        ValueError: a name is unknown.
    """
    unknown = sorted(set(outcomes) - set(OUTCOME_BGR))
    if unknown:
        raise ValueError(f'draw_outcomes: `outcomes` takes {tuple(OUTCOME_BGR)}, got {unknown}.')
    canvas = image.copy()
    for name in ('ignored', 'found', 'missed', 'wrong'):  # mistakes lie on top
        for bbox, text in zip(outcomes.get(name, ()), texts.get(name, ())):
            _draw_box(canvas, bbox, OUTCOME_BGR[name], text)
    return canvas


def draw_precision_recall(precision: np.ndarray, classes: Sequence[str], path: str | Path, *, title: str = '') -> Path:
    """Write a PNG of precision over recall: the mean of the classes at several IoU thresholds, and each class at 0.5.

    Args:
        precision: (10, R, C) at the IoU thresholds 0.5, 0.55 ... 0.95 and R recalls from 0 to 1, NaN for a class without objects.
        classes: C names.
        path: of the PNG; its folder is made.
        title: above it.

    Raises:
        ValueError: the shape does not fit the classes.
    """
    if precision.ndim != 3 or precision.shape[0] != 10 or precision.shape[2] != len(classes):
        raise ValueError(
            f'draw_precision_recall: `precision` must be (10, R, {len(classes)}) for so many classes, got {precision.shape}.'
        )
    there = [k for k in range(len(classes)) if np.isfinite(precision[:, :, k]).all()]
    recall = np.linspace(0, 1, precision.shape[1])
    figure = new_figure(11, 4.6)
    by_iou, by_class = figure.subplots(1, 2, sharey=True)
    for number in (0, 2, 4, 5, 6, 8):
        curve = precision[number][:, there].mean(axis=1)
        by_iou.plot(recall, curve, label=f'IoU {0.5 + 0.05 * number:.2f}: AP {curve.mean():.3f}', color=f'C{number}')
    worst_first = sorted(there, key=lambda k: precision[0, :, k].mean())
    for k in worst_first[:_CURVES]:
        by_class.plot(recall, precision[0, :, k], label=f'{classes[k]}: AP50 {precision[0, :, k].mean():.3f}')
    more = f', the {_CURVES} lowest of {len(there)}' if len(there) > _CURVES else ''
    for axes, heading in ((by_iou, 'mean of the classes'), (by_class, f'each class at IoU 0.50{more}')):
        axes.set(xlabel='recall', xlim=(0, 1), ylim=(0, 1.02), title=heading)
        axes.grid(alpha=0.3)
        axes.legend(loc='best', fontsize='small')
    by_iou.set_ylabel('precision')
    figure.suptitle(title)
    return save_figure(figure, path)


def _lay_over(canvas: np.ndarray, mask: np.ndarray, color: tuple[int, int, int], alpha: float) -> None:
    """Colour the pixels of a mask in place, and draw its outline."""
    canvas[mask] = (canvas[mask] * (1 - alpha) + np.array(color) * alpha).astype(np.uint8)
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(canvas, outlines, -1, color, max(1, round(max(canvas.shape[:2]) / 700)))


def _draw_box(canvas: np.ndarray, bbox: np.ndarray, color: tuple[int, int, int], text: str) -> None:
    """Draw the edges of a box, and its text on a plate of its colour, inside the image."""
    size = max(canvas.shape[:2])
    width = max(1, round(size / 400))
    bounds = np.array((canvas.shape[1], canvas.shape[0]) * 2, np.float64)
    inside = np.clip(np.asarray(bbox, np.float64), -bounds, 2 * bounds)  # cv2 overflows far out
    inside[2:] = np.maximum(inside[2:] - 1, inside[:2])  # from edges to the first and the last pixels inside
    x1, y1, x2, y2 = (round(v) for v in inside.tolist())
    cv2.rectangle(canvas, (x1, y1), (x2, y2), color, width)
    if not text:
        return
    scale = max(0.35, size / 1400)
    thickness = max(1, round(1.5 * scale))
    (w, h), _ = cv2.getTextSize(text, _FONT, scale, thickness)
    margin = max(2, round(0.3 * h))
    left = round(min(max(inside[0], 0), max(canvas.shape[1] - w - 2 * margin, 0)))
    bottom = round(min(max(inside[1], h + 2 * margin), canvas.shape[0]))
    cv2.rectangle(canvas, (left, bottom - h - 2 * margin), (left + w + 2 * margin, bottom), color, cv2.FILLED)
    light = np.dot(color, (0.114, 0.587, 0.299)) > 140
    cv2.putText(
        canvas,
        text,
        (left + margin, bottom - margin),
        _FONT,
        scale,
        _DARK_BGR if light else (255, 255, 255),
        thickness,
        cv2.LINE_AA,
    )
