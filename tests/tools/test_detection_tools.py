"""Detection from the command line and from Python: check, train, test, browse, infer, and the chain to poses."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from pycocotools import mask as mask_api

from mmpose_lite.apis import box_detector, detect, inference, init_model
from mmpose_lite.apis.benchmark_data import benchmark_data
from mmpose_lite.apis.benchmark_infer import benchmark_infer
from mmpose_lite.apis.benchmark_network import made_up_batch
from mmpose_lite.apis.box_file import read_boxes
from mmpose_lite.apis.browse import browse
from mmpose_lite.apis.cli import run_command
from mmpose_lite.apis.media import VideoWriter
from mmpose_lite.engine.config import ConfigError, load_config
from mmpose_lite.registry import MODELS
from tests.conftest import REPO
from tests.detection_folder import META, shapes, write_shapes
from tests.tiny import call, rows
from tests.tiny import write_config as write_pose_config
from tests.voc_folder import write_voc
from tools import check_dataset

CONFIG = """
_base_ = {base!r}
custom_imports = dict(imports=['tests.detection_parts'])
meta = {meta!r}
data_root = {root!r}
model = dict(type='ColourDetector')
load = [dict(type='LoadImage')]
pack = [dict(type='DetResize', scale=(80, 80)), dict(type='PackDetInputs')]
common = dict(type='CocoDetectionDataset', ann_file='instances.json', with_masks=True)
train_dataloader = dict(
    batch_size=2,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=True),
    batch_sampler=dict(type='AspectRatioBatchSampler'),
    collate_fn=dict(type='detection_collate'),
    dataset=dict(**common, pipeline=load + [dict(type='LoadMasks'), dict(type='RandomFlip')] + pack))
val_dataloader = dict(
    batch_size=2,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='detection_collate'),
    dataset=dict(**common, test_mode=True, pipeline=load + pack))
test_dataloader = val_dataloader
val_evaluator = [dict(type='CocoDetectionMetric', metric=['bbox', 'segm'])]
test_evaluator = val_evaluator
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=2, val_interval=2)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.1))
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=2), draw=dict(num_images=3), summary=None)
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A config of a detector that needs no training, and a folder that it solves."""
    write_shapes(tmp_path / 'shapes', [a for a in shapes() if not a['iscrowd']])
    path = tmp_path / 'shapes.py'
    base = str(REPO / 'configs' / '_base_' / 'detection_runtime.py')
    path.write_text(CONFIG.format(base=base, meta=META, root=str(tmp_path / 'shapes')))
    return path


@pytest.fixture
def checkpoint(config: Path, tmp_path: Path) -> Path:
    torch.save(dict(state_dict=MODELS.build(load_config(config).model).state_dict()), tmp_path / 'weights.pth')
    return tmp_path / 'weights.pth'


def call_check(config: Path, *args: str) -> int:
    return run_command(check_dataset.main, [str(config), *args])


def test_train_and_test(config: Path, tmp_path: Path) -> None:
    work_dir = tmp_path / 'work'
    assert call('train', config, '--work-dir', work_dir) == 0
    assert [row['iter'] for row in rows(work_dir)] == [1, 2, 3, 4]
    (validation,) = rows(work_dir, 'val')
    assert validation['coco/bbox_mAP'] > 0.8
    assert validation['coco/segm_mAP'] > 0.7
    assert validation['coco/bbox_mAP_50'] == pytest.approx(1)
    assert len(list((work_dir / 'predictions').glob('val_*.jpg'))) == 3
    for kind in ('bbox', 'segm'):
        assert (work_dir / f'precision_recall_val_{kind}.png').is_file()
    assert list(work_dir.glob('best_coco_bbox_mAP*.pth')), 'the best checkpoint by the AP of boxes'
    out = tmp_path / 'metrics.json'
    assert call('test', config, (work_dir / 'last_checkpoint').read_text(), '--work-dir', tmp_path / 'test', '--out', out) == 0
    assert json.loads(out.read_text())['metrics']['coco/bbox_mAP'] == pytest.approx(validation['coco/bbox_mAP'])
    assert (tmp_path / 'test' / 'precision_recall_test_bbox.png').is_file()


@pytest.mark.parametrize(
    ('classes', 'said'),
    [(['box', 'disc', 'ring'], r'3 \(custom: box, disc, ring\)'), (['disc', 'box'], r'2 \(custom: disc, box\)')],
)
def test_labels_mean_the_same_to_model_and_data(
    config: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture, classes: list[str], said: str
) -> None:
    config.write_text(
        f'{config.read_text()}\ntest_dataloader = dict(val_dataloader, dataset=dict(val_dataloader["dataset"], '
        f'meta=dict(classes={classes})))\n'
    )
    assert call('test', config, checkpoint, '--work-dir', tmp_path / 'test') == 2
    wanted = rf'`test_dataloader.dataset.meta`: the classes must be those of the model, 2 \(shapes: box, disc\), got {said}'
    assert re.search(wanted, capsys.readouterr().err)


def test_pictures_have_the_colours_of_mistakes(config: Path, checkpoint: Path, tmp_path: Path) -> None:
    """Image 1 has a box and a disc; the disc is annotated somewhere else, so one is wrong and one is missed."""
    annotations = [a for a in shapes() if not a['iscrowd']]
    path = write_shapes(tmp_path / 'shapes', annotations)
    content = json.loads(path.read_text())
    content['annotations'][1]['bbox'] = [1, 30, 12, 12]
    path.write_text(json.dumps(content))
    assert call('test', config, checkpoint, '--work-dir', tmp_path / 'test') == 0
    picture = cv2.imread(str(tmp_path / 'test' / 'predictions' / 'test_000_1.jpg')).astype(int)

    mistakes = picture[:, -(picture.shape[1] - 12) // 3 :]
    for color in ((115, 158, 0), (0, 94, 213), (233, 180, 86)):
        assert (np.abs(mistakes - color).max(axis=-1) < 60).sum() > 20, f'{color} is drawn'


def test_check_before_training(config: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert call_check(config, '--allow-warnings') == 0
    out = capsys.readouterr().out
    assert 'empty-image' in out
    assert 'box 2  disc 2' in out
    path = tmp_path / 'shapes' / 'instances.json'
    content = json.loads(path.read_text())
    content['annotations'][0]['segmentation'] = dict(size=[9, 9], counts=[81])
    path.write_text(json.dumps(content))
    assert call_check(config, '--fast', '--allow-warnings') == 1
    assert 'the RLE `segmentation` is 9 x 9' in ' '.join(capsys.readouterr().out.replace('|', ' ').split())
    assert call('train', config, '--work-dir', tmp_path / 'work') == 1, 'training does not begin'
    assert 'mask' in ''.join(capsys.readouterr())


def test_a_missing_file_is_a_wrong_config(config: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / 'shapes' / 'instances.json').unlink()
    assert call_check(config) == 2
    assert "instances.json', which does not exist" in capsys.readouterr().err


@pytest.mark.parametrize('mode', ['augmented', 'original'])
def test_browse(mode: str, config: Path, tmp_path: Path) -> None:
    cfg = load_config(config)
    files = browse(cfg, tmp_path / 'out', mode=mode, num=2, sheet=True)
    assert len(files) == 2
    picture = cv2.imread(str(files[0])).astype(int)
    red = META['classes'].index('box')
    from mmpose_lite.structures import ClassMeta
    from mmpose_lite.visualization.detection import class_colors

    color = class_colors(ClassMeta.load(META))[red]
    assert (np.abs(picture - color).max(axis=-1) < 25).sum() > 50, 'a box is drawn in the colour of its class'
    assert (tmp_path / 'out' / 'sheet.png').is_file()
    again = browse(cfg, tmp_path / 'again', mode=mode, num=2)
    assert [f.read_bytes() for f in again] == [f.read_bytes() for f in files]
    with pytest.raises(ConfigError, match='`heatmaps` are of poses; this config is of segmentation or detection'):
        browse(cfg, tmp_path / 'out', heatmaps=True)


def test_infer_writes_boxes_run_lengths_and_pictures(config: Path, checkpoint: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / 'shapes' / 'images', tmp_path / 'out'
    (folder / '9.png').write_text('no image')
    assert call('infer', config, checkpoint, folder, '--out', out) == 1, 'one file cannot be read'
    results = json.loads((out / 'results.json').read_text())
    assert {entry['image_id'] for entry in results} == {1, 2, 4}, 'the numbers of the files; image 3 is empty'
    for entry in results:
        truth = [a['bbox'] for a in shapes() if a['image_id'] == entry['image_id']]
        assert min(np.abs(np.subtract(entry['bbox'], bbox)).max() for bbox in truth) < 2
        assert META['classes'][entry['category_id'] - 1] == entry['category']
        x, y, w, h = mask_api.toBbox(entry['segmentation']).tolist()
        assert np.abs(np.subtract((x, y, w, h), entry['bbox'])).max() < 2
    boxes = read_boxes(out / 'results.json')  # those of category 1, for a pose network
    assert [boxes.find(f'{i}.png') is not None for i in (1, 2, 3, 4)] == [True, True, False, True]
    assert len(boxes.find('1.png')[0]) == 1
    assert sorted(path.name for path in out.glob('*.png')) == ['1.png', '2.png', '3.png', '4.png']
    drawn, original = (cv2.imread(str(f / '1.png')) for f in (out, folder))
    assert drawn.shape == original.shape
    assert (drawn != original).any()


def test_detect(config: Path, checkpoint: Path, tmp_path: Path) -> None:
    model = init_model(config, checkpoint)
    paths = [tmp_path / 'shapes' / 'images' / f'{i}.png' for i in (1, 2, 3)]
    together = detect(model, paths, batch_size=2)
    alone = [detect(model, cv2.imread(str(path)))[0] for path in paths]
    for a, b, labels in zip(together, alone, ([1, 0], [1], [])):
        np.testing.assert_array_equal(a.pred_instances.bboxes, b.pred_instances.bboxes)
        assert a.pred_instances.labels.tolist() == labels
    assert together[1].ori_shape == (60, 44)
    assert [s.img_id for s in together] == [0, 1, 2]
    best = detect(model, paths[0], score_thr=0.9)[0].pred_instances
    assert len(best.bboxes) == len(best.masks) == 1
    with pytest.raises(ValueError, match='detect: `batch_size` must be 1 or more, got 0'):
        detect(model, paths, batch_size=0)
    with pytest.raises(ValueError, match=r'`category` must be one of .*\[.box., .disc.\], got .person.'):
        box_detector(model)
    with pytest.raises(TypeError, match='inference: `model` must be a pose network, got ColourDetector; use `detect` for it'):
        inference(model, paths[0])
    with pytest.raises(RuntimeError, match='training mode'):
        detect(model.train(), paths)


@pytest.fixture
def pose(tmp_path: Path) -> tuple[Path, Path]:
    """Config and weights of a thin top-down network."""
    path = write_pose_config(tmp_path / 'pose')
    torch.save(dict(state_dict=MODELS.build(load_config(path).model).state_dict()), tmp_path / 'pose.pth')
    return path, tmp_path / 'pose.pth'


def test_the_chain_is_the_pose_network_on_the_boxes_of_the_detector(
    config: Path, checkpoint: Path, pose: tuple[Path, Path], tmp_path: Path
) -> None:
    images = [cv2.imread(str(tmp_path / 'shapes' / 'images' / f'{i}.png')) for i in (1, 2, 3)]
    boxes_of = box_detector(init_model(config, checkpoint), category='disc', score_thr=0.1)
    network = init_model(*pose)
    found = boxes_of(images)
    assert [len(boxes) for boxes, _ in found] == [1, 1, 0]
    chained = inference(network, images, detector=boxes_of)
    by_hand = inference(network, images, [boxes for boxes, _ in found], bbox_scores=[scores for _, scores in found])
    for a, b in zip(chained, by_hand):
        np.testing.assert_array_equal(a.pred_instances.keypoints, b.pred_instances.keypoints)
        np.testing.assert_array_equal(a.pred_instances.bbox_scores, b.pred_instances.bbox_scores)


def test_any_callable_is_a_detector_and_sees_several_images_at_a_time(pose: tuple[Path, Path]) -> None:
    calls: list[int] = []

    def halves(images: Sequence[np.ndarray]) -> list[Any]:
        calls.append(len(images))
        return [np.array([[0, 0, i.shape[1] / 2, i.shape[0]], [i.shape[1] / 2, 0, i.shape[1], i.shape[0]]]) for i in images]

    network = init_model(*pose)
    images = [np.random.default_rng(i).integers(0, 256, (40, 60, 3), dtype=np.uint8) for i in range(10)]
    samples = inference(network, images, detector=halves)
    assert calls == [8, 2]
    assert [s.pred_instances.keypoints.shape for s in samples] == [(2, 17, 2)] * 10
    assert samples[0].pred_instances.bboxes.tolist() == [[0, 0, 30, 40], [30, 0, 60, 40]]
    with pytest.raises(ValueError, match=r'`detector` must return one result per image \(8\), got 0'):
        inference(network, images, detector=lambda images: [])
    box, score = np.array([[0, 0, 5, 5]]), np.array([0.5])
    for result, error, message in (
        (None, TypeError, r'must return for each image boxes \(N, 4\), no rows for nobody, .* got None'),
        ((box, score, score), TypeError, 'must return for each image boxes .* got 3 values'),
        ([box, score], ValueError, r'`bboxes` of image 0 must be \(N, 4\) numbers; a detector that gives scores, too'),
    ):
        with pytest.raises(error, match=message):
            inference(network, images, detector=lambda images, result=result: [result] * len(images))
    with pytest.raises(TypeError, match='`detector` must return a list, of the boxes of each image, got NoneType'):
        inference(network, images, detector=lambda images: None)
    with pytest.raises(ValueError, match='give no `bboxes` and no `bbox_scores`'):
        inference(network, images[0], [[0, 0, 5, 5]], detector=halves)


def test_the_chain_from_the_command_line(
    config: Path, checkpoint: Path, pose: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = tmp_path / 'shapes' / 'images', tmp_path / 'out'
    chain = ('--detector', config, checkpoint, '--detector-class', 'disc')
    assert call('infer', *pose, folder, *chain, '--out', out) == 0
    results = json.loads((out / 'results.json').read_text())
    assert [entry['image_id'] for entry in results] == [1, 2]
    assert 'detector' in capsys.readouterr().out, 'its time is told apart'
    for entry, truth in zip(results, ((30, 10, 24, 30), (8, 30, 18, 20))):
        assert np.abs(np.subtract(entry['bbox'], truth)).max() < 2
    assert call('infer', *pose, folder, '--detector', config, checkpoint, '--out', out) == 2
    assert "`category` must be one of the classes of the detector, ['box', 'disc'], got 'person'" in capsys.readouterr().err
    assert call('infer', config, checkpoint, folder, *chain, '--out', out) == 2
    assert 'is a detector' in capsys.readouterr().err
    assert call('infer', *pose, folder, '--detector', *pose, '--out', out) == 2
    assert '`model` must be a detector, got TopdownPoseEstimator' in capsys.readouterr().err


def test_the_chain_over_the_frames_of_a_video(config: Path, checkpoint: Path, pose: tuple[Path, Path], tmp_path: Path) -> None:
    video, out = tmp_path / 'clip.avi', tmp_path / 'out'
    with VideoWriter(video, fps=5) as writer:
        for _ in range(5):
            writer.add(cv2.resize(cv2.imread(str(tmp_path / 'shapes' / 'images' / '2.png')), (88, 120)))
    args = (video, '--detector', config, checkpoint, '--detector-class', 'disc', '--track', '--out', out)
    assert call('infer', *pose, *args) == 0
    results = json.loads((out / 'results.json').read_text())
    assert [entry['file_name'] for entry in results] == [f'clip.avi#{i}' for i in range(5)]
    assert all(np.abs(np.subtract(entry['bbox'], (16, 60, 36, 40))).max() < 4 for entry in results)
    assert (out / 'clip.avi').is_file()


def test_data_of_voc_is_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_voc(tmp_path / 'VOC2007')
    config = tmp_path / 'voc.py'
    dataset = dict(type='VOCDetectionDataset', ann_file='ImageSets/Main/test.txt', meta='voc20', test_mode=True)
    config.write_text(f'data_root = {str(tmp_path / "VOC2007")!r}\nval_dataloader = dict(dataset={dataset!r})\n')
    assert call_check(config, '--allow-warnings') == 0
    out = capsys.readouterr().out
    assert '3 (and 1 crowds)' in out, 'difficult objects are not counted'
    (tmp_path / 'VOC2007' / 'JPEGImages' / '000007.jpg').unlink()
    assert call_check(config) == 1
    assert 'missing-image' in capsys.readouterr().out


def test_people_that_are_drawn_are_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / 'people.py'
    dataset = dict(type='SyntheticPeopleDetection', split='val', num_train=1, num_val=2, image_size=(96, 80), with_masks=True)
    config.write_text(f'data_root = {str(tmp_path / "people")!r}\nval_dataloader = dict(dataset={dataset!r})\n')
    assert call_check(config) == 0
    assert 'no defects found' in capsys.readouterr().out


def slim_mask_rcnn(tmp_path: Path) -> Path:
    """Write the quickstart on a few small images."""
    path = tmp_path / 'slim.py'
    path.write_text(
        f"""
_base_ = {str(REPO / 'configs' / 'detection' / 'mask_rcnn_quickstart.py')!r}
data_root = {str(tmp_path / 'people')!r}
recipe = dict(num_train=4, num_val=2, image_size=(96, 80), max_people=2)
train_dataloader = dict(batch_size=2, num_workers=0, dataset=dict(**recipe))
val_dataloader = dict(batch_size=2, num_workers=0, dataset=dict(**recipe))
test_dataloader = val_dataloader
"""
    )
    return path


def test_benchmarks_of_detectors(tmp_path: Path) -> None:
    cfg = load_config(slim_mask_rcnn(tmp_path))
    batch = made_up_batch(cfg, 2)
    samples = batch['data_samples']
    assert batch['inputs'].shape == (2, 3, 128, 160)
    assert samples.counts == [5, 5]
    assert (samples.bboxes_input[:, 2:] > samples.bboxes_input[:, :2]).all()
    assert samples.masks.shape == (10, 128, 20)
    data = benchmark_data(cfg, num_samples=2, repeats=1, workers=0)
    assert {'pipeline, one process', 'step LoadMasks', 'step PackDetInputs'} <= {name for name, *_ in data.rows}
    for synthetic in (True, False):
        report = benchmark_infer(cfg, device='cpu', batch_sizes=(2,), repeats=1, synthetic=synthetic)
        assert [name for name, *_ in report.rows] == ['fp32, batch 2: whole']
