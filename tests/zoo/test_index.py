"""The index of published weights: whole, and true of the configs it names. The files themselves are not needed."""

import json
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config

from mmpose_lite.checkpoints.download import hash_in_name
from mmpose_lite.engine.config import load_config, metric_configs
from mmpose_lite.registry import METRICS, MODELS
from mmpose_lite.zoo.index import KEYS, entries
from mmpose_lite.zoo.names import configs_folder, shipped_configs

ENTRIES = sorted(entries().values(), key=lambda entry: entry.name)
ids = pytest.mark.parametrize('entry', ENTRIES, ids=lambda entry: entry.name)


def of(family: str) -> pytest.MarkDecorator:
    """Run a test for the entries whose configs are in that folder."""
    found = [entry for entry in ENTRIES if entry.config.startswith(f'{family}/')]
    return pytest.mark.parametrize('entry', found, ids=lambda entry: entry.name)


@cache
def config(path: str) -> Config:
    return load_config(configs_folder() / path)


def test_there_are_entries() -> None:
    assert 'hrnet_w32_coco_256x192' in entries()
    assert len({entry.sha256 for entry in ENTRIES}) == len(ENTRIES), 'two names for one file'


@ids
def test_the_fields(entry: Any) -> None:
    assert re.fullmatch(r'[a-z0-9_]+_(\d+x\d+|cityscapes|coco)', entry.name)
    assert (configs_folder() / entry.config).is_file()
    assert entry.keys in KEYS
    assert entry.licence
    assert entry.urls
    for url in entry.urls:
        assert url.startswith('https://')
        assert hash_in_name(url) == entry.sha256
        assert url.rpartition('/')[2] == entry.path.name


@ids
def test_a_name_is_that_of_its_config_or_of_none(entry: Any) -> None:
    """Else `init_model(NAME)` would be another network with weights than without."""
    if entry.name in shipped_configs():
        assert Path(entry.config).stem == entry.name


@ids
def test_the_figures_are_those_that_the_config_measures(entry: Any) -> None:
    assert entry.metrics
    prefixes = {METRICS.get(metric['type']).default_prefix for metric in metric_configs(config(entry.config).test_evaluator)}
    for name, value in entry.metrics.items():
        assert name.partition('/')[0] in prefixes
        assert 0 < value < (100 if name == 'epe/EPE' else 1)


def test_the_page_names_the_networks_without_weights(repo: Path) -> None:
    section = (repo / 'docs' / 'zoo.md').read_text().partition('### Networks without published weights')[2].partition('\n## ')[0]
    named = set()
    for cell in re.findall('`([^`]+)`', ''.join(line for line in section.splitlines() if line.startswith('|'))):
        start, _, rest = cell.partition('{')
        choices, _, end = rest.partition('}')
        named |= {start + choice + end for choice in choices.split(',')}
    others = {name for name, path in shipped_configs().items() if not {'detection', 'segmentation'} & set(path.parts)}
    assert named == others - {Path(entry.config).stem for entry in ENTRIES}


@of('pose')
def test_the_recipe_of_a_pose_network_is_the_published_one(entry: Any) -> None:
    """The published name tells the batch of one of eight GPUs, the epochs, the coding and the size; one of mmpose 0.x none."""
    cfg = config(entry.config)
    if entry.name == 'ae_higher_hrnet_w32_coco_512x512':
        assert entry.published_as == 'higherhrnet_w32_coco_512x512'
        return
    name = re.search(r'8xb(\d+)-(\d+)e_(?:aic-)?([\w-]+?)-(\d+)x(\d+)$', entry.published_as)
    batch_size, epochs, data, height, width = name.groups()
    assert cfg.train_dataloader.batch_size == int(batch_size)
    assert cfg.train_cfg.max_epochs == int(epochs)
    assert tuple(cfg.codec.input_size) == (int(width), int(height))
    assert cfg.meta == {'coco': 'coco17', 'coco-wholebody': 'wholebody133', 'mpii': 'mpii16', 'rhd2d': 'rhd21'}[data]
    is_udp = 'udp' in entry.published_as or 'ViTPose' in entry.published_as
    variant = 'udp' if is_udp else 'dark' if 'dark' in entry.published_as else 'msra'
    if cfg.codec.type == 'HeatmapCodec':
        assert cfg.codec.get('variant', 'msra') == variant


@of('segmentation')
def test_the_recipe_of_a_segmentation_network_is_the_published_one(entry: Any) -> None:
    """The published name tells the network, the batch of one of four GPUs, the iterations, the data and the size of a crop."""
    cfg = config(entry.config)
    name = re.fullmatch(r'([a-z0-9]+)[-_](.+)_4xb(\d+)-(\d+)k_([a-z]+)-(\d+)x(\d+)', entry.published_as)
    first, second, batch_size, thousands, data, height, width = name.groups()
    assert cfg.train_dataloader.batch_size == int(batch_size)
    # Weights that the config's own recipe does not make say their iterations in their name.
    own = entry.name == Path(entry.config).stem
    assert cfg.train_cfg.max_iters == int(thousands) * 1000 if own else f'_{thousands}k_' in entry.name
    crop = next(step for step in cfg.train_dataloader.dataset.pipeline if step['type'] == 'SegRandomCrop')
    assert tuple(crop['input_size']) == (int(width), int(height))
    assert cfg.meta == data
    assert cfg.model.backbone.type == {'h': 'HRNet', 's': 'UNet', 'r': 'ResNet'}[second[0]]
    if second[0] == 'r':
        assert (first, f'r{cfg.model.backbone.depth}-d8') == (entry.config.split('/')[1].split('_')[0], second)
        assert cfg.model.backbone.contract_dilation
    assert cfg.model.get('test_cfg', {}).get('mode', 'whole') == 'whole'
    resize = next(step for step in cfg.test_dataloader.dataset.pipeline if step['type'] == 'SegResize')
    assert tuple(resize['input_size']) == (2048, 1024)


@of('detection')
def test_the_recipe_of_a_detector_is_the_published_one(entry: Any) -> None:
    """The published name tells the detector, its backbone with or without deformable convolutions, and the schedule."""
    cfg = config(entry.config)
    model, published = cfg.model, entry.published_as
    roi_head = model.get('roi_head', {})
    assert published.startswith('libra') == (isinstance(model.neck, list) and model.neck[-1].type == 'BFP')
    assert published.startswith('ga-') == (model.get('rpn_head', {}).get('type') == 'GARPNHead')
    kinds = {'cascade': 'CascadeRoIHead', 'htc': 'HybridTaskCascadeRoIHead', 'retinanet': 'RetinaHead', 'fcos': 'FCOSHead'}
    kind = next((head for start, head in kinds.items() if published.startswith(start)), 'StandardRoIHead')
    assert (roi_head or model.bbox_head).type == kind
    with_masks = 'mask' in published or 'htc' in published
    assert ('mask_head' in roi_head) == with_masks == ('coco/segm_mAP' in entry.metrics)
    assert metric_configs(cfg.test_evaluator)[0]['metric'] == (['bbox', 'segm'] if with_masks else 'bbox')

    backbone = model.backbone
    if match := re.search(r'[-_]x101-(\d+)x(\d+)d|[-_]x101_(\d+)x(\d+)d', published):
        groups, width = (int(number) for number in match.groups() if number)
        assert (backbone.depth, backbone.groups, backbone.width_per_group) == (101, groups, width)
    elif match := re.search(r'hrnetv2p-w(\d+)', published):
        assert backbone.extra.stage4.num_channels[0] == int(match[1])
        assert model.neck.in_channels == backbone.extra.stage4.num_channels
    else:
        assert (backbone.depth, backbone.get('groups', 1)) == (int(re.search(r'[-_]r(\d+)', published)[1]), 1)
    assert (backbone.get('style') == 'caffe') == ('caffe' in published)
    assert backbone.get('dcn', {}).get('type') == ('DCNv2' if 'mdconv' in published else 'DCN' if 'dconv' in published else None)
    pools = 'DeformRoIPoolPack' if 'dpool' in published else 'RoIAlign'
    assert not roi_head or pools in json.dumps(roi_head.bbox_roi_extractor)

    schedule = re.search(r'[-_](\d+)(x|e)_coco$', published)
    epochs = int(schedule[1]) * (12 if schedule[2] == 'x' else 1)
    # Weights that the config's own recipe does not make say their schedule in their name.
    own = entry.name == Path(entry.config).stem
    assert cfg.train_cfg.max_epochs == epochs if own else f'_{schedule[1]}{schedule[2]}_' in entry.name
    assert cfg.meta == 'coco80'
    assert cfg.train_dataloader.batch_size == 2
    resize = next(step for step in cfg.test_dataloader.dataset.pipeline if step['type'] == 'DetResize')
    assert tuple(resize['scale']) == (1333, 800)


@of('pose')
def test_the_test_of_a_pose_network_is_the_published_one(entry: Any) -> None:
    """Boxes of the detector, flip test with the shift that the coding needs, crops as the network saw them, OKS-NMS."""
    cfg = config(entry.config)
    dataset, test_cfg = cfg.test_dataloader.dataset, cfg.model.test_cfg
    assert dataset.test_mode
    assert test_cfg.flip_test
    if cfg.model.type != 'TopdownPoseEstimator':
        return
    if cfg.codec.type == 'HeatmapCodec':
        assert test_cfg.shift_heatmap == (cfg.codec.get('variant') != 'udp')
    affine = next(step for step in dataset.pipeline if step['type'] == 'TopdownAffine')
    assert tuple(affine['input_size']) == tuple(cfg.codec.input_size)
    if cfg.meta in ('coco17', 'wholebody133'):
        assert affine.get('use_udp', False) == (cfg.codec.get('variant') == 'udp')
        assert dataset.bbox_file.endswith('COCO_val2017_detections_AP_H_56_person.json')
        (metric,) = metric_configs(cfg.test_evaluator)
        is_mspn = cfg.model.backbone.type == 'MSPN'
        assert metric['nms_mode'] == ('none' if is_mspn else 'oks_nms')
        assert is_mspn or metric['nms_thr'] == 0.9
        assert metric['score_mode'] == 'bbox_keypoint'


@cache
def tensors(network: str) -> dict[str, tuple[int, ...]]:
    """Return name -> shape of the tensors of a model config (as JSON), without making them."""
    with torch.device('meta'):
        model = MODELS.build(json.loads(network))
    return {name: tuple(value.shape) for name, value in model.state_dict().items() if not name.startswith('data_preprocessor.')}


@pytest.fixture(scope='module')
def published(shared: Path) -> list[dict[str, tuple[int, ...]]]:
    """Name -> shape of the published networks whose tensors are known."""
    lists = [json.loads(path.read_text())['keys'] for path in sorted((shared / 'parity' / 'models').glob('*.json'))]
    return [{k: tuple(v) for k, v in keys.items() if not k.startswith('data_preprocessor.')} for keys in lists]


def kinds(names: Iterable[str]) -> set[str]:
    """Return the names without the numbers of layers and blocks."""
    return {re.sub(r'\d+', 'N', name) for name in names}


@ids
def test_what_is_said_of_the_tensors_is_true(entry: Any, published: list[dict[str, tuple[int, ...]]]) -> None:
    model = config(entry.config).model.to_dict()
    # What changes no tensor goes, so that one network of several configs is built once.
    model.pop('test_cfg', None)
    model['backbone'].pop('init_cfg', None)
    if model.get('head', {}).get('type') in ('HeatmapHead', 'CPMHead'):
        model['head'].pop('codec')
    ours = tensors(json.dumps(model, sort_keys=True))
    if any(ours == theirs for theirs in published):
        assert entry.keys == 'shapes'
    elif any(kinds(ours) == kinds(theirs) for theirs in published):
        assert entry.keys == 'names'
    else:
        assert entry.keys == 'construction'
