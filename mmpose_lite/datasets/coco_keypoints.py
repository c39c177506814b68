"""COCO-style keypoint files: any categories, any number of keypoints."""

# Letters: N instances, K keypoints.
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset

from mmpose_lite.datasets.sampling import generator_for
from mmpose_lite.registry import DATASETS, TRANSFORMS
from mmpose_lite.structures import KeypointMeta, bbox_xywh_to_xyxy

BOX_KEYS = {'image_id', 'category_id', 'bbox', 'score'}


def read_annotation_file(path: str) -> dict[str, Any]:
    """Return the content of a COCO-style JSON file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no JSON, or lacks images or annotations.
    """
    try:
        content = json.loads(Path(path).read_bytes())
    except FileNotFoundError as error:
        raise FileNotFoundError(f'annotation file {path!r} does not exist; check `data_root` and `ann_file`.') from error
    except ValueError as error:
        raise ValueError(f'annotation file {path!r} is no JSON: {error}.') from error
    if not isinstance(content, dict) or not isinstance(content.get('images'), list) or 'annotations' not in content:
        raise ValueError(f'annotation file {path!r} needs the lists `images`, `annotations` and `categories`, as COCO has them.')
    return content


def read_box_file(path: str) -> list[dict[str, Any]]:
    """Return the detections of a COCO result file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no JSON, or no list of detections.
    """
    try:
        boxes = json.loads(Path(path).read_bytes())
    except FileNotFoundError as error:
        raise FileNotFoundError(f'`bbox_file` {path!r} does not exist.') from error
    except ValueError as error:
        raise ValueError(f'`bbox_file` {path!r} is no JSON: {error}.') from error
    if not isinstance(boxes, list):
        raise ValueError(f'{path}: must be a list of detections as COCO result files are, got a {type(boxes).__name__}.')
    for number, box in enumerate(boxes):
        if not box.keys() >= BOX_KEYS:
            raise ValueError(f'{path}: entry {number} lacks {sorted(BOX_KEYS - box.keys())}; a detection has {sorted(BOX_KEYS)}.')
    return boxes


@DATASETS.register_module()
class CocoKeypointDataset(BaseDataset):
    """One sample per person (top-down).

    An item, before the transforms, has the keys: img_path, img_id, ann_id, category_id; bboxes (1, 4) xyxy px, bbox_scores (1,),
    keypoints (1, K, 2) px, keypoints_visible (1, K) in {0, 1} (COCO's v > 0), areas (1,) px^2, head_sizes (1,) px where the file
    has `head_size` or a `head_bbox`; flip_indices (K,), lower_body (K,) and rng.

    Crowds (`iscrowd`), people without a labelled keypoint and empty boxes are left out, as is usual in training; evaluation
    reads the annotation file itself, so nothing is lost there. An absent bbox is the extent of the labelled keypoints, an absent
    area the box's, an absent num_keypoints is counted.

    Args:
        ann_file: COCO keypoint JSON, relative to `data_root`.
        meta: the keypoints, anything `KeypointMeta.load` takes.
        data_root: folder that `ann_file`, `data_prefix` and `bbox_file` are relative to.
        data_prefix: `img`: folder of the images.
        bbox_file: detector's boxes, a COCO result JSON (image_id, category_id, bbox xywh, score); used instead of the annotated
            boxes, for evaluation only.
        bbox_score_thr: boxes of `bbox_file` below this score are left out.
        category_ids: use these categories only; None for all of the file.
        indices: use the first so many samples, or the samples with these indices.
        pipeline: transforms, as configs or callables.
        test_mode: the data is for evaluation.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: the file does not fit the meta, or nothing is left to train on.
    """

    def __init__(
        self,
        ann_file: str,
        meta: KeypointMeta | Mapping[str, Any] | str = 'coco17',
        *,
        data_root: str = '',
        data_prefix: Mapping[str, str] | None = None,
        bbox_file: str | None = None,
        bbox_score_thr: float = 0.0,
        category_ids: Sequence[int] | None = None,
        indices: int | Sequence[int] | None = None,
        pipeline: Sequence[Mapping[str, Any] | Callable] = (),
        test_mode: bool = False,
    ) -> None:
        self.meta = KeypointMeta.load(meta)
        if bbox_file and not test_mode:
            raise ValueError('CocoKeypointDataset: `bbox_file` holds no keypoints, so it needs `test_mode=True`.')
        self.bbox_file = os.path.join(data_root, bbox_file) if bbox_file else None
        self.bbox_score_thr = bbox_score_thr
        self.category_ids = None if category_ids is None else set(category_ids)
        lower = np.zeros(self.meta.num_keypoints, dtype=bool)
        lower[list(self.meta.lower_body)] = True
        self._constants = dict(flip_indices=self.meta.flip_indices, lower_body=lower)
        super().__init__(
            ann_file=ann_file,
            data_root=data_root,
            data_prefix=dict(img='images') if data_prefix is None else dict(data_prefix),
            indices=indices,
            pipeline=[TRANSFORMS.build(step) if isinstance(step, Mapping) else step for step in pipeline],
            test_mode=test_mode,
        )

    @property
    def metainfo(self) -> dict[str, Any]:
        return dict(keypoint_meta=self.meta, ann_file=self.ann_file)

    def load_data_list(self) -> list[dict[str, Any]]:
        """Return the samples of the file; see the class for their keys."""
        content = read_annotation_file(self.ann_file)
        images = {image['id']: image for image in content['images']}
        samples = self._from_boxes(images) if self.bbox_file else self._from_annotations(content['annotations'], images)
        if not samples:
            raise ValueError(
                f'{self.ann_file}: no person is left to use ({len(images)} images, {len(content["annotations"])} annotations): '
                'all are crowds, unlabelled, without a box, or of other categories. tools/check_dataset.py says which.'
            )
        return samples

    def _from_annotations(self, annotations: list[dict[str, Any]], images: Mapping[int, Any]) -> list[dict[str, Any]]:
        K = self.meta.num_keypoints
        samples = []
        for number, ann in enumerate(annotations):
            if ann.get('iscrowd') or not ann.get('keypoints'):
                continue
            if self.category_ids is not None and ann.get('category_id') not in self.category_ids:
                continue
            where = f'{self.ann_file}: annotation {ann.get("id", f"number {number}")}'
            if ann.get('image_id') not in images:
                raise ValueError(f'{where} belongs to image {ann.get("image_id")}, which the file does not list.')
            flat = np.asarray(ann['keypoints'], dtype=np.float32).reshape(-1)
            if flat.shape != (3 * K,):
                raise ValueError(
                    f'{where} (image {ann["image_id"]}) has {flat.size / 3:g} keypoints, but `meta` ({self.meta.name}) has {K}. '
                    'Choose the meta that describes this file.'
                )
            points = flat.reshape(1, K, 3)
            visible = (points[..., 2] > 0).astype(np.float32)
            if not visible.any():
                continue
            if ann.get('bbox') and len(ann['bbox']) != 4:
                raise ValueError(f'{where} (image {ann["image_id"]}): `bbox` must be [x, y, w, h], got {ann["bbox"]}.')
            bboxes = _box_of(ann, points[0], visible[0] > 0)
            size = bboxes[0, 2:] - bboxes[0, :2]
            if not (size > 0).all():
                continue
            image = images[ann['image_id']]
            sample = dict(
                img_path=os.path.join(self.data_prefix['img'], image['file_name']),
                img_id=image['id'],
                ann_id=ann.get('id', number),
                category_id=ann.get('category_id', 1),
                bboxes=bboxes,
                bbox_scores=np.ones(1, np.float32),
                keypoints=np.ascontiguousarray(points[..., :2]),
                keypoints_visible=visible,
                areas=np.array([ann.get('area') or size.prod()], np.float32),
            )
            head_size = _head_size(ann)
            if head_size is not None:
                sample['head_sizes'] = np.array([head_size], np.float32)
            samples.append(sample)
        if len({'head_sizes' in sample for sample in samples}) > 1:
            for sample in samples:  # a batch has the same fields throughout; metrics leave out a NaN
                sample.setdefault('head_sizes', np.full(1, np.nan, np.float32))
        return samples

    def _from_boxes(self, images: Mapping[int, Any]) -> list[dict[str, Any]]:
        boxes = read_box_file(self.bbox_file)
        unknown = sorted({box['image_id'] for box in boxes} - set(images))
        if unknown:
            raise ValueError(
                f'{self.bbox_file}: {len(unknown)} image ids are not in {self.ann_file}, for example {unknown[:5]}. '
                'Boxes and annotations must be of the same images.'
            )
        samples = []
        for number, box in enumerate(boxes):
            if self.category_ids is not None and box['category_id'] not in self.category_ids:
                continue
            if box['score'] < self.bbox_score_thr or min(box['bbox'][2:]) <= 0:
                continue
            image = images[box['image_id']]
            samples.append(
                dict(
                    img_path=os.path.join(self.data_prefix['img'], image['file_name']),
                    img_id=image['id'],
                    ann_id=number,
                    category_id=box['category_id'],
                    bboxes=bbox_xywh_to_xyxy(np.asarray([box['bbox']], np.float32)),
                    bbox_scores=np.array([box['score']], np.float32),
                    areas=np.array([box['bbox'][2] * box['bbox'][3]], np.float32),
                )
            )
        return samples

    def prepare_data(self, index: int) -> Any:
        """Return sample `index` after the transforms."""
        if index < 0:
            index += len(self)
        results = {**self.get_data_info(int(index)), **self._constants, 'rng': generator_for(index)}
        return self.pipeline(results)


def _box_of(ann: Mapping[str, Any], points: np.ndarray, labelled: np.ndarray) -> np.ndarray:
    """Return the annotated box (1, 4) xyxy, or the extent of the labelled keypoints where there is none."""
    if ann.get('bbox'):
        return bbox_xywh_to_xyxy(np.asarray(ann['bbox'], np.float32).reshape(1, 4))
    xy = points[labelled, :2]
    return np.concatenate((xy.min(axis=0), xy.max(axis=0))).astype(np.float32)[None]


def _head_size(ann: Mapping[str, Any]) -> float | None:
    """Return the head's size in px: as given, or 0.6 of the diagonal of its box (MPII, Andriluka et al., CVPR 2014)."""
    if ann.get('head_size') is not None:
        return float(ann['head_size'])
    if ann.get('head_bbox') is not None:
        _, _, w, h = ann['head_bbox']
        return 0.6 * float(np.hypot(w, h))
    return None
