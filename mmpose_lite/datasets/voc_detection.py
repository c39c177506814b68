"""PASCAL VOC's objects."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mmpose_lite.datasets.coco_detection import CocoDetectionDataset
from mmpose_lite.registry import DATASETS
from mmpose_lite.structures import ClassMeta
from mmpose_lite.structures.voc_xml import read_voc


@DATASETS.register_module()
class VOCDetectionDataset(CocoDetectionDataset):
    """One sample per image, with its objects, from VOC's XML files; samples are those of CocoDetectionDataset, without masks.

    Objects that VOC calls difficult are ignored. CocoDetectionMetric and VOCMetric read the same list. ConcatDataset joins years.

    Args:
        ann_file: list of images, relative to `data_root`, such as 'ImageSets/Main/trainval.txt'; see `structures.voc_xml`.
        meta: the classes; objects of other names are left out.
        data_root: a year's folder, such as 'data/VOCdevkit/VOC2007'.
        data_prefix: `img`: folder of the images.
        filter_empty_gt: leave out images without objects when training.
        min_box_size: px that both sides of a box need.
        degenerate: 'warn' or 'error', see CocoDetectionDataset.
        indices: use the first so many samples, or the samples with these indices.
        pipeline: transforms, as configs or callables.
        test_mode: the data is for evaluation.

    Raises:
        FileNotFoundError: the list or an XML file is missing.
        ValueError: an XML file is faulty, or nothing is left to train on.
    """

    def __init__(
        self,
        ann_file: str,
        meta: ClassMeta | Mapping[str, Any] | str = 'voc20',
        *,
        data_root: str = '',
        data_prefix: Mapping[str, str] | None = None,
        filter_empty_gt: bool = True,
        min_box_size: float = 1.0,
        degenerate: str = 'warn',
        indices: int | Sequence[int] | None = None,
        pipeline: Sequence[Mapping[str, Any] | Callable] = (),
        test_mode: bool = False,
    ) -> None:
        super().__init__(
            ann_file,
            meta,
            data_root=data_root,
            data_prefix=dict(img='JPEGImages') if data_prefix is None else data_prefix,
            filter_empty_gt=filter_empty_gt,
            min_box_size=min_box_size,
            degenerate=degenerate,
            indices=indices,
            pipeline=pipeline,
            test_mode=test_mode,
        )

    def read_content(self) -> dict[str, Any]:
        """Return the annotations in COCO's form."""
        return read_voc(self.ann_file)
