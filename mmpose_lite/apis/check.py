"""Checks the data that a config names."""

import inspect
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmpose_lite.datasets import CocoKeypointDataset
from mmpose_lite.datasets.check import check_annotations
from mmpose_lite.datasets.check_detection import check_objects
from mmpose_lite.datasets.check_report import CheckReport, Level
from mmpose_lite.datasets.coco_detection import CocoDetectionDataset
from mmpose_lite.datasets.label_scan import LabelFinding, LabelReport, scan_labels
from mmpose_lite.datasets.segmentation import SegmentationBase
from mmpose_lite.datasets.voc_detection import VOCDetectionDataset
from mmpose_lite.engine.config import SPLITS, ConfigError
from mmpose_lite.registry import DATASETS
from mmpose_lite.structures import ClassMeta, KeypointMeta
from mmpose_lite.structures.coco_file import read_coco, read_results
from mmpose_lite.structures.voc_xml import read_voc


@dataclass
class _Source:
    """One annotation file, and where the config uses it."""

    ann_file: Path
    img_dir: Path
    det_file: Path | None
    category_ids: tuple[int, ...] | None
    meta: KeypointMeta | ClassMeta
    with_masks: bool = False
    min_box_size: float = 1.0
    uses: list[str] = field(default_factory=list)
    files: dict[str, int] = field(default_factory=dict)  # path of the image -> id


def check_config(
    cfg: Config, splits: Sequence[str] | None = None, level: Level = 'full', *, max_ids: int = 10
) -> dict[str, CheckReport | LabelReport]:
    """Check the annotation files, masks and images of a config.

    Args:
        cfg: as `load_config` returns it; `{split}_dataloader.dataset` may be wrapped or concatenated.
        splits: some of 'train', 'val', 'test'; default those that the config has.
        level: 'full' decodes every image, 'fast' does not.
        max_ids: how many ids a finding keeps.

    Returns:
        One report per annotation file, or per folder of masks, under the splits that use it ('train', 'val, test'). Images that
        the training split shares with another are reported there. Datasets of one's own that read another format are left out.

    Raises:
        ConfigError: the config has no such split, or names a file that does not exist.
        ValueError: a file is no COCO-style JSON.
    """
    sources: list[_Source] = []
    splits = splits or [split for split in SPLITS if cfg.get(f'{split}_dataloader') is not None]
    unknown = sorted(set(splits) - set(SPLITS))
    if unknown or not splits:
        raise ConfigError(f'check_config: `splits` must be some of {SPLITS} that the config has, got {unknown or list(splits)}.')
    for split in sorted(splits, key=SPLITS.index):  # training first: the others are compared with it
        for source in _sources(cfg, split):
            same = [
                s for s in sources if (s.ann_file, s.img_dir, s.det_file) == (source.ann_file, source.img_dir, source.det_file)
            ]
            (same[0] if same else source).uses.append(split)
            if not same:
                sources.append(source)
    reports: dict[str, CheckReport | LabelReport] = {}
    trained: set[str] = set()
    for source in sources:
        report = _check_source(source, level, max_ids)
        if 'train' in source.uses:
            trained |= source.files.keys()
        if set(source.uses) != {'train'}:
            report.add('shared-image', [i for name, i in source.files.items() if name in trained], max_ids=max_ids)
        name = ', '.join(dict.fromkeys(source.uses))
        reports[name if name not in reports else f'{name} ({source.ann_file})'] = report
    return reports | _check_masks(cfg, splits, level)


def _check_masks(cfg: Config, splits: Sequence[str], level: Level) -> dict[str, LabelReport]:
    """Return the reports of segmentation data by the splits that use it."""
    uses: dict[str, list[str]] = {}
    parts: dict[str, tuple[Mapping[str, Any], str]] = {}
    for split in sorted(splits, key=SPLITS.index):
        for leaf, path in _split_leaves(cfg, split):
            cls = _class_of(leaf)
            if isinstance(cls, type) and issubclass(cls, SegmentationBase):
                args = {key: value for key, value in leaf.items() if key not in ('pipeline', 'test_mode')}
                uses.setdefault(repr(args), []).append(split)
                parts.setdefault(repr(args), (args, path))
    reports: dict[str, LabelReport] = {}
    trained: set[str] = set()
    for key, (args, path) in parts.items():
        try:
            dataset = DATASETS.build(args)
        except (FileNotFoundError, ValueError) as error:
            raise ConfigError(f'check_config: `{path}`: {error}') from error
        name = ', '.join(dict.fromkeys(uses[key]))
        name = name if name not in reports else f'{name} ({path})'
        report = scan_labels(dataset, name=name, level=level)
        images = {dataset.get_data_info(i)['img_path'] for i in range(len(dataset))}
        if 'train' in uses[key]:
            trained |= images
        if set(uses[key]) != {'train'}:
            what = 'the image is also in the training split'
            report.add([LabelFinding('shared-image', image, what) for image in sorted(images & trained)])
        reports[name] = report
    return reports


def _check_source(source: _Source, level: Level, max_ids: int) -> CheckReport:
    content = read_voc(source.ann_file) if source.ann_file.suffix == '.txt' else read_coco(source.ann_file)
    report = _check_content(source, content, level, max_ids)
    source.files = {os.path.join(source.img_dir, image['file_name']): image['id'] for image in content['images']}
    return report


def _check_content(source: _Source, content: dict[str, Any], level: Level, max_ids: int) -> CheckReport:
    if isinstance(source.meta, ClassMeta):
        return check_objects(
            content,
            ann_file=source.ann_file,
            meta=source.meta,
            img_dir=source.img_dir,
            level=level,
            with_masks=source.with_masks,
            min_box_size=source.min_box_size,
            max_ids=max_ids,
        )
    detections = None if source.det_file is None else read_results(source.det_file)
    return check_annotations(
        content,
        ann_file=source.ann_file,
        meta=source.meta,
        img_dir=source.img_dir,
        level=level,
        detections=detections,
        category_ids=source.category_ids,
        max_ids=max_ids,
    )


def _sources(cfg: Config, split: str) -> list[_Source]:
    return [_source(leaf, path) for leaf, path in _split_leaves(cfg, split) if _reads_coco(leaf)]


def _split_leaves(cfg: Config, split: str) -> list[tuple[Mapping[str, Any], str]]:
    dataloader = cfg.get(f'{split}_dataloader')
    if dataloader is None:
        raise ConfigError(f'check_config: the config has no `{split}_dataloader`.')
    return _leaves(dataloader.get('dataset'), f'{split}_dataloader.dataset')


def _class_of(dataset: Mapping[str, Any]) -> Any:
    return DATASETS.class_of(dataset)


def _reads_coco(dataset: Mapping[str, Any]) -> bool:
    """Return whether the class reads a COCO-style file, rather than overriding how it is read."""
    read = getattr(_class_of(dataset), 'load_data_list', None)
    return read in (CocoKeypointDataset.load_data_list, CocoDetectionDataset.load_data_list)


def _leaves(dataset: Any, path: str) -> list[tuple[Mapping[str, Any], str]]:
    """Return the datasets inside wrappers (`dataset=...`, `datasets=[...]`), each with its config key."""
    if not isinstance(dataset, Mapping):
        raise ConfigError(f'check_config: `{path}` must be a dict with `type`, got {dataset!r}.')
    if 'dataset' in dataset:
        return _leaves(dataset['dataset'], f'{path}.dataset')
    if 'datasets' in dataset:
        return [leaf for i, inner in enumerate(dataset['datasets']) for leaf in _leaves(inner, f'{path}.datasets[{i}]')]
    return [(dataset, path)]


def _source(dataset: Mapping[str, Any], path: str) -> _Source:
    """Read from the config what the dataset reads, without building it: it would stop at the first defect."""
    cls = _class_of(dataset)
    kind = ClassMeta if issubclass(cls, CocoDetectionDataset) else KeypointMeta
    if dataset.get('ann_file'):
        root = Path(dataset.get('data_root') or '')
        default = 'JPEGImages' if issubclass(cls, VOCDetectionDataset) else 'images'
        ann_file, img_dir = root / dataset['ann_file'], root / (dataset.get('data_prefix') or dict(img=default)).get('img', '')
        meta = dataset.get('meta') or inspect.signature(cls).parameters['meta'].default
    else:  # a dataset that makes or finds its file itself
        try:
            built = DATASETS.build({key: value for key, value in dataset.items() if key != 'pipeline'})
        except ValueError as error:
            raise ConfigError(f'check_config: `{path}`: {error}') from error
        root = Path(built.data_root)
        ann_file, img_dir, meta = Path(built.ann_file), Path(built.data_prefix['img']), built.meta
    det_file = root / dataset['bbox_file'] if dataset.get('bbox_file') else None
    for key, file in (('ann_file', ann_file), ('bbox_file', det_file)):
        if file is not None and not file.is_file():
            raise ConfigError(f'check_config: `{path}.{key}` names {str(file)!r}, which does not exist. Is `data_root` right?')
    try:
        meta = kind.load(meta)
    except (FileNotFoundError, ValueError) as error:
        raise ConfigError(f'check_config: `{path}.meta`: {error}') from error
    category_ids = dataset.get('category_ids')
    options = {key: dataset[key] for key in ('with_masks', 'min_box_size') if key in dataset}
    return _Source(ann_file, img_dir, det_file, None if category_ids is None else tuple(category_ids), meta, **options)
