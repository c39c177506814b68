"""Poses, boxes and heatmaps on pictures. Every function takes BGR uint8 images and returns a new one.

Line widths and dots follow the size of the person, so that a picture of 200 px and one of 6,000 px both read well.
"""

# Letters: N people, K keypoints, H x W heatmap cells.
from collections.abc import Sequence

import cv2
import numpy as np

from mmpose_lite.structures import KeypointMeta

_SHIFT = 4  # cv2 takes coordinates as integers with this many fractional bits: 1/16 px
_BOX_BGR = (200, 60, 170)  # violet: neither a side of the body, nor skin, grass or snow
_EDGE_BGR = (30, 30, 30)
_CAPTION_BGR = (245, 245, 245)
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def draw_poses(
    image: np.ndarray,
    keypoints: np.ndarray,
    scores: np.ndarray | None = None,
    *,
    meta: KeypointMeta,
    score_thr: float = 0.3,
    bboxes: np.ndarray | None = None,
    labels: Sequence[str] | None = None,
    radius: float | None = None,
    thickness: float | None = None,
) -> np.ndarray:
    """Return `image` with limbs, keypoints and boxes drawn on it, anti-aliased and to a sixteenth of a pixel.

    A keypoint is left out where its score is under the threshold or NaN, where it is NaN, or where it lies more than one image
    size outside the image; a limb is drawn where both of its ends are.

    Args:
        image: (H, W, 3) BGR uint8.
        keypoints: (N, K, 2) px of `image`; N may be 0.
        scores: (N, K) scores, or visibilities of the ground truth in {0, 1}; None draws every keypoint.
        meta: limbs and colours of the K keypoints.
        score_thr: keypoints at or above it are drawn.
        bboxes: (M, 4) xyxy boxes to draw, px; M need not be N.
        labels: N short texts, written above the people who are drawn; None for no texts.
        radius: of the dots in px; None takes it from the size of each person.
        thickness: of the limbs in px; None takes it from the size of each person.

    Raises:
        TypeError: the image is not uint8.
        ValueError: the image is not (H, W, 3), or the shapes of keypoints, scores, boxes, labels and meta do not fit.
    """
    canvas = _checked(image, 'draw_poses').copy()
    keypoints = np.asarray(keypoints, dtype=np.float64)
    if keypoints.ndim != 3 or keypoints.shape[1:] != (meta.num_keypoints, 2):
        raise ValueError(
            f'draw_poses: `keypoints` must be (N, {meta.num_keypoints}, 2) for the meta {meta.name!r}, got {keypoints.shape}.'
        )
    if scores is not None and np.shape(scores) != keypoints.shape[:2]:
        raise ValueError(f'draw_poses: `scores` must be {keypoints.shape[:2]}, one per keypoint, got {np.shape(scores)}.')
    if labels is not None and len(labels) != len(keypoints):
        raise ValueError(f'draw_poses: `labels` needs one text per person ({len(keypoints)}), got {len(labels)}.')
    if bboxes is not None:
        _draw_boxes(canvas, np.asarray(bboxes, dtype=np.float64).reshape(-1, 4))

    drawn = _drawable(keypoints, canvas.shape)
    if scores is not None:
        drawn &= np.asarray(scores, dtype=np.float64) >= score_thr
    for points, shown in zip(keypoints, drawn):
        if shown.any():
            dot, line = _stroke(points[shown], canvas.shape)
            _draw_person(canvas, points, shown, meta, radius=radius or dot, thickness=thickness or line)
    for points, shown, label in zip(keypoints, drawn, labels or ()):
        if shown.any():
            _draw_label(canvas, points[shown], label)
    return canvas


def draw_side_by_side(
    images: Sequence[np.ndarray], titles: Sequence[str] | None = None, *, height: int | None = None, gap: int = 6
) -> np.ndarray:
    """Return the images in one row, scaled to equal heights, each under its caption.

    Args:
        images: one or more (H, W, 3) BGR uint8 images of any sizes.
        titles: one caption per image; None for no captions. Shortened where it does not fit.
        height: px of every image in the row; None takes the tallest one's.
        gap: px of white between two images.

    Raises:
        ValueError: no image, or not one title per image.
    """
    if not len(images):
        raise ValueError('draw_side_by_side: `images` must hold at least one image, got none.')
    if titles is not None and len(titles) != len(images):
        raise ValueError(f'draw_side_by_side: `titles` needs one entry per image ({len(images)}), got {len(titles)}.')
    height = height or max(image.shape[0] for image in images)
    row: list[np.ndarray] = []
    for index, image in enumerate(images):
        panel = _to_height(_checked(image, 'draw_side_by_side'), height)
        if titles is not None:
            panel = np.vstack([_caption(titles[index], panel.shape[1], height), panel])
        if row:
            row.append(np.full((panel.shape[0], gap, 3), 255, np.uint8))
        row.append(panel)
    return np.hstack(row)


def draw_left_out(image: np.ndarray, loss_mask: np.ndarray) -> np.ndarray:
    """Return `image` with the cells that a loss leaves out darkened and striped.

    Args:
        image: (H, W, 3) BGR uint8.
        loss_mask: (h, w), 0 where a cell is left out; its cells are spread over the whole image.
    """
    canvas = _checked(image, 'draw_left_out')
    height, width = canvas.shape[:2]
    left_out = cv2.resize((np.asarray(loss_mask) == 0).astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST) > 0
    stripe = max(4, round(max(height, width) / 60))
    y, x = np.ogrid[:height, :width]
    striped = ((x + y) % (2 * stripe) < stripe)[..., None]
    covered = (0.35 * canvas + striped * 0.35 * np.array(_BOX_BGR)).astype(np.uint8)
    return np.where(left_out[..., None], covered, canvas)


def draw_heatmaps(image: np.ndarray, heatmaps: np.ndarray, *, alpha: float = 0.6, cell_centers: bool = False) -> np.ndarray:
    """Return `image` with the maximum over all heatmaps laid over it in colour; where the maps are 0 the image stays as it is.

    Args:
        image: (H, W, 3) BGR uint8, the picture the heatmaps belong to (for a top-down network its input crop).
        heatmaps: (K, h, w), any range; negative values count as 0, and the highest one is the full colour.
        alpha: opacity of the colour at the highest value, in 0..1.
        cell_centers: cell x covers the pixels from x * W / w to (x + 1) * W / w, the rule of the bottom-up codecs; else it
            stands for the pixel x * W / w, the rule of the plain ones.
    """
    canvas = _checked(image, 'draw_heatmaps')
    heatmaps = np.asarray(heatmaps, dtype=np.float32)
    if heatmaps.ndim != 3:
        raise ValueError(f'draw_heatmaps: `heatmaps` must be (K, H, W), got {heatmaps.shape}.')
    height, width = canvas.shape[:2]
    strongest = np.nan_to_num(heatmaps).max(axis=0, initial=0.0)
    zoom_x, zoom_y = width / heatmaps.shape[2], height / heatmaps.shape[1]
    shift = 0.5 if cell_centers else 0.0
    cells_to_px = np.array([[zoom_x, 0, shift * (zoom_x - 1)], [0, zoom_y, shift * (zoom_y - 1)]])
    heat = cv2.warpAffine(strongest / max(strongest.max(), 1e-12), cells_to_px, (width, height), flags=cv2.INTER_LINEAR)
    color = cv2.applyColorMap((255 * heat).astype(np.uint8), cv2.COLORMAP_TURBO)
    weight = alpha * heat[..., None]
    return (canvas * (1 - weight) + color * weight).round().astype(np.uint8)


def _checked(image: np.ndarray, caller: str) -> np.ndarray:
    if image.dtype != np.uint8:
        raise TypeError(f'{caller}: an image must be uint8, got {image.dtype}.')
    if image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ValueError(f'{caller}: an image must be (H, W, 3) BGR and not empty, got {image.shape}.')
    return image


def _drawable(keypoints: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return (N, K) bool: finite and at most one image size outside (cv2 overflows far out)."""
    size = np.array([shape[1], shape[0]], dtype=np.float64)
    with np.errstate(invalid='ignore'):
        return ((keypoints >= -size) & (keypoints <= 2 * size)).all(axis=-1)


def _stroke(points: np.ndarray, shape: tuple[int, ...]) -> tuple[float, float]:
    """Return radius and thickness in px for a person whose drawn keypoints are `points`."""
    inside = points.clip(0, (shape[1], shape[0]))
    extent = float(np.ptp(inside, axis=0).max()) or 0.5 * max(shape[:2])  # a single keypoint has no extent
    return max(1.8, 0.015 * extent), max(1.0, 0.010 * extent)


def _draw_person(
    canvas: np.ndarray, points: np.ndarray, shown: np.ndarray, meta: KeypointMeta, *, radius: float, thickness: float
) -> None:
    for (a, b), rgb in zip(meta.limbs, meta.limb_colors):
        if shown[a] and shown[b]:
            width = min(thickness, 0.3 * float(np.linalg.norm(points[a] - points[b])))  # fingers stay apart
            cv2.line(canvas, _fixed(points[a]), _fixed(points[b]), rgb[::-1], max(1, round(width)), cv2.LINE_AA, _SHIFT)
    radii = np.clip(0.45 * _nearest(points, shown), min(1.5, radius), radius)  # so do the eyes of a small face
    for k in np.flatnonzero(shown):
        center, r = _fixed(points[k]), float(radii[k])
        cv2.circle(canvas, center, _fixed_length(r), meta.colors[k][::-1], cv2.FILLED, cv2.LINE_AA, _SHIFT)
        if r >= 2.5:  # a dark rim tells a joint from a limb of the same colour
            cv2.circle(canvas, center, _fixed_length(r), _EDGE_BGR, max(1, round(r / 5)), cv2.LINE_AA, _SHIFT)


def _draw_label(canvas: np.ndarray, points: np.ndarray, label: str) -> None:
    """Write on a dark plate above the drawn keypoints (k, 2) of a person, inside the image."""
    if not label:
        return
    size = max(canvas.shape[:2])
    scale = float(np.clip(0.15 * np.ptp(points, axis=0).max(), 0.018 * size, 0.03 * size)) / 22  # the letters are 22 px high
    thickness = max(1, round(1.5 * scale))
    (width, height), _ = cv2.getTextSize(label, _FONT, scale, thickness)
    margin = max(2, round(0.3 * height))
    x = np.clip(points[:, 0].mean() - width / 2, margin, max(margin, canvas.shape[1] - width - margin))
    y = np.clip(points[:, 1].min() - height, height + margin, canvas.shape[0] - margin)
    left, bottom = round(float(x)), round(float(y))
    plate = (left - margin, bottom - height - margin), (left + width + margin, bottom + margin)
    cv2.rectangle(canvas, *plate, _EDGE_BGR, cv2.FILLED)
    cv2.putText(canvas, label, (left, bottom), _FONT, scale, (255, 255, 255), thickness, cv2.LINE_AA)


def _nearest(points: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """Return (K,) px to the nearest other keypoint that is shown; inf where there is none."""
    points = np.where(shown[:, None], points, np.inf)
    with np.errstate(invalid='ignore'):
        distances = np.nan_to_num(np.linalg.norm(points[:, None] - points[None], axis=-1), nan=np.inf)
    np.fill_diagonal(distances, np.inf)
    return distances.min(axis=1)


def _draw_boxes(canvas: np.ndarray, bboxes_xyxy: np.ndarray) -> None:
    corners = bboxes_xyxy.reshape(-1, 2, 2)
    width = max(1, round(max(canvas.shape[:2]) / 500))
    for top_left, bottom_right in corners[_drawable(corners, canvas.shape).all(axis=-1)]:
        cv2.rectangle(canvas, _fixed(top_left), _fixed(bottom_right), _BOX_BGR, width, cv2.LINE_AA, _SHIFT)


def _fixed(point: np.ndarray) -> tuple[int, int]:
    return _fixed_length(point[0]), _fixed_length(point[1])


def _fixed_length(value: float) -> int:
    return round(float(value) * (1 << _SHIFT))


def _to_height(image: np.ndarray, height: int) -> np.ndarray:
    if image.shape[0] == height:
        return image
    width = max(1, round(image.shape[1] * height / image.shape[0]))
    shrink = height < image.shape[0]
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrink else cv2.INTER_CUBIC)


def _caption(text: str, width: int, image_height: int) -> np.ndarray:
    """Return a (h, width, 3) bar with `text`, smaller and then cut where it is too long."""
    scale = max(0.4, image_height / 700)
    bar = np.full((round(44 * scale) + 4, width, 3), _CAPTION_BGR, np.uint8)
    thickness = max(1, round(1.5 * scale))
    margin = round(12 * scale)
    room = max(1, width - 2 * margin)
    text_width = cv2.getTextSize(text, _FONT, scale, thickness)[0][0]
    if text_width > room:
        scale = max(0.35, scale * room / text_width)
        while len(text) > 1 and cv2.getTextSize(text, _FONT, scale, thickness)[0][0] > room:
            text = text.removesuffix('..')[:-1] + '..' if len(text) > 3 else text[:-1]
    text_height = cv2.getTextSize(text, _FONT, scale, thickness)[0][1]
    baseline = (bar.shape[0] + text_height) // 2
    cv2.putText(bar, text, (margin, baseline), _FONT, scale, _EDGE_BGR, thickness, cv2.LINE_AA)
    return bar
