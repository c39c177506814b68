"""The embedded default data: people that the project draws itself."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mmpose_lite.datasets.coco_detection import CocoDetectionDataset
from mmpose_lite.datasets.coco_keypoints import CocoKeypointDataset
from mmpose_lite.datasets.synthetic import render_together
from mmpose_lite.registry import DATASETS
from mmpose_lite.structures import ClassMeta


@DATASETS.register_module()
class SyntheticPeopleDataset(CocoKeypointDataset):
    """Synthetic people with 17 COCO keypoints; drawn into `data_root` when first asked for, then read like any COCO folder.

    Args:
        split: 'train' or 'val'.
        data_root: folder to draw into, or that holds the same recipe already.
        num_train: images of the training split.
        num_val: images of the validation split.
        image_size: (w, h) of an image in px.
        seed: of the drawing.
        max_people: in one image.
        data_mode: 'topdown': a sample per person; 'bottomup': a sample per image.
        ann_file: the annotation file of the split; None for the usual place.
        indices: use the first so many samples, or the samples with these indices.
        pipeline: transforms, as configs or callables.
        test_mode: the data is for evaluation.

    Raises:
        ValueError: an argument is out of range, or the folder holds something else.
    """

    def __init__(
        self,
        split: str,
        *,
        data_root: str,
        num_train: int,
        num_val: int,
        image_size: tuple[int, int] = (320, 256),
        seed: int = 0,
        max_people: int = 4,
        data_mode: str = 'topdown',
        ann_file: str | None = None,
        indices: int | Sequence[int] | None = None,
        pipeline: Sequence[Mapping[str, Any] | Callable] = (),
        test_mode: bool = False,
    ) -> None:
        recipe = dict(num_train=num_train, num_val=num_val, image_size=tuple(image_size), seed=seed, max_people=max_people)
        render_together(type(self).__name__, split, data_root, **recipe)
        super().__init__(
            ann_file or f'annotations/person_keypoints_{split}.json',
            'coco17',
            data_mode=data_mode,
            data_root=data_root,
            data_prefix=dict(img=f'images/{split}'),
            indices=indices,
            pipeline=pipeline,
            test_mode=test_mode,
        )


@DATASETS.register_module()
class SyntheticPeopleDetection(CocoDetectionDataset):
    """Synthetic people as objects of the class 'person', with masks; drawn into `data_root` when first asked for.

    Args:
        split: 'train' or 'val'.
        meta: the classes; one of them must be 'person'.
        data_root: folder to draw into, or that holds the same recipe already.
        num_train: images of the training split.
        num_val: images of the validation split.
        image_size: (w, h) of an image in px.
        seed: of the drawing.
        max_people: in one image.
        with_masks: load the masks.
        ann_file: the annotation file of the split; None for the usual place.
        indices: use the first so many samples, or the samples with these indices.
        pipeline: transforms, as configs or callables.
        test_mode: the data is for evaluation.

    Raises:
        ValueError: an argument is out of range, or the folder holds something else.
    """

    def __init__(
        self,
        split: str,
        meta: ClassMeta | Mapping[str, Any] | str = 'pedestrian',
        *,
        data_root: str,
        num_train: int,
        num_val: int,
        image_size: tuple[int, int] = (320, 256),
        seed: int = 0,
        max_people: int = 4,
        with_masks: bool = False,
        ann_file: str | None = None,
        indices: int | Sequence[int] | None = None,
        pipeline: Sequence[Mapping[str, Any] | Callable] = (),
        test_mode: bool = False,
    ) -> None:
        recipe = dict(num_train=num_train, num_val=num_val, image_size=tuple(image_size), seed=seed, max_people=max_people)
        render_together(type(self).__name__, split, data_root, **recipe)
        super().__init__(
            ann_file or f'annotations/person_keypoints_{split}.json',
            meta,
            data_root=data_root,
            data_prefix=dict(img=f'images/{split}'),
            with_masks=with_masks,
            indices=indices,
            pipeline=pipeline,
            test_mode=test_mode,
        )
