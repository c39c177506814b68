"""CocoWholeBodyMetric against CocoMetric on files that hold one part of the body."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmpose_lite.evaluation import CocoMetric, CocoWholeBodyMetric
from mmpose_lite.evaluation.coco_eval import STAT_NAMES
from mmpose_lite.structures import KeypointMeta

META = KeypointMeta.load('wholebody133')
# As the authors' page lists them: 17 of the body, 6 of the feet, 68 of the face, 21 of each hand.
PARTS = dict(body=range(17), foot=range(17, 23), face=range(23, 91), lefthand=range(91, 112), righthand=range(112, 133))
NMS = dict(score_mode='bbox', nms_mode='none', backend='pycocotools')


def people(num: int = 8) -> list[dict[str, Any]]:
    """Return annotations, two to an image, of 40 to 160 px: every third lacks its feet, every fourth its left hand."""
    rng = np.random.default_rng(0)
    annotations = []
    for number in range(num):
        size = rng.uniform(40, 160)
        corner = np.array([300.0 * (number % 2), 10])
        points = np.column_stack((corner + rng.uniform(0, size, (133, 2)), rng.integers(1, 3, 133)))
        for lacks, part in ((number % 3 == 2, 'foot'), (number % 4 == 3, 'lefthand')):
            if lacks:
                points[PARTS[part]] = 0
        annotations.append(
            dict(id=number + 1, image_id=number // 2, category_id=1, iscrowd=0, bbox=[*corner.tolist(), size, size])
            | dict(area=0.6 * size * size, keypoints=points.ravel().tolist(), num_keypoints=int((points[:, 2] > 0).sum()))
        )
    return annotations


def write(path: Path, annotations: list[dict[str, Any]], category_keypoints: range = range(133)) -> str:
    """Write a COCO file with those of the 133 keypoints."""
    cut = [dict(a, keypoints=np.reshape(a['keypoints'], (-1, 3))[list(category_keypoints)].ravel().tolist()) for a in annotations]
    for annotation in cut:
        annotation['num_keypoints'] = int(np.count_nonzero(annotation['keypoints'][2::3]))
    images = [dict(id=i, file_name=f'{i}.jpg') for i in range(4)]
    path.write_text(json.dumps(dict(images=images, annotations=cut, categories=[dict(id=1, name='person')])))
    return str(path)


def samples(annotations: list[dict[str, Any]], keypoints: range = range(133), *, lost: str = '') -> list[dict[str, Any]]:
    """Return predictions off by what the OKS expects of each keypoint; those of the part `lost` are 500 px away."""
    rng = np.random.default_rng(1)
    found = []
    for annotation in annotations:
        spread = annotation['area'] ** 0.5 * np.array(META.sigmas)[:, None]
        points = np.reshape(annotation['keypoints'], (133, 3))[:, :2] + spread * rng.normal(0, 1, (133, 2))
        if lost:
            points[PARTS[lost]] += 500
        pred = dict(keypoints=points[None, keypoints], keypoint_scores=np.ones((1, len(keypoints))))
        pred['bbox_scores'] = rng.uniform(0.3, 1, 1)
        found.append(dict(img_id=annotation['image_id'], ann_id=annotation['id'], category_id=1, pred_instances=pred))
    return found


def evaluate(metric: CocoMetric, meta: KeypointMeta, data_samples: list[dict[str, Any]]) -> dict[str, float]:
    metric.dataset_meta = dict(keypoint_meta=meta)
    metric.process(None, data_samples)
    return metric.evaluate(len(data_samples))


@pytest.mark.parametrize('part', PARTS)
def test_a_part_is_measured_as_if_there_were_no_others(part: str, tmp_path: Path) -> None:
    annotations, keypoints = people(), PARTS[part]
    figures = evaluate(CocoWholeBodyMetric(write(tmp_path / 'all.json', annotations), **NMS), META, samples(annotations))
    meta = KeypointMeta.from_dict(
        dict(keypoints=[META.keypoints[i] for i in keypoints], sigmas=[META.sigmas[i] for i in keypoints])
    )
    alone = CocoMetric(write(tmp_path / 'part.json', annotations, keypoints), **NMS)
    expected = evaluate(alone, meta, samples(annotations, keypoints))
    names = set(STAT_NAMES) - {'AP (M)', 'AP (L)'}  # which range those that match nobody are in: by the body, or by the part
    assert {name: figures[f'coco-wholebody/{part}/{name}'] for name in names} == pytest.approx(
        {name: expected[f'coco/{name}'] for name in names}
    )
    assert 0.1 < figures[f'coco-wholebody/{part}/AP'] < 1


def test_all_keypoints_together_are_measured_as_by_the_plain_metric(tmp_path: Path) -> None:
    annotations = people()
    path = write(tmp_path / 'all.json', annotations)
    figures = evaluate(CocoWholeBodyMetric(path, **NMS), META, samples(annotations))
    expected = evaluate(CocoMetric(path, **NMS), META, samples(annotations))
    names = set(STAT_NAMES) - {'AP (M)', 'AP (L)'}
    assert {name: figures[f'coco-wholebody/{name}'] for name in names} == pytest.approx(
        {name: expected[f'coco/{name}'] for name in names}
    )


def test_a_lost_part_is_lost_alone_and_the_hand_is_the_mean_of_both(tmp_path: Path) -> None:
    annotations = people()
    figures = evaluate(
        CocoWholeBodyMetric(write(tmp_path / 'all.json', annotations), **NMS), META, samples(annotations, lost='righthand')
    )
    whole = evaluate(CocoWholeBodyMetric(write(tmp_path / 'all.json', annotations), **NMS), META, samples(annotations))
    assert figures['coco-wholebody/righthand/AP'] == 0
    for part in ('body', 'foot', 'face', 'lefthand'):
        assert figures[f'coco-wholebody/{part}/AP'] == whole[f'coco-wholebody/{part}/AP'] > 0
    assert figures['coco-wholebody/hand/AP'] == pytest.approx(figures['coco-wholebody/lefthand/AP'] / 2)
    assert figures['coco-wholebody/AP'] < whole['coco-wholebody/AP']


def test_a_part_that_scores_nothing_does_not_count_as_found(tmp_path: Path) -> None:
    """A wrong prediction of a high score halves the precision, unless it says itself that it has not seen the part."""
    annotations = people(2)[:1]
    wrong, right = samples(annotations, lost='face')[0], samples(annotations)[0]
    wrong['ann_id'], wrong['pred_instances']['bbox_scores'] = 9, np.array([2.0])
    path = write(tmp_path / 'all.json', annotations)
    assert evaluate(CocoWholeBodyMetric(path, **NMS), META, [wrong, right])['coco-wholebody/face/AP .5'] == pytest.approx(0.5)
    wrong['pred_instances']['keypoint_scores'][0, PARTS['face']] = 0
    assert evaluate(CocoWholeBodyMetric(path, **NMS), META, [wrong, right])['coco-wholebody/face/AP .5'] == pytest.approx(1)


def test_a_part_that_nobody_has_gives_no_figure(tmp_path: Path) -> None:
    annotations = people(3)[2:]
    figures = evaluate(CocoWholeBodyMetric(write(tmp_path / 'all.json', annotations), **NMS), META, samples(annotations))
    assert 'coco-wholebody/foot/AP' not in figures
    assert 'coco-wholebody/hand/AP' in figures


def test_a_prediction_that_matches_nobody_is_as_large_as_its_body(tmp_path: Path) -> None:
    """Its face spans 400 px, its body 20: it is small, so the large person is found with a precision of 1."""
    annotations = [dict(people(1)[0], area=100.0**2)]
    right, wrong = samples(annotations)[0], samples(annotations, lost='face')[0]
    wrong['ann_id'], wrong['pred_instances']['bbox_scores'] = 9, np.array([2.0])
    wrong['pred_instances']['keypoints'][0, :17] = 1000 + np.arange(17)[:, None]
    figures = evaluate(CocoWholeBodyMetric(write(tmp_path / 'all.json', annotations), **NMS), META, [right, wrong])
    assert figures['coco-wholebody/face/AP .5'] == pytest.approx(0.5)
    assert figures['coco-wholebody/face/AP (L)'] == pytest.approx(
        evaluate(CocoWholeBodyMetric(str(tmp_path / 'all.json'), **NMS), META, [right])['coco-wholebody/face/AP (L)']
    )


def test_the_file_of_results_has_the_parts_under_the_authors_keys(tmp_path: Path) -> None:
    annotations = people(2)
    metric = CocoWholeBodyMetric(
        write(tmp_path / 'all.json', annotations), **NMS, format_only=True, outfile_prefix=str(tmp_path / 'out')
    )
    data_samples = samples(annotations)
    assert evaluate(metric, META, data_samples) == {}
    first = json.loads((tmp_path / 'out.keypoints.json').read_text())[0]
    points = data_samples[0]['pred_instances']['keypoints'][0]
    keys = dict(body='keypoints', foot='foot_kpts', face='face_kpts', lefthand='lefthand_kpts', righthand='righthand_kpts')
    for part, key in keys.items():
        triplets = np.reshape(first[key], (-1, 3))
        np.testing.assert_allclose(triplets[:, :2], points[PARTS[part]])


def test_other_keypoints_are_refused(tmp_path: Path) -> None:
    metric = CocoWholeBodyMetric(write(tmp_path / 'all.json', people(2)), **NMS)
    with pytest.raises(ValueError, match=r"must have the 133 keypoints of 'wholebody133', got 17 \('coco17'\)"):
        evaluate(metric, KeypointMeta.load('coco17'), samples(people(2)))
