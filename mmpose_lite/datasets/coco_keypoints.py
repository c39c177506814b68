"""COCO-style keypoint files: any categories, any number of keypoints."""

# Letters: N instances, K keypoints.
import os
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from mmpose_lite.datasets.base import DrawnDataset
from mmpose_lite.datasets.regions import Region, read_region
from mmpose_lite.registry import DATASETS
from mmpose_lite.structures import KeypointMeta, bbox_xywh_to_xyxy
from mmpose_lite.structures.coco_file import image_of, images_by_id, is_box, read_coco, read_results

BOX_KEYS = {'image_id', 'category_id', 'bbox', 'score'}
DATA_MODES = ('topdown', 'bottomup')


def read_box_file(path: str) -> list[dict[str, Any]]:
    """Return the detections of a COCO result file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no JSON, or no list of detections; names file and entry.
    """
    boxes = read_results(path)
    for number, box in enumerate(boxes):
        if not box.keys() >= BOX_KEYS or not is_box(box['bbox']) or not isinstance(box['score'], int | float):
            raise ValueError(
                f'{path}: detections[{number}]: it must have {sorted(BOX_KEYS)}, `bbox` [x, y, w, h] and `score` numbers, got '
                f'{box!r}.'
            )
    return boxes


@DATASETS.register_module()
class CocoKeypointDataset(DrawnDataset):
    """One sample per person (top-down) or per image (bottom-up).

    An item of `data_mode='topdown'`, before the transforms, has the keys: img_path, img_id, ann_id, category_id; bboxes (1, 4)
    xyxy px, bbox_scores (1,), keypoints (1, K, 2) px, keypoints_visible (1, K) in {0, 1} (COCO's v > 0), areas (1,) px^2,
    head_sizes (1,) px where the file has `head_size` or a `head_bbox`; flip_indices (K,), lower_body (K,) and rng. Crowds
    (`iscrowd`), people without a labelled keypoint and empty boxes are left out, as is usual in training; evaluation reads the
    annotation file itself, so nothing is lost there.

    An item of `data_mode='bottomup'` has img_path, img_id; of the N people with a labelled keypoint bboxes (N, 4), bbox_scores
    (N,), keypoints (N, K, 2), keypoints_visible (N, K), areas (N,), category_ids (N,); category_id if all annotations in use have
    the same; flip_indices, lower_body and rng as above; and ignore_regions, a list of `datasets.regions.Region` in px of the
    image: the segmentations (or else boxes) of crowds and of people without a labelled keypoint, where a network must not learn
    that nobody is there. In test mode every image is an item and N may be 0; for training, images without labelled people are
    left out.

    An absent bbox is the extent of the labelled keypoints, an absent area the box's, an absent num_keypoints is counted.

    Args:
        ann_file: COCO keypoint JSON, relative to `data_root`.
        meta: the keypoints, anything `KeypointMeta.load` takes.
        data_mode: 'topdown' or 'bottomup'.
        data_root: folder that `ann_file`, `data_prefix` and `bbox_file` are relative to.
        data_prefix: `img`: folder of the images.
        bbox_file: detector's boxes, a COCO result JSON (image_id, category_id, bbox xywh, score); used instead of the annotated
            boxes, for evaluation only.
        bbox_score_thr: boxes of `bbox_file` below this score are left out.
        category_ids: use these categories only; None for all of the file.
        use_occluded: False treats keypoints that are labelled but hidden (v = 1) as not labelled; CocoMetric, which reads the
            file itself, counts them all the same.
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
        data_mode: str = 'topdown',
        data_root: str = '',
        data_prefix: Mapping[str, str] | None = None,
        bbox_file: str | None = None,
        bbox_score_thr: float = 0.0,
        category_ids: Sequence[int] | None = None,
        use_occluded: bool = True,
        indices: int | Sequence[int] | None = None,
        pipeline: Sequence[Mapping[str, Any] | Callable] = (),
        test_mode: bool = False,
    ) -> None:
        self.meta = KeypointMeta.load(meta)
        if data_mode not in DATA_MODES:
            raise ValueError(f'CocoKeypointDataset: `data_mode` must be one of {DATA_MODES}, got {data_mode!r}.')
        if bbox_file and not test_mode:
            raise ValueError('CocoKeypointDataset: `bbox_file` holds no keypoints, so it needs `test_mode=True`.')
        if bbox_file and data_mode == 'bottomup':
            raise ValueError("CocoKeypointDataset: `bbox_file` is for data_mode='topdown'; bottom-up networks need no boxes.")
        self.data_mode = data_mode
        self.bbox_file = os.path.join(data_root, bbox_file) if bbox_file else None
        self.bbox_score_thr = bbox_score_thr
        self.category_ids = None if category_ids is None else set(category_ids)
        self.use_occluded = use_occluded
        lower = np.zeros(self.meta.num_keypoints, dtype=bool)
        lower[list(self.meta.lower_body)] = True
        super().__init__(
            ann_file=ann_file,
            data_root=data_root,
            data_prefix=dict(img='images') if data_prefix is None else data_prefix,
            folders=('img',),
            constants=dict(flip_indices=self.meta.flip_indices, lower_body=lower),
            indices=indices,
            pipeline=pipeline,
            test_mode=test_mode,
        )

    @property
    def metainfo(self) -> dict[str, Any]:
        return dict(keypoint_meta=self.meta, ann_file=self.ann_file, category_ids=self.category_ids)

    def load_data_list(self) -> list[dict[str, Any]]:
        """Return the samples of the file; see the class for their keys."""
        content = read_coco(self.ann_file)
        images = images_by_id(content, self.ann_file)
        if self.bbox_file:
            samples = self._from_boxes(images)
        elif self.data_mode == 'bottomup':
            samples = self._from_images(content['annotations'], images)
        else:
            samples = self._from_annotations(content['annotations'], images)
        if not samples:
            raise ValueError(
                f'{self.ann_file}: no person is left to use ({len(images)} images, {len(content["annotations"])} annotations): '
                'all are crowds, unlabelled, without a box, or of other categories. tools/check_dataset.py says which.'
            )
        return samples

    def _used(
        self, annotations: list[dict[str, Any]], images: Mapping[int, Any]
    ) -> Iterator[tuple[int, dict[str, Any], np.ndarray | None]]:
        """Yield (number, annotation, its (K, 3) keypoints) of the categories in use; None for the keypoints of a crowd, or where
        none is labelled."""
        K = self.meta.num_keypoints
        for number, ann in enumerate(annotations):
            if self.category_ids is not None and ann.get('category_id') not in self.category_ids:
                continue
            where = f'{self.ann_file}: annotation {ann.get("id", f"number {number}")}'
            image_of(ann, images, where)
            if ann.get('bbox') and not is_box(ann['bbox']):
                raise ValueError(
                    f'{where} (image {ann["image_id"]}): `bbox` must be [x, y, w, h], four finite numbers, got {ann["bbox"]}.'
                )
            if ann.get('iscrowd') or not ann.get('keypoints'):
                yield number, ann, None
                continue
            try:
                flat = np.asarray(ann['keypoints'], dtype=np.float32).reshape(-1)
            except (TypeError, ValueError):  # a text, or lists of several lengths
                flat = np.full(3 * K, np.nan, np.float32)
            if flat.shape != (3 * K,):
                raise ValueError(
                    f'{where} (image {ann["image_id"]}) has {flat.size / 3:g} keypoints, but `meta` ({self.meta.name}) has {K}. '
                    'Choose the meta that describes this file, or with `category_ids` the categories that it describes.'
                )
            points = flat.reshape(K, 3)
            finite = np.isfinite(points).all(axis=1)
            if not finite.all():
                if (points[~finite, 2] != 0).any():
                    raise ValueError(
                        f'{where} (image {ann["image_id"]}): `keypoints` must be numbers x, y, visibility, ..., '
                        f'got {textwrap.shorten(repr(ann["keypoints"]), 100, placeholder=" ...")}.'
                    )
                points[~finite] = 0  # null where nothing is labelled: as COCO writes it
            if not self.use_occluded:
                points[points[:, 2] == 1, 2] = 0
            yield number, ann, points if (points[:, 2] > 0).any() else None

    def _from_annotations(self, annotations: list[dict[str, Any]], images: Mapping[int, Any]) -> list[dict[str, Any]]:
        samples = []
        for number, ann, points in self._used(annotations, images):
            person = None if points is None else _person(ann, points)
            if person is None or not (person['bboxes'][0, 2:] > person['bboxes'][0, :2]).all():
                continue
            image = images[ann['image_id']]
            sample = dict(
                img_path=os.path.join(self.data_prefix['img'], image['file_name']),
                img_id=image['id'],
                ann_id=ann.get('id', number),
                category_id=ann.get('category_id', 1),
                **person,
            )
            head_size = _head_size(ann)
            if head_size is not None:
                sample['head_sizes'] = np.array([head_size], np.float32)
            samples.append(sample)
        if len({'head_sizes' in sample for sample in samples}) > 1:
            for sample in samples:  # a batch has the same fields throughout; metrics leave out a NaN
                sample.setdefault('head_sizes', np.full(1, np.nan, np.float32))
        return samples

    def _from_images(self, annotations: list[dict[str, Any]], images: Mapping[int, Any]) -> list[dict[str, Any]]:
        people: dict[int, list[dict[str, np.ndarray]]] = {image_id: [] for image_id in images}
        regions: dict[int, list[Region]] = {image_id: [] for image_id in images}
        categories = set()
        for number, ann, points in self._used(annotations, images):
            image_id, category_id = ann['image_id'], ann.get('category_id', 1)
            categories.add(category_id)
            if points is not None:
                people[image_id].append({**_person(ann, points), 'category_ids': np.array([category_id])})
                continue
            try:
                region = read_region(ann, images[image_id])
            except ValueError as error:
                where = f'{self.ann_file}: annotation {ann.get("id", f"number {number}")} (image {image_id})'
                raise ValueError(f'{where}: {error}') from error
            regions[image_id] += [] if region is None else [region]
        nobody = {name: array[:0] for name, array in _person({}, np.ones((self.meta.num_keypoints, 3), np.float32)).items()}
        nobody['category_ids'] = np.zeros(0, np.int64)
        constant = dict(category_id=categories.pop()) if len(categories) == 1 else {}
        return [
            dict(
                img_path=os.path.join(self.data_prefix['img'], image['file_name']),
                img_id=image_id,
                **constant,
                **{name: np.concatenate([empty, *(p[name] for p in people[image_id])]) for name, empty in nobody.items()},
                ignore_regions=regions[image_id],
            )
            for image_id, image in images.items()
            if people[image_id] or self.test_mode
        ]

    def _from_boxes(self, images: Mapping[int, Any]) -> list[dict[str, Any]]:
        boxes = read_box_file(self.bbox_file)
        unknown = sorted({box['image_id'] for box in boxes} - set(images), key=str)
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


def _person(ann: Mapping[str, Any], points: np.ndarray) -> dict[str, np.ndarray]:
    """Return the arrays of one person, N = 1, from COCO's annotation and its (K, 3) keypoints, one of them labelled."""
    labelled = points[:, 2] > 0
    if ann.get('bbox'):
        bboxes = bbox_xywh_to_xyxy(np.asarray(ann['bbox'], np.float32).reshape(1, 4))
    else:
        xy = points[labelled, :2]
        bboxes = np.concatenate((xy.min(axis=0), xy.max(axis=0)))[None]
    return dict(
        bboxes=bboxes,
        bbox_scores=np.ones(1, np.float32),
        keypoints=np.ascontiguousarray(points[None, :, :2]),
        keypoints_visible=labelled[None].astype(np.float32),
        areas=np.array([ann.get('area') or (bboxes[0, 2:] - bboxes[0, :2]).prod()], np.float32),
    )


def _head_size(ann: Mapping[str, Any]) -> float | None:
    """Return the head's size in px: as given, or 0.6 of the diagonal of its box (MPII, Andriluka et al., CVPR 2014)."""
    if ann.get('head_size') is not None:
        return float(ann['head_size'])
    if ann.get('head_bbox') is not None:
        _, _, w, h = ann['head_bbox']
        return 0.6 * float(np.hypot(w, h))
    return None
