"""Detectors of configs/detection: the state-dict keys of the reference, and its outputs where they are stored."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from mmpose_lite.engine.config import load_config
from mmpose_lite.registry import MODELS
from tests.parity import Reference, weights_module

NETWORKS = {
    'det_faster_rcnn_r50_mdconv': 'faster_rcnn_resnet50_mdconv_fpn_coco',
    'det_faster_rcnn_hrnetv2p_w32': 'faster_rcnn_hrnetv2p_w32_coco',
    'det_ga_faster_rcnn_r50': 'ga_faster_rcnn_resnet50_fpn_coco',
    'det_libra_faster_rcnn_r50': 'libra_faster_rcnn_resnet50_fpn_coco',
    'det_libra_faster_rcnn_x101': 'libra_faster_rcnn_x101_64x4d_fpn_coco',
    'det_centernet_r18_dcnv2': 'centernet_resnet18_dcnv2_coco',
    'det_fcos_r50': 'fcos_resnet50_caffe_fpn_gn_coco',
    'det_retinanet_r50_fpn': 'retinanet_resnet50_fpn_coco',
}


@pytest.mark.parametrize('name', NETWORKS)
def test_the_configs_are_the_reference(shared: Path, repo: Path, name: str) -> None:
    path = shared / 'parity' / 'models' / name
    spec = json.loads(path.with_suffix('.json').read_text())
    stored = path.with_suffix('.npz').is_file()
    reference = Reference.load(shared, name)
    cfg = load_config(repo / 'configs' / 'detection' / f'{NETWORKS[name]}.py')
    with torch.device('cpu' if stored else 'meta'):  # keys and shapes need no memory
        model = MODELS.build(cfg.model)
    reference.check_keys(model)
    assert sum(p.numel() for p in model.parameters()) == spec['n_params']
    if not stored:
        return
    weights = weights_module(shared)
    weights.fill_(model)
    with torch.no_grad():
        feats = model.extract_feat(weights.inputs(reference.input_shape))
        outputs = {f'neck.{i}': feat for i, feat in enumerate(feats)}
        outputs |= (
            _of_stages(model, feats, reference) if 'rois' in reference.outputs else _of_maps('bbox_head', model.bbox_head(feats))
        )
    assert {key for key in reference.outputs if '@' not in key} - {'rois'} == outputs.keys()
    for key, output in outputs.items():
        reference.check_output(key, output)


def _of_maps(name: str, raw: Sequence[Sequence[Tensor]]) -> dict[str, Tensor]:
    return {f'{name}.{k}.{i}': x for k, maps in enumerate(raw) for i, x in enumerate(maps)}


def _of_stages(model: nn.Module, feats: Sequence[Tensor], reference: Reference) -> dict[str, Tensor]:
    pooled = model.roi_head.bbox_roi_extractor(feats, torch.from_numpy(reference.outputs['rois']))
    found = model.roi_head.bbox_head(pooled)
    of_boxes = {'roi_feats.0': pooled, 'bbox_head.0.0': found.cls_logits, 'bbox_head.0.1': found.deltas}
    return _of_maps('rpn_head', model.rpn_head(feats)) | of_boxes
