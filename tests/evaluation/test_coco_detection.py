"""AP of boxes and masks: a case worked out by hand, pycocotools called directly, both backends, every error."""

import contextlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mmengine.logging import MMLogger
from mmengine.structures import InstanceData
from pycocotools import mask as mask_api
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mmpose_lite.errors import MetricError
from mmpose_lite.evaluation import CocoDetectionMetric
from mmpose_lite.evaluation.coco_boxes import STAT_NAMES
from mmpose_lite.registry import METRICS
from mmpose_lite.structures import ClassMeta, DetDataSample
from tests.detection_folder import IDS, META, SIZES, shape, shape_mask, shapes, write_shapes


def build(folder: Path, *, meta: Any = META, **args: Any) -> CocoDetectionMetric:
    metric = METRICS.build(dict(type='CocoDetectionMetric', ann_file='instances.json', data_root=str(folder), **args))
    metric.dataset_meta = dict(class_meta=ClassMeta.load(meta))
    return metric


def found(image_id: int, objects: Sequence[tuple[str, Sequence[float], float]], *, masks: bool = False) -> dict[str, Any]:
    """Return a data sample, as the runner hands it to a metric; boxes are xywh."""
    boxes = np.array([bbox for _, bbox, _ in objects], np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    sample = DetDataSample(metainfo=dict(img_id=image_id))
    sample.pred_instances = InstanceData(
        bboxes=boxes,
        scores=np.array([score for *_, score in objects], np.float32),
        labels=np.array([META['classes'].index(name) for name, *_ in objects], np.int64),
    )
    if masks:
        sample.pred_instances.masks = [
            mask_api.encode(np.asfortranarray(shape_mask(name, bbox, SIZES[image_id - 1]))) for name, bbox, _ in objects
        ]
    return sample.to_dict()


def evaluate(metric: CocoDetectionMetric, samples: Sequence[dict[str, Any]]) -> dict[str, float]:
    metric.process(None, samples)
    return metric.evaluate(len(samples))


def random_case(seed: int, *, masks: bool) -> tuple[list[dict], list[dict]]:
    """Return annotations (crowds among them) and data samples that nearly find them, for 4 images."""
    rng = np.random.default_rng(seed)
    annotations, samples = [], []
    for image_id, (w, h) in enumerate(SIZES, start=1):
        objects = []
        for _ in range(rng.integers(0, 5)):
            name = str(rng.choice(META['classes']))
            x, y = rng.integers(0, (w - 12, h - 12))
            bbox = [int(x), int(y), *(int(v) for v in rng.integers(5, 12, 2))]
            annotations.append(shape(len(annotations) + 1, image_id, name, bbox, iscrowd=int(rng.random() < 0.15)))
            if rng.random() < 0.8:
                moved = [*np.clip(np.add(bbox[:2], rng.integers(-2, 3, 2)), 0, None).tolist(), *bbox[2:]]
                objects.append((name if rng.random() < 0.9 else 'box', moved, float(rng.random())))
        objects += [('disc', [1, 1, 8, 8], float(rng.random()))] * int(rng.integers(0, 2))
        samples.append(found(image_id, objects, masks=masks))
    return annotations, samples


def pycocotools_stats(ann_file: Path, samples: Sequence[dict[str, Any]], iou_type: str) -> np.ndarray:
    """Return the twelve figures as COCO's own demo computes them, from files."""
    names = dict(enumerate(META['classes']))
    results = []
    for sample in samples:
        instances = sample['pred_instances']
        for n, (x, y, X, Y) in enumerate(instances['bboxes'].tolist()):
            entry = dict(image_id=sample['img_id'], category_id=IDS[names[int(instances['labels'][n])]])
            entry |= dict(score=float(instances['scores'][n]))
            entry |= dict(bbox=[x, y, X - x, Y - y]) if iou_type == 'bbox' else dict(segmentation=instances['masks'][n])
            results.append(entry)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(ann_file))
        evaluation = COCOeval(truth, truth.loadRes(results), iou_type)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats


@pytest.mark.parametrize('iou_type', ['bbox', 'segm'])
@pytest.mark.parametrize('seed', [0, 1, 2])
@pytest.mark.parametrize('backend', ['pycocotools', 'faster'])
def test_against_pycocotools_called_directly(backend: str, seed: int, iou_type: str, tmp_path: Path) -> None:
    if backend == 'faster':
        pytest.importorskip('faster_coco_eval')
    annotations, samples = random_case(seed, masks=iou_type == 'segm')
    path = write_shapes(tmp_path, annotations)
    expected = pycocotools_stats(path, samples, iou_type)
    assert 0 < expected[0] < 1, 'a case that is neither perfect nor empty'
    ours = evaluate(build(tmp_path, metric=iou_type, backend=backend), samples)
    for name, value in zip(STAT_NAMES, expected):
        key = f'coco/{iou_type}_{name}'
        if value == -1:
            assert key not in ours, 'no figure where there are no objects'
        else:
            assert ours[key] == pytest.approx(value, abs=1e-6)


def test_by_hand(tmp_path: Path) -> None:
    """One class of two objects. The best box is wrong, the second finds an object at an IoU of 0.8, the other one is missed.

    Precision is 1/2 up to a recall of 1/2, which 51 of the 101 recalls 0, 0.01 ... 1 do not exceed, for the thresholds 0.5 ...
    0.75 and 0.8; nothing counts above.
    """
    write_shapes(tmp_path, [shape(1, 1, 'box', (0, 0, 20, 10)), shape(2, 1, 'box', (30, 20, 20, 20))])
    sample = found(1, [('box', (0, 30, 10, 10), 0.9), ('box', (0, 0, 16, 10), 0.8)])
    ours = evaluate(build(tmp_path, meta=dict(classes=['box']), classwise=True), [sample])
    at_one = 0.5 * 51 / 101
    assert ours['coco/bbox_mAP_50'] == pytest.approx(at_one)
    assert ours['coco/bbox_mAP_75'] == pytest.approx(at_one)
    assert ours['coco/bbox_mAP'] == pytest.approx(at_one * 7 / 10)
    assert ours['coco/bbox_AR@1'] == 0
    assert ours['coco/bbox_AR@100'] == pytest.approx(0.5 * 7 / 10)
    assert ours['coco/bbox_mAP.box'] == ours['coco/bbox_mAP']
    assert 'coco/bbox_mAP_l' not in ours


def test_perfect_predictions_and_none(tmp_path: Path) -> None:
    write_shapes(tmp_path)
    truth = {i: [] for i in range(1, 5)}
    for ann in shapes():
        if not ann['iscrowd']:
            truth[ann['image_id']].append((next(n for n, i in IDS.items() if i == ann['category_id']), ann['bbox'], 0.9))
    metric = build(tmp_path, metric=['bbox', 'segm'])
    ours = evaluate(metric, [found(i, objects, masks=True) for i, objects in truth.items()])
    assert ours['coco/bbox_mAP'] == ours['coco/segm_mAP'] == pytest.approx(1)
    assert metric.scores['segm'].precision.shape == (10, 101, 2)
    nothing = evaluate(build(tmp_path, metric=['bbox', 'segm']), [found(i, [], masks=True) for i in truth])
    assert nothing['coco/bbox_mAP'] == nothing['coco/segm_mAP'] == 0


@pytest.mark.parametrize('also_found', [False, True])
def test_what_is_to_be_ignored_is_no_mistake(also_found: bool, tmp_path: Path) -> None:
    """Neither to find it, nor not to find it."""
    objects = [('box', (30, 20, 20, 20), 0.9)] * also_found + [('box', (0, 0, 20, 10), 0.8)]
    for flag in ('ignore', 'iscrowd'):
        write_shapes(tmp_path, [shape(1, 1, 'box', (0, 0, 20, 10)), shape(2, 1, 'box', (30, 20, 20, 20), **{flag: 1})])
        assert evaluate(build(tmp_path), [found(1, objects)])['coco/bbox_mAP'] == pytest.approx(1)
    for nothing in ([], None, [[30, 20, 50, 40]], [[30, 20]]):  # a line and a point are no areas
        write_shapes(tmp_path, [shape(1, 1, 'box', (0, 0, 20, 10)), shape(2, 1, 'box', (30, 20, 20, 20), segmentation=nothing)])
        metric = build(tmp_path, metric='segm', backend='pycocotools')
        assert evaluate(metric, [found(1, objects, masks=True)])['coco/segm_mAP'] == pytest.approx(1)


def test_an_absent_area_is_that_of_the_mask_or_box(tmp_path: Path) -> None:
    """A disc of 40 x 28 px: its box has 1120 px^2, medium; its mask less than 32^2, small."""
    write_shapes(tmp_path, [{k: v for k, v in shape(1, 1, 'disc', (0, 0, 40, 28)).items() if k != 'area'}])
    sample = found(1, [('disc', (0, 0, 40, 28), 0.9)], masks=True)
    ours = evaluate(build(tmp_path, metric=['bbox', 'segm']), [sample])
    assert {'coco/bbox_mAP_m', 'coco/segm_mAP_s'} <= ours.keys()
    assert not {'coco/bbox_mAP_s', 'coco/segm_mAP_m'} & ours.keys()


def test_files_hold_the_ids_of_the_categories(tmp_path: Path) -> None:
    write_shapes(tmp_path)
    metric = build(tmp_path, metric=['bbox', 'segm'], outfile_prefix=str(tmp_path / 'out' / 'run'), format_only=True)
    assert evaluate(metric, [found(2, [('disc', (8, 30, 18, 20), 0.5)], masks=True)]) == {}
    boxes, masks = (json.loads((tmp_path / 'out' / f'run.{kind}.json').read_text()) for kind in ('bbox', 'segm'))
    assert boxes == [dict(image_id=2, category_id=IDS['disc'], score=0.5, bbox=[8, 30, 18, 20])]
    expected = shape_mask('disc', (8, 30, 18, 20), SIZES[1])
    np.testing.assert_array_equal(mask_api.decode(masks[0]['segmentation']), expected)
    assert masks[0]['category_id'] == IDS['disc']


def test_the_log_has_a_row_for_each_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_shapes(tmp_path)
    logged: list[str] = []
    monkeypatch.setattr(MMLogger.get_current_instance(), 'info', logged.append)
    evaluate(build(tmp_path), [found(1, [('box', (5, 6, 20, 14), 0.9)]), *(found(i, []) for i in (2, 3, 4))])
    table = {
        cells[1].strip(): [c.strip() for c in cells[2:-1]]
        for cells in (row.split('|') for row in logged[-1].split('\n'))
        if len(cells) > 3
    }
    assert table['class'] == ['objects', 'predicted', 'AP', 'AP50', 'AP75', 'AR']
    assert table['box'] == ['2', '1', f'{51 / 101:.4f}', f'{51 / 101:.4f}', f'{51 / 101:.4f}', '0.5000']
    assert table['disc'] == ['2', '0', '0.0000', '0.0000', '0.0000', '0.0000']


def test_a_missed_image_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_shapes(tmp_path)
    warnings: list[str] = []
    monkeypatch.setattr(MMLogger.get_current_instance(), 'warning', warnings.append)
    evaluate(build(tmp_path), [found(1, []), found(3, [])])
    assert '2 of 3 images with objects' in warnings[0]
    assert 'image ids 2, 4' in warnings[0]


def _broken(change: str) -> dict[str, Any]:
    sample = found(1, [('box', (5, 6, 20, 14), 0.9)])
    if change == 'nan':
        sample['pred_instances']['bboxes'][0, 2] = np.nan
    elif change == 'infinite score':
        sample['pred_instances']['scores'][0] = np.inf
    elif change == 'label':
        sample['pred_instances']['labels'][0] = 2
    else:
        sample['img_id'] = 'one'
    return sample


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ('nan', r'must be finite; NaN or infinity in 1 of 1 images, ids 1\.'),
        ('infinite score', r'must be finite'),
        ('label', r'(?s)do not belong to the annotations.*labels *\| 2 +\| 0 ... 1 \(shapes\).*as many classes as `meta` has'),
        ('image', r"(?s)do not belong to the annotations.*image ids *\| 1, 1 of them unknown.*predicted 'one'; ann_file 1, 2"),
    ],
)
def test_predictions_that_do_not_fit(change: str, message: str, tmp_path: Path) -> None:
    write_shapes(tmp_path)
    with pytest.raises(MetricError, match=message):
        evaluate(build(tmp_path), [_broken(change)])


def test_an_image_that_was_predicted_twice(tmp_path: Path) -> None:
    """Its objects would be wrong the second time, and of another image missed."""
    write_shapes(tmp_path)
    with pytest.raises(
        MetricError, match=r'(?s)images predicted again *\| 1 +\| 0 .*\| 3 .*AspectRatioBatchSampler is for training'
    ):
        evaluate(build(tmp_path), [found(i, []) for i in (3, 1, 3)])


def test_masks_of_another_size_than_the_file_says(tmp_path: Path) -> None:
    """COCOeval compares none of them, and gives an AP of 0."""
    path = write_shapes(tmp_path, [shape(1, 1, 'box', (0, 0, 20, 10), segmentation=[[0, 0, 20, 0, 20, 10, 0, 10]])])
    sample = found(1, [('box', (0, 0, 20, 10), 0.9)], masks=True)
    assert evaluate(build(tmp_path, metric='segm'), [sample, found(2, [], masks=True)])['coco/segm_mAP'] == pytest.approx(1)
    content = json.loads(path.read_text())
    content['images'][0]['height'] += 1
    path.write_text(json.dumps(content))
    with pytest.raises(MetricError, match=r'(?s)sizes of the images.*\| \[44, 60\] +\| \[45, 60\] +\| image ids 1 '):
        evaluate(build(tmp_path, metric='segm'), [sample])


def test_a_network_that_finds_no_objects(tmp_path: Path) -> None:
    write_shapes(tmp_path)
    for sample, there in ((dict(img_id=3), r'\[\]'), (dict(img_id=3, pred_instances=dict(keypoints=0)), r"\['keypoints'\]")):
        with pytest.raises(MetricError, match=rf"needs? `pred_instances` with \['bboxes', .*image id 3 has {there}"):
            build(tmp_path).process(None, [sample])


@pytest.mark.parametrize(
    ('annotations', 'meta', 'metric', 'message'),
    [
        ([], META, 'bbox', r'has no object of the classes that is not a crowd'),
        ([shape(1, 1, 'box', (0, 0, 9, 9), iscrowd=1)], META, 'bbox', r'has no object of the classes that is not a crowd'),
        (shapes(), 'coco80', 'bbox', r"none of its categories \['box', 'disc'\]"),
        (shapes(), dict(classes=['box', 'dsic']), 'bbox', r"the class 'dsic' of `meta` .* has 'disc'"),
    ],
)
def test_files_that_do_not_fit(annotations: list, meta: Any, metric: str, message: str, tmp_path: Path) -> None:
    write_shapes(tmp_path, annotations)
    with pytest.raises(ValueError, match=message):
        evaluate(build(tmp_path, meta=meta, metric=metric), [found(1, [])])


def test_masks_that_are_missing(tmp_path: Path) -> None:
    write_shapes(tmp_path, [{k: v for k, v in shape(4, 1, 'box', (0, 0, 9, 9)).items() if k != 'segmentation'}])
    with pytest.raises(MetricError, match=r'annotation 4 \(image 1\) needs a `segmentation`, and its image `height`'):
        evaluate(build(tmp_path, metric='segm'), [found(1, [], masks=True)])
    with pytest.raises(MetricError, match=r"metric 'segm' needs `masks`, and the network predicts none"):
        evaluate(build(tmp_path, metric='segm'), [found(1, [])])


@pytest.mark.parametrize(
    ('args', 'error', 'message'),
    [
        (dict(metric='box'), ValueError, r"`metric` must be some of \('bbox', 'segm'\), got 'box'"),
        (dict(metric=()), ValueError, r'`metric` must be some of'),
        (dict(backend='fast'), ValueError, r"`backend` must be one of .* got 'fast'"),
        (dict(format_only=True), ValueError, r'`format_only` needs `outfile_prefix`'),
        (dict(data_root='/nowhere'), FileNotFoundError, r"`ann_file` '/nowhere/instances.json' does not exist"),
    ],
)
def test_wrong_arguments(args: dict[str, Any], error: type[Exception], message: str, tmp_path: Path) -> None:
    write_shapes(tmp_path)
    with pytest.raises(error, match=message):
        METRICS.build({**dict(type='CocoDetectionMetric', ann_file='instances.json', data_root=str(tmp_path)), **args})


def test_without_classes_or_results(tmp_path: Path) -> None:
    write_shapes(tmp_path)
    metric = METRICS.build(dict(type='CocoDetectionMetric', ann_file='instances.json', data_root=str(tmp_path)))
    with pytest.raises(MetricError, match='there is nothing to evaluate'):
        metric.compute_metrics([])
    with pytest.raises(MetricError, match="`dataset_meta` has no 'class_meta'"):
        evaluate(metric, [found(1, [])])
