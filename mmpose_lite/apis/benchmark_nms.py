"""Benchmarks of the suppressions of boxes: how fast, and how good on a detector."""

# Letters: N boxes.
import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from torch import Tensor

from mmpose_lite.apis.benchmark import Report, in_turns, machine
from mmpose_lite.apis.infer import init_model
from mmpose_lite.datasets.collate import detection_collate
from mmpose_lite.engine.config import ConfigError
from mmpose_lite.registry import DATASETS, METRICS, NMS

_SCENE = 1000.0  # px, both sides of the made-up picture
_SIDES = (10.0, 110.0)  # px, of the boxes: most overlap some others, few overlap by half
_VARIANTS = {
    'hard': dict(type='HardNMS'),
    'soft linear': dict(type='SoftNMS', method='linear'),
    'soft gaussian': dict(type='SoftNMS', method='gaussian'),
    'IoU-guided': dict(type='IoUGuidedNMS'),
    'weighted': dict(type='WeightedNMS'),
    'softer': dict(type='SofterNMS'),
    'adaptive': dict(type='AdaptiveNMS'),
    'DIoU': dict(type='DIoUNMS'),
    'cluster': dict(type='ClusterNMS'),
    'matrix': dict(type='MatrixNMS'),
}


def benchmark_box_nms(counts: Sequence[int], *, repeats: int, device: str) -> Report:
    """Time every variant, in ms for all N boxes of one image and one class.

    Args:
        counts: N of each run.
        repeats: of each.
        device: 'cpu' or 'cuda'.
    """
    runs: dict[str, Callable[[], object]] = {}
    for count in counts:
        boxes, scores, extras = made_up_boxes(count, device=device)
        for name, cfg in _VARIANTS.items():
            nms = NMS.build(cfg)
            runs[f'{name}, N = {count}'] = lambda nms=nms, b=boxes, s=scores, e=extras: nms(b, s, **e)
    sides = ' to '.join(f'{side:.0f}' for side in _SIDES)
    report = Report(f'suppression of boxes of {sides} px in {_SCENE:.0f}x{_SCENE:.0f} px', machine(device))
    for name, seconds in in_turns(runs, repeats=repeats, device=device).items():
        report.add(name, [1000 * s for s in seconds], 'ms')
    return report


def made_up_boxes(count: int, *, device: str = 'cpu') -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Return boxes (N, 4) evenly spread over a picture, scores (N,) and every extra that a variant may need, by name."""
    generator = torch.Generator().manual_seed(0)
    numbers = torch.rand(count, 11, generator=generator)
    corners, (least, most) = numbers[:, :2] * _SCENE, _SIDES
    boxes = torch.cat([corners, corners + least + (most - least) * numbers[:, 2:4]], dim=1)
    extras = dict(pred_ious=numbers[:, 5], densities=numbers[:, 6], variances=0.1 + numbers[:, 7:])
    return boxes.to(device), numbers[:, 4].to(device), {name: values.to(device) for name, values in extras.items()}


def compare_on_detector(cfg: Config, *, checkpoint: str | Path | None, repeats: int, device: str) -> Report:
    """Run a detector once over the test data, suppress its boxes by each variant, and report AP, AP75 and ms per image of each.

    Every variant gets the same candidates, `score_thr` and `max_per_img`, and the options of this benchmark.

    Args:
        cfg: as `load_config` returns it, of a detector.
        checkpoint: its weights; None for those of the constructors.
        repeats: of each timing.
        device: 'cpu' or 'cuda'.

    Raises:
        ConfigError: the config has no test data with a metric of boxes, or the model no candidates.
    """
    missing = [key for key in ('model', 'test_dataloader', 'test_evaluator') if cfg.get(key) is None]
    if missing:
        raise ConfigError(f'benchmark nms: the config needs {", ".join(f"`{key}`" for key in missing)}.')
    model = init_model(cfg, checkpoint, device=device)
    if not hasattr(model, 'candidates'):
        raise ConfigError(f'benchmark nms: {type(model).__name__} has no candidates to suppress; a detector has.')
    dataset = DATASETS.build(cfg.test_dataloader['dataset'])
    candidates, image_ids = [], []
    with torch.inference_mode():
        for i in range(len(dataset)):
            batch = model.data_preprocessor(detection_collate([dataset[i]]), False)
            candidates += model.candidates(batch['inputs'], batch['data_samples'])
            image_ids += [metainfo['img_id'] for metainfo in batch['data_samples'].metainfo]
    report = Report(f'suppression of the boxes of {len(candidates)} images by one detector', machine(device))
    runs: dict[str, Callable[[], list[Any]]] = {}
    for name, variant in _VARIANTS.items():
        nms = NMS.build(variant, max_num=getattr(model.last_head.nms, 'max_num', None))  # CenterNet may suppress nothing
        if nms.extra is None or nms.extra in candidates[0].extras:
            runs[name] = lambda nms=nms: [model.last_head.suppress(found, nms) for found in candidates]
        else:
            report.notes.append(f'not compared: {name}, which needs `{nms.extra}`; the head does not predict it.')
    with torch.inference_mode():
        figures = {name: _figures(cfg, dataset.metainfo, image_ids, run()) for name, run in runs.items()}
        seconds = in_turns(runs, repeats=repeats, device=device)
    for name, of_variant in figures.items():
        for key, value in of_variant.items():
            report.add(f'{name}: {key}', [100 * value], '%')
        report.add(f'{name}: time', [1000 * s / len(candidates) for s in seconds[name]], 'ms/image')
    return report


def _figures(cfg: Config, metainfo: Mapping[str, Any], image_ids: Sequence[Any], found: Sequence[Any]) -> dict[str, float]:
    """Return AP and AP75 of the detections of the images, in [0, 1]."""
    evaluators = cfg.test_evaluator if isinstance(cfg.test_evaluator, list | tuple) else [cfg.test_evaluator]
    evaluator = copy.deepcopy(evaluators[0])
    if 'metric' in evaluator:
        evaluator['metric'] = 'bbox'  # no masks here
    metric = METRICS.build(evaluator)
    metric.dataset_meta = metainfo
    for image_id, kept in zip(image_ids, found):
        boxes = dict(bboxes=kept.boxes.cpu().numpy(), scores=kept.scores.cpu().numpy(), labels=kept.labels.cpu().numpy())
        metric.process(None, [dict(img_id=image_id, pred_instances=boxes)])
    scores = metric.evaluate(len(found))
    names = {'AP': 'coco/bbox_mAP', 'AP75': 'coco/bbox_mAP_75'}
    if not all(key in scores for key in names.values()):
        raise ConfigError(f'benchmark nms: the first of `test_evaluator` must give {list(names.values())}, got {list(scores)}.')
    return {name: scores[key] for name, key in names.items()}
