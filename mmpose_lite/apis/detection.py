"""Using a detector: the objects in images and files, as boxes, masks and pictures."""

# Letters: N objects of one image.
import json
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.model import BaseModel
from pycocotools import mask as mask_api

from mmpose_lite.apis.infer import Image, Pipeline, build_test_pipeline, load_pixels
from mmpose_lite.apis.media import AtomicFile, Frame
from mmpose_lite.datasets.collate import detection_collate
from mmpose_lite.structures import DetDataSample, bbox_xyxy_to_xywh
from mmpose_lite.structures.class_meta import ClassMeta
from mmpose_lite.visualization import draw_objects

DEFAULT_BATCH_SIZE = 4


def is_detector(model: BaseModel) -> bool:
    """Return whether a model finds objects, rather than poses or classes of pixels."""
    return hasattr(model, 'class_meta') and not hasattr(model, 'decode_head')


@torch.inference_mode()
def detect(
    model: BaseModel,
    images: Image | Sequence[Image],
    *,
    score_thr: float = 0.0,
    batch_size: int = DEFAULT_BATCH_SIZE,
    pipeline: Pipeline | None = None,
) -> list[DetDataSample]:
    """Return the objects in each image.

    Images of any sizes share a batch, filled up to the largest. Files are read when their turn comes.

    Args:
        model: from `init_model`, a detector in evaluation mode.
        images: one image, or a list: files, or (H, W, 3) BGR uint8 arrays.
        score_thr: objects below it are left out.
        batch_size: images in a batch.
        pipeline: from `build_test_pipeline`, for many calls; None builds that of the model's config.

    Returns:
        One sample per image, in order; `pred_instances` has NumPy arrays, best first: bboxes (N, 4) xyxy px of the image, scores
        (N,), labels (N,), the places in `model.class_meta.classes`; and of a network with masks `masks`, a list of N COCO RLEs.
        The metainfo has img_path, img_id (the place in the list) and ori_shape (h, w).

    Raises:
        TypeError: the model finds no objects.
        ValueError: an image cannot be decoded, or an array is no image.
        RuntimeError: the model is in training mode.
    """
    if not is_detector(model):
        raise TypeError(f'detect: `model` must be a detector, got {type(model).__name__}; use `inference` for poses.')
    if batch_size < 1:
        raise ValueError(f'detect: `batch_size` must be 1 or more, got {batch_size}.')
    if model.training:
        raise RuntimeError('detect: the model is in training mode; call model.eval() first.')
    pipeline = build_test_pipeline(model.cfg) if pipeline is None else pipeline

    def inputs() -> Iterator[dict[str, Any]]:
        for index, image in enumerate([images] if isinstance(images, str | Path | np.ndarray) else images):
            pixels, path = load_pixels(image, index)
            yield pipeline(dict(img=pixels, img_path=path, img_id=index, rng=np.random.default_rng(0)))

    results: list[DetDataSample] = []
    stream = inputs()
    while batch := list(islice(stream, batch_size)):
        results += model.test_step(detection_collate(batch))
    for result in results:
        if score_thr > 0:
            found = result.pred_instances
            result.pred_instances = found[torch.from_numpy(found.scores >= score_thr)]
    return results


def box_detector(
    model: BaseModel, *, category: str = 'person', score_thr: float = 0.3, batch_size: int = DEFAULT_BATCH_SIZE
) -> Callable[[Sequence[np.ndarray]], list[tuple[np.ndarray, np.ndarray]]]:
    """Return a function from images to the (boxes (N, 4) xyxy, scores (N,)) of each, for `inference(..., detector=...)`.

    Args:
        model: a detector, from `init_model`.
        category: name of the class whose objects are wanted.
        score_thr: boxes below it are left out.
        batch_size: images in a batch.

    Raises:
        TypeError: the model finds no objects.
        ValueError: the model has no such class.
    """
    if not is_detector(model):
        raise TypeError(f'box_detector: `model` must be a detector, got {type(model).__name__}.')
    if category not in model.class_meta.classes:
        raise ValueError(
            f'box_detector: `category` must be one of the classes of the detector, {list(model.class_meta.classes)}, got '
            f'{category!r}.'
        )
    label, pipeline = model.class_meta.classes.index(category), build_test_pipeline(model.cfg)

    def boxes_of(images: Sequence[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
        found = [s.pred_instances for s in detect(model, images, batch_size=batch_size, pipeline=pipeline)]
        kept = [(f.labels == label) & (f.scores >= score_thr) & (f.bboxes[:, 2:] > f.bboxes[:, :2]).all(axis=1) for f in found]
        return [(f.bboxes[rows], f.scores[rows]) for f, rows in zip(found, kept)]

    return boxes_of


class ObjectsFile(AtomicFile):
    """One JSON list in the format of COCO's results, one object per line. It appears when the block ends without an error.

    Each entry: `image_id`, `file_name`, `category_id` (of `ClassMeta.category_ids`), `category` (its name), `bbox` xywh in px,
    `score`, and `segmentation` (RLE) of a network with masks. COCO's own tools leave `file_name` and `category` alone.

    Args:
        path: of the file.
        meta: the classes.
    """

    def __init__(self, path: str | Path, meta: ClassMeta) -> None:
        super().__init__(path)
        self.num_objects = 0
        self._meta = meta
        self._file = self._partial.open('w', encoding='utf-8')
        self._file.write('[')

    def __enter__(self) -> 'ObjectsFile':
        return self

    def add(self, image_id: int, frame: Frame, found: Any) -> None:
        """Append the `pred_instances` of one picture.

        Raises:
            ValueError: a value is not finite (JSON has no word for it).
        """
        bboxes_xywh = bbox_xyxy_to_xywh(found.bboxes).astype(np.float64).round(2).tolist()
        for i, (bbox, score, label) in enumerate(zip(bboxes_xywh, found.scores.tolist(), found.labels.tolist())):
            entry = dict(image_id=image_id, file_name=frame.name, category_id=self._meta.category_ids[label])
            entry |= dict(category=self._meta.classes[label], bbox=bbox, score=round(score, 6))
            if 'masks' in found:
                size, counts = found.masks[i]['size'], found.masks[i]['counts']
                counts = counts.decode('ascii') if isinstance(counts, bytes) else counts
                entry['segmentation'] = dict(size=[int(side) for side in size], counts=counts)
            self._file.write((',\n' if self.num_objects else '\n') + json.dumps(entry, allow_nan=False))
            self.num_objects += 1

    def _close(self) -> None:
        self._file.write('\n]\n')
        self._file.close()


def draw_detections(image: np.ndarray, found: Any, meta: ClassMeta, *, score_thr: float) -> np.ndarray:
    """Return `image` with the `pred_instances` of a detector drawn on it."""
    kept = found.scores >= score_thr
    masks = None
    if 'masks' in found:
        chosen = [rle for rle, keep in zip(found.masks, kept) if keep]
        masks = np.stack([mask_api.decode(rle) for rle in chosen]) if chosen else np.zeros((0, *image.shape[:2]), np.uint8)
    return draw_objects(image, found.bboxes[kept], found.labels[kept], found.scores[kept], meta=meta, masks=masks, score_thr=0.0)
