"""Objects with boxes, and masks where asked for, from COCO's instances files."""

# Letters: N objects of an image, C classes.
import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from mmengine.logging import MMLogger

from mmpose_lite.datasets.base import DrawnDataset
from mmpose_lite.datasets.regions import Region, read_region
from mmpose_lite.registry import DATASETS
from mmpose_lite.structures import ClassMeta, bbox_xywh_to_xyxy
from mmpose_lite.structures.categories import labels_of_categories
from mmpose_lite.structures.coco_file import image_of, images_by_id, is_box, read_coco

DEGENERATE_MODES = ('warn', 'error')


def box_defect(bbox: Any, image: Mapping[str, Any], *, min_size: float) -> str | None:
    """Return what is wrong with a box, or None: no four finite numbers, too small, or outside of its image.

    Args:
        bbox: COCO's [x, y, w, h].
        image: of the box; its `width` and `height` are used where given.
        min_size: px that a side needs.
    """
    if not is_box(bbox):
        return f'its `bbox` must be [x, y, w, h], four finite numbers, got {bbox}'
    x, y, w, h = bbox
    if w < min_size or h < min_size:
        return f'its `bbox` {list(bbox)} is not {min_size:g} px wide and high'
    if x + w <= 0 or y + h <= 0 or x >= image.get('width', math.inf) or y >= image.get('height', math.inf):
        return f'its `bbox` {list(bbox)} lies outside of the image, {image.get("width")} x {image.get("height")} px (w x h)'
    return None


@DATASETS.register_module()
class CocoDetectionDataset(DrawnDataset):
    """One sample per image, with all its objects.

    An item, before the transforms, has img_path, img_id, and width and height where the file has them; of its N objects bboxes
    (N, 4) float32 xyxy px, where x = 0 is the left edge of the image, labels (N,) int64, is_ignored (N,) bool (crowds, and what
    has `ignore`), ann_ids (N,) int64; with masks also regions, a list of N `datasets.regions.Region`; with `data_prefix.seg`
    also seg_map_path; class_meta and rng.

    Args:
        ann_file: COCO instances JSON, relative to `data_root`.
        meta: the classes; a category of the file belongs to the class of its name, and objects of other categories are left out.
        data_root: folder that `ann_file` and `data_prefix` are relative to.
        data_prefix: `img`: folder of the images; `seg`: of PNGs of the same names with a class for every pixel, for HTC.
        with_masks: objects need a `segmentation`; those whose one is empty are ignored.
        filter_empty_gt: leave out images without objects when training; in test mode every image is a sample.
        min_box_size: px that both sides of a box need.
        degenerate: 'warn': boxes that are smaller, outside of their image or no numbers are left out, and a warning names them;
            'error': they are an error.
        indices: use the first so many samples, or the samples with these indices.
        pipeline: transforms, as configs or callables.
        test_mode: the data is for evaluation.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: the categories do not fit the classes, an annotation is faulty, or nothing is left to train on.
    """

    def __init__(
        self,
        ann_file: str,
        meta: ClassMeta | Mapping[str, Any] | str = 'coco80',
        *,
        data_root: str = '',
        data_prefix: Mapping[str, str] | None = None,
        with_masks: bool = False,
        filter_empty_gt: bool = True,
        min_box_size: float = 1.0,
        degenerate: str = 'warn',
        indices: int | Sequence[int] | None = None,
        pipeline: Sequence[Mapping[str, Any] | Callable] = (),
        test_mode: bool = False,
    ) -> None:
        if degenerate not in DEGENERATE_MODES:
            raise ValueError(f'CocoDetectionDataset: `degenerate` must be one of {DEGENERATE_MODES}, got {degenerate!r}.')
        if min_box_size <= 0:
            raise ValueError(f'CocoDetectionDataset: `min_box_size` must be positive, got {min_box_size}.')
        self.with_masks = with_masks
        self.filter_empty_gt = filter_empty_gt
        self.min_box_size = min_box_size
        self.degenerate = degenerate
        self.meta = ClassMeta.load(meta)
        super().__init__(
            ann_file=ann_file,
            data_root=data_root,
            data_prefix=dict(img='images') if data_prefix is None else data_prefix,
            folders=('img', 'seg'),
            constants=dict(class_meta=self.meta),
            indices=indices,
            pipeline=pipeline,
            test_mode=test_mode,
        )

    @property
    def metainfo(self) -> dict[str, Any]:
        return dict(class_meta=self.meta, ann_file=self.ann_file)

    def load_data_list(self) -> list[dict[str, Any]]:
        """Return the samples; see the class for their keys."""
        content = self.read_content()
        images = images_by_id(content, self.ann_file)
        labels = labels_of_categories(content['categories'], self.meta, where=self.ann_file)
        objects: dict[int, list[tuple[dict[str, Any], Region | None]]] = {image_id: [] for image_id in images}
        defects = []
        for ann in content['annotations']:
            if ann.get('category_id') not in labels:
                continue
            image = image_of(ann, images, f'{self.ann_file}: annotation {ann.get("id")}')
            defect = box_defect(ann.get('bbox'), image, min_size=self.min_box_size)
            if defect is None:
                objects[image['id']].append((ann, self._region(ann, image) if self.with_masks else None))
            else:
                defects.append(f'annotation {ann.get("id")} (image {image["id"]}, {image["file_name"]}): {defect}')
        self._tell(defects)
        samples = [
            self._sample(image, objects[image_id], labels)
            for image_id, image in images.items()
            if objects[image_id] or self.test_mode or not self.filter_empty_gt
        ]
        if not samples:
            raise ValueError(
                f'{self.ann_file}: no image with an object of the classes of `meta` ({self.meta.name}) is left ({len(images)} '
                f'images, {len(content["annotations"])} annotations). tools/check_dataset.py says why.'
            )
        return samples

    def read_content(self) -> dict[str, Any]:
        """Return the annotations in COCO's form."""
        return read_coco(self.ann_file)

    def _region(self, ann: Mapping[str, Any], image: Mapping[str, Any]) -> Region:
        try:
            if 'segmentation' not in ann:
                raise ValueError('there is no `segmentation`, which `with_masks` needs.')
            region = read_region(ann, image) if ann['segmentation'] else []
        except ValueError as error:
            raise ValueError(f'{self.ann_file}: annotation {ann.get("id")} (image {image["id"]}): {error}') from error
        return [] if region is None else region

    def _tell(self, defects: Sequence[str]) -> None:
        if not defects:
            return
        some = '; '.join(defects[:3])
        if self.degenerate == 'error':
            raise ValueError(f'{self.ann_file}: {len(defects)} boxes are degenerate: {some}.')
        MMLogger.get_current_instance().warning(
            f'{self.ann_file}: {len(defects)} boxes are degenerate and left out: {some}. tools/check_dataset.py names them all.'
        )

    def _sample(
        self, image: Mapping[str, Any], objects: Sequence[tuple[dict[str, Any], Region | None]], labels: Mapping[int, int]
    ) -> dict[str, Any]:
        annotations = [ann for ann, _ in objects]
        ignored = [bool(a.get('iscrowd') or a.get('ignore') or (self.with_masks and not region)) for a, region in objects]
        sample = dict(
            img_path=os.path.join(self.data_prefix['img'], image['file_name']),
            img_id=image['id'],
            **{key: int(image[key]) for key in ('width', 'height') if key in image},
            bboxes=bbox_xywh_to_xyxy(np.array([ann['bbox'] for ann in annotations], np.float32).reshape(-1, 4)),
            labels=np.array([labels[ann['category_id']] for ann in annotations], np.int64),
            is_ignored=np.array(ignored, bool),
            ann_ids=np.array([ann.get('id', -1) for ann in annotations], np.int64),
        )
        if self.with_masks:
            sample['regions'] = [region for _, region in objects]
        if 'seg' in self.data_prefix:
            sample['seg_map_path'] = os.path.join(self.data_prefix['seg'], f'{os.path.splitext(image["file_name"])[0]}.png')
        return sample
