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
from mmengine.logging import print_log
from mmengine.model import BaseModel
from mmengine.structures import InstanceData

from mmpose_lite.checkpoints.layouts import convert_to_fit
from mmpose_lite.checkpoints.reading import load_checkpoint_file
from mmpose_lite.checkpoints.weights import extract_state_dict, load_state
from mmpose_lite.datasets.collate import pose_collate
from mmpose_lite.datasets.pipeline import Pipeline
from mmpose_lite.datasets.transforms.loading import read_image
from mmpose_lite.engine.config import ConfigError, complete, load_config
from mmpose_lite.registry import MODELS, PathError
from mmpose_lite.structures import PoseDataSample
from mmpose_lite.zoo.names import find_checkpoint, find_config, find_entry

Image = str | Path | np.ndarray
Boxes = np.ndarray | Sequence[Sequence[float]] | None
Detector = Callable[[Sequence[np.ndarray]], Sequence[Any]]
"""From (H, W, 3) BGR uint8 images to the (N, 4) xyxy boxes of each, or to (boxes, scores (N,)) of each."""
DETECTOR_IMAGES = 8  # that `inference` hands to a detector at a time
DEFAULT_BATCH_SIZE = dict(topdown=32, bottomup=8)  # people, or whole images, which are several times as large


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
        config: a config file, the name of a config of the package or of published weights ('hrnet_w32_coco_256x192'), or what
            `load_config` returned.
        checkpoint: weights that fit the whole model: a file, an address, or the name of published weights; None leaves the values
            of the constructors, which predict nothing of use. Other layouts (mmpose 0.x, torchvision ...) are converted.
        device: where the model is to run.
        pretrained: take the published weights of the name given as `config`; they are downloaded once.
        trust: read a checkpoint that asks for unknown classes, by running what it says.

    Returns:
        The model in evaluation mode. It carries its config as `model.cfg`.

    Raises:
        ConfigError: the config is missing or faulty, or a name is unknown.
        FileNotFoundError: the checkpoint is missing.
        DownloadError: the checkpoint cannot be downloaded.
        UntrustedCheckpointError: the checkpoint is more than weights, and `trust` is off.
        ValueError: the checkpoint does not fit every tensor of the model; `pretrained` comes with one, or without a name.
    """
    if pretrained:
        if checkpoint is not None or isinstance(config, Config):
            raise ValueError('init_model: `pretrained` needs a name as `config`, and no `checkpoint`; or name the weights there.')
        checkpoint = find_entry(str(config)).name
    if isinstance(config, Config):
        cfg = copy.deepcopy(config)
        complete(cfg)
    else:
        cfg = load_config(find_config(config))
    if 'model' not in cfg:
        raise ConfigError(f'config {cfg.filename or ""!r} has no key `model`.')
    try:
        model = MODELS.build(cfg.model)
    except PathError as error:
        error.prepend('model', cfg.model)
        raise
    if checkpoint is not None:
        content = load_checkpoint_file(find_checkpoint(checkpoint), trust=trust)
        weights = extract_state_dict(content, revise_keys=cfg.get('load_revise_keys') or ())
        conversion = convert_to_fit(weights, model.state_dict().keys())
        report = load_state(model, conversion.state_dict, min_match=1.0)
        print_log(f'{checkpoint}: {report.line()}{conversion.note}', logger='current')
    model.cfg = cfg
    return model.to(device=device, memory_format=torch.channels_last).eval()


@torch.inference_mode()
def inference(
    model: BaseModel,
    images: Image | Sequence[Image],
    bboxes: Boxes | Sequence[Boxes] = None,
    *,
    bbox_scores: Sequence[Any] | None = None,
    detector: Detector | None = None,
    batch_size: int | None = None,
    pipeline: Pipeline | None = None,
) -> list[PoseDataSample]:
    """Return the poses in each image, from a top-down network on boxes or a bottom-up network on whole images.

    People of all the images share the batches of a top-down network, images of one input size those of a bottom-up network. Files
    are read when their turn comes, so that a long list of paths takes the memory of one image and one batch of inputs.

    Args:
        model: from `init_model`, or one with `cfg`, in evaluation mode.
        images: one image, or a list: files, or (H, W, 3) BGR uint8 arrays.
        bboxes: top-down: for one image its (N, 4) xyxy boxes in px; for a list one entry for each image. None, for all or for one
            image: the whole image is the box of one person. No rows: nobody, nothing is run. Bottom-up: None.
        bbox_scores: like `bboxes`, (N,) each; None for 1.
        detector: top-down: finds the boxes, instead of `bboxes`: any function from a list of images to the boxes of each; that of
            a network is `apis.box_detector(network)`. It is called with up to `DETECTOR_IMAGES` images.
        batch_size: people (bottom-up: images) in a batch; None for `DEFAULT_BATCH_SIZE`.
        pipeline: from `build_test_pipeline`, for many calls; None builds that of the model's config.

    Returns:
        One sample per image, in order; `pred_instances` has NumPy arrays: keypoints (N, K, 2) px of the image, keypoint_scores
        (N, K), bboxes (N, 4) xyxy, bbox_scores (N,); top-down people in the order of the boxes, with the boxes given; bottom-up
        people with the box around their keypoints and their score. The metainfo has img_path, img_id (the place in the list) and
        ori_shape (h, w).

    Raises:
        TypeError: the model finds no poses, or the detector returns no boxes.
        ValueError: the boxes do not fit the images, or the network takes none; an image file cannot be decoded.
        RuntimeError: the model is in training mode.
    """
    if isinstance(images, str | Path | np.ndarray):
        images = [images]
        bboxes = None if bboxes is None else [bboxes]
        bbox_scores = None if bbox_scores is None else [bbox_scores]
    for name, value in (('bboxes', bboxes), ('bbox_scores', bbox_scores)):
        if value is not None and len(value) != len(images):
            raise ValueError(f'inference: `{name}` needs one entry per image ({len(images)}), got {len(value)}.')
    if hasattr(model, 'class_meta'):
        other = 'segment' if hasattr(model, 'decode_head') else 'detect'
        raise TypeError(f'inference: `model` must be a pose network, got {type(model).__name__}; use `{other}` for it.')
    mode = data_mode(model.cfg)
    if mode == 'bottomup' and (bboxes is not None or bbox_scores is not None):
        raise ValueError('inference: `bboxes` must be None for a bottom-up network, which finds the people itself.')
    batch_size = DEFAULT_BATCH_SIZE[mode] if batch_size is None else batch_size
    if detector is not None and (mode == 'bottomup' or bboxes is not None or bbox_scores is not None):
        raise ValueError('inference: `detector` finds the boxes for a top-down network; give no `bboxes` and no `bbox_scores`.')
    if batch_size < 1:
        raise ValueError(f'inference: `batch_size` must be 1 or more, got {batch_size}.')
    if model.training:
        raise RuntimeError('inference: the model is in training mode; call model.eval() first.')
    pipeline = build_test_pipeline(model.cfg) if pipeline is None else pipeline
    results: list[PoseDataSample] = []
    people: list[list[InstanceData]] = []

    def inputs() -> Iterator[tuple[int, dict[str, Any]]]:
        for index, (pixels, path, boxes, scores) in enumerate(_with_boxes(images, bboxes, bbox_scores, detector)):
            results.append(PoseDataSample(metainfo=dict(img_path=path, img_id=index, ori_shape=pixels.shape[:2])))
            people.append([])
            item = dict(img=pixels, img_path=path, img_id=index, rng=np.random.default_rng(0))
            if mode == 'bottomup':
                yield index, pipeline(item)
                continue
            for number, (bbox, score) in enumerate(zip(*_people_of(pixels, boxes, scores, path))):
                yield index, pipeline({**item, **_person(number, bbox, score)})

    stream = inputs()
    while batch := list(islice(stream, batch_size)):
        for shape in dict.fromkeys(sample['inputs'].shape for _, sample in batch):
            part = [(index, sample) for index, sample in batch if sample['inputs'].shape == shape]
            predictions = model.test_step(pose_collate([sample for _, sample in part]))
            for (index, _), prediction in zip(part, predictions):
                people[index].append(prediction.pred_instances)
    for result, instances in zip(results, people):
        result.pred_instances = InstanceData.cat(instances) if instances else _nobody(model.meta.num_keypoints)
    return results


def _with_boxes(
    images: Sequence[Image], bboxes: Any, bbox_scores: Any, detector: Detector | None
) -> Iterator[tuple[np.ndarray, str, Any, Any]]:
    """Yield (pixels, path, boxes, scores) of each image; boxes and scores may be None."""
    loaded = (load_pixels(image, index) for index, image in enumerate(images))
    if detector is None:
        for index, (pixels, path) in enumerate(loaded):
            yield pixels, path, None if bboxes is None else bboxes[index], None if bbox_scores is None else bbox_scores[index]
        return
    while some := list(islice(loaded, DETECTOR_IMAGES)):
        for (pixels, path), (boxes, scores) in zip(some, detected_boxes(detector, [pixels for pixels, _ in some])):
            yield pixels, path, boxes, scores


def detected_boxes(detector: Detector, images: Sequence[np.ndarray]) -> list[tuple[Any, Any]]:
    """Return (boxes, scores) of each image, scores None where the detector gives none.

    Raises:
        TypeError: the detector does not return boxes, or pairs of boxes and scores.
        ValueError: it does not return one result per image.
    """
    found = detector(images)
    if not hasattr(found, '__len__'):
        raise TypeError(f'inference: `detector` must return a list, of the boxes of each image, got {type(found).__name__}.')
    if len(found) != len(images):
        raise ValueError(f'inference: `detector` must return one result per image ({len(images)}), got {len(found)}.')
    pairs = [of_image if isinstance(of_image, tuple) else (of_image, None) for of_image in found]
    for pair in pairs:
        if len(pair) != 2 or pair[0] is None:
            raise TypeError(
                'inference: `detector` must return for each image boxes (N, 4), no rows for nobody, or a tuple of boxes and '
                f'scores (N,), got {f"{len(pair)} values" if len(pair) != 2 else None}.'
            )
    return pairs


def data_mode(cfg: Config) -> str:
    """Return 'topdown' if the network of a config is shown people, 'bottomup' if it is shown whole images."""
    return _test_dataset(cfg).get('data_mode', 'topdown')


def build_test_pipeline(cfg: Config) -> Pipeline:
    """Return the steps from an image (top-down: and a box) to the network's input, as the test split of a config has them.

    Raises:
        ConfigError: the config has no test pipeline.
    """
    steps = _test_dataset(cfg).get('pipeline')
    if not steps:
        raise ConfigError(f'config {cfg.filename or ""!r} needs `test_dataloader.dataset.pipeline`, which inference runs.')
    return Pipeline(steps)


def _test_dataset(cfg: Config) -> Mapping[str, Any]:
    """Return the config of the (first) test dataset inside its wrappers; empty where there is none."""
    dataset = (cfg.get('test_dataloader') or cfg.get('val_dataloader') or {}).get('dataset', {})
    while isinstance(dataset.get('dataset'), Mapping) or dataset.get('datasets'):
        dataset = dataset['datasets'][0] if dataset.get('datasets') else dataset['dataset']
    return dataset


def load_pixels(image: Image, index: int) -> tuple[np.ndarray, str]:
    """Return the pixels, and a path or the name by which messages call an array."""
    if not isinstance(image, np.ndarray):
        return read_image(str(image)), str(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ValueError(f'inference: image {index} must be (H, W, 3) BGR uint8, got {image.shape} {image.dtype}.')
    return image, f'image {index}'


def _people_of(pixels: np.ndarray, bboxes: Any, scores: Any, path: str) -> tuple[np.ndarray, np.ndarray]:
    """Return checked (N, 4) boxes and (N,) scores, float32."""
    height, width = pixels.shape[:2]
    try:
        bboxes = np.array([[0, 0, width, height]] if bboxes is None else bboxes, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f'inference: `bboxes` of {path} must be (N, 4) numbers; a detector that gives scores, too, returns them in a tuple.'
        ) from error
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


def _person(number: int, bbox: np.ndarray, score: np.float32) -> dict[str, Any]:
    """Return what a dataset gives the transforms of one person."""
    return dict(
        ann_id=number,
        category_id=1,
        bboxes=bbox[None],
        bbox_scores=np.array([score]),
        areas=np.array([(bbox[2] - bbox[0]) * (bbox[3] - bbox[1])]),
    )


def _nobody(num_keypoints: int) -> InstanceData:
    return InstanceData(
        keypoints=np.zeros((0, num_keypoints, 2), np.float32),
        keypoint_scores=np.zeros((0, num_keypoints), np.float32),
        bboxes=np.zeros((0, 4), np.float32),
        bbox_scores=np.zeros(0, np.float32),
    )
