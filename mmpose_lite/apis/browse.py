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

from mmpose_lite.datasets.sampling import Draw
from mmpose_lite.datasets.transforms.loading import read_image
from mmpose_lite.engine.config import SPLITS, ConfigError
from mmpose_lite.registry import CODECS, DATASETS
from mmpose_lite.structures import KeypointMeta
from mmpose_lite.visualization.draw import draw_heatmaps, draw_poses, draw_side_by_side

MODES = ('augmented', 'original')
_CROP_HEIGHT = 512  # px of a drawn crop: dots and limbs would hide a small one
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
            the labelled keypoints of all the people that the dataset uses.
        heatmaps: beside each crop, the target heatmaps that the head's codec makes of it.
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
    codec = _heatmap_codec(cfg) if heatmaps else None
    dataset = DATASETS.build(loader['dataset'])
    if mode == 'original':
        pictures = _originals(dataset, num, seed)
    else:
        pictures = _crops(dataset, num, seed, codec)
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


def _heatmap_codec(cfg: Config) -> Any:
    spec = ((cfg.get('model') or {}).get('head') or {}).get('codec')
    codec = None if spec is None else CODECS.build(spec)
    if not hasattr(codec, 'heatmap_size'):
        raise ConfigError(f'browse: `heatmaps` needs a `model.head.codec` that makes heatmaps, got {codec}.')
    return codec


def _crops(dataset: Any, num: int, seed: int, codec: Any) -> Iterator[tuple[str, np.ndarray]]:
    """Yield (name, picture) of samples as they come out of the pipeline."""
    meta: KeypointMeta = dataset.metainfo['keypoint_meta']
    for index in _chosen(len(dataset), num, seed):
        sample = dataset[Draw(index, seed, 0)]
        crop, instances, metainfo = sample['inputs'], sample['instances'], sample['metainfo']
        points, visible = instances.get('keypoints_input'), instances.get('keypoints_visible')
        panels = [_drawn_crop(crop, points, visible, meta)]
        titles = [_caption(metainfo, visible)]
        if codec is not None and points is not None:
            targets, _ = codec.encode(torch.from_numpy(points)[None], torch.from_numpy(visible)[None])
            panels.append(draw_heatmaps(_enlarged(crop), targets[0].numpy()))
            titles.append(f'targets, at most {float(targets.max()):.2f}')
        yield f'{Path(metainfo["img_path"]).stem}_{metainfo["ann_id"]}', draw_side_by_side(panels, titles)


def _enlarged(crop: np.ndarray) -> np.ndarray:
    factor = _CROP_HEIGHT / crop.shape[0]
    return crop if factor <= 1 else cv2.resize(crop, None, fx=factor, fy=factor, interpolation=cv2.INTER_LINEAR)


def _drawn_crop(crop: np.ndarray, points: np.ndarray | None, visible: np.ndarray | None, meta: KeypointMeta) -> np.ndarray:
    canvas = _enlarged(crop)
    if points is None:
        return canvas
    factor = np.array(canvas.shape[1::-1]) / crop.shape[1::-1]
    return draw_poses(canvas, (points + 0.5) * factor - 0.5, visible, meta=meta)  # the centre of pixel 0 stays a centre


def _caption(metainfo: Mapping[str, Any], visible: np.ndarray | None) -> str:
    """Return what was done to a sample: '12/14 labelled, flipped, 33 deg'."""
    parts = ['no keypoints' if visible is None else f'{int((visible > 0).sum())}/{visible.size} labelled']
    if metainfo.get('flip'):
        parts.append('flipped')
    if metainfo.get('bbox_rotation'):
        parts.append(f'{metainfo["bbox_rotation"]:.0f} deg')
    return ', '.join(parts)


def _originals(dataset: Any, num: int, seed: int) -> Iterator[tuple[str, np.ndarray]]:
    """Yield (name, picture) of whole images with all their people."""
    meta: KeypointMeta = dataset.metainfo['keypoint_meta']
    people: dict[str, list[Mapping[str, Any]]] = {}
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        people.setdefault(info['img_path'], []).append(info)
    paths = list(people)
    for index in _chosen(len(paths), num, seed):
        path, infos = paths[index], people[paths[index]]
        image = read_image(path)
        bboxes = np.concatenate([info['bboxes'] for info in infos])
        labelled = [info for info in infos if 'keypoints' in info]
        points = np.concatenate([info['keypoints'] for info in labelled]) if labelled else np.zeros((0, meta.num_keypoints, 2))
        visible = np.concatenate([info['keypoints_visible'] for info in labelled]) if labelled else None
        factor = max(1, math.ceil(_CROP_HEIGHT / max(image.shape[:2])))
        image = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_LINEAR)
        drawn = draw_poses(image, (points + 0.5) * factor - 0.5, visible, meta=meta, bboxes=bboxes * factor)
        yield Path(path).stem, draw_side_by_side([drawn], [f'{Path(path).name}, people: {len(infos)}'])
