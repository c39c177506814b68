"""Detectors of two stages are the reference networks: same keys, same outputs."""

from pathlib import Path

import pytest
import torch

from mmpose_lite.engine.config import load_config
from mmpose_lite.registry import MODELS
from tests.conftest import REPO
from tests.parity import Reference, weights_module

CONFIGS = {
    'det_faster_rcnn_r50_fpn': 'faster_rcnn_resnet50_fpn_coco',
    'det_cascade_rcnn_r50_fpn': 'cascade_rcnn_resnet50_fpn_coco',
    'det_mask_rcnn_r50_fpn': 'mask_rcnn_resnet50_fpn_coco',
    'det_htc_r50_fpn': 'htc_resnet50_fpn_coco',
}


@pytest.mark.parametrize(('name', 'config'), CONFIGS.items())
def test_the_configs_are_the_reference(shared: Path, name: str, config: str) -> None:
    weights, reference = weights_module(shared), Reference.load(shared, name)
    model = MODELS.build(load_config(REPO / f'configs/detection/{config}.py').model)
    reference.check_keys(model)
    if not reference.outputs:
        return
    weights.fill_(model)
    checked = set()

    def check(key: str, ours: torch.Tensor) -> None:
        reference.check_output(key, ours)
        checked.add(key)

    with torch.no_grad():
        feats = model.extract_feat(weights.inputs(reference.input_shape))
        raw = model.rpn_head(feats)
        for i, feat in enumerate(feats):
            check(f'neck.{i}', feat)
            check(f'rpn_head.0.{i}', raw.cls_logits[i])
            check(f'rpn_head.1.{i}', raw.deltas[i])
        rois, head = torch.from_numpy(reference.outputs['rois']), model.roi_head
        maps = head.extend(feats)
        if 'semantic_feat' in reference.outputs:
            check('semantic_feat', maps[-1])
        cascaded = isinstance(head.bbox_head, torch.nn.ModuleList)
        for stage in range(len(head.bbox_head) if cascaded else 1):
            pooled = head.box_features(maps, rois, stage) if cascaded else head.bbox_roi_extractor(maps, rois)
            check(f'roi_feats.{stage}', pooled)
            out = head(maps, rois, stage) if cascaded else head(maps, rois)
            check(f'bbox_head.{stage}.0', out.cls_logits)
            check(f'bbox_head.{stage}.1', out.deltas)
    assert checked == {key for key in reference.outputs if '@' not in key} - {'rois'}
