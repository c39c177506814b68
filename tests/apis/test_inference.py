"""init_model and inference: right places in the image, whatever the batches, and every wrong call named."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseModel

from mmpose_lite.apis.infer import inference, init_model
from mmpose_lite.checkpoints.reading import UntrustedCheckpointError
from mmpose_lite.engine.config import ConfigError, load_config
from tests.brightest import spots, write_project

# The spots are found on a heatmap of 32 cells; a box of 50 px padded by 1.25 makes a cell of 2 px.
CELL = 2.0


@pytest.fixture
def model(tmp_path: Path) -> BaseModel:
    config, checkpoint = write_project(tmp_path)
    return init_model(config, checkpoint)


def box(x: float, y: float, side: float = 50) -> list[float]:
    return [x - side / 2 + 3, y - side / 2 - 4, x + side / 2 + 3, y + side / 2 - 4]


def points(model: BaseModel, *args: object, **kwargs: object) -> list[np.ndarray]:
    return [result.pred_instances.keypoints[:, 0] for result in inference(model, *args, **kwargs)]


def config_of(k: int) -> Config:
    return Config.fromstring(
        f"""
meta = dict(keypoints={k})
model = dict(
    type='TopdownPoseEstimator',
    backbone=dict(type='ResNet', depth=18, base_channels=8, stem_channels=8),
    head=dict(type='HeatmapHead', in_channels=64, deconv_out_channels=(8,), deconv_kernel_sizes=(4,),
              codec=dict(type='HeatmapCodec', input_size=(64, 64), heatmap_size=(4, 4))))
test_dataloader = dict(dataset=dict(type='RepeatDataset', times=2, dataset=dict(
    type='CocoKeypointDataset', ann_file='absent.json', pipeline=[
        dict(type='LoadImage'), dict(type='GetBBoxCenterScale'), dict(type='TopdownAffine', input_size=(64, 64)),
        dict(type='PackPoseInputs')])))
""",
        '.py',
    )


def test_init_model_loads_the_weights(tmp_path: Path) -> None:
    config, checkpoint = write_project(tmp_path)
    for given in (config, str(config), load_config(config)):
        model = init_model(given, checkpoint)
        assert not model.training
        assert model.backbone.gain.item() == 2.0
        assert model.meta.keypoints == ('spot',)
    assert init_model(config).backbone.gain.item() == 1.0


def test_each_box_gives_its_spot_in_image_coordinates(model: BaseModel) -> None:
    centers = [(50, 40), (150, 80), (100, 60)]
    (result,) = inference(model, spots(*centers), np.array([box(*c) for c in centers]))
    people = result.pred_instances
    np.testing.assert_allclose(people.keypoints[:, 0], centers, atol=CELL / 2 + 0.1)
    assert people.keypoint_scores.shape == (3, 1)
    np.testing.assert_allclose(people.bboxes, [box(*c) for c in centers])
    assert people.bbox_scores.tolist() == [1, 1, 1]
    assert result.metainfo == dict(img_path='image 0', img_id=0, ori_shape=(120, 200))


def test_without_boxes_the_whole_image_is_one_person(model: BaseModel) -> None:
    (result,) = inference(model, spots((150, 30)))
    np.testing.assert_allclose(result.pred_instances.keypoints, [[[150, 30]]], atol=200 * 1.25 / 32 / 2 + 0.1)
    assert result.pred_instances.bboxes.tolist() == [[0, 0, 200, 120]]


@pytest.mark.parametrize('batch_size', [1, 2, 4, 32])
def test_batches_across_images_do_not_change_the_results(model: BaseModel, batch_size: int) -> None:
    images = [spots((40, 40), (120, 60)), spots((70, 70)), spots((20, 20), size=(90, 90)), spots((150, 90), (30, 30), (90, 60))]
    boxes = [np.array([box(40, 40), box(120, 60)]), np.zeros((0, 4)), None, [box(150, 90), box(30, 30), box(90, 60)]]
    found = points(model, images, boxes, batch_size=batch_size)
    assert [len(f) for f in found] == [2, 0, 1, 3]
    np.testing.assert_allclose(np.concatenate(found), np.concatenate(points(model, images, boxes, batch_size=7)), atol=1e-4)
    np.testing.assert_allclose(found[3], [(150, 90), (30, 30), (90, 60)], atol=CELL / 2 + 0.1)


def test_an_image_without_people_has_empty_arrays(model: BaseModel) -> None:
    (result,) = inference(model, spots((10, 10)), [])
    people = result.pred_instances
    shapes = [people[name].shape for name in ('keypoints', 'keypoint_scores', 'bboxes', 'bbox_scores')]
    assert shapes == [(0, 1, 2), (0, 1), (0, 4), (0,)]
    assert inference(model, []) == []


def test_files_and_arrays_give_the_same(model: BaseModel, tmp_path: Path) -> None:
    image = spots((60, 60))
    cv2.imwrite(str(tmp_path / 'x.png'), image)
    from_file, from_text, from_array = inference(model, [tmp_path / 'x.png', str(tmp_path / 'x.png'), image])
    np.testing.assert_array_equal(from_file.pred_instances.keypoints, from_array.pred_instances.keypoints)
    np.testing.assert_array_equal(from_text.pred_instances.keypoints, from_array.pred_instances.keypoints)
    assert from_file.img_path == str(tmp_path / 'x.png')


def test_box_scores_are_kept(model: BaseModel) -> None:
    (one,) = inference(model, spots((60, 60)), [box(60, 60), box(30, 30)], bbox_scores=[0.25, 0.75])
    assert one.pred_instances.bbox_scores.tolist() == [0.25, 0.75]
    _, two = inference(model, [spots((60, 60))] * 2, bbox_scores=[None, [0.5]])
    assert two.pred_instances.bbox_scores.tolist() == [0.5]


@pytest.mark.parametrize('k', [1, 2, 5, 21, 133])
def test_any_number_of_keypoints(k: int) -> None:
    cfg = config_of(k)
    (result, nobody) = inference(init_model(cfg), [spots((60, 60))] * 2, [[box(60, 60)] * 2, []])
    assert result.pred_instances.keypoints.shape == (2, k, 2)
    assert result.pred_instances.keypoint_scores.shape == (2, k)
    assert np.isfinite(result.pred_instances.keypoints).all()
    assert nobody.pred_instances.keypoints.shape == (0, k, 2)


def test_wrong_calls_are_named(model: BaseModel, tmp_path: Path) -> None:
    image = spots((60, 60))
    with pytest.raises(ValueError, match=r'`bboxes` needs one entry per image \(2\), got 1'):
        inference(model, [image, image], [None])
    with pytest.raises(ValueError, match=r'`bboxes` of image 0 must be \(N, 4\) xyxy, got \(4,\)'):
        inference(model, image, [1, 2, 3, 4])
    with pytest.raises(ValueError, match=r'box 1 of image 0 must be x1 < x2.*got \[5.0, 0.0, 5.0, 9.0\]'):
        inference(model, image, [box(60, 60), [5, 0, 5, 9]])
    with pytest.raises(ValueError, match=r'`bbox_scores` of image 0 must be one per box \(1\), got 2'):
        inference(model, image, [box(60, 60)], bbox_scores=[1, 1])
    with pytest.raises(ValueError, match=r'image 1 must be \(H, W, 3\) BGR uint8, got \(8, 8\) float64'):
        inference(model, [image, np.zeros((8, 8))])
    with pytest.raises(ValueError, match='`batch_size` must be 1 or more, got 0'):
        inference(model, image, batch_size=0)
    with pytest.raises(FileNotFoundError, match='gone'):
        inference(model, tmp_path / 'gone.png')
    model.train()
    with pytest.raises(RuntimeError, match=r'call model\.eval\(\)'):
        inference(model, image)


def test_wrong_models_are_named(tmp_path: Path) -> None:
    config, checkpoint = write_project(tmp_path)
    with pytest.raises(ConfigError, match='no published weights called'):
        init_model(config, pretrained=True)
    for wrong in ((load_config(config),), (config, checkpoint)):
        with pytest.raises(ValueError, match='`pretrained` needs a name as `config`, and no `checkpoint`'):
            init_model(*wrong, pretrained=True)
    with pytest.raises(ConfigError, match='does not exist'):
        init_model(tmp_path / 'gone.py')
    with pytest.raises(FileNotFoundError, match=r'gone\.pth'):
        init_model(config, tmp_path / 'gone.pth')
    torch.save({'backbone.gain': torch.ones(2)}, checkpoint)
    with pytest.raises(ValueError, match=r'only 0 of 1 tensors'):
        init_model(config, checkpoint)
    torch.save({'backbone.gain': torch.ones(1), 'path': Path}, checkpoint)
    with pytest.raises(UntrustedCheckpointError):
        init_model(config, checkpoint)
    assert init_model(config, checkpoint, trust=True).backbone.gain.item() == 1.0
    cfg = load_config(config)
    cfg.test_dataloader = None
    with pytest.raises(ConfigError, match=r'needs `test_dataloader\.dataset\.pipeline`'):
        inference(init_model(cfg), spots((5, 5)))


def test_the_callers_config_is_not_changed() -> None:
    cfg = config_of(5)
    before = cfg.pretty_text
    init_model(cfg)
    assert cfg.pretty_text == before


def test_the_documented_import() -> None:
    import mmpose_lite.apis as apis

    assert apis.init_model is init_model
    assert apis.inference is inference
    assert apis.OksTracker([0.1]).update(np.zeros((1, 1, 2)), np.ones((1, 1))).tolist() == [0]
    assert apis.OneEuroSmoother(fps=25).fps == 25
    with pytest.raises(AttributeError, match='has no attribute'):
        _ = apis.infer_model
