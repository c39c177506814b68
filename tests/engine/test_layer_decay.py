import pytest
import torch
from torch import nn

from mmpose_lite.engine.layer_decay import LayerDecayOptimWrapperConstructor
from mmpose_lite.models.backbones.vit import VisionTransformer
from mmpose_lite.registry import OPTIM_WRAPPER_CONSTRUCTORS


class Pose(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = VisionTransformer(dict(embed_dims=8, num_layers=2, num_heads=2), img_size=(32, 32))
        self.head = nn.Conv2d(8, 3, 1)


def build(**paramwise_cfg: object) -> LayerDecayOptimWrapperConstructor:
    cfg = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=1.0, weight_decay=0.1))
    return OPTIM_WRAPPER_CONSTRUCTORS.build(
        dict(type='LayerDecayOptimWrapperConstructor', optim_wrapper_cfg=cfg, paramwise_cfg=paramwise_cfg)
    )


def test_rates_and_decays() -> None:
    model = Pose()
    model.backbone.layers[0].attn.proj.weight.requires_grad_(False)
    optimizer = build(layer_decay_rate=0.5)(model).optimizer
    assert isinstance(optimizer, torch.optim.AdamW)
    found = {id(p): (group['lr'], group['weight_decay']) for group in optimizer.param_groups for p in group['params']}
    names = {name: found.get(id(p)) for name, p in model.named_parameters()}
    assert names['backbone.pos_embed'] == (0.125, 0)
    assert names['backbone.patch_embed.projection.weight'] == (0.125, 0.1)
    assert names['backbone.patch_embed.projection.bias'] == (0.125, 0)
    assert names['backbone.layers.0.attn.qkv.weight'] == (0.25, 0.1)
    assert names['backbone.layers.1.ffn.layers.0.0.weight'] == (0.5, 0.1)
    assert names['backbone.layers.1.ln2.weight'] == (0.5, 0)
    assert names['backbone.ln1.weight'] == (1, 0)
    assert names['head.weight'] == (1, 0.1)
    assert names['backbone.layers.0.attn.proj.weight'] is None
    assert None not in {value for name, value in names.items() if name != 'backbone.layers.0.attn.proj.weight'}


def test_wrong_options() -> None:
    with pytest.raises(ValueError, match=r"`paramwise_cfg` takes .*, got \['num_layers'\]"):
        build(layer_decay_rate=0.5, num_layers=12)
    with pytest.raises(ValueError, match=r'`paramwise_cfg.layer_decay_rate` must be in \(0, 1\], got 0'):
        build()
