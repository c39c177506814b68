"""Using a trained model: build it once, then ask it for the poses of any number of images."""

# Letters: N people of one image, K keypoints.
import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.logging import print_log
from mmengine.model import BaseModel
from mmengine.structures import InstanceData

from mmpose_lite.datasets.collate import pose_collate
from mmpose_lite.datasets.transforms.loading import read_image
from mmpose_lite.engine.checkpoint import extract_state_dict, load_checkpoint_file, load_state
from mmpose_lite.engine.config import ConfigError, hand_down, load_config
from mmpose_lite.registry import MODELS, TRANSFORMS, PathError
from mmpose_lite.structures import PoseDataSample

Image = str | Path | np.ndarray
Boxes = np.ndarray | Sequence[Sequence[float]] | None


def init_model(
    config: str | Path | Config,
    checkpoint: str | Path | None = None,
    *,
    device: str | torch.device = 'cpu',
    pretrained: bool = False,
    trust: bool = False,
) -> BaseModel:
    """Return the model of a config, with the weights of a checkpoint, ready for `inference`.

    Args:
        config: a config file or what `load_config` returned.
        checkpoint: weights that fit the whole model; None leaves the values of the constructors, which predict nothing of use.
        device: where the model is to run.
        pretrained: reserved for the names of a model zoo.
        trust: read a checkpoint that asks for unknown classes, by running what it says.

    Returns:
        The model in evaluation mode. It carries its config as `model.cfg`.

    Raises:
        ConfigError: the config is missing or faulty.
        FileNotFoundError: the checkpoint is missing.
        UntrustedCheckpointError: the checkpoint is more than weights, and `trust` is off.
        ValueError: the checkpoint does not fit every tensor of the model; `pretrained` is on.
    """
    if pretrained:
        raise ValueError('init_model: `pretrained` must be False, since this version has no model zoo; give a `checkpoint` file.')
    if isinstance(config, Config):
        cfg = copy.deepcopy(config)
        hand_down(cfg)
    else:
        cfg = load_config(config)
    if 'model' not in cfg:
        raise ConfigError(f'config {cfg.filename or ""!r} has no key `model`.')
    try:
        model = MODELS.build(cfg.model)
    except PathError as error:
        error.prepend('model', cfg.model)
        raise
    if checkpoint is not None:
        state_dict = extract_state_dict(load_checkpoint_file(checkpoint, trust=trust))
        report = load_state(model, state_dict, min_match=1.0)
        print_log(f'{checkpoint}: {report.line()}', logger='current')
    model.cfg = cfg
    return model.to(device=device, memory_format=torch.channels_last).eval()


@torch.inference_mode()
def inference(
    model: BaseModel,
    images: Image | Sequence[Image],
    bboxes: Boxes | Sequence[Boxes] = None,
    *,
    bbox_scores: Sequence[Any] | None = None,
    batch_size: int = 32,
) -> list[PoseDataSample]:
    """Return the poses in each image.

    People of all the images share the batches. Files are read when their turn comes, so that a long list of paths takes the
    memory of one image and one batch of crops.

    Args:
        model: from `init_model`, or one with `cfg`, in evaluation mode.
        images: one image, or a list: files, or (H, W, 3) BGR uint8 arrays.
        bboxes: for one image its (N, 4) xyxy boxes in px; for a list one entry for each image. None, for all or for one image:
            the whole image is the box of one person. No rows: nobody, nothing is run.
        bbox_scores: like `bboxes`, (N,) each; None for 1.
        batch_size: people in a batch.

    Returns:
        One sample per image, in order; `pred_instances` has NumPy arrays: keypoints (N, K, 2) px of the image, keypoint_scores
        (N, K), bboxes (N, 4) xyxy, bbox_scores (N,), people in the order of the boxes. The metainfo has img_path, img_id (the
        place in the list) and ori_shape (h, w).

    Raises:
        ValueError: the boxes do not fit the images; an image file cannot be decoded.
        RuntimeError: the model is in training mode.
    """
    if isinstance(images, str | Path | np.ndarray):
        images = [images]
        bboxes = None if bboxes is None else [bboxes]
        bbox_scores = None if bbox_scores is None else [bbox_scores]
    for name, value in (('bboxes', bboxes), ('bbox_scores', bbox_scores)):
        if value is not None and len(value) != len(images):
            raise ValueError(f'inference: `{name}` needs one entry per image ({len(images)}), got {len(value)}.')
    if batch_size < 1:
        raise ValueError(f'inference: `batch_size` must be 1 or more, got {batch_size}.')
    if model.training:
        raise RuntimeError('inference: the model is in training mode; call model.eval() first.')
    pipeline = build_test_pipeline(model.cfg)
    results: list[PoseDataSample] = []
    people: list[list[InstanceData]] = []

    def crops() -> Iterator[tuple[int, dict[str, Any]]]:
        for index, image in enumerate(images):
            pixels, path = _load(image, index)
            boxes = None if bboxes is None else bboxes[index]
            scores = None if bbox_scores is None else bbox_scores[index]
            results.append(PoseDataSample(metainfo=dict(img_path=path, img_id=index, ori_shape=pixels.shape[:2])))
            people.append([])
            for number, (bbox, score) in enumerate(zip(*_people_of(pixels, boxes, scores, path))):
                yield index, pipeline(_item(pixels, path, index, number, bbox, score))

    stream = crops()
    while batch := list(islice(stream, batch_size)):
        predictions = model.test_step(pose_collate([sample for _, sample in batch]))
        for (index, _), prediction in zip(batch, predictions):
            people[index].append(prediction.pred_instances)
    for result, instances in zip(results, people):
        result.pred_instances = InstanceData.cat(instances) if instances else _nobody(model.meta.num_keypoints)
    return results


def build_test_pipeline(cfg: Config) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Return the steps from a box on an image to the network's input, as the test split of a config has them.

    Raises:
        ConfigError: the config has no test pipeline.
    """
    dataset = (cfg.get('test_dataloader') or cfg.get('val_dataloader') or {}).get('dataset', {})
    while isinstance(dataset.get('dataset'), Mapping) or dataset.get('datasets'):
        dataset = dataset['datasets'][0] if dataset.get('datasets') else dataset['dataset']
    steps = dataset.get('pipeline')
    if not steps:
        raise ConfigError(f'config {cfg.filename or ""!r} needs `test_dataloader.dataset.pipeline`, which inference runs.')
    return Compose([TRANSFORMS.build(step) if isinstance(step, Mapping) else step for step in steps])


def _load(image: Image, index: int) -> tuple[np.ndarray, str]:
    """Return the pixels, and a path or the name by which messages call an array."""
    if not isinstance(image, np.ndarray):
        return read_image(str(image)), str(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ValueError(f'inference: image {index} must be (H, W, 3) BGR uint8, got {image.shape} {image.dtype}.')
    return image, f'image {index}'


def _people_of(pixels: np.ndarray, bboxes: Any, scores: Any, path: str) -> tuple[np.ndarray, np.ndarray]:
    """Return checked (N, 4) boxes and (N,) scores, float32."""
    height, width = pixels.shape[:2]
    bboxes = np.array([[0, 0, width, height]] if bboxes is None else bboxes, dtype=np.float32)
    bboxes = bboxes.reshape(0, 4) if bboxes.size == 0 else bboxes
    if bboxes.ndim != 2 or bboxes.shape[1] != 4:
        raise ValueError(f'inference: `bboxes` of {path} must be (N, 4) xyxy, got {bboxes.shape}.')
    bad = np.flatnonzero(~(np.isfinite(bboxes).all(axis=1) & (bboxes[:, 2:] > bboxes[:, :2]).all(axis=1)))
    if len(bad):
        raise ValueError(f'inference: box {bad[0]} of {path} must be x1 < x2, y1 < y2, finite, got {bboxes[bad[0]].tolist()}.')
    scores = np.ones(len(bboxes), np.float32) if scores is None else np.array(scores, dtype=np.float32).reshape(-1)
    if len(scores) != len(bboxes):
        raise ValueError(f'inference: `bbox_scores` of {path} must be one per box ({len(bboxes)}), got {len(scores)}.')
    return bboxes, scores


def _item(pixels: np.ndarray, path: str, img_id: int, number: int, bbox: np.ndarray, score: np.float32) -> dict[str, Any]:
    """Return what a dataset gives the transforms for one person; the image is there already."""
    return dict(
        img=pixels,
        img_path=path,
        img_id=img_id,
        ann_id=number,
        category_id=1,
        bboxes=bbox[None],
        bbox_scores=np.array([score]),
        areas=np.array([(bbox[2] - bbox[0]) * (bbox[3] - bbox[1])]),
        rng=np.random.default_rng(0),
    )


def _nobody(num_keypoints: int) -> InstanceData:
    return InstanceData(
        keypoints=np.zeros((0, num_keypoints, 2), np.float32),
        keypoint_scores=np.zeros((0, num_keypoints), np.float32),
        bboxes=np.zeros((0, 4), np.float32),
        bbox_scores=np.zeros(0, np.float32),
    )
