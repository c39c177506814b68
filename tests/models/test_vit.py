from pathlib import Path

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional

from mmpose_lite.engine.config import load_config
from mmpose_lite.errors import ConfigError
from mmpose_lite.models.backbones.vit import VisionTransformer
from mmpose_lite.models.necks import FeatureMapProcessor
from mmpose_lite.registry import BACKBONES, MODELS, NECKS
from tests.parity import Reference, weights_module
from tests.tiny_training import assert_learns, topdown

TINY = dict(embed_dims=24, num_layers=2, num_heads=3)


def thin(**args: object) -> VisionTransformer:
    return BACKBONES.build({**dict(type='VisionTransformer', arch=TINY, img_size=(64, 48)), **args})


def test_the_config_of_small_is_the_reference(repo: Path, shared: Path) -> None:
    weights, reference = weights_module(shared), Reference.load(shared, 'pose_vitpose_small_256x192')
    cfg = load_config(repo / 'configs' / 'pose' / 'topdown' / 'vitpose_small_coco_256x192.py')
    model = weights.fill_(MODELS.build(cfg.model, meta=cfg.meta))
    reference.check_keys(model)
    with torch.no_grad():
        heatmaps = model(weights.inputs(reference.input_shape))
    assert heatmaps.shape == (1, 17, 64, 48)
    if 'head' in reference.outputs:
        reference.check_output('head', heatmaps)


@pytest.mark.parametrize('arch', ['small', 'base'])
def test_the_simple_decoder_gives_maps_of_the_same_size(repo: Path, arch: str) -> None:
    cfg = load_config(repo / 'configs' / 'pose' / 'topdown' / f'vitpose_{arch}_simple_coco_256x192.py')
    model = MODELS.build(cfg.model, meta=cfg.meta).eval()
    assert [key for key in model.state_dict() if key.startswith('head.')] == ['head.final_layer.weight', 'head.final_layer.bias']
    with torch.no_grad():
        assert model(torch.rand(1, 3, 256, 192)).shape == (1, 17, 64, 48)


def test_layers_are_torchs_transformer() -> None:
    ours = thin().eval()
    torch_layer = nn.TransformerEncoderLayer(24, 3, 96, 0.0, 'gelu', 1e-6, batch_first=True, norm_first=True)
    theirs = nn.TransformerEncoder(torch_layer, 2, norm=nn.LayerNorm(24, eps=1e-6), enable_nested_tensor=False).eval()
    names = {
        'ln1': 'norm1',
        'ln2': 'norm2',
        'attn.qkv.': 'self_attn.in_proj_',
        'attn.proj': 'self_attn.out_proj',
        'ffn.layers.0.0': 'linear1',
        'ffn.layers.1': 'linear2',
    }
    nn.init.normal_(ours.pos_embed)
    for parameter in ours.parameters():
        nn.init.normal_(parameter, std=0.3)
    state = {}
    for key, value in ours.state_dict().items():
        if key.startswith('layers.'):
            for mine, name in names.items():
                key = key.replace(mine, name)
            state[key] = value
    state.update({f'norm.{name}': getattr(ours.ln1, name) for name in ('weight', 'bias')})
    theirs.load_state_dict(state)
    x = torch.randn(2, 3, 64, 48)
    patches = functional.conv2d(x, ours.patch_embed.projection.weight, ours.patch_embed.projection.bias, stride=16, padding=2)
    with torch.no_grad():
        expected = theirs(patches.flatten(2).transpose(1, 2) + ours.pos_embed)
        torch.testing.assert_close(ours(x)[0].flatten(2).transpose(1, 2), expected, atol=1e-5, rtol=1e-5)


def test_a_patch_is_where_it_was() -> None:
    model = thin(arch=dict(embed_dims=1, num_layers=0, num_heads=1), patch_padding=0).eval()
    for parameter in model.patch_embed.parameters():
        nn.init.constant_(parameter, 1)
    model.ln1 = nn.Identity()
    x = torch.zeros(1, 3, 64, 48)
    x[:, :, 16:32, 32:48] = 1
    assert (model(x)[0][0, 0] > 1).nonzero().tolist() == [[1, 2]]


@pytest.mark.parametrize('shape', [(64, 48), (96, 80), (32, 32)])
def test_positions_are_interpolated_for_other_sizes(shape: tuple[int, int]) -> None:
    model = thin().eval()
    nn.init.ones_(model.pos_embed)
    grid = tuple(side // 16 for side in shape)
    assert model(torch.rand(1, 3, *shape))[0].shape == (1, 24, *grid)
    torch.testing.assert_close(model._positions(grid), torch.ones(1, grid[0] * grid[1], 24))


def test_attributes() -> None:
    model = thin(drop_path_rate=0.4)
    assert model.out_channels == (24,)
    assert model.strides == (16,)
    assert [layer.drop_path.p for layer in model.layers] == [0, 0.4]


def test_initial_values() -> None:
    model = thin(arch=dict(embed_dims=96, num_layers=1, num_heads=3))
    model.init_weights()
    assert model.layers[0].ffn.layers[1].weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert model.pos_embed.std().item() == pytest.approx(0.02, rel=0.1)
    assert not model.layers[0].attn.qkv.bias.any()


@pytest.mark.parametrize('class_token', [0, 1])
@pytest.mark.parametrize('shape', [(4, 3), (5, 5), (12, 9)])
def test_pretrained_weights_of_another_grid(tmp_path: Path, shape: tuple[int, int], class_token: int) -> None:
    source = thin(img_size=(shape[0] * 16, shape[1] * 16))
    nn.init.normal_(source.pos_embed)
    state = source.state_dict()
    state['pos_embed'] = torch.cat((torch.full((1, class_token, 24), 9.0), state['pos_embed']), dim=1)
    torch.save({'state_dict': state | {'cls_token': torch.zeros(1, 1, 24)}}, tmp_path / 'vit.pth')
    model = thin(init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'vit.pth')))
    model.init_weights()
    assert torch.equal(model.layers[1].attn.qkv.weight, source.layers[1].attn.qkv.weight)
    torch.testing.assert_close(model.pos_embed.detach(), source._positions((4, 3)).detach())


def test_a_grid_that_cannot_be_told_is_named(tmp_path: Path) -> None:
    """10 x 3 patches: neither a square nor of the shape 4 x 3."""
    torch.save({'pos_embed': torch.zeros(1, 30, 24)}, tmp_path / 'vit.pth')
    model = thin(init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'vit.pth')))
    with pytest.raises(ConfigError, match=r'vit\.pth has positions of 30 patches, which are neither a square nor .* 4 x 3'):
        model.init_weights()


def test_weights_under_torchvisions_names_on_a_square_grid(tmp_path: Path) -> None:
    theirs = torchvision.models.VisionTransformer(48, 16, num_layers=2, num_heads=2, hidden_dim=24, mlp_dim=96)  # 3 x 3 patches
    torch.save(theirs.state_dict(), tmp_path / 'vit.pth')
    model = thin(init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'vit.pth')))
    model.init_weights()
    layer = theirs.encoder.layers.encoder_layer_1
    assert torch.equal(model.layers[1].attn.qkv.weight, layer.self_attention.in_proj_weight)
    assert torch.equal(model.layers[1].ffn.layers[0][0].weight, layer.mlp[0].weight)
    corner = theirs.encoder.pos_embedding[:, 1:].transpose(1, 2).unflatten(2, (3, 3))
    expected = nn.functional.interpolate(corner, size=(4, 3), mode='bicubic', align_corners=False).flatten(2).transpose(1, 2)
    torch.testing.assert_close(model.pos_embed.detach(), expected.detach())


@pytest.mark.parametrize('simple', [False, True])
def test_a_thin_network_learns_one_batch(simple: bool) -> None:
    backbone = dict(type='VisionTransformer', arch=dict(TINY), img_size=(64, 64), drop_path_rate=0.1)
    if simple:
        cfg = topdown(backbone, head=dict(in_channels=24, deconv_out_channels=None, final_layer=dict(kernel_size=3, padding=1)))
        cfg['neck'] = dict(type='FeatureMapProcessor', scale_factor=4, apply_relu=True)
    else:
        cfg = topdown(backbone, head=dict(in_channels=24, deconv_out_channels=(16, 16), deconv_kernel_sizes=(4, 4)))
    assert_learns(cfg, steps=20, lr=5e-3)


def test_feature_map_processor() -> None:
    neck = NECKS.build(dict(type='FeatureMapProcessor', scale_factor=2, apply_relu=True))
    (y,) = neck((torch.tensor([[[[-4.0, 4.0]]]]),))
    torch.testing.assert_close(y, torch.tensor([0.0, 1.0, 3.0, 4.0]).expand(1, 1, 2, 4))
    x = torch.randn(1, 2, 3, 4)
    assert torch.equal(FeatureMapProcessor()((x,))[0], x)
    with pytest.raises(ValueError, match='`scale_factor` must be positive, got 0'):
        FeatureMapProcessor(scale_factor=0)


def test_feature_map_processor_joins_maps_at_the_size_of_the_first() -> None:
    fine, coarse = torch.randn(2, 3, 4, 4), torch.tensor([0.0, 4.0]).expand(2, 1, 2, 2)
    (joined,) = FeatureMapProcessor(concat=True)((fine, coarse))
    assert torch.equal(joined[:, :3], fine)
    torch.testing.assert_close(joined[:, 3], torch.tensor([0.0, 1.0, 3.0, 4.0]).expand(2, 4, 4))


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (dict(arch='tiny'), r"`arch` must be one of \['small', .* or a dict, got 'tiny'"),
        (dict(arch=dict(embed_dims=8, depth=2)), r"`arch` takes .* and feedforward_channels, got \['depth', 'embed_dims'\]"),
        (dict(arch={**TINY, 'num_heads': 5}), '`embed_dims` must be a multiple of the 5 heads, got 24'),
        (dict(img_size=(64, 8)), r'`img_size` must hold a patch of 16 px, got \(64, 8\)'),
        (dict(init_cfg=dict(type='Normal')), '`init_cfg` must be dict'),
    ],
)
def test_wrong_arguments(args: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        thin(**args)
