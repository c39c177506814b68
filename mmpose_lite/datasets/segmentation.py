"""Images with a class for every pixel: folders of masks, PASCAL VOC's layout, COCO's instances, synthetic people."""

# Letters: C classes.
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmpose_lite.datasets.base import DrawnDataset
from mmpose_lite.datasets.regions import Region, read_region, region_area
from mmpose_lite.datasets.seg_maps import label_table
from mmpose_lite.datasets.synthetic import render_together
from mmpose_lite.registry import DATASETS
from mmpose_lite.structures import ClassMeta
from mmpose_lite.structures.categories import labels_of_categories
from mmpose_lite.structures.class_meta import IGNORE_INDEX
from mmpose_lite.structures.coco_file import IMAGE_SUFFIXES, image_of, images_by_id, read_coco


class SegmentationBase(DrawnDataset):
    """What the data sets of this file share; a subclass writes `load_data_list`.

    Args:
        meta: the classes, anything `ClassMeta.load` takes.
        ann_file: relative to `data_root`; '' for none.
        data_root: folder that `ann_file` and `data_prefix` are relative to.
        data_prefix: name -> folder.
        label_map: see `label_table`.
        indices: use the first so many samples, or the samples with these indices.
        pipeline: transforms, as configs or callables.
        test_mode: the data is for evaluation.
    """

    def __init__(
        self,
        meta: ClassMeta | Mapping[str, Any] | str,
        *,
        ann_file: str,
        data_root: str,
        data_prefix: Mapping[str, str],
        label_map: Mapping[int, int] | None,
        indices: int | Sequence[int] | None,
        pipeline: Sequence[Mapping[str, Any] | Callable],
        test_mode: bool,
    ) -> None:
        self.meta = ClassMeta.load(meta)
        try:
            self.label_table = label_table(self.meta, label_map)
        except ValueError as error:
            raise ValueError(f'{type(self).__name__}: {error}') from error
        super().__init__(
            ann_file=ann_file,
            data_root=data_root,
            data_prefix=data_prefix,
            folders=('img', 'seg_map'),
            constants=dict(class_meta=self.meta, label_table=self.label_table),
            indices=indices,
            pipeline=pipeline,
            test_mode=test_mode,
        )

    @property
    def metainfo(self) -> dict[str, Any]:
        return dict(class_meta=self.meta)


@DATASETS.register_module()
class SegmentationDataset(SegmentationBase):
    """A folder of images and a folder of masks of the same names; with a list of names, the layout of PASCAL VOC.

    A mask is an image whose value is the class of the pixel, 255 for none: grey, or a palette PNG, whose indices are read; or an
    image in the colours of `meta`. Folders are searched through, so that masks lie where their images do.

    An item, before the transforms, has img_path, img_id (its place in the order of names), seg_map_path where there are masks,
    class_meta, label_table (256,) and rng.

    Args:
        meta: the classes, anything `ClassMeta.load` takes.
        ann_file: what images to use, relative to `data_root`: a text file with the name of one in each line, without suffix, as
            VOC's ImageSets/Segmentation/train.txt, or a COCO-style JSON, whose `images` are taken; '' takes all of the folder.
        data_root: folder that `ann_file` and `data_prefix` are relative to.
        data_prefix: `img` and `seg_map`: folders of the images and masks; without `seg_map` there are no masks (test mode).
        img_suffix: end of the images' names, such as '.jpg' or '_leftImg8bit.png'; None for any image.
        seg_map_suffix: end of the masks' names.
        label_map: value in the files -> class, 255 for none; other values are classes as they are. With zero as no class, as in
            ADE20K: {0: 255, 1: 0, 2: 1, ...}.
        indices: use the first so many samples, or the samples with these indices.
        pipeline: transforms, as configs or callables.
        test_mode: the data is for evaluation.

    Raises:
        FileNotFoundError: a folder, the list or a mask is missing.
        ValueError: there are no images, or `label_map` leads outside the classes.
    """

    def __init__(
        self,
        meta: ClassMeta | Mapping[str, Any] | str,
        *,
        ann_file: str = '',
        data_root: str = '',
        data_prefix: Mapping[str, str] | None = None,
        img_suffix: str | None = None,
        seg_map_suffix: str = '.png',
        label_map: Mapping[int, int] | None = None,
        indices: int | Sequence[int] | None = None,
        pipeline: Sequence[Mapping[str, Any] | Callable] = (),
        test_mode: bool = False,
    ) -> None:
        self.img_suffix = img_suffix
        self.seg_map_suffix = seg_map_suffix
        prefix = dict(img='images', seg_map='masks') if data_prefix is None else dict(data_prefix)
        if 'img' not in prefix or ('seg_map' not in prefix and not test_mode):
            raise ValueError(f'SegmentationDataset: `data_prefix` needs `img` and, to train, `seg_map`, got {sorted(prefix)}.')
        super().__init__(
            meta,
            ann_file=ann_file,
            data_root=data_root,
            data_prefix=prefix,
            label_map=label_map,
            indices=indices,
            pipeline=pipeline,
            test_mode=test_mode,
        )

    def load_data_list(self) -> list[dict[str, Any]]:
        """Return the samples; see the class for their keys."""
        suffixes = IMAGE_SUFFIXES if self.img_suffix is None else (self.img_suffix,)
        images = _files_by_name(self.data_prefix['img'], suffixes, 'img')
        names = sorted(images)
        if self.ann_file:
            names = self._listed(images)
        if not names:
            raise ValueError(f'SegmentationDataset: {self.data_prefix["img"]!r} has no image that ends in {suffixes}.')
        samples = [dict(img_path=images[name], img_id=number) for number, name in enumerate(names)]
        if 'seg_map' in self.data_prefix:
            masks = _files_by_name(self.data_prefix['seg_map'], (self.seg_map_suffix,), 'seg_map')
            missing = [name for name in names if name not in masks]
            if missing:
                raise FileNotFoundError(
                    f'SegmentationDataset: {len(missing)} of {len(names)} images have no mask in '
                    f'{self.data_prefix["seg_map"]!r}; the first is {missing[0] + self.seg_map_suffix!r}. Check `data_prefix` '
                    f'and `seg_map_suffix` ({self.seg_map_suffix!r}).'
                )
            for sample, name in zip(samples, names):
                sample['seg_map_path'] = masks[name]
        return samples

    def _listed(self, images: Mapping[str, str]) -> list[str]:
        if self.ann_file.endswith('.json'):
            files = [image['file_name'] for image in read_coco(self.ann_file)['images']]
            names = [file.removesuffix(self.img_suffix or os.path.splitext(file)[1]) for file in files]
        else:
            try:
                lines = Path(self.ann_file).read_text(encoding='utf-8-sig').splitlines()
            except FileNotFoundError as error:
                raise FileNotFoundError(f'`ann_file` {self.ann_file!r} does not exist; check `data_root`.') from error
            names = [line.strip() for line in lines if line.strip()]
        missing = [name for name in names if name not in images]
        if missing:
            raise FileNotFoundError(
                f'{self.ann_file}: {len(missing)} of {len(names)} names have no image in {self.data_prefix["img"]!r}; the first '
                f'is {missing[0]!r}. Names stand in the list without the suffix ({self.img_suffix or "of the file"}).'
            )
        return names


def _files_by_name(folder: str, suffixes: tuple[str, ...], key: str) -> dict[str, str]:
    """Return the path within `folder`, without the suffix -> the path, of all files that end in one of the suffixes.

    Hidden files are left out; folders that are links are searched, too.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: two files differ in their suffix alone.
    """
    if not os.path.isdir(folder):
        raise FileNotFoundError(f'SegmentationDataset: the folder {folder!r} (`data_prefix.{key}`) does not exist.')
    files: dict[str, str] = {}
    for parent, folders, names in os.walk(folder, followlinks=True):
        within = os.path.realpath(os.path.dirname(parent)) + os.sep
        if parent != folder and within.startswith(os.path.realpath(parent) + os.sep):  # a link that leads back
            folders.clear()
            continue
        for name in names:
            suffix = next((s for s in suffixes if name.lower().endswith(s.lower())), None)
            if suffix is None or name.startswith('.'):
                continue
            path = os.path.join(parent, name)
            stem = os.path.relpath(path, folder)[: -len(suffix)]
            if stem in files:
                raise ValueError(
                    f'SegmentationDataset: {files[stem]!r} and {path!r} have one name; say with `img_suffix` which are the '
                    'images, or move the masks into a folder of their own.'
                )
            files[stem] = path
    return files


@DATASETS.register_module()
class CocoSegmentationDataset(SegmentationBase):
    """COCO's instances as a mask of classes: the pixels of all instances of a category have its class, others class 0.

    Where instances overlap the smaller one is on top. Crowds have no class (255), as they hold several; nor has the box of an
    instance without a `segmentation`. Images without instances are all background. An item has img_path, img_id, regions (pairs
    of a label and a `datasets.regions.Region`), class_meta, label_table and rng.

    Args:
        ann_file: COCO instances JSON, relative to `data_root`.
        meta: the classes; a category of the file belongs to the class of its name, and categories that are no class to
            background (class 0).
        data_root: folder that `ann_file` and `data_prefix` are relative to.
        data_prefix: `img`: folder of the images.
        indices: use the first so many samples, or the samples with these indices.
        pipeline: transforms, as configs or callables.
        test_mode: the data is for evaluation.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: the categories do not fit the classes, or an annotation is faulty.
    """

    def __init__(
        self,
        ann_file: str,
        meta: ClassMeta | Mapping[str, Any] | str,
        *,
        data_root: str = '',
        data_prefix: Mapping[str, str] | None = None,
        indices: int | Sequence[int] | None = None,
        pipeline: Sequence[Mapping[str, Any] | Callable] = (),
        test_mode: bool = False,
    ) -> None:
        super().__init__(
            meta,
            ann_file=ann_file,
            data_root=data_root,
            data_prefix=dict(img='images') if data_prefix is None else data_prefix,
            label_map=None,
            indices=indices,
            pipeline=pipeline,
            test_mode=test_mode,
        )

    def load_data_list(self) -> list[dict[str, Any]]:
        """Return the samples; see the class for their keys."""
        content = read_coco(self.ann_file)
        images = images_by_id(content, self.ann_file)
        labels = labels_of_categories(content['categories'], self.meta, where=self.ann_file, has_background=True)
        num_drawn = num_boxed = 0
        regions: dict[int, list[tuple[float, int, Region]]] = {image_id: [] for image_id in images}
        for ann in content['annotations']:
            if ann.get('category_id') not in labels:
                continue
            where = f'{self.ann_file}: annotation {ann.get("id")}'
            image = image_of(ann, images, where)
            try:
                region = read_region(ann, image)
            except ValueError as error:
                raise ValueError(f'{where} (image {image["id"]}): {error}') from error
            if region is not None:
                is_drawn = bool(ann.get('segmentation'))
                num_drawn, num_boxed = num_drawn + is_drawn, num_boxed + (not is_drawn)
                label = labels[ann['category_id']] if is_drawn and not ann.get('iscrowd') else IGNORE_INDEX
                regions[image['id']].append((ann.get('area') or region_area(region), label, region))
        if num_boxed and not num_drawn:
            raise ValueError(
                f'{self.ann_file}: none of its {num_boxed} instances of the classes has a `segmentation`, which masks are made '
                'of; the file is for detectors.'
            )
        return [
            dict(
                img_path=os.path.join(self.data_prefix['img'], image['file_name']),
                img_id=image_id,
                regions=[(label, region) for _, label, region in sorted(regions[image_id], key=lambda found: -found[0])],
            )
            for image_id, image in images.items()
        ]


@DATASETS.register_module()
class SyntheticPeopleSegmentation(SegmentationBase):
    """Synthetic people with the parts of their bodies as classes; drawn into `data_root` when first asked for.

    Args:
        split: 'train' or 'val'.
        meta: 'person_parts', or 'person', for which all parts are one class.
        data_root: folder to draw into, or that holds the same recipe already.
        num_train: images of the training split.
        num_val: images of the validation split.
        image_size: (w, h) of an image in px.
        seed: of the drawing.
        max_people: in one image.
        indices: use the first so many samples, or the samples with these indices.
        pipeline: transforms, as configs or callables.
        test_mode: the data is for evaluation.

    Raises:
        ValueError: an argument is out of range, or the folder holds something else.
    """

    def __init__(
        self,
        split: str,
        meta: ClassMeta | Mapping[str, Any] | str = 'person_parts',
        *,
        data_root: str,
        num_train: int,
        num_val: int,
        image_size: tuple[int, int] = (320, 256),
        seed: int = 0,
        max_people: int = 4,
        indices: int | Sequence[int] | None = None,
        pipeline: Sequence[Mapping[str, Any] | Callable] = (),
        test_mode: bool = False,
    ) -> None:
        parts = ClassMeta.load('person_parts').num_classes
        num_classes = ClassMeta.load(meta).num_classes
        if num_classes not in (2, parts):
            raise ValueError(f'SyntheticPeopleSegmentation: `meta` must have 2 or {parts} classes, got {num_classes}.')
        recipe = dict(num_train=num_train, num_val=num_val, image_size=tuple(image_size), seed=seed, max_people=max_people)
        render_together(type(self).__name__, split, data_root, **recipe, part_masks=True)
        self.split = split
        super().__init__(
            meta,
            ann_file='',
            data_root=data_root,
            data_prefix=dict(img=f'images/{split}', seg_map=f'parts/{split}'),
            label_map=dict.fromkeys(range(1, parts), 1) if num_classes == 2 else None,
            indices=indices,
            pipeline=pipeline,
            test_mode=test_mode,
        )

    def load_data_list(self) -> list[dict[str, Any]]:
        """Return the samples: img_path, img_id and seg_map_path."""
        images, masks = (self.data_prefix[key] for key in ('img', 'seg_map'))
        names = sorted(path.stem for path in Path(images).glob('*.jpg'))
        return [
            dict(img_path=f'{images}/{name}.jpg', img_id=number, seg_map_path=f'{masks}/{name}.png')
            for number, name in enumerate(names)
        ]
