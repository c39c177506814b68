"""COCO-WholeBody and Halpe-FullBody -> the keypoints of one network; evaluation of all 133."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmpose_lite.datasets import CocoKeypointDataset
from mmpose_lite.datasets.converters import convert_halpe, convert_wholebody
from mmpose_lite.evaluation import CocoMetric
from mmpose_lite.structures import KeypointMeta

PARTS = dict(keypoints=17, foot_kpts=6, face_kpts=68, lefthand_kpts=21, righthand_kpts=21)


def points(seed: int, num: int) -> list[float]:
    """Return x, y, v of `num` labelled points."""
    rng = np.random.default_rng(seed)
    return np.column_stack((rng.uniform(20, 180, (num, 2)).round(1), rng.integers(1, 3, num))).ravel().tolist()


def write(folder: Path, annotations: list[dict[str, Any]], name: str = 'people_v1.0.json') -> Path:
    images = [dict(id=i, file_name=f'{i}.jpg', width=200, height=200) for i in (1, 2)]
    path = folder / name
    path.write_text(json.dumps(dict(info={}, images=images, annotations=annotations, categories=[dict(id=1, name='person')])))
    return path


def person(ann_id: int, **keypoints: list[float]) -> dict[str, Any]:
    return (
        dict(id=ann_id, image_id=1, category_id=1, iscrowd=0, bbox=[10, 10, 180, 180], area=9000.0, num_keypoints=1) | keypoints
    )


@pytest.fixture
def wholebody(tmp_path: Path) -> Path:
    """Two people; the second has no foot and no right hand."""
    first, second = ({name: points(10 * i + j, num) for j, (name, num) in enumerate(PARTS.items())} for i in (1, 2))
    del second['foot_kpts']
    second['righthand_kpts'] = [0.0] * 63
    return convert_wholebody(write(tmp_path, [person(1, **first, face_valid=True), person(2, **second)]), tmp_path / 'out')


def test_parts_are_joined_in_order(wholebody: Path) -> None:
    assert wholebody.name == 'people_v1.0.json'
    content = json.loads(wholebody.read_text())
    first, second = content['annotations']
    assert first['keypoints'] == [number for j, num in enumerate(PARTS.values()) for number in points(10 + j, num)]
    assert first['num_keypoints'] == 133
    assert not set(first) & (set(PARTS) - {'keypoints'})
    assert first['face_valid'] is True  # what else there is stays
    assert second['num_keypoints'] == 133 - 6 - 21
    assert second['keypoints'][3 * 17 : 3 * 23] == [0] * 18
    assert content['categories'][0]['keypoints'] == list(KeypointMeta.load('wholebody133').keypoints)


@pytest.mark.parametrize('backend', ['pycocotools', 'faster'])
@pytest.mark.parametrize('noise', [0.0, 0.8, 1.6, 3.0])
def test_all_133_are_evaluated_with_their_sigmas(wholebody: Path, backend: str, noise: float) -> None:
    """COCO's recall counts the thresholds that the OKS, the mean of exp(-d^2 / (2 area (2 sigma)^2)), reaches."""
    if backend == 'faster':
        pytest.importorskip('faster_coco_eval')
    dataset = CocoKeypointDataset(wholebody.name, 'wholebody133', data_root=str(wholebody.parent))
    offsets = np.random.default_rng(0).normal(0, noise, (133, 2))
    metric = CocoMetric(str(wholebody), score_mode='bbox', nms_mode='none', backend=backend)
    metric.dataset_meta = dataset.metainfo
    pred = dict(keypoints=dataset[0]['keypoints'] + offsets, keypoint_scores=np.ones((1, 133)), bbox_scores=np.ones(1))
    metric.process(None, [dict(img_id=1, ann_id=1, category_id=1, pred_instances=pred)])
    similarity = np.exp(-(offsets**2).sum(-1) / (2 * 9000 * (2 * np.array(dataset.meta.sigmas)) ** 2))
    recall = np.mean(similarity.mean() >= np.linspace(0.5, 0.95, 10)) / 2  # of two people one was looked for
    assert metric.evaluate(1)['coco/AR'] == pytest.approx(recall)


def test_halpe_keeps_body_and_feet(tmp_path: Path) -> None:
    source = write(tmp_path, [person(1, keypoints=points(3, 136)), person(2, keypoints=[])], 'halpe_val_v1.json')
    path = convert_halpe(source, tmp_path / 'out')
    first, second = json.loads(path.read_text())['annotations']
    assert first['keypoints'] == points(3, 136)[: 3 * 26]
    assert (first['num_keypoints'], second['num_keypoints']) == (26, 0)
    item = CocoKeypointDataset(path.name, 'halpe26', data_root=str(path.parent))[0]
    assert item['keypoints'].shape == (1, 26, 2)


def test_wrong_files(tmp_path: Path) -> None:
    coco = write(tmp_path, [person(1, keypoints=points(3, 17))])
    with pytest.raises(ValueError, match='needs a list `annotations` of people with `face_kpts`'):
        convert_wholebody(coco, tmp_path / 'out')
    with pytest.raises(ValueError, match=r'annotation 1: `keypoints` must be 136 points .* got 51 numbers'):
        convert_halpe(coco, tmp_path / 'out')
    short = write(tmp_path, [person(4, keypoints=points(3, 17), face_kpts=points(1, 5))])
    with pytest.raises(ValueError, match=r'annotation 4: `face_kpts` must be 68 points .* got 15 numbers'):
        convert_wholebody(short, tmp_path / 'out')
    with pytest.raises(FileNotFoundError, match=r'absent\.json'):
        convert_wholebody(tmp_path / 'absent.json', tmp_path / 'out')
    (tmp_path / 'broken.json').write_text('{')
    with pytest.raises(ValueError, match=r'broken\.json: no valid JSON'):
        convert_halpe(tmp_path / 'broken.json', tmp_path / 'out')
    assert not (tmp_path / 'out').exists()
    with pytest.raises(FileExistsError, match='exists already'):
        convert_wholebody(coco, tmp_path)  # onto itself
