"""Pictures of what a config's data gives the network, and of what was annotated."""

# Letters: N people of one image, K keypoints.
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.config import Config

from mmpose_lite.datasets.pipeline import Pipeline
from mmpose_lite.datasets.regions import covered_cells, decode_region
from mmpose_lite.datasets.sampling import Draw
from mmpose_lite.datasets.transforms.loading import LoadImage, read_image
from mmpose_lite.datasets.transforms.segmentation import LoadSegMap
from mmpose_lite.engine.config import SPLITS, ConfigError
from mmpose_lite.registry import CODECS, DATASETS
from mmpose_lite.structures import ClassMeta, KeypointConverter, KeypointMeta
from mmpose_lite.structures.class_meta import IGNORE_INDEX
from mmpose_lite.visualization.detection import draw_objects
from mmpose_lite.visualization.draw import draw_heatmaps, draw_left_out, draw_poses, draw_side_by_side
from mmpose_lite.visualization.segmentation import draw_segmentation

MODES = ('augmented', 'original')
_INPUT_HEIGHT = 512  # px of a drawn input: dots and limbs would hide a small one
_SHEET_HEIGHT = 320  # px of a picture on the contact sheet
_SHEET_WIDTH = 2000  # px of its rows, at the most
SHEET_NAME = 'sheet.png'


def browse(
    cfg: Config,
    out_dir: str | Path,
    *,
    split: str = 'train',
    num: int = 16,
    mode: str = 'augmented',
    heatmaps: bool = False,
    sheet: bool = False,
    seed: int = 0,
) -> list[Path]:
    """Draw some samples of a config's data, one PNG each.

    Args:
        cfg: as `load_config` returns it.
        out_dir: where to write; it is made.
        split: 'train', 'val' or 'test'.
        num: how many samples (`mode='augmented'`) or images (`'original'`); all where there are fewer.
        mode: 'augmented': what comes out of the pipeline, with `keypoints_input`; 'original': whole images with the boxes and
            the labelled keypoints of all the people that the dataset uses. In both, stripes on what the loss leaves out; for
            segmentation the colours of the classes instead, for detection objects with their masks, ignored ones grey.
        heatmaps: beside each input, the target heatmaps that the head's codec makes of it, and its fields where it has any.
        sheet: also write sheet.png with all of them.
        seed: chooses the samples and the random numbers of the transforms; the same seed draws the same pictures.

    Returns:
        The files, in the order of the samples.

    Raises:
        ConfigError: the config has no such data, or `heatmaps` and its codec makes none.
        ValueError: an argument is out of range, the data does not fit the config, or an image cannot be decoded.
        FileNotFoundError: a file is missing.
    """
    if split not in SPLITS or mode not in MODES or num < 1:
        raise ValueError(
            f'browse: `split` must be in {SPLITS}, `mode` in {MODES}, `num` positive, got {split!r}, {mode!r}, {num}.'
        )
    if heatmaps and mode == 'original':
        raise ValueError("browse: `heatmaps` are made for crops, so they need mode='augmented'.")
    loader = cfg.get(f'{split}_dataloader')
    if loader is None:
        raise ConfigError(f'browse: the config has no `{split}_dataloader`.')
    dataset = DATASETS.build(loader['dataset'])
    if 'class_meta' in dataset.metainfo:
        if heatmaps:
            raise ConfigError('browse: `heatmaps` are of poses; this config is of segmentation or detection.')
        draw = _objects if 'bboxes' in dataset.get_data_info(0) else _masks
        pictures = draw(dataset, num, seed, augmented=mode == 'augmented')
    else:
        codec = _heatmap_codec(cfg, dataset.metainfo['keypoint_meta']) if heatmaps else None
        pictures = _originals(dataset, num, seed) if mode == 'original' else _inputs(dataset, num, seed, codec)
    out_dir = Path(out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    files, thumbnails = [], []
    for number, (name, picture) in enumerate(pictures):
        files.append(out_dir / f'{number:03d}_{name}.png')
        if not cv2.imwrite(str(files[-1]), picture):
            raise OSError(f'browse: cannot write {files[-1]}.')
        if sheet:
            thumbnails.append(draw_side_by_side([picture], height=_SHEET_HEIGHT))
    if sheet:
        cv2.imwrite(str(out_dir / SHEET_NAME), contact_sheet(thumbnails))
    return files


def contact_sheet(pictures: Sequence[np.ndarray], *, gap: int = 6) -> np.ndarray:
    """Return (h, w, 3) BGR pictures of one height in rows on white."""
    rows: list[list[np.ndarray]] = [[]]
    for picture in pictures:
        used = sum(p.shape[1] + gap for p in rows[-1])
        if rows[-1] and used + picture.shape[1] > _SHEET_WIDTH:
            rows.append([])
        rows[-1].append(picture)
    strips = [draw_side_by_side(row, gap=gap) for row in rows]
    width = max(strip.shape[1] for strip in strips)
    return np.vstack(
        [cv2.copyMakeBorder(s, 0, gap, 0, width - s.shape[1], cv2.BORDER_CONSTANT, value=(255, 255, 255)) for s in strips]
    )


def _chosen(size: int, num: int, seed: int) -> list[int]:
    """Return `num` of `size` indices in rising order."""
    return sorted(np.random.default_rng(seed).permutation(size)[:num].tolist())


def _masks(dataset: Any, num: int, seed: int, *, augmented: bool) -> Iterator[tuple[str, np.ndarray]]:
    """Yield (name, picture) of images under their masks, as they come out of the pipeline or as they are in the files."""
    meta = dataset.metainfo['class_meta']
    original = Pipeline([LoadImage(), LoadSegMap()])
    for index in _chosen(len(dataset), num, seed):
        if augmented:
            sample = dataset[Draw(index, seed, 0)]
            image, labels = sample['inputs'], sample['maps'].get('gt_seg_map')
        else:
            sample = original(dataset.get_data_info(index))
            image, labels = sample['img'], sample.get('gt_seg_map')
        path = Path(sample['metainfo']['img_path'] if augmented else sample['img_path'])
        panels, titles = [_enlarged(image)], [path.name]
        if labels is not None and labels.shape == image.shape[:2]:
            panels.append(_enlarged(draw_segmentation(image, labels, meta=meta)))
            titles.append(', '.join(meta.classes[k] for k in np.unique(labels) if k != IGNORE_INDEX))
        yield path.stem, draw_side_by_side(panels, titles)


def _objects(dataset: Any, num: int, seed: int, *, augmented: bool) -> Iterator[tuple[str, np.ndarray]]:
    """Yield (name, picture) of images with their objects, as they come out of the pipeline or as they are in the files."""
    meta: ClassMeta = dataset.metainfo['class_meta']
    for index in _chosen(len(dataset), num, seed):
        if augmented:
            sample = dataset[Draw(index, seed, 0)]
            image, found, path = sample['inputs'], sample['instances'], sample['metainfo']['img_path']
            bboxes, flipped = found.get('bboxes_input', np.zeros((0, 4), np.float32)), sample['metainfo'].get('flip')
            masks = np.unpackbits(found['masks'], axis=-1, count=image.shape[1]) if 'masks' in found else None
        else:
            found = dataset.get_data_info(index)
            path, bboxes, flipped = found['img_path'], found['bboxes'], False
            image = read_image(path)
            regions = found.get('regions')
            masks = np.stack([decode_region(region, image.shape[:2]) for region in regions]) if regions else None
        labels = found.get('labels', np.zeros(0, np.int64))
        is_ignored = found.get('is_ignored', np.zeros(len(labels), bool))
        canvas = _enlarged(image)
        zoom = np.tile(np.array(canvas.shape[1::-1]) / image.shape[1::-1], 2)
        if masks is not None:
            masks = np.stack([cv2.resize(mask, canvas.shape[1::-1], interpolation=cv2.INTER_NEAREST_EXACT) for mask in masks])
        drawn = draw_objects(canvas, bboxes * zoom, labels, meta=meta, masks=masks, is_ignored=is_ignored)
        h, w = image.shape[:2]
        parts = [f'{Path(path).name}, {w} x {h}, objects: {int((~is_ignored).sum())}']
        parts += [f'ignored: {int(is_ignored.sum())}'] if is_ignored.any() else []
        yield Path(path).stem, draw_side_by_side([drawn], [', '.join(parts + ['flipped'] * bool(flipped))])


def _heatmap_codec(cfg: Config, meta: KeypointMeta) -> Any:
    spec = ((cfg.get('model') or {}).get('head') or {}).get('codec')
    codec = None if spec is None else CODECS.build(spec, meta=meta)
    if not hasattr(codec, 'heatmap_size'):
        raise ConfigError(f'browse: `heatmaps` needs a `model.head.codec` that makes heatmaps, got {codec}.')
    return codec


def _inputs(dataset: Any, num: int, seed: int, codec: Any) -> Iterator[tuple[str, np.ndarray]]:
    """Yield (name, picture) of samples as they come out of the pipeline."""
    meta: KeypointMeta = dataset.metainfo['keypoint_meta']
    for index in _chosen(len(dataset), num, seed):
        sample = dataset[Draw(index, seed, 0)]
        image, instances, metainfo = sample['inputs'], sample['instances'], sample['metainfo']
        mask = sample.get('maps', {}).get('loss_mask')
        points, visible = instances.get('keypoints_input'), instances.get('keypoints_visible')
        panels = [_drawn_input(image if mask is None else draw_left_out(image, mask), points, visible, meta)]
        titles = [_caption(metainfo, visible, mask)]
        if codec is not None and points is not None:
            for name, maps in _targets(codec, points, visible, meta).items():
                panels.append(draw_heatmaps(_enlarged(image), maps, cell_centers='warp_matrix' in metainfo))
                titles.append(f'{name}, at most {float(maps.max(initial=0)):.2f}')
        name = Path(metainfo['img_path']).stem + (f'_{metainfo["ann_id"]}' if 'ann_id' in metainfo else '')
        yield name, draw_side_by_side(panels, titles)


def _targets(codec: Any, points: np.ndarray, visible: np.ndarray, meta: KeypointMeta) -> dict[str, np.ndarray]:
    """Return the target heatmaps of one sample, without background, and the lengths of its fields, (.., h, w) each."""
    keypoints, weights = torch.from_numpy(points)[None], torch.from_numpy(visible)[None]
    codec_meta = getattr(codec, 'meta', meta)
    if codec_meta.keypoints != meta.keypoints:
        keypoints, weights = KeypointConverter(meta, codec_meta)(keypoints, weights)
    targets = codec.encode(keypoints, weights)
    of_sample = targets[0][0]
    finest = of_sample[-1] if of_sample.ndim == 4 else of_sample  # a codec of several levels has the finest one last
    maps = dict(targets=finest[: codec_meta.num_keypoints].numpy())
    if hasattr(targets, 'fields'):
        maps['fields'] = targets.fields[0].unflatten(0, (-1, 2)).norm(dim=1).numpy()
    return maps


def _enlarged(image: np.ndarray) -> np.ndarray:
    factor = _INPUT_HEIGHT / image.shape[0]
    return image if factor <= 1 else cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_LINEAR)


def _drawn_input(image: np.ndarray, points: np.ndarray | None, visible: np.ndarray | None, meta: KeypointMeta) -> np.ndarray:
    canvas = _enlarged(image)
    if points is None:
        return canvas
    factor = np.array(canvas.shape[1::-1]) / image.shape[1::-1]
    return draw_poses(canvas, (points + 0.5) * factor - 0.5, visible, meta=meta)  # the centre of pixel 0 stays a centre


def _caption(metainfo: Mapping[str, Any], visible: np.ndarray | None, mask: np.ndarray | None) -> str:
    """Return what is in a sample and was done to it: 'people: 2, 22/34 labelled, flipped, 5.2% left out'."""
    parts = ['no keypoints' if visible is None else f'{int((visible > 0).sum())}/{visible.size} labelled']
    if visible is not None and 'ann_id' not in metainfo:
        parts.insert(0, f'people: {len(visible)}')
    if metainfo.get('flip'):
        parts.append('flipped')
    if metainfo.get('bbox_rotation'):
        parts.append(f'{metainfo["bbox_rotation"]:.0f} deg')
    if mask is not None and not mask.all():
        parts.append(f'{(mask == 0).mean():.1%} left out')
    return ', '.join(parts)


def _originals(dataset: Any, num: int, seed: int) -> Iterator[tuple[str, np.ndarray]]:
    """Yield (name, picture) of whole images with all their people."""
    meta: KeypointMeta = dataset.metainfo['keypoint_meta']
    samples: dict[str, list[Mapping[str, Any]]] = {}
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        samples.setdefault(info['img_path'], []).append(info)
    paths = list(samples)
    for index in _chosen(len(paths), num, seed):
        path, infos = paths[index], samples[paths[index]]
        image = read_image(path)
        bboxes = np.concatenate([info['bboxes'] for info in infos])
        labelled = [info for info in infos if 'keypoints' in info]
        points = np.concatenate([info['keypoints'] for info in labelled]) if labelled else np.zeros((0, meta.num_keypoints, 2))
        visible = np.concatenate([info['keypoints_visible'] for info in labelled]) if labelled else None
        regions = [region for info in infos for region in info.get('ignore_regions', ())]
        title = f'{Path(path).name}, people: {len(bboxes)}'
        if regions:
            h, w = image.shape[:2]
            left_out = covered_cells(regions, np.eye(2, 3), image_shape=(h, w), input_size=(w, h), mask_size=(w, h))
            image = draw_left_out(image, ~left_out)
            title += f', left out: {len(regions)}'
        factor = max(1, math.ceil(_INPUT_HEIGHT / max(image.shape[:2])))
        image = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_LINEAR)
        drawn = draw_poses(image, (points + 0.5) * factor - 0.5, visible, meta=meta, bboxes=bboxes * factor)
        yield Path(path).stem, draw_side_by_side([drawn], [title])
