"""Made-up batches of a detector, packed as the datasets pack them."""

from collections.abc import Sequence

import torch
from torch import Tensor

from mmpose_lite.structures import SampleBatch

Box = Sequence[float]


def det_batch(
    boxes: Sequence[Sequence[Box]],
    *,
    labels: Sequence[Sequence[int]] | None = None,
    ignored: Sequence[Sequence[bool]] | None = None,
    size: tuple[int, int] = (64, 64),
    img_shapes: Sequence[tuple[int, int]] | None = None,
) -> SampleBatch:
    """Return the batch of images with these boxes (xyxy); `size` is (w, h) of the input, `img_shapes` (h, w) of the images."""
    counts = [len(of_image) for of_image in boxes]
    flat = [list(box) for of_image in boxes for box in of_image]
    fields = dict(
        bboxes_input=torch.tensor(flat, dtype=torch.float32).view(-1, 4),
        labels=torch.tensor([x for of_image in labels for x in of_image] if labels else [0] * len(flat), dtype=torch.int64),
        is_ignored=torch.tensor([x for of_image in ignored for x in of_image] if ignored else [False] * len(flat)).bool(),
    )
    shapes = img_shapes or [size[::-1]] * len(boxes)
    metainfo = [
        dict(
            img_id=i,
            img_path=f'{i}.jpg',
            img_shape=shape,
            ori_shape=shape,
            input_size=size,
            warp_matrix=[[1.0, 0, 0], [0, 1.0, 0]],
        )
        for i, shape in enumerate(shapes)
    ]
    return SampleBatch(fields, counts, metainfo)


def iou(a: Box, b: Box) -> float:
    """Intersection over union of two boxes, by the definition."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    both = max(width, 0) * max(height, 0)
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def slow_nms(boxes: Tensor, scores: Tensor, threshold: float) -> list[int]:
    """Return the indices that hard suppression keeps, best first."""
    kept: list[int] = []
    for i in scores.argsort(descending=True, stable=True).tolist():
        if all(iou(boxes[i].tolist(), boxes[j].tolist()) <= threshold for j in kept):
            kept.append(i)
    return kept


def slow_decode(box: Box, deltas: Sequence[float], stds: Sequence[float] = (1, 1, 1, 1)) -> list[float]:
    """Return the box xyxy that deltas of a prior mean, uncut."""
    w, h = box[2] - box[0], box[3] - box[1]
    dx, dy, dw, dh = (d * s for d, s in zip(deltas, stds))
    x, y = (box[0] + box[2]) / 2 + dx * w, (box[1] + box[3]) / 2 + dy * h
    w, h = w * 2.718281828459045**dw, h * 2.718281828459045**dh
    return [x - w / 2, y - h / 2, x + w / 2, y + h / 2]
