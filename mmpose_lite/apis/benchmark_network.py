"""What benchmarks of training and of prediction share: batches, and the variants that run in turns."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from mmengine.config import Config

from mmpose_lite.apis.infer import data_mode
from mmpose_lite.datasets.collate import detection_collate, pose_collate
from mmpose_lite.engine.config import ConfigError
from mmpose_lite.ops.masks import pack_masks
from mmpose_lite.structures import ClassMeta, KeypointMeta

Batch = dict[str, Any]

COMPARISONS = ('amp', 'channels-last', 'all')
_OBJECTS = 5  # of a made-up image
_STRIDE = 8  # px of a cell of a made-up semantic map


def made_up_batch(cfg: Config, batch_size: int) -> Batch:
    """Return a collated batch of noise: one person per image, of the size that the head's codec names, and for a bottom-up
    network a mask that leaves nothing out; for segmentation a class per pixel, of the size that `input_size` of the config names;
    for detection five objects, with masks where the network has them, of the size that `scale` of the config names.

    Raises:
        ConfigError: the config has no such size.
    """
    if cfg.model.get('decode_head') is not None:
        return _made_up_masks(cfg, batch_size)
    if 'rpn_head' in cfg.model or 'bbox_head' in cfg.model:
        return _made_up_objects(cfg, batch_size)
    codec = (cfg.model.get('head') or {}).get('codec') or {}
    size = codec.get('input_size')
    if size is None:
        raise ConfigError('benchmark: made-up batches need `model.head.codec.input_size`; use the data of the config instead.')
    num_keypoints = KeypointMeta.load(cfg.model.get('meta') or cfg.get('meta')).num_keypoints
    is_bottomup = data_mode(cfg) == 'bottomup'
    rng = np.random.default_rng(0)
    size_px = np.array(size, np.float32)
    samples = []
    for number in range(batch_size):
        points = rng.random((1, num_keypoints, 2), dtype=np.float32) * size_px
        samples.append(
            dict(
                inputs=rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8),
                instances=dict(
                    bboxes=np.array([[0, 0, *size]], np.float32),
                    bbox_scores=np.ones(1, np.float32),
                    keypoints=points,
                    keypoints_input=points,
                    keypoints_visible=np.ones((1, num_keypoints), np.float32),
                    areas=np.array([size_px.prod()]),
                ),
                maps=dict(loss_mask=np.ones(codec['heatmap_size'][::-1], np.uint8)) if is_bottomup else {},
                metainfo=dict(
                    img_path='', img_id=number, category_id=1, ori_shape=(size[1], size[0]), input_size=tuple(size),
                    **(dict(warp_matrix=np.eye(2, 3)) if is_bottomup
                       else dict(ann_id=number, bbox_center=size_px / 2, bbox_scale=size_px)),
                ),
            )
        )  # fmt: skip
    return pose_collate(samples)


def _made_up_masks(cfg: Config, batch_size: int) -> Batch:
    if cfg.get('input_size') is None:
        raise ConfigError('benchmark: made-up batches need `input_size` (w, h) in the config; use its data instead.')
    w, h = cfg.input_size
    num_classes = ClassMeta.load(cfg.model.get('meta') or cfg.get('meta')).num_classes
    rng = np.random.default_rng(0)
    samples = [
        dict(
            inputs=rng.integers(0, 256, (h, w, 3), dtype=np.uint8),
            maps=dict(gt_seg_map=rng.integers(0, num_classes, (h, w), dtype=np.uint8)),
            metainfo=dict(img_path='', img_id=number, ori_shape=(h, w), img_shape=(h, w)),
        )
        for number in range(batch_size)
    ]
    return pose_collate(samples)


def _made_up_objects(cfg: Config, batch_size: int) -> Batch:
    if cfg.get('scale') is None:
        raise ConfigError('benchmark: made-up batches need `scale` (long, short) in the config; use its data instead.')
    w, h = cfg.scale
    num_classes = ClassMeta.load(cfg.model.get('meta') or cfg.get('meta')).num_classes
    rng = np.random.default_rng(0)
    samples = []
    for number in range(batch_size):
        corners = np.sort(rng.random((_OBJECTS, 2, 2)) * (0.9 * w, 0.9 * h), axis=1) + np.array(((0, 0), (0.1 * w, 0.1 * h)))
        instances = dict(
            bboxes_input=corners.reshape(-1, 4).astype(np.float32),
            labels=rng.integers(0, num_classes, _OBJECTS),
            is_ignored=np.zeros(_OBJECTS, bool),
        )
        if (cfg.model.get('roi_head') or {}).get('mask_head') is not None:
            instances['masks'] = pack_masks(np.ones((_OBJECTS, h, w), np.uint8))
        maps, metainfo = {}, dict(img_path='', img_id=number, ori_shape=(h, w), img_shape=(h, w))
        if (cfg.model.get('roi_head') or {}).get('semantic_head') is not None:
            maps['gt_semantic_seg'] = np.zeros((h // _STRIDE, w // _STRIDE), np.uint8)
            metainfo['semantic_stride'] = _STRIDE
        metainfo |= dict(warp_matrix=np.eye(2, 3), scale_factor=(1.0, 1.0), flip=False)
        inputs = rng.integers(0, 256, (h, w, 3), dtype=np.uint8)
        samples.append(dict(inputs=inputs, instances=instances, maps=maps, metainfo=metainfo))
    return detection_collate(samples)


def without_pretrained(model: Any) -> Any:
    """Return a model config that loads no weights: they change no time, and may have to be downloaded."""
    if isinstance(model, Mapping):
        return {
            key: without_pretrained(value)
            for key, value in model.items()
            if not (key == 'init_cfg' and isinstance(value, Mapping) and value.get('type') == 'Pretrained')
        }
    return [without_pretrained(part) for part in model] if isinstance(model, list) else model


def variants(amp: bool, compare: str | None) -> dict[str, dict[str, bool]]:
    """Return name -> settings of what runs in turns."""
    if compare not in (None, *COMPARISONS):
        raise ValueError(f'benchmark: `compare` must be one of {COMPARISONS}, got {compare!r}.')
    if compare == 'amp':
        return {'fp32': dict(amp=False, channels_last=True), 'amp': dict(amp=True, channels_last=True)}
    if compare == 'channels-last':
        return {'channels-last': dict(amp=amp, channels_last=True), 'contiguous': dict(amp=amp, channels_last=False)}
    if compare == 'all':
        contiguous = dict(amp=False, channels_last=False)  # how others train
        return {'contiguous': contiguous, **variants(amp, 'amp')}
    return {'amp' if amp else 'fp32': dict(amp=amp, channels_last=True)}
