"""tools/benchmark.py nms --config: every suppression on the boxes of one detector."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from mmpose_lite.apis.cli import run_command
from mmpose_lite.models.estimators.two_stage import TwoStageDetector
from mmpose_lite.models.heads.roi.candidates import Candidates
from mmpose_lite.structures import SampleBatch
from tests.conftest import REPO
from tests.detection_folder import META, SIZES, shapes, write_shapes
from tests.models.test_two_stage import config as thin_detector
from tests.models.test_views import BACKBONE, HEADS
from tools.benchmark import main

VARIANTS = ('hard', 'soft linear', 'soft gaussian', 'IoU-guided', 'weighted', 'softer', 'adaptive', 'DIoU', 'cluster', 'matrix')


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')
    write_shapes(tmp_path)
    model = {key: value for key, value in thin_detector().items() if key != 'meta'}
    path = tmp_path / 'config.py'
    path.write_text(
        f"""
_base_ = {str(REPO / 'configs/_base_/default_runtime.py')!r}
meta = {META!r}
data_root = {str(tmp_path)!r}
model = {model!r}
test_dataloader = dict(
    batch_size=2, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False), collate_fn=dict(type='detection_collate'),
    dataset=dict(type='CocoDetectionDataset', ann_file='instances.json', test_mode=True, pipeline=[
        dict(type='LoadImage'), dict(type='DetResize', scale=(64, 64)), dict(type='PackDetInputs')]))
test_evaluator = [dict(type='CocoDetectionMetric', ann_file='instances.json', metric=['bbox', 'segm'])]
"""
    )
    return path


def measured(config: Path, folder: Path) -> dict:
    out = folder / 'out.json'
    command = ['nms', '--config', str(config), '--device', 'cpu', '--repeats', '1', '--out', str(out)]
    assert run_command(main, command) == 0
    return json.loads(out.read_text())


def test_all_variants_that_the_detector_can_serve(config: Path, tmp_path: Path) -> None:
    content = measured(config, tmp_path)
    served = [name for name in VARIANTS if name not in ('IoU-guided', 'softer', 'adaptive')]
    assert list(content['rows']) == [f'{name}: {figure}' for name in served for figure in ('AP', 'AP75', 'time')]
    assert all(content['rows'][f'{name}: time']['median'] > 0 for name in served)
    assert len(content['notes']) == 3
    assert 'not compared: softer, which needs `variances`' in content['notes'][1]


def test_a_detector_of_one_stage(config: Path, tmp_path: Path) -> None:
    model = dict(
        type='SingleStageDetector',
        backbone=BACKBONE,
        bbox_head=dict(type='CenterNetHead', in_channels=8, **HEADS['CenterNetHead']),  # which suppresses nothing by itself
    )
    config.write_text(f'{config.read_text()}\nmodel = {model!r}\n')
    content = measured(config, tmp_path)
    assert len(content['notes']) == 3
    assert content['rows'].keys() >= {'hard: AP', 'soft linear: AP', 'matrix: time'}


def found_by_rule(change: Callable[[Tensor], dict[str, Tensor]]) -> Callable[..., list[Candidates]]:
    """Return candidates: for each object its box, and one of three quarters of its width, which scores a little less."""

    def candidates(self: TwoStageDetector, inputs: Tensor, data_samples: SampleBatch) -> list[Candidates]:
        of_images = []
        for metainfo in data_samples.metainfo:
            boxes, scores = [], []
            for ann in shapes():
                if ann['image_id'] == metainfo['img_id'] and not ann['iscrowd']:
                    x, y, w, h = ann['bbox']
                    label = META['classes'].index('box' if ann['category_id'] == 7 else 'disc')
                    for width, score in ((w, 0.9), (0.72 * w, 0.8)):
                        boxes.append([x, y, x + width, y + h])
                        scores.append([score * (label == c) for c in range(2)])
            boxes, scores = torch.tensor(boxes).view(-1, 4).float(), torch.tensor(scores).view(-1, 2).float()
            of_images.append(Candidates(boxes, scores, change(scores)))
        return of_images

    return candidates


def test_figures_are_those_of_the_boxes_that_are_kept(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The narrow box overlaps its object by 0.72: kept in place of the right one, it counts at 0.5 and not at 0.75."""
    assert len(SIZES) == 4
    wrong_way = found_by_rule(lambda scores: dict(pred_ious=1 - scores.amax(dim=1), densities=torch.zeros(len(scores))))
    monkeypatch.setattr(TwoStageDetector, 'candidates', wrong_way)
    rows = measured(config, tmp_path)['rows']
    for name in ('hard', 'soft linear', 'cluster', 'adaptive', 'DIoU'):
        assert rows[f'{name}: AP']['median'] == pytest.approx(100), name
    assert rows['IoU-guided: AP75']['median'] == 0
    assert rows['IoU-guided: AP']['median'] == pytest.approx(50)  # of the ten thresholds, 0.5 to 0.7 are reached
    assert 'softer: AP' not in rows


def test_a_network_without_candidates(config: Path, capsys: pytest.CaptureFixture) -> None:
    assert run_command(main, ['nms', '--config', str(REPO / 'configs/quickstart.py'), '--device', 'cpu']) == 2
    assert 'TopdownPoseEstimator has no candidates to suppress' in capsys.readouterr().err
    config.write_text(config.read_text().replace('test_evaluator', 'other'))
    assert run_command(main, ['nms', '--config', str(config), '--device', 'cpu']) == 2
    assert 'the config needs `test_evaluator`' in capsys.readouterr().err
