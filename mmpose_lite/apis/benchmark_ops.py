"""Benchmarks that need neither data nor a network: codecs, suppression, evaluation."""

# Letters: B batch, N instances, K keypoints, H x W heatmap cells.
import importlib.util
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from mmpose_lite.apis.benchmark import Report, in_turns, machine
from mmpose_lite.codecs.heatmap import VARIANTS, HeatmapCodec
from mmpose_lite.codecs.paf import PAFCodec
from mmpose_lite.datasets.synthetic_figure import Figure
from mmpose_lite.evaluation.coco_eval import coco_ground_truth, coco_keypoint_stats
from mmpose_lite.ops.oks import oks_nms, soft_oks_nms
from mmpose_lite.structures import KeypointConverter, KeypointMeta

_STRIDE = 4  # px of the input in a cell of a top-down network, as in the usual configs
_SCENE_SIZE, _SCENE_STRIDE = (656, 368), 8  # the input of OpenPose for a picture of 16:9


def benchmark_codecs(shape: tuple[int, int, int, int], *, num_people: Sequence[int], repeats: int, device: str) -> Report:
    """Time encode and decode of each variant of the heatmap codec, and of fields by the number of people, in ms of one batch.

    Args:
        shape: (B, K, H, W) of the heatmaps.
        num_people: in the picture whose fields are encoded and decoded; one run for each.
        repeats: of each.
        device: 'cpu' or 'cuda'.
    """
    (w, h), stride = _SCENE_SIZE, _SCENE_STRIDE
    runs = {**_heatmap_runs(shape, device), **_field_runs(num_people, device)}
    report = Report(
        f'heatmap codec, (B, K, H, W) = {shape}; paf: one picture of {w}x{h} px at stride {stride}, 18 keypoints, 19 limbs',
        machine(device),
    )
    for name, seconds in in_turns(runs, repeats=repeats, device=device).items():
        report.add(name, [1000 * s for s in seconds], 'ms')
    return report


def _heatmap_runs(shape: tuple[int, int, int, int], device: str) -> dict[str, Callable[[], object]]:
    B, K, H, W = shape
    generator = torch.Generator().manual_seed(0)
    keypoints = torch.rand(B, 1, K, 2, generator=generator) * torch.tensor((W, H)) * _STRIDE
    noise = 0.05 * torch.rand(B, K, H, W, generator=generator)
    keypoints, noise, visible = keypoints.to(device), noise.to(device), torch.ones(B, 1, K, device=device)
    runs: dict[str, Callable[[], object]] = {}
    for variant in VARIANTS:
        codec = HeatmapCodec((W * _STRIDE, H * _STRIDE), (W, H), variant=variant)
        heatmaps = codec.encode(keypoints, visible)[0] + noise
        interleaved = heatmaps.contiguous(memory_format=torch.channels_last)
        runs[f'{variant} encode'] = lambda codec=codec: codec.encode(keypoints, visible)
        runs[f'{variant} decode'] = lambda codec=codec, heatmaps=heatmaps: codec.decode(heatmaps)
        runs[f'{variant} decode, channels-last'] = lambda codec=codec, heatmaps=interleaved: codec.decode(heatmaps)
    return runs


def _field_runs(num_people: Sequence[int], device: str) -> dict[str, Callable[[], object]]:
    (w, h), stride = _SCENE_SIZE, _SCENE_STRIDE
    codec = PAFCodec((w, h), (w // stride, h // stride), meta='openpose18')
    runs: dict[str, Callable[[], object]] = {}
    for count in num_people:
        keypoints = torch.from_numpy(made_up_people(count, _SCENE_SIZE, codec.meta))[None].to(device)
        visible = torch.ones(keypoints.shape[:3], device=device)
        maps = codec.encode(keypoints, visible)
        runs[f'paf encode, N = {count}'] = lambda keypoints=keypoints, visible=visible: codec.encode(keypoints, visible)
        runs[f'paf decode, N = {count}'] = lambda maps=maps: codec.decode(*maps)
    return runs


def made_up_people(num: int, size: tuple[int, int], meta: KeypointMeta) -> np.ndarray:
    """Return keypoints (num, K, 2), float32 px, of people in random poses, in rows in a picture of `size` (w, h)."""
    w, h = size
    rng = np.random.default_rng(0)
    coco = KeypointMeta.load('coco17')
    rows = max(1, round(math.sqrt(num * h / (2 * w))))  # a place is twice as high as wide
    columns = -(-num // rows)
    people = []
    for i in range(num):
        center = ((i % columns + 0.5) * w / columns, (i // columns + 0.5) * h / rows)
        joints = Figure.sample(rng).placed(np.array(center), min(0.8 * h / rows, 1.6 * w / columns)).joints
        people.append([joints[name][:2] for name in coco.keypoints])
    keypoints = np.array(people, dtype=np.float32)
    return KeypointConverter(coco, meta)(keypoints, np.ones(keypoints.shape[:2], np.float32))[0]


def benchmark_nms(counts: Sequence[int], *, num_keypoints: int, repeats: int, device: str) -> Report:
    """Time the suppressions by OKS, in ms for all N instances of one image.

    Args:
        counts: N of each run; the instances are five around each of N / 5 people.
        num_keypoints: K.
        repeats: of each.
        device: 'cpu' or 'cuda'.
    """
    sigmas = KeypointMeta.load(dict(keypoints=num_keypoints)).sigmas
    runs = {}
    for count in counts:
        rng = np.random.default_rng(0)
        people = rng.uniform(0, 1000, (-(-count // 5), 1, 2)) + rng.uniform(0, 100, (-(-count // 5), num_keypoints, 2))
        keypoints = np.repeat(people, 5, axis=0)[:count] + rng.normal(0, 3, (count, num_keypoints, 2))
        arrays = keypoints, rng.random(count), np.full(count, 1e4)
        points, scores, areas = (torch.as_tensor(array, dtype=torch.float32, device=device) for array in arrays)
        for name, function in (('oks_nms', oks_nms), ('soft_oks_nms', soft_oks_nms)):
            runs[f'{name}, N = {count}'] = lambda f=function, p=points, s=scores, a=areas: f(p, s, sigmas=sigmas, areas=a)
    report = Report(f'suppression by OKS, K = {num_keypoints}', machine(device))
    for name, seconds in in_turns(runs, repeats=repeats, device=device).items():
        report.add(name, [1000 * s for s in seconds], 'ms')
    return report


def benchmark_evaluation(num_images: int, num_people: int, *, detections_per_person: int = 2, repeats: int) -> Report:
    """Time OKS-AP on made-up people of COCO's keypoints, by pycocotools and, where installed, faster-coco-eval.

    Args:
        num_images: images, over which the people are spread evenly.
        num_people: annotated ones.
        detections_per_person: half of them near the truth, the rest further and further off.
        repeats: of each.
    """
    meta = KeypointMeta.load('coco17')
    content, detections = made_up_coco(num_images, num_people, meta.num_keypoints, detections_per_person)
    ground_truth = coco_ground_truth(content)
    backends = ['pycocotools', *(['faster'] if importlib.util.find_spec('faster_coco_eval') else [])]
    stats: dict[str, np.ndarray] = {}

    def run(backend: str) -> None:
        stats[backend] = coco_keypoint_stats(ground_truth, detections, sigmas=meta.sigmas, backend=backend)

    seconds = in_turns({backend: lambda backend=backend: run(backend) for backend in backends}, repeats=repeats)
    report = Report(f'OKS-AP of {num_images} images, {num_people} people, {len(detections)} detections', machine())
    for backend in backends:
        report.add(backend, seconds[backend], 's')
    report.notes.append(f'AP {stats["pycocotools"][0]:.4f} (pycocotools)')
    if 'faster' in stats:
        report.add_ratio('pycocotools / faster', seconds['pycocotools'], seconds['faster'])
        report.notes.append(f'greatest difference of the ten figures: {np.abs(stats["pycocotools"] - stats["faster"]).max():.1e}')
    else:
        report.notes.append('faster-coco-eval is not installed')
    return report


def made_up_coco(
    num_images: int, num_people: int, num_keypoints: int, detections_per_person: int
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return a COCO annotation file's content and COCO results for it; always the same for the same numbers."""
    rng = np.random.default_rng(0)
    sizes = rng.uniform(40, 300, (num_people, 1, 1))
    points = rng.uniform(0, 300, (num_people, 1, 2)) + rng.random((num_people, num_keypoints, 2)) * sizes * (0.5, 1)
    flags = rng.choice((0, 1, 2), (num_people, num_keypoints, 1), p=(0.3, 0.2, 0.5))
    flags[:, 0] = 2  # nobody is without a label
    image_ids = np.arange(num_people) % num_images + 1
    annotations = [
        dict(
            id=i + 1,
            image_id=int(image_ids[i]),
            category_id=1,
            keypoints=np.concatenate((points[i], flags[i]), axis=1).ravel().tolist(),
            bbox=[*points[i].min(axis=0).tolist(), *np.ptp(points[i], axis=0).tolist()],
            area=float(0.3 * sizes[i, 0, 0] ** 2),
            num_keypoints=int((flags[i] > 0).sum()),
            iscrowd=0,
        )
        for i in range(num_people)
    ]
    detections = []
    for number in range(detections_per_person):
        spread = rng.exponential(0.02 * (1 + 2 * number), (num_people, 1, 1)) * sizes
        found = points + rng.normal(size=points.shape) * spread
        scores = np.exp(-30 * spread[:, 0, 0] / sizes[:, 0, 0]) * rng.uniform(0.8, 1, num_people)
        triplets = np.concatenate((found, np.ones_like(found[..., :1])), axis=2).reshape(num_people, -1)
        detections += [
            dict(image_id=int(image_ids[i]), category_id=1, keypoints=triplets[i].tolist(), score=float(scores[i]))
            for i in range(num_people)
        ]
    content = dict(
        images=[dict(id=i + 1) for i in range(num_images)], categories=[dict(id=1, name='person')], annotations=annotations
    )
    return content, detections
